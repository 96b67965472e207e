"""Waiting for what must become true, and saying what did not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

_POLL_SECONDS: Final = 0.02


class DidNotHappen(AssertionError):
    """What a test waited for did not become true in time."""


async def until(
    ask: Callable[[], Awaitable[T | None]], *, seconds: float, what: str, poll_seconds: float = _POLL_SECONDS
) -> T:
    """The first answer of `ask` that is neither None nor False. Raises DidNotHappen."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await ask()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() >= deadline:
            raise DidNotHappen(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(poll_seconds)


async def until_true(is_so: Callable[[], bool], *, seconds: float, what: str) -> None:
    async def ask() -> bool:
        return is_so()

    await until(ask, seconds=seconds, what=what)
