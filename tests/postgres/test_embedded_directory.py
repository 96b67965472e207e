"""Which directories, accounts and programs the embedded PostgreSQL accepts, and that it changes nobody else's."""

import asyncio
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyservice.postgres.binaries import PostgresBinaries
from keyservice.postgres.embedded import EmbeddedPostgres
from keyservice.postgres.embedded.errors import (
    CredentialsUnusable,
    DataDirectoryForeign,
    DirectoryUnreachable,
    UserUnsuitable,
    WrongMajorVersion,
)
from keyservice.postgres.embedded.operating_system_user import choose_user
from keyservice.postgres.embedded.processes import processes_in
from tests.postgres.embedded_cluster import (
    IS_ROOT,
    REPOSITORY,
    account_of,
    connected,
    eventually,
    program_of,
    reachable_directory,
    server_account,
    service_process,
    small_server,
)

as_root = pytest.mark.skipif(not IS_ROOT, reason="only root hands PostgreSQL to another account")
SYSTEM_PYTHON = Path("/usr/bin/python3")


@pytest.fixture
def parent() -> Iterator[Path]:
    with reachable_directory() as parent:
        yield parent


async def refused(directory: Path, *, user: str | None = None) -> None:
    async with small_server(directory, user=user):
        pytest.fail("it started")


async def test_data_of_another_major_version_is_refused_and_left_as_it_is(parent: Path) -> None:
    async with small_server(parent / "data"):
        pass
    version = parent / "data" / "postgres" / "PG_VERSION"
    version.write_text("15\n")
    with pytest.raises(WrongMajorVersion, match=r"written by PostgreSQL 15, .* PostgreSQL 18: run pg_upgrade") as error:
        await refused(parent / "data")
    assert (error.value.found, error.value.wanted) == ("15", 18)
    version.write_text("18\n")
    async with small_server(parent / "data"):
        pass


async def test_a_directory_with_other_things_in_it_is_refused_and_left_as_it_is(parent: Path) -> None:
    home = parent / "home"
    home.mkdir()
    (home / "letter.txt").write_text("Dear")
    with pytest.raises(DataDirectoryForeign, match=r"it holds letter\.txt"):
        await refused(home)
    assert [entry.name for entry in home.iterdir()] == ["letter.txt"]
    with pytest.raises(DataDirectoryForeign):
        await refused(home / "letter.txt")


async def test_an_empty_directory_and_one_with_the_service_s_own_files_are_accepted(parent: Path) -> None:
    volume = parent / "volume"
    (volume / "lost+found").mkdir(parents=True)
    (volume / "keyring.json").touch()
    with pytest.raises(DataDirectoryForeign, match=r"it holds keyring\.json"):
        await refused(volume)
    async with EmbeddedPostgres.running(volume, binaries=PostgresBinaries.locate(), neighbours=["keyring.json"]):
        pass
    async with small_server(volume):
        pass


async def test_a_data_directory_that_is_none_is_refused(parent: Path) -> None:
    async with small_server(parent / "data"):
        pass
    (parent / "data" / "postgres" / "PG_VERSION").unlink()
    with pytest.raises(DataDirectoryForeign, match="no PG_VERSION"):
        await refused(parent / "data")


async def test_an_interrupted_creation_is_started_over(parent: Path) -> None:
    service = asyncio.create_task(refused(parent / "data"))
    await eventually((parent / "data" / "postgres.new" / "data").exists)
    service.cancel()
    with pytest.raises(asyncio.CancelledError):
        await service
    assert not (parent / "data" / "postgres").exists()
    assert not (parent / "data" / "postgres.new").exists()
    # What a kill leaves, when nobody could tidy up.
    (parent / "data" / "postgres.new" / "data" / "base").mkdir(parents=True)
    (parent / "data" / "postgres.new" / "password").write_text("half")
    async with small_server(parent / "data") as server, connected(server.service_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_data_without_its_passwords_is_refused_until_they_are_back(parent: Path) -> None:
    async with small_server(parent / "data"):
        pass
    file = parent / "data" / "credentials.json"
    kept = file.read_text()
    for unusable in ("", '{"superuser": "a"}', '["a"]', '{"superuser": "a", "owner": "b", "service": "c"}'):
        file.write_text(unusable)
        with pytest.raises(CredentialsUnusable, match="restore it from the backup"):
            await refused(parent / "data")
    file.unlink()
    with pytest.raises(CredentialsUnusable, match="is missing"):
        await refused(parent / "data")
    assert processes_in(parent / "data" / "postgres") == []
    file.write_text(kept)
    async with small_server(parent / "data"):
        pass


@as_root
async def test_a_parent_that_the_account_cannot_enter_is_named_and_not_opened(parent: Path) -> None:
    closed = parent / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DirectoryUnreachable, match="give it access") as error:
        await refused(closed / "inner" / "data")
    assert error.value.directory == closed
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert list(closed.iterdir()) == []


