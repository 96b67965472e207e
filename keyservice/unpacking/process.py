"""The parent's side: a spool in memory that nobody else can open, and a child that cannot take the service with it."""

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from keyservice.unpacking.errand import Errand
from keyservice.unpacking.frames import FRAME_BYTES_MAX, LENGTH, BrokenFrame, Frame, Unreadable, read_frame

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_KILLED_FOR_TIME: Final = -signal.SIGXCPU


class Spool:
    """A whole file in anonymous memory (memfd): it has no name, never reaches a disk, and is gone with its last user.

    Not a temporary file, for it is full of keys; encrypting one would keep the secret beside it in this same memory.
    """

    def __init__(self) -> None:
        self.size = 0
        self._number = os.memfd_create("keyservice-upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._number, view) :]
        self.size += len(data)

    def seal(self) -> int:
        """From here on nobody can change it. Its number as an open file."""
        fcntl.fcntl(self._number, fcntl.F_ADD_SEALS, _SEALS)
        return self._number

    def close(self) -> None:
        os.close(self._number)


@contextmanager
def spooled() -> Iterator[Spool]:
    spool = Spool()
    try:
        yield spool
    finally:
        spool.close()


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What one child may take. `silent_seconds` is how long it may say nothing while somebody waits for it."""

    memory_bytes_max: int = 384 * 1024 * 1024
    processor_seconds_max: int = 120
    silent_seconds: float = 60.0


class Unpacker:
    """Starts the children, a limited number at once: the others wait for their turn."""

    def __init__(self, limits: ChildLimits | None = None, *, at_once: int = 2) -> None:
        self.limits = limits or ChildLimits()
        self._turns = asyncio.Semaphore(at_once)

    async def frames(self, errand: Errand) -> AsyncGenerator[Frame, None]:
        """What the child makes of the file, up to its last frame. Raises Unreadable, and the child is gone then."""
        async with self._turns, _child(errand) as process:
            while True:
                frame = await self._next(process)
                if frame.is_end:
                    yield frame
                    return
                yield frame

    async def _next(self, process: Process) -> Frame:
        try:
            async with asyncio.timeout(self.limits.silent_seconds):
                body = await _body(process)
            return await asyncio.to_thread(read_frame, body)
        except TimeoutError:
            raise _too_slow() from None
        except (asyncio.IncompleteReadError, BrokenFrame):
            raise await _gone(process) from None


async def _body(process: Process) -> bytes:
    assert process.stdout is not None
    (size,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if size > FRAME_BYTES_MAX:
        raise BrokenFrame
    return await process.stdout.readexactly(size)


@asynccontextmanager
async def _child(errand: Errand) -> "AsyncGenerator[Process, None]":
    """Without this process's environment, in which the database's password may be."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "keyservice.unpacking.child"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env={},
        pass_fds=(errand.file_number,),
        start_new_session=True,
        limit=FRAME_BYTES_MAX,
    )
    try:
        assert process.stdin is not None
        # One line fits into any pipe.
        process.stdin.write(errand.to_line())
        yield process
    finally:
        await _ended(process)


async def _gone(process: Process) -> Unreadable:
    if await _ended(process) == _KILLED_FOR_TIME:
        return _too_slow()
    return Unreadable("too-much-memory", "the file could not be read within its limits; split it, or save it as CSV")


async def _ended(process: Process) -> int:
    """Its status; one that still runs is killed.

    Not by process.kill(): with asyncio's own loop that looks for the status first, and what it finds never reaches the loop,
    which then tells 255.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return await process.wait()


def _too_slow() -> Unreadable:
    return Unreadable("too-much-time", "the file takes too long to read; split it, or save it as CSV")
