"""The command as a person or a script runs it: another process, with an exit status and two streams."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_REPOSITORY: Final = Path(__file__).parents[2]
_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    status: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """What the command says of its failure, however wide the terminal is."""
        return " ".join(self.errors.partition("refused:")[2].split())


async def run_keyservice(*arguments: object, **environment: str) -> Ended:
    process = await start_keyservice(*arguments, **environment)
    async with asyncio.timeout(_SECONDS):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), errors.decode())


async def start_keyservice(*arguments: object, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "keyservice"),
        *map(str, arguments),
        cwd=_REPOSITORY,
        env=clean_environment(**environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def clean_environment(**more: str) -> Mapping[str, str]:
    """Nothing of the machine that runs the tests but what programs need."""
    names = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
    return {**{name: os.environ[name] for name in names if name in os.environ}, **more}
