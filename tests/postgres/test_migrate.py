import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from keyservice.postgres.migrate import alembic_config, migrate
from keyservice.postgres.schema_version import newest_version
from tests.lab.cluster import OWNER, SERVICE, DatabaseUrls, as_role, fresh_database


@pytest.fixture
async def empty_database(superuser_url: str) -> AsyncIterator[str]:
    """The owner's URL of a database that nobody migrated."""
    name = "keyservice_test_empty"
    connection = await asyncpg.connect(superuser_url)
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0 ENCODING 'UTF8'")
    yield as_role(superuser_url, database=name, user=OWNER)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


def test_the_newest_version_is_alembics_head() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == newest_version()


async def test_two_instances_that_migrate_at_once_wait_for_each_other(empty_database: str) -> None:
    versions = await asyncio.gather(*(migrate(empty_database, service_role=SERVICE) for _ in range(3)))
    assert versions == [newest_version()] * 3


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    # In the way of the last table that the first migration makes.
    await connection.execute("CREATE TABLE order_events (planted integer)")
    with pytest.raises(Exception, match="order_events"):
        await migrate(empty_database, service_role=SERVICE)
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    await connection.close()
    assert {row["relname"] for row in tables} <= {"order_events", "schema_version"}


async def test_a_migrated_database_is_left_as_it_is(superuser_url: str) -> None:
    async with fresh_database(superuser_url) as urls:
        before = await _catalogue(urls)
        await migrate(urls.owner, service_role=SERVICE)
        assert await _catalogue(urls) == before


async def _catalogue(urls: DatabaseUrls) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(urls.superuser)
    rows = await connection.fetch(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        " ORDER BY table_name, ordinal_position"
    )
    await connection.close()
    return [tuple(row) for row in rows]
