"""Migrations: Alembic's bookkeeping over plain SQL files, one transaction each, under an advisory lock."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import asyncpg
from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from keyservice.postgres.connection import UnsafeDatabase
from keyservice.postgres.roles import WORKING_ROLES
from keyservice.postgres.schema_version import migrations_directory, newest_version
from keyservice.postgres.start_checks import check_server

if TYPE_CHECKING:
    from sqlalchemy.connectors.asyncio import AsyncAdapt_dbapi_connection

_LOCK_NUMBER = 7_305_812_004_131_001
_LOCK_POLL_SECONDS = 0.2


async def migrate(owner_url: str, *, service_role: str, service_password: str | None = None) -> str:
    """Bring the schema to the newest version and give the service's role its rights; returns the version."""
    connection = await asyncpg.connect(owner_url)
    try:
        await check_server(connection)
        await _lock(connection)
        for role in WORKING_ROLES:
            await _create_role(connection, role, "NOLOGIN")
        await _run_alembic(owner_url)
        await _prepare_service_role(connection, service_role, service_password)
    finally:
        await connection.close()
    return newest_version()


def run_sql_beside(python_file: str) -> None:
    """Run the `.sql` file of the same name, as one script on the raw connection, inside Alembic's transaction."""
    script = Path(python_file).with_suffix(".sql").read_text(encoding="utf-8")
    # A migration that waits for a lock holds up everybody behind it: give up soon and be run again.
    op.execute(text("SET LOCAL lock_timeout = '4s'"))
    connection: AsyncAdapt_dbapi_connection = op.get_bind().connection.dbapi_connection  # type: ignore[assignment]
    connection.run_async(lambda raw: raw.execute(script))


def create_index_beside_traffic(name: str, columns: str) -> None:
    """Build an index without holding writers up; one that an interrupted run left unfinished is built anew."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        unfinished = text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
        if connection.execute(unfinished, {"name": name}).first() is not None:
            connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
        connection.execute(text(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {columns}"))


def validate_constraint(table: str, name: str) -> None:
    """Check the rows that were there before a constraint was added as NOT VALID; readers and writers go on."""
    op.execute(text("SET LOCAL lock_timeout = '4s'"))
    op.execute(text(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))


def role_of(url: str) -> tuple[str, str | None]:
    """The user and the password that a PostgreSQL URL names."""
    parts = urlsplit(url)
    if not parts.username:
        raise UnsafeDatabase("the database URL names no user: write postgresql://user:password@host/database")
    return unquote(parts.username), unquote(parts.password) if parts.password else None


def alembic_config() -> Config:
    """Alembic, pointed at the migrations of this installation."""
    config = Config()
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    return config


async def _lock(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    # Waiting inside pg_advisory_lock would deadlock with CREATE INDEX CONCURRENTLY of the instance that holds it.
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_NUMBER):
        await asyncio.sleep(_LOCK_POLL_SECONDS)


async def _run_alembic(owner_url: str) -> None:
    # Its progress lines are sentences with values in them, which the log withholds anyway.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(owner_url), poolclass=NullPool
    )
    async with engine.connect() as connection:
        await connection.run_sync(_upgrade)
        await connection.commit()
    await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _prepare_service_role(
    connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: str | None
) -> None:
    quoted = str(await connection.fetchval("SELECT quote_ident($1)", role))
    secret = await connection.fetchval("SELECT quote_literal($1)", password) if password else None
    await _create_role(connection, quoted, f"LOGIN PASSWORD {secret}" if secret else "LOGIN")
    await _let_take_on(connection, role, quoted)
    grants = (migrations_directory() / "grants.sql").read_text(encoding="utf-8")
    async with connection.transaction():
        await connection.execute(grants.replace("service_role", quoted))


async def _create_role(connection: "asyncpg.Connection[asyncpg.Record]", quoted: str, options: str) -> None:
    if await connection.fetchval("SELECT 1 FROM pg_roles WHERE quote_ident(rolname) = $1", quoted):
        return
    # Roles belong to the whole server, and the lock only to this database: another one may be migrated at this moment.
    with contextlib.suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        await connection.execute(f"CREATE ROLE {quoted} {options} NOINHERIT")


async def _let_take_on(connection: "asyncpg.Connection[asyncpg.Record]", role: str, quoted: str) -> None:
    """The service's role may take the working roles on, and has none of their rights before it does."""
    is_fine_grained = connection.get_server_version() >= (16, 0)
    options = " WITH INHERIT FALSE, SET TRUE" if is_fine_grained else ""
    try:
        for working in WORKING_ROLES:
            row = await connection.fetchrow(
                "SELECT pg_has_role($1, $2, 'MEMBER') AS may, pg_has_role($1, $2, 'USAGE') AS inherits", role, working
            )
            assert row is not None
            if not row["may"] or (row["inherits"] and is_fine_grained):
                await connection.execute(f"GRANT {working} TO {quoted}{options}")
            if row["inherits"] and not is_fine_grained:
                await connection.execute(f"ALTER ROLE {quoted} NOINHERIT")
    except asyncpg.InsufficientPrivilegeError as error:
        raise UnsafeDatabase(
            f"the owner may not grant {' and '.join(WORKING_ROLES)} to {role}: as a superuser, run deploy/postgres/roles.sql"
        ) from error
