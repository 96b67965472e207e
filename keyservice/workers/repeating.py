"""Work that is done again and again beside the requests, until the process stops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

log = structlog.get_logger(__name__)


@asynccontextmanager
async def repeating(name: str, work: Callable[[], Awaitable[int]], *, pause_seconds: float) -> AsyncIterator[None]:
    """Do the work now and then until left. It tells how much it did; while it does something it is asked again at once.

    Whatever it raises is logged, and it is tried again after the pause: nothing that it meets once may end it for good.
    """
    task = asyncio.create_task(_repeat(name, work, pause_seconds), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _repeat(name: str, work: Callable[[], Awaitable[int]], pause_seconds: float) -> None:
    while True:
        done = 0
        try:
            done = await work()
        except Exception:
            log.exception("chore_failed", chore=name)
        else:
            if done:
                log.info("chore_done", chore=name, count=done)
        if not done:
            await asyncio.sleep(pause_seconds)
