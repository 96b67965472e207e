"""Which schema this code was written for. Apart from migrate.py, because Alembic costs every worker half a second."""

from pathlib import Path

import asyncpg

from keyservice.postgres.connection import UnsafeDatabase


class SchemaOutdated(UnsafeDatabase):
    """The database's schema is not the one this version was written for."""


def migrations_directory() -> Path:
    """Inside the wheel, or at the top of the checkout."""
    installed = Path(__file__).parent.parent / "_migrations"
    return installed if installed.exists() else Path(__file__).parent.parent.parent / "migrations"


def newest_version() -> str:
    """The number of the last migration; a test holds it against Alembic's own head."""
    numbers = [file.name.partition("_")[0] for file in (migrations_directory() / "versions").glob("[0-9]*_*.py")]
    if not numbers:
        raise SchemaOutdated("this installation carries no migrations: install it again")
    return max(numbers)


async def check_schema(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raise SchemaOutdated unless the database is at the newest version."""
    try:
        found = await connection.fetchval("SELECT version_num FROM schema_version")
    except asyncpg.UndefinedTableError:
        found = None
    if found != newest_version():
        raise SchemaOutdated(
            f"the database is at schema version {found or 'none'}, this version needs {newest_version()}:"
            " run `keyservice migrate` with KEYSERVICE_DATABASE_OWNER_URL set"
        )