@as_root
async def test_the_modes_of_directories_that_were_there_before_stay_as_they_were(parent: Path) -> None:
    existing = parent / "existing"
    existing.mkdir(mode=0o701)
    before = {path: path.stat().st_mode for path in (existing, *existing.parents)}
    async with small_server(existing / "new" / "data"):
        assert {path: path.stat().st_mode for path in before} == before
    async with small_server(existing / "new" / "data"):
        pass
    assert {path: path.stat().st_mode for path in before} == before


@as_root
async def test_the_server_runs_as_an_account_that_is_not_root_and_keeps_it(parent: Path) -> None:
    nobody = choose_user("nobody", parent / "none").uid
    async with small_server(parent / "data", user="nobody") as server:
        assert account_of(server.postmaster_pid) == nobody
    async with small_server(parent / "data") as server:
        assert account_of(server.postmaster_pid) == nobody
    with pytest.raises(UserUnsuitable, match="belongs to nobody"):
        await refused(parent / "data", user="daemon")


@as_root
@pytest.mark.parametrize(
    ("user", "reason"), [("root", "does not run as root"), ("no such account", "there is no such")]
)
async def test_an_account_that_cannot_run_the_server_is_refused(parent: Path, user: str, reason: str) -> None:
    with pytest.raises(UserUnsuitable, match=reason):
        await refused(parent / "data", user=user)
    assert not (parent / "data").exists()


@as_root
async def test_programs_below_a_closed_directory_are_copied_once(parent: Path) -> None:
    closed = parent / "closed"
    closed.mkdir(mode=0o700)
    binaries = PostgresBinaries.locate().copied_to(closed / "site-packages")
    copy = parent / "data" / f"binaries-{binaries.version}"
    async with small_server(parent / "data", binaries=binaries) as server:
        program = program_of(server.postmaster_pid)
    assert program.is_relative_to(copy)
    made = copy.stat().st_ctime_ns
    async with small_server(parent / "data", binaries=binaries):
        pass
    assert copy.stat().st_ctime_ns == made
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
async def test_the_operator_s_own_programs_are_not_copied_but_named_when_closed(parent: Path) -> None:
    closed = parent / "closed"
    closed.mkdir(mode=0o700)
    binaries = PostgresBinaries.locate(PostgresBinaries.locate().copied_to(closed / "programs").directory)
    with pytest.raises(DirectoryUnreachable) as error:
        async with small_server(parent / "data", binaries=binaries):
            pytest.fail("it started")
    assert error.value.directory == closed


def system_python_can_serve() -> bool:
    """The interpreter of the tests may lie in root's home; the system's can load the same packages if it is alike."""
    if not IS_ROOT or not SYSTEM_PYTHON.exists():
        return False
    version = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=True
    )
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    needed = [*reversed(packages.parents), packages, *reversed(REPOSITORY.parents), REPOSITORY]
    alike = version.stdout.split() == [str(number) for number in sys.version_info[:2]]
    return alike and choose_user("nobody", Path("/nonexistent")).first_closed(needed) is None


@pytest.mark.skipif(not system_python_can_serve(), reason="needs root and a Python that other accounts can run")
async def test_a_normal_user_runs_the_server_as_itself(parent: Path) -> None:
    own = parent / "own"
    own.mkdir()
    shutil.chown(own, "nobody")
    own.chmod(0o700)
    with service_process(own / "data", interpreter=[str(SYSTEM_PYTHON)], run_as="nobody") as (service, url, pid):
        assert account_of(pid) == own.stat().st_uid
        assert stat.S_IMODE((own / "data").stat().st_mode) == 0o700
        async with connected(url) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        service.communicate()
        assert service.returncode == 0
    assert processes_in(own / "data" / "postgres") == []


@pytest.mark.skipif(not system_python_can_serve(), reason="needs root and a Python that other accounts can run")
@pytest.mark.parametrize(("user", "said"), [("", "cannot use"), ("postgres", "only root can change accounts")])
async def test_a_normal_user_is_told_what_it_may_not_do(
    parent: Path, capfd: pytest.CaptureFixture[str], user: str, said: str
) -> None:
    with (
        pytest.raises(AssertionError, match="ended before it was ready"),
        service_process(parent / "data", user=user, interpreter=[str(SYSTEM_PYTHON)], run_as="nobody"),
    ):
        pytest.fail("it started")
    assert said in capfd.readouterr().err


async def test_the_account_is_this_one_unless_root_chooses(parent: Path) -> None:
    assert server_account().uid != 0
