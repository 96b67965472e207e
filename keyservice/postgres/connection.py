"""Connections to PostgreSQL: a pool for everything but the claim groups, and what a broken connection looks like."""

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

from keyservice.domain.errors import OutcomeUnknown, Overloaded

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


# Nothing was committed and the same work may succeed now.
WORTH_REPEATING = (
    LostRace,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InvalidCachedStatementError,
)


class UnsafeDatabase(Exception):
    """The server or the role would break a promise; the message says which and what to change."""


async def open_connection(url: str, *, statement_cache_size: int = 200) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection outside the pool, for the claim groups."""
    return await asyncpg.connect(url, statement_cache_size=statement_cache_size)


class Database:
    """The pool. Only transaction-scoped state lives on its connections, so poolers and failover are configuration."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, url: str, acquire_seconds: float) -> None:
        self._pool = pool
        self._acquire_seconds = acquire_seconds
        self.url = url

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
    async def connection(self) -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
        """One connection without a transaction. Raises Overloaded when none is free in time, DatabaseAway when it breaks."""
        try:
            async with self._pool.acquire(timeout=self._acquire_seconds) as connection:
                yield connection
        except DatabaseAway:
            raise
        except TimeoutError as error:
            raise Overloaded("every database connection is busy; try again") from error
        except CONNECTION_LOST as error:
            raise DatabaseAway("the database is away; repeat the same request") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
        """A READ COMMITTED transaction; COMMIT runs without a time limit because its outcome must not be guessed."""
        async with self.connection() as connection:
            with commit_believed(connection):
                async with connection.transaction():
                    yield connection


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


async def check_server(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raise UnsafeDatabase unless the server is PostgreSQL 15 to 18 and keeps what it acknowledges."""
    version = connection.get_server_version()
    if not 15 <= version.major <= 18:
        raise UnsafeDatabase(f"PostgreSQL {version.major} is not supported: use PostgreSQL 15, 16, 17 or 18")
    rows = await connection.fetch(
        "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')"
    )
    settings = {row["name"]: row["setting"] for row in rows}
    for name in ("fsync", "full_page_writes"):
        if settings[name] != "on":
            raise UnsafeDatabase(f"{name} is {settings[name]}: a crash would lose acknowledged keys; set {name} = on")
    if settings["synchronous_commit"] not in ("on", "remote_apply"):
        raise UnsafeDatabase(
            f"synchronous_commit is {settings['synchronous_commit']}: acknowledged keys could be lost;"
            " set synchronous_commit = on (or remote_apply)"
        )


async def check_role(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raise UnsafeDatabase when the service would run as a superuser, as an owner, or past row-level security."""
    role = await connection.fetchrow(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    )
    assert role is not None
    for attribute, word in (
        ("rolsuper", "a superuser"),
        ("rolbypassrls", "exempt from row-level security"),
        ("rolcreaterole", "allowed to create roles"),
        ("rolcreatedb", "allowed to create databases"),
    ):
        if role[attribute]:
            raise UnsafeDatabase(
                f"the service's role {role['rolname']} is {word}: give it a role of its own (see README)"
            )
    owned = await connection.fetchval(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND pg_has_role(current_user, c.relowner, 'MEMBER')"
    )
    if owned:
        raise UnsafeDatabase(
            f"the service's role {role['rolname']} owns the tables: let another role own and migrate them"
            " (KEYSERVICE_DATABASE_OWNER_URL) and give the service its own"
        )


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
