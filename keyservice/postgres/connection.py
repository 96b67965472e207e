"""Connections to PostgreSQL: a pool for everything but the claim groups, and what a broken connection looks like."""

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

from keyservice.domain.errors import OutcomeUnknown, Overloaded
from keyservice.postgres.roles import TAKE_ON_PIPELINE, take_on_publisher

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

_COMMIT_UNCONFIRMED: Final = "01000"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"


class DatabaseAway(OutcomeUnknown):
    """The connection could not be made or broke; whoever was about to commit cannot tell whether it did."""


class CommitUnconfirmed(DatabaseAway):
    """The server warned that a COMMIT did not reach its synchronous standby: the outcome is unknown, not good."""


# The server is gone, going or no longer the primary; the transaction may or may not have been committed.
CONNECTION_LOST = (
    DatabaseAway,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.ConnectionFailureError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TooManyConnectionsError,
    OSError,
)


class LostRace(Exception):
    """Another transaction stored the same thing first: run again and find it."""


class NotCommitted(Exception):
    """COMMIT was answered with ROLLBACK: a statement had failed, and somebody swallowed its error."""


# Nothing was committed and the same work may succeed now.
WORTH_REPEATING = (
    LostRace,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InvalidCachedStatementError,
)


# No plan that reads or sorts whole tables. Plans are kept with their connection: one made while a table was small, or by
# statistics that do not know a publisher yet, must not become the plan of the day when it is large. So every transaction
# says this, whatever it asks. The two make whatever cannot do without them look so dear that a server with LLVM would
# compile it: a third of a second for statements that take a millisecond.
PLANNER_SETTINGS: Final = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL jit = off"


class UnsafeDatabase(Exception):
    """The server or the role would break a promise; the message says which and what to change."""


async def open_connection(url: str, *, statement_cache_size: int = 200) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection outside the pool, for the claim groups."""
    return await asyncpg.connect(url, statement_cache_size=statement_cache_size)


@asynccontextmanager
async def pipeline_transaction(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """One transaction of a short command, on a connection of its own, in the pipeline's role."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(TAKE_ON_PIPELINE)
            yield connection
    finally:
        await connection.close()


class Database:
    """The pool, and the role that its transactions take on: the pipeline's, which may cross publishers, or one publisher's.

    Only transaction-scoped state lives on its connections, so poolers and failover are configuration.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        *,
        url: str,
        acquire_seconds: float,
        take_on: str = TAKE_ON_PIPELINE,
    ) -> None:
        self._pool = pool
        self._acquire_seconds = acquire_seconds
        self._take_on = take_on
        self.url = url

    def of_publisher(self, publisher_id: int) -> "Database":
        """The same pool for statements that are made for one publisher: no other publisher's rows exist in them."""
        return Database(
            self._pool,
            url=self.url,
            acquire_seconds=self._acquire_seconds,
            take_on=take_on_publisher(publisher_id),
        )

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, url: str, *, connections_max: int, statement_cache_size: int = 200, acquire_seconds: float = 5.0
    ) -> AsyncIterator["Database"]:
        # While the server is down the pool tries again by itself and warns each time; who asks for a connection is told.
        logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=connections_max,
            statement_cache_size=statement_cache_size,
            reset=_leave_as_it_is,
        )
        try:
            yield cls(pool, url=url, acquire_seconds=acquire_seconds)
        finally:
            pool.terminate()

    @asynccontextmanager
    async def transaction(self, *, settings: str = "") -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
        """A READ COMMITTED transaction in the role; COMMIT runs without a time limit because its outcome must not be guessed.

        Raises Overloaded when no connection is free in time, DatabaseAway when it breaks.
        """
        async with self._acquired() as connection:
            with commit_believed(connection):
                # asyncpg's own transaction() would be one more round trip, and one more place to forget the role.
                await connection.execute(f"BEGIN; {self._take_on}; {PLANNER_SETTINGS}; {settings}")
                try:
                    yield connection
                except BaseException:
                    with suppress(*CONNECTION_LOST):
                        await connection.execute("ROLLBACK")
                    raise
                await commit(connection)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
        """A transaction in the role that can write nothing, so there is no outcome to be unsure of. Raises as above."""
        async with self._read_only("BEGIN READ ONLY", "") as connection:
            yield connection

    @asynccontextmanager
    async def snapshot(self, *, settings: str = "") -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
        """The same, and everything read in it is of one moment. While it lasts, nothing that others delete is cleared away."""
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        async with self._read_only(begin, settings) as connection:
            yield connection

    @asynccontextmanager
    async def _read_only(self, begin: str, settings: str) -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
        async with self._acquired() as connection:
            await connection.execute(f"{begin}; {self._take_on}; {PLANNER_SETTINGS}; {settings}")
            try:
                yield connection
            finally:
                with suppress(*CONNECTION_LOST):
                    await connection.execute("ROLLBACK")

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
        is_elsewhere = False
        try:
            async with self._pool.acquire(timeout=self._acquire_seconds) as connection:
                try:
                    yield connection
                except OSError as error:
                    # A full disk or somebody else's time limit is not the database's fault.
                    is_elsewhere = not isinstance(error, ConnectionError) and not connection.is_closed()
                    raise
        except DatabaseAway:
            raise
        except CONNECTION_LOST as error:
            if is_elsewhere:
                raise
            if isinstance(error, TimeoutError):
                raise Overloaded("every database connection is busy; try again") from error
            raise DatabaseAway("the database is away; repeat the same request") from error


async def commit(connection: Connection) -> None:
    """Raises NotCommitted: the server ends a transaction in which a statement failed without calling that an error."""
    if await connection.execute("COMMIT") != "COMMIT":
        raise NotCommitted


@contextmanager
def commit_believed(connection: Connection) -> Iterator[None]:
    """Raise CommitUnconfirmed when the server warned meanwhile, as it does when it gives up on its standby.

    The client is told COMMIT, and the rows are visible, but a failover would lose them.
    """
    warnings: list[str] = []

    def listen(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if getattr(message, "sqlstate", None) == _COMMIT_UNCONFIRMED:
            warnings.append(_COMMIT_UNCONFIRMED)

    connection.add_log_listener(listen)
    try:
        yield
    finally:
        if connection.is_closed():
            # asyncpg removes nothing from a closed connection and then complains that something is left.
            connection._log_listeners.clear()  # type: ignore[union-attr]
        else:
            connection.remove_log_listener(listen)
    if warnings:
        raise CommitUnconfirmed("the database could not confirm that this is safe; repeat the same request")


async def _leave_as_it_is(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """No reset query: it would cost a round trip per use, and there is no session state to reset."""


@contextmanager
def lost_race_on(constraint: str) -> Iterator[None]:
    """Turn a violation of this constraint into LostRace: another transaction stored the same thing first.

    A distributed database appends a shard's number to the constraint's name.
    """
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if re.fullmatch(rf"{re.escape(constraint)}(_\d+)?", error.constraint_name or ""):
            raise LostRace from error
        raise
