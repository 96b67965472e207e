"""What start-up refuses."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from keyservice.crypto.keyring import Keyring, WrongKeyring
from keyservice.postgres.connection import UnsafeDatabase
from keyservice.postgres.schema_version import SchemaOutdated
from keyservice.postgres.start_checks import check_server
from keyservice.services import check_database
from tests.lab.cluster import DatabaseUrls, fresh_database


@pytest.fixture
async def own_database(superuser_url: str) -> AsyncIterator[DatabaseUrls]:
    async with fresh_database(superuser_url) as urls:
        yield urls


async def test_a_good_database_is_accepted_and_remembers_the_secrets(
    own_database: DatabaseUrls, keyring: Keyring
) -> None:
    await check_database(own_database.service, keyring)
    await check_database(own_database.service, keyring)


async def test_a_superuser_is_refused(own_database: DatabaseUrls, keyring: Keyring) -> None:
    with pytest.raises(UnsafeDatabase, match="superuser"):
        await check_database(own_database.superuser, keyring)


async def test_the_owner_of_the_tables_is_refused(own_database: DatabaseUrls, keyring: Keyring) -> None:
    superuser = await asyncpg.connect(own_database.superuser)
    await superuser.execute("ALTER ROLE keyservice_test_owner NOCREATEROLE")
    try:
        with pytest.raises(UnsafeDatabase, match="owns the tables"):
            await check_database(own_database.owner, keyring)
    finally:
        await superuser.execute("ALTER ROLE keyservice_test_owner CREATEROLE")
        await superuser.close()


async def test_a_role_that_may_create_roles_is_refused(own_database: DatabaseUrls, keyring: Keyring) -> None:
    with pytest.raises(UnsafeDatabase, match="create roles"):
        await check_database(own_database.owner, keyring)


@pytest.mark.parametrize("value", ["off", "local", "remote_write"])
async def test_a_synchronous_commit_weaker_than_on_is_refused(
    own_database: DatabaseUrls, keyring: Keyring, value: str
) -> None:
    superuser = await asyncpg.connect(own_database.superuser)
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f"ALTER DATABASE {name} SET synchronous_commit = '{value}'")
    await superuser.close()
    with pytest.raises(UnsafeDatabase, match="synchronous_commit"):
        await check_database(own_database.service, keyring)


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
async def test_a_server_that_could_lose_what_it_acknowledged_is_refused(own_database: DatabaseUrls, name: str) -> None:
    superuser = await asyncpg.connect(own_database.superuser)
    try:
        await check_server(superuser)
        # The embedded server cannot be weakened at all, so the connection is shown settings of another server.
        shown = f"SELECT name, CASE name WHEN '{name}' THEN 'off' ELSE setting END AS setting"
        await superuser.execute(f"CREATE TEMP VIEW pg_settings AS {shown} FROM pg_catalog.pg_settings")
        with pytest.raises(UnsafeDatabase, match=name):
            await check_server(superuser)
    finally:
        await superuser.close()


async def test_a_database_without_the_schema_is_refused(own_database: DatabaseUrls, keyring: Keyring) -> None:
    owner = await asyncpg.connect(own_database.owner)
    await owner.execute("UPDATE schema_version SET version_num = '0000'")
    await owner.close()
    with pytest.raises(SchemaOutdated, match="keyservice migrate"):
        await check_database(own_database.service, keyring)


async def test_a_wrong_keyring_is_refused_and_changes_nothing(
    own_database: DatabaseUrls, keyring: Keyring, tmp_path: Path
) -> None:
    await check_database(own_database.service, keyring)
    other = Keyring.create(tmp_path / "other.json", datetime.now(UTC))
    with pytest.raises(WrongKeyring):
        await check_database(own_database.service, other)
    await check_database(own_database.service, keyring)


async def test_the_service_can_neither_change_facts_nor_the_schema(own_database: DatabaseUrls) -> None:
    service = await asyncpg.connect(own_database.service)
    try:
        for forbidden in (
            "UPDATE keys SET sealed = ''",
            "DELETE FROM claims",
            "DELETE FROM orders",
            "UPDATE order_events SET name = ''",
            "DELETE FROM publisher_events",
            "CREATE TABLE planted (n integer)",
            "DROP INDEX claims_position_taken",
            "TRUNCATE claims",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(forbidden)
    finally:
        await service.close()
