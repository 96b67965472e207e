"""What a transaction leaves behind on its connection: nothing, however it ends."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final

import asyncpg
import pytest

from keyservice.domain.errors import Overloaded
from keyservice.fulfillment.short_transaction import LOCAL_SETTINGS
from keyservice.postgres.connection import Connection, Database, DatabaseAway, NotCommitted
from keyservice.postgres.roles import PIPELINE, PUBLISHER
from tests.lab.cluster import SERVICE, DatabaseUrls
from tests.lab.waiting import until

STATE: Final = (
    "SELECT current_user::text AS role, coalesce(current_setting('keyservice.publisher_id', true), '') AS publisher,"
    " current_setting('enable_sort') AS sorts, current_setting('enable_seqscan') AS scans, current_setting('jit') AS jit,"
    " current_setting('lock_timeout') AS patience, current_setting('transaction_read_only') AS reads_only,"
    " pg_backend_pid() AS pid, pg_current_xact_id_if_assigned() IS NULL AS is_outside"
)


class Planted(Exception):
    """Raised on purpose in a transaction."""


class OneConnection:
    """A database of one connection, and what is to be seen on it between transactions."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", url: str) -> None:
        self._pool = pool
        self.database = Database(pool, url=url, acquire_seconds=10)

    async def state(self) -> dict[str, object]:
        async with self._pool.acquire() as connection:
            assert not connection.is_in_transaction()
            row = await connection.fetchrow(STATE)
        assert row is not None
        return dict(row)


@pytest.fixture
async def one(database_urls: DatabaseUrls) -> AsyncIterator[OneConnection]:
    async def as_it_is(_: object) -> None:
        pass

    async with asyncpg.create_pool(database_urls.service, min_size=1, max_size=1, reset=as_it_is) as pool:
        yield OneConnection(pool, database_urls.service)


async def _commits(database: Database) -> None:
    async with database.transaction(settings=LOCAL_SETTINGS) as connection:
        await _seen(connection)


async def _raises(database: Database) -> None:
    async with database.transaction(settings=LOCAL_SETTINGS) as connection:
        await _seen(connection)
        raise Planted


async def _is_refused(database: Database) -> None:
    async with database.transaction(settings=LOCAL_SETTINGS) as connection:
        await _seen(connection)
        await connection.execute("SELECT 1 / 0")


async def _swallows_a_refusal(database: Database) -> None:
    async with database.transaction(settings=LOCAL_SETTINGS) as connection:
        await _seen(connection)
        with suppress(asyncpg.PostgresError):
            await connection.execute("SELECT 1 / 0")


async def _reads(database: Database) -> None:
    async with database.reading() as connection:
        await _seen(connection)


async def _reads_and_raises(database: Database) -> None:
    async with database.reading() as connection:
        await _seen(connection)
        raise Planted


async def _looks_at_one_moment(database: Database) -> None:
    async with database.snapshot(settings=LOCAL_SETTINGS) as connection:
        await _seen(connection)


async def _cannot_begin(database: Database) -> None:
    async with database.transaction(settings="SET LOCAL no_such_setting = 1"):
        raise AssertionError("it has begun")


async def _seen(connection: Connection) -> None:
    row = await connection.fetchrow(STATE)
    assert row is not None
    assert row["role"] in (PIPELINE, PUBLISHER)
    assert row["jit"] == "off", "a statement that looks dear is compiled for longer than it runs"
    assert (row["sorts"], row["scans"]) == ("off", "off"), "a plan is kept with its connection, whoever made it"


@pytest.mark.parametrize("publisher_id", [None, 4711])
@pytest.mark.parametrize(
    "use",
    [
        *(_commits, _raises, _is_refused, _swallows_a_refusal, _reads, _reads_and_raises, _looks_at_one_moment),
        _cannot_begin,
    ],
)
async def test_the_role_is_gone_however_a_transaction_ends(
    one: OneConnection, use: Callable[[Database], Awaitable[None]], publisher_id: int | None
) -> None:
    before = await one.state()
    assert (before["role"], before["publisher"], before["sorts"]) == (SERVICE, "", "on")
    database = one.database if publisher_id is None else one.database.of_publisher(publisher_id)
    with suppress(Planted, asyncpg.PostgresError, NotCommitted):
        await use(database)
    assert await one.state() == before


@pytest.mark.parametrize("kind", ["transaction", "reading", "snapshot"])
async def test_the_role_is_gone_when_a_statement_is_cancelled(
    one: OneConnection, database_urls: DatabaseUrls, kind: str
) -> None:
    before = await one.state()
    holder = await asyncpg.connect(database_urls.superuser)
    try:
        await holder.execute("SELECT pg_advisory_lock(4711)")
        begin = getattr(one.database.of_publisher(4711), kind)

        async def wait() -> None:
            async with begin() as connection:
                await connection.execute("SELECT pg_advisory_xact_lock_shared(4711)")

        waiting = asyncio.create_task(wait())
        blocked = "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await until(lambda: holder.fetchval(blocked), seconds=10, what="the statement waits")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await one.state() == before
    finally:
        await holder.close()


async def test_a_commit_that_rolled_back_is_told(one: OneConnection) -> None:
    with pytest.raises(NotCommitted):
        await _swallows_a_refusal(one.database)


async def _is_cut_off(database: Database, superuser: asyncpg.Connection) -> None:
    async with database.transaction() as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        await superuser.fetchval("SELECT pg_terminate_backend($1)", pid)
        await connection.fetchval("SELECT 1")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), TimeoutError("of something else")])
@pytest.mark.parametrize("kind", ["transaction", "reading", "snapshot"])
async def test_what_goes_wrong_elsewhere_in_a_transaction_is_not_told_as_the_databases_fault(
    one: OneConnection, kind: str, error: OSError
) -> None:
    with pytest.raises(type(error), match=re.escape(str(error))) as told:
        async with getattr(one.database, kind)():
            raise error
    assert told.value is error


async def test_a_connection_that_breaks_is_told_as_the_databases_fault(
    one: OneConnection, database_urls: DatabaseUrls
) -> None:
    superuser = await asyncpg.connect(database_urls.superuser)
    try:
        with pytest.raises(DatabaseAway):
            await _is_cut_off(one.database, superuser)
    finally:
        await superuser.close()


async def test_no_free_connection_is_told_as_too_much_work(database_urls: DatabaseUrls) -> None:
    opened = Database.opened(database_urls.service, connections_max=1, acquire_seconds=0.05)
    async with opened as database, database.reading():
        with pytest.raises(Overloaded):
            await _reads(database)
