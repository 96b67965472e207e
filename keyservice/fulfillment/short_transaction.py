"""One short transaction: bounded waits inside, repeated where that helps, never cut off in the middle of its COMMIT."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from keyservice.domain.errors import OutcomeUnknown, Overloaded
from keyservice.postgres.connection import CONNECTION_LOST, WORTH_REPEATING, Connection, Database

T = TypeVar("T")

# Bounded waits, and no plan that reads or sorts whole tables: a plan made while a table was small, or by statistics that
# do not know a publisher yet, must not become the plan of the day when it is large.
LOCAL_SETTINGS: Final = (
    "SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '60s';"
    " SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off"
)
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
    while True:
        try:
            return await _to_the_end(_run(database, work))
        except WORTH_REPEATING as error:
            if loop.time() > deadline:
                raise Overloaded("the database is busy; nothing of this step was stored; send it again") from error
        except CONNECTION_LOST as error:
            if not is_repeatable or loop.time() > deadline:
                raise OutcomeUnknown("the database is away; send the same request again") from error
        await asyncio.sleep(pause)
        pause = min(2 * pause, _PAUSE_SECONDS_MAX)


async def _run(database: Database, work: Callable[[Connection], Awaitable[T]]) -> T:
    async with database.transaction() as connection:
        await connection.execute(LOCAL_SETTINGS)
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
