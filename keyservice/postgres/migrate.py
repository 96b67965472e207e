"""Migrations: Alembic's bookkeeping over plain SQL files, one transaction each, under an advisory lock."""

import asyncio
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

from keyservice.postgres.connection import UnsafeDatabase, check_server
from keyservice.postgres.schema_version import migrations_directory, newest_version

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
    quoted = await connection.fetchval("SELECT quote_ident($1)", role)
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        secret = await connection.fetchval("SELECT quote_literal($1)", password) if password else None
        login = f"LOGIN PASSWORD {secret}" if secret else "LOGIN"
        await connection.execute(f"CREATE ROLE {quoted} {login} NOINHERIT")
    grants = (migrations_directory() / "grants.sql").read_text(encoding="utf-8")
    async with connection.transaction():
        await connection.execute(grants.replace("service_role", str(quoted)))
