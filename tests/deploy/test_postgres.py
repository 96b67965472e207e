"""deploy/postgres: the roles are those that start-up accepts, the settings those that a server takes."""

import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from keyservice.crypto.keyring import Keyring
from keyservice.postgres.binaries import PostgresBinaries
from keyservice.postgres.migrate import migrate
from keyservice.postgres.roles import WORKING_ROLES
from keyservice.services import check_database
from tests.deploy.tools import deploy
from tests.lab.cluster import as_role
from tests.lab.embedded import embedded_superuser_url

PROGRAMS: Final = PostgresBinaries.locate().directory
PASSWORDS: Final = {"OWNER_PASSWORD": "owner'word", "SERVICE_PASSWORD": "service$word", "BACKUP_PASSWORD": 'back"up'}
CONF: Final = re.findall(r"^(\w+) = (.+)$", (deploy() / "postgres" / "keyservice.conf").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
async def own_server() -> AsyncIterator[str]:
    """The superuser's URL. Roles belong to a whole server, so it is nobody else's."""
    async with embedded_superuser_url() as url:
        yield url


async def test_on_its_roles_the_service_starts_and_a_second_run_changes_nothing(
    own_server: str, keyring: Keyring
) -> None:
    _psql(own_server, "-f", str(deploy() / "postgres" / "roles.sql"), **PASSWORDS)
    owner = as_role(own_server, database="keyservice", user="keyservice_owner", password=PASSWORDS["OWNER_PASSWORD"])
    service = as_role(
        own_server, database="keyservice", user="keyservice_service", password=PASSWORDS["SERVICE_PASSWORD"]
    )
    await migrate(owner, service_role="keyservice_service")
    await check_database(service, keyring)
    before = await _roles(own_server)
    _psql(own_server, "-f", str(deploy() / "postgres" / "roles.sql"))
    assert await _roles(own_server) == before
    await check_database(service, keyring)


async def test_the_backup_reads_every_row_and_writes_none(own_server: str, keyring: Keyring, tmp_path: Path) -> None:
    test_url = as_role(
        own_server, database="keyservice", user="keyservice_backup", password=PASSWORDS["BACKUP_PASSWORD"]
    )
    connection = await asyncpg.connect(test_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM secret_check_values") > 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM secret_check_values")
    finally:
        await connection.close()
    dump = tmp_path / "dump"
    _run("pg_dump", test_url, "--format=custom", f"--file={dump}")
    assert dump.stat().st_size > 10_000


async def test_a_dump_as_the_owner_ends_with_an_error_and_not_with_a_part_of_the_rows(
    own_server: str, tmp_path: Path
) -> None:
    owner = as_role(own_server, database="keyservice", user="keyservice_owner", password=PASSWORDS["OWNER_PASSWORD"])
    with pytest.raises(subprocess.CalledProcessError) as caught:
        _run("pg_dump", owner, "--format=custom", f"--file={tmp_path / 'dump'}")
    assert "row-level security" in caught.value.stderr


async def test_a_server_takes_the_settings_of_the_file(own_server: str) -> None:
    assert len(CONF) > 10
    connection = await asyncpg.connect(own_server)
    try:
        for name, value in CONF:
            await connection.execute(f"ALTER SYSTEM SET {name} = '{value.strip(chr(39))}'")
        told = await connection.fetch("SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL")
        assert [(row["name"], row["error"]) for row in told] == []
        await connection.execute("ALTER SYSTEM RESET ALL")
    finally:
        await connection.close()


def test_the_service_would_not_start_without_the_first_three() -> None:
    assert dict(CONF[:3]) == {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


async def _roles(url: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT * FROM pg_authid WHERE rolname LIKE 'keyservice_%' ORDER BY rolname")
        members = await connection.fetch(
            "SELECT roleid::regrole::text, member::regrole::text, inherit_option, set_option FROM pg_auth_members"
            " WHERE member = 'keyservice_service'::regrole ORDER BY 1"
        )
    finally:
        await connection.close()
    assert [tuple(row) for row in members] == [
        (role, "keyservice_service", False, True) for role in sorted(WORKING_ROLES)
    ]
    return [tuple(row) for row in rows]


def _psql(url: str, *arguments: str, **environment: str) -> None:
    _run("psql", url, "--no-psqlrc", "-v", "ON_ERROR_STOP=1", *arguments, **environment)


def _run(program: str, *arguments: str, **environment: str) -> None:
    subprocess.run(
        [PROGRAMS / program, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": str(PROGRAMS), **environment},
    )
