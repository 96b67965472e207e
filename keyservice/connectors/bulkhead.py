"""No publisher takes more than its share: so many calls at once, as many waiting, and none waiting for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class BulkheadFull(Exception):
    """There was no place within the time for waiting."""


class Bulkhead:
    """Limits the calls that are under way at once."""

    def __init__(self, calls_max: int) -> None:
        self._places = asyncio.Semaphore(calls_max)
        self._waiting_max = calls_max
        self._waiting = 0

    @asynccontextmanager
    async def place(self, wait_seconds: float) -> AsyncIterator[None]:
        """A place, in the order of asking; raises BulkheadFull."""
        if self._places.locked():
            await self._wait(wait_seconds)
        else:
            await self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    async def _wait(self, seconds: float) -> None:
        if self._waiting >= self._waiting_max:
            raise BulkheadFull
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise BulkheadFull from None
        finally:
            self._waiting -= 1
