"""One short transaction: bounded waits inside, repeated where that helps, never cut off in the middle of its COMMIT."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from keyservice.domain.errors import KeyserviceError, OutcomeUnknown, Overloaded
from keyservice.postgres.connection import CONNECTION_LOST, WORTH_REPEATING, Connection, Database

T = TypeVar("T")

# Whoever waits longer is told so: nothing here is worth a minute.
LOCAL_SETTINGS: Final = "SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '60s'"
_PAUSE_SECONDS_MAX: Final = 1.0


async def short_transaction(
    database: Database,
    work: Callable[[Connection], Awaitable[T]],
    *,
    is_repeatable: bool = True,
    patience_seconds: float = 30.0,
) -> T:
    """What `work` returned, committed. `work` runs again after a lost race, a deadlock or a time limit.

    After a lost connection it runs again only if it `is_repeatable`: it recognises what it has done already.
    Raises Overloaded when nothing was committed, OutcomeUnknown when nobody can tell.
    """
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + patience_seconds, 0.01
    failure: KeyserviceError = Overloaded("the database is busy; nothing of this step was stored; send it again")
    while True:
        try:
            return await _to_the_end(_run(database, work))
        except WORTH_REPEATING as error:
            cause: BaseException = error
        except CONNECTION_LOST as error:
            # From here on nobody can tell, whatever comes later.
            cause, failure = error, OutcomeUnknown("the database is away; send the same request again")
            if not is_repeatable:
                raise failure from cause
        if loop.time() > deadline:
            raise failure from cause
        await asyncio.sleep(pause)
        pause = min(2 * pause, _PAUSE_SECONDS_MAX)


async def _run(database: Database, work: Callable[[Connection], Awaitable[T]]) -> T:
    async with database.transaction(settings=LOCAL_SETTINGS) as connection:
        return await work(connection)


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Wait for the work even when the waiting task is cancelled: a cancelled COMMIT may be visible and yet be lost."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
