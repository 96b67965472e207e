"""What an operator does in a terminal: serve, callers, secrets, migrate. And what is refused, in one line."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from keyservice.crypto.tokens import parse_token
from tests.cli.command import Ended, run_keyservice, start_keyservice
from tests.lab.cluster import DatabaseUrls, fresh_database
from tests.lab.service_process import ServiceProcess

pytestmark = pytest.mark.slow

Run = Callable[..., Awaitable[Ended]]


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[ServiceProcess]:
    async with ServiceProcess.running(processes=1) as running:
        yield running


@pytest.fixture
def on_service(service: ServiceProcess) -> Run:
    async def run(*arguments: object) -> Ended:
        return await run_keyservice(*arguments, KEYSERVICE_DATA_DIRECTORY=str(service.data), COLUMNS="200")

    return run


async def test_a_caller_is_added_to_a_running_service_listed_without_its_token_and_revoked(
    service: ServiceProcess, on_service: Run
) -> None:
    added = await on_service("callers", "add", "admin", "the-boss")
    token = added.output.strip()
    token_id, _ = parse_token(token)
    listed = await on_service("callers", "list")
    assert "the-boss" in listed.output
    assert token_id in listed.output
    assert token not in listed.output
    async with aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as http:
        headers = {"Authorization": f"Bearer {token}"}
        async with http.get("/admin/publishers", headers=headers) as response:
            assert response.status == 200
        assert (await on_service("callers", "revoke", "the-boss")).status == 0
        async with asyncio.timeout(10):
            while True:
                async with http.get("/admin/publishers", headers=headers) as response:
                    if response.status == 401:
                        break
    assert "revoked" in (await on_service("callers", "list")).output


async def test_callers_that_make_no_sense_are_refused_in_one_line(on_service: Run) -> None:
    for arguments, reason in (
        (("publisher", "nobodys"), "names its publisher"),
        (("publisher", "ghost", "--publisher", "ghost"), "no publisher of this handle"),
        (("reseller", "strange", "--publisher", "acme"), "names its publisher"),
        (("reseller", "greedy", "--scope", "pools:write"), "cannot have pools:write"),
        (("reseller", "odd", "--validation", "whatever"), "not possible"),
        (("auditor", "playing", "--sandbox"), "only resellers and pipelines"),
        (("auditor", "stopped", "--requests-per-second", "0"), "must be from 1 to"),
        (("auditor", "bursting", "--burst", "5"), "set both"),
    ):
        ended = await on_service("callers", "add", *arguments)
        assert ended.status == 1
        assert reason in ended.reason
    assert (await on_service("callers", "revoke", "never-was")).status == 1


async def test_limits_and_the_sandbox_are_given_and_listed(on_service: Run) -> None:
    limits = ("--requests-per-second", "50", "--burst", "200", "--requests-per-day", "100000")
    assert (await on_service("callers", "add", "pipeline", "own-shop", "--sandbox", *limits)).status == 0
    listed = " ".join((await on_service("callers", "list")).output.split())
    for word in ("pipeline", "(sandbox)", "own-shop", "50 a second", "200 at once", "100,000 a day"):
        assert all(part in listed for part in word.split()), word


async def test_a_name_is_given_once(on_service: Run) -> None:
    assert (await on_service("callers", "add", "reseller", "once")).status == 0
    assert "choose another" in (await on_service("callers", "add", "reseller", "once")).reason


async def test_a_backup_of_the_keyring_is_proven_and_another_keyring_is_not(
    service: ServiceProcess, on_service: Run, tmp_path: Path
) -> None:
    keyring = service.data / "keyring.json"
    assert keyring.stat().st_mode & 0o777 == 0o600
    assert (await on_service("secrets", "verify")).status == 0
    backup = tmp_path / "backup.json"
    backup.write_bytes(keyring.read_bytes())
    backup.chmod(0o600)
    assert (await on_service("secrets", "verify", backup)).status == 0
    made = await run_keyservice("secrets", "init", KEYSERVICE_DATA_DIRECTORY=str(tmp_path / "other"))
    assert made.status == 0
    assert "BACK UP" in made.errors
    assert (await on_service("secrets", "verify", tmp_path / "other" / "keyring.json")).status == 1


async def test_a_second_service_on_the_same_directory_or_port_is_refused(
    service: ServiceProcess, on_service: Run
) -> None:
    assert "is in use" in (await on_service("serve", "--port", "0")).reason
    ended = await run_keyservice("serve", "--port", service.port, "--data-directory", service.directory / "second")
    assert "choose another port" in ended.reason
    assert not (service.directory / "second").exists()


async def test_a_lost_keyring_refuses_to_start_and_comes_back_with_its_backup(tmp_path: Path) -> None:
    async with ServiceProcess.running(processes=1) as service:
        await service.stop()
        keyring = service.data / "keyring.json"
        kept = keyring.rename(tmp_path / "kept.json")
        ended = await run_keyservice("serve", "--port", "0", "--data-directory", service.data)
        assert ended.status == 1
        assert "restore it from its backup" in ended.reason
        kept.rename(keyring)
        await service.start()


async def test_a_strangers_keyring_refuses_to_start() -> None:
    async with ServiceProcess.running(processes=1) as service:
        await service.stop()
        keyring = service.data / "keyring.json"
        keyring.unlink()
        await run_keyservice("secrets", "init", KEYSERVICE_DATA_DIRECTORY=str(service.data))
        ended = await run_keyservice("serve", "--port", "0", "--data-directory", service.data)
        assert ended.status == 1
        assert "keyring" in ended.reason


async def test_an_unknown_setting_refuses_to_start() -> None:
    ended = await run_keyservice("serve", KEYSERVICE_PROT="9000")
    assert (ended.status, "KEYSERVICE_PROT" in ended.reason) == (1, True)


async def test_the_service_runs_on_a_given_server_and_refuses_its_owner_and_superuser(
    superuser_url: str, tmp_path: Path
) -> None:
    async with fresh_database(superuser_url) as urls:
        assert "superuser" in (await _serve(urls.superuser, urls, tmp_path)).reason
        assert "create roles" in (await _serve(urls.owner, urls, tmp_path)).reason
        process = await start_keyservice("serve", "--port", "0", **_settings(urls.service, urls, tmp_path))
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while b"listens on" not in await process.stderr.readline():
                assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0


async def test_migrate_brings_a_given_database_to_the_newest_schema(superuser_url: str, tmp_path: Path) -> None:
    async with fresh_database(superuser_url) as urls:
        ended = await run_keyservice("migrate", **_settings(urls.service, urls, tmp_path))
        assert (ended.status, ended.output.strip()) == (0, "the schema is up to date")


async def _serve(service_url: str, urls: DatabaseUrls, directory: Path) -> Ended:
    return await run_keyservice("serve", "--port", "0", **_settings(service_url, urls, directory))


def _settings(service_url: str, urls: DatabaseUrls, directory: Path) -> dict[str, str]:
    return {
        "KEYSERVICE_DATABASE_URL": service_url,
        "KEYSERVICE_DATABASE_OWNER_URL": urls.owner,
        "KEYSERVICE_DATA_DIRECTORY": str(directory / "data"),
        "HOME": os.environ.get("HOME", "/"),
    }
