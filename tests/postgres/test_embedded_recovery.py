"""What is left after a kill: the server, its backends, the service, or a lock file without an owner."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from keyservice.postgres.binaries import PostgresBinaries
from keyservice.postgres.embedded import EmbeddedPostgres, RestartPolicy
from keyservice.postgres.embedded.errors import DataDirectoryInUse, PostgresKeepsDying, PostgresNotStarted
from keyservice.postgres.embedded.leftovers import postmaster_pid
from keyservice.postgres.embedded.processes import processes_in, works_in
from tests.postgres.embedded_cluster import (
    IS_ROOT,
    connected,
    end,
    eventually,
    reachable_directory,
    server_account,
    service_process,
    small_server,
)

IMPATIENT = RestartPolicy(failures_max=2, delay_seconds=0.01)
# What a container's root lacks: a look at another account's working directory.
WITHOUT_TRACING = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", sys.executable)


@pytest.fixture
def directory() -> Iterator[Path]:
    with reachable_directory() as parent:
        yield parent / "data"


def kill_server(server: EmbeddedPostgres) -> int:
    pid = server.postmaster_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


async def store_row(url: str) -> None:
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (a int)")
        await connection.execute("INSERT INTO kept VALUES (1)")


async def stored_rows(url: str) -> int:
    async with connected(url) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM kept"))


async def test_a_killed_server_is_started_again_with_every_committed_row(directory: Path) -> None:
    restarted = asyncio.Event()
    async with small_server(directory, on_restart=restarted.set) as server:
        for rows in (1, 2):
            await store_row(server.owner_url)
            killed = kill_server(server)
            await asyncio.wait_for(restarted.wait(), 30)
            restarted.clear()
            assert server.postmaster_pid != killed
            assert await stored_rows(server.owner_url) == rows
    assert processes_in(directory / "postgres") == []


async def test_a_backend_that_does_not_notice_the_server_s_death_is_ended_before_the_restart(directory: Path) -> None:
    restarted = asyncio.Event()
    async with small_server(directory, on_restart=restarted.set) as server:
        await store_row(server.owner_url)
        busy = await asyncpg.connect(server.owner_url)
        backend = busy.get_server_pid()
        endless = asyncio.create_task(busy.execute("DO $$ BEGIN LOOP END LOOP; END $$"))
        async with connected(server.superuser_url) as connection:
            await eventually_busy(connection, backend)
        kill_server(server)
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await endless
        await asyncio.wait_for(restarted.wait(), 30)
        assert not works_in(backend, directory / "postgres")
        assert await stored_rows(server.owner_url) == 1


async def eventually_busy(connection: "asyncpg.Connection[asyncpg.Record]", backend: int) -> None:
    async with asyncio.timeout(20):
        while await connection.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", backend) != "active":
            pass


async def test_a_server_that_cannot_be_started_again_is_given_up_and_the_service_learns_why(directory: Path) -> None:
    async with small_server(directory):
        pass
    rules = directory / "postgres" / "pg_hba.conf"
    good = rules.read_text()

    async def serve() -> None:
        async with small_server(directory, restart_policy=IMPATIENT) as server:
            rules.write_text("nonsense\n")
            kill_server(server)
            await asyncio.wait_for(asyncio.Event().wait(), 30)

    with pytest.raises(PostgresKeepsDying, match=r"read .*postgres\.log"):
        await serve()
    with pytest.raises(PostgresNotStarted, match=r"could not load .*pg_hba\.conf"):
        async with small_server(directory):
            pass
    assert processes_in(directory / "postgres") == []
    rules.write_text(good)
    async with small_server(directory) as server, connected(server.service_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_deaths_with_calm_between_them_are_never_too_many(directory: Path) -> None:
    restarted = asyncio.Event()
    policy = RestartPolicy(failures_max=1, calm_seconds=0.0, delay_seconds=0.01)
    async with small_server(directory, restart_policy=policy, on_restart=restarted.set) as server:
        for _ in range(3):
            kill_server(server)
            await asyncio.wait_for(restarted.wait(), 30)
            restarted.clear()


async def test_deaths_in_quick_succession_are_too_many(directory: Path) -> None:
    restarted = asyncio.Event()
    policy = RestartPolicy(failures_max=1, calm_seconds=60.0, delay_seconds=0.01)

    async def serve() -> None:
        async with small_server(directory, restart_policy=policy, on_restart=restarted.set) as server:
            for _ in range(2):
                kill_server(server)
                await asyncio.wait_for(restarted.wait(), 30)
                restarted.clear()

    with pytest.raises(PostgresKeepsDying, match="died 2 times"):
        await serve()
    async with small_server(directory) as server, connected(server.service_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_cancelling_the_service_while_its_server_is_being_restarted_still_ends_everything(
    directory: Path,
) -> None:
    ready: asyncio.Future[EmbeddedPostgres] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with small_server(
            directory, restart_policy=RestartPolicy(delay_seconds=60, delay_seconds_max=60)
        ) as server:
            ready.set_result(server)
            await asyncio.Event().wait()

    service = asyncio.create_task(serve())
    server = await ready
    killed = kill_server(server)
    await eventually(lambda: not works_in(killed, directory / "postgres"))
    service.cancel()
    with pytest.raises(asyncio.CancelledError):
        await service
    assert await EmbeddedPostgres.attach(directory) is None
    async with small_server(directory) as server, connected(server.service_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_the_server_of_a_killed_service_is_stopped_and_the_next_service_has_every_row(directory: Path) -> None:
    with service_process(directory) as (service, url, orphan):
        await store_row(url)
        service.kill()
        service.wait()
    try:
        await store_row(url)
        assert await EmbeddedPostgres.attach(directory) is None
        async with small_server(directory) as server:
            assert server.postmaster_pid != orphan
            assert not works_in(orphan, directory / "postgres")
            assert await stored_rows(server.owner_url) == 2
    finally:
        end(orphan)
    assert "fast shutdown request" in (directory / "postgres.log").read_text()


async def test_a_killed_service_s_temporary_socket_directory_is_removed_by_the_next_one() -> None:
    with reachable_directory() as parent:
        directory = parent / ("long" * 30)
        with service_process(directory) as (service, _, orphan):
            attached = await EmbeddedPostgres.attach(directory)
            assert attached is not None
            service.kill()
            service.wait()
        try:
            assert attached.socket_directory.exists()
            async with small_server(directory) as server:
                assert not attached.socket_directory.exists()
            assert not server.socket_directory.exists()
        finally:
            end(orphan)


async def test_service_and_server_killed_together_recover(directory: Path) -> None:
    with service_process(directory) as (service, url, orphan):
        await store_row(url)
        service.kill()
        service.wait()
        os.kill(orphan, signal.SIGKILL)
    async with small_server(directory) as server:
        assert await stored_rows(server.owner_url) == 1
    assert "automatic recovery in progress" in (directory / "postgres.log").read_text()


@pytest.mark.skipif(not IS_ROOT or shutil.which("setpriv") is None, reason="needs root and setpriv")
async def test_root_without_the_right_to_trace_processes_still_finds_the_orphan(directory: Path) -> None:
    with service_process(directory) as (service, url, orphan):
        await store_row(url)
        service.kill()
        service.wait()
    try:
        with service_process(directory, interpreter=WITHOUT_TRACING) as (_, url, pid):
            assert not works_in(orphan, directory / "postgres")
            assert await stored_rows(url) == 1
            stopped = pid
    finally:
        end(orphan)
    async with small_server(directory):
        assert not works_in(stopped, directory / "postgres")


async def test_a_server_that_somebody_started_by_hand_is_left_alone(directory: Path) -> None:
    async with small_server(directory):
        pass
    data = directory / "postgres"
    by_hand = server_account().start(
        [
            PostgresBinaries.locate().postgres,
            "-D",
            data,
            "-c",
            "listen_addresses=",
            "-k",
            data,
            "-c",
            "shared_buffers=16MB",
        ],
        output=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(
            lambda: "ready" in (data / "postmaster.pid").read_text() if (data / "postmaster.pid").exists() else False
        )
        with pytest.raises(
            DataDirectoryInUse, match=f"PostgreSQL process {by_hand.pid}, which keyservice did not start"
        ):
            async with small_server(directory):
                pass
        assert works_in(by_hand.pid, data)
    finally:
        by_hand.send_signal(signal.SIGQUIT)
        by_hand.wait()


async def test_a_lock_file_that_names_somebody_else_s_process_does_not_stop_the_start(directory: Path) -> None:
    async with small_server(directory):
        pass
    stranger = server_account().start(["/bin/sleep", "600"], output=asyncio.subprocess.DEVNULL)
    try:
        (directory / "postgres" / "postmaster.pid").write_text(f"{stranger.pid}\n{directory / 'postgres'}\n")
        assert postmaster_pid(directory / "postgres") == stranger.pid
        (directory / "socket").mkdir()
        (directory / "socket" / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n{directory / 'postgres'}\n")
        async with small_server(directory) as server:
            assert server.postmaster_pid != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
