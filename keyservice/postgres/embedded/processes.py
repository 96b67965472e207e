"""Waiting for PostgreSQL processes, knowing them for certain, and ending them step by step."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from keyservice.postgres.embedded.errors import PostgresNotStopped

_POLL_SECONDS = 0.05
_PROCESSES = Path("/proc")

# (signal, seconds to wait after it). Fast shutdown, immediate shutdown, and what nothing survives.
STOP_POSTMASTER = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
# A backend whose postmaster is dead leaves by itself once it waits for anything; 0 sends nothing.
STOP_BACKEND = ((0, 2.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 10.0))


async def exit_status(process: "subprocess.Popen[bytes]") -> int:
    """Polled, because a watcher of child processes is not the same thing in every event loop."""
    while (status := process.poll()) is None:
        await asyncio.sleep(_POLL_SECONDS)
    return status


async def comes_true(condition: Callable[[], bool], *, within_seconds: float) -> bool:
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


async def stop_process(pid: int, is_alive: Callable[[], bool], steps: Sequence[tuple[int, float]]) -> None:
    """Raises PostgresNotStopped. `is_alive` is asked before each signal, so a reused number is never signalled."""
    for number, seconds in steps:
        if not is_alive():
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if await comes_true(lambda: not is_alive(), within_seconds=seconds):
            return
    raise PostgresNotStopped(pid=pid)


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish `work` even if the caller is cancelled meanwhile; the cancellation follows afterwards."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancellation = error
    task.result()
    if cancellation is not None:
        raise cancellation


def cluster_name(data: Path) -> str:
    """Shown in the title of each process of the cluster; of fixed length, so that none begins another."""
    status = data.stat()
    return f"keyservice-{status.st_dev:016x}-{status.st_ino:016x}"


def works_in(pid: int, data: Path) -> bool:
    """Whether `pid` is a live PostgreSQL process of this data directory; zombies and reused numbers are not."""
    process = _PROCESSES / str(pid)
    try:
        if (process / "comm").read_text().strip() != "postgres":
            return False
        try:
            return (process / "cwd").samefile(data)
        except PermissionError:
            # Root in a container may not look at another account's directories; titles are open to all.
            return was_started_here(pid, data) or os.fsencode(data) in (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def was_started_here(pid: int, data: Path) -> bool:
    """Whether this supervisor, or an earlier one, started `pid`; not so for a server that somebody started by hand."""
    try:
        return cluster_name(data).encode() in (_PROCESSES / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_in(data: Path) -> list[int]:
    """The live PostgreSQL processes of this data directory; none where there is no /proc to ask."""
    if not _PROCESSES.is_dir():
        return []
    numbers = (int(entry.name) for entry in _PROCESSES.iterdir() if entry.name.isdecimal())
    return [pid for pid in numbers if works_in(pid, data)]


def is_known(pid: int) -> bool:
    """Whether any process, ours or not, has this number and lets itself be looked at."""
    return (_PROCESSES / str(pid)).exists()
