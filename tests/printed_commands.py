"""The commands that a page prints, run as they stand."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from tests.cli.command import clean_environment

SECONDS: Final = 120.0


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


def blocks_of(page: str) -> list[Block]:
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [Block(block[1], block[2]) for block in found]


def numbered(blocks: Sequence[str], *, first: int = 1) -> str:
    """One script of all of them, which tells on standard error where it is."""
    return "".join(f"echo '--- block {number}' >&2\n{block}\n" for number, block in enumerate(blocks, start=first))


async def bash(
    script: str, directory: Path, environment: Mapping[str, str], *, seconds: float = SECONDS
) -> tuple[int | None, str, str]:
    """Exit status, output and errors of a script that stops at its first failure; `keyservice` is this environment's.

    None for a script that did not end in time. What it started in the background ends with it.
    """
    own = clean_environment(**environment)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", script),
            cwd=directory,
            env={**own, "PATH": f"{Path(sys.executable).parent}:{own['PATH']}"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), seconds)
            status = process.returncode
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        return status, _read(output), _read(errors)


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()
