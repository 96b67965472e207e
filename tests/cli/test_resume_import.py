"""An upload outlives the connection that it began on."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from keyservice.cli.import_report import FileToSend, Listener, Report
from keyservice.cli.publisher_client import Patience, PublisherClient
from keyservice.cli.service_answers import ServiceUnreachable
from keyservice.domain.batch import BatchState
from keyservice.fulfillment.ids import new_id
from tests.cli.bad_line import LOST_ANSWER, BadLine, Cut
from tests.cli.command import start_keyservice
from tests.cli.importing import batches_of, has_rows, import_file, key_file, new_keys
from tests.lab.shop import Shop
from tests.lab.waiting import until

BRISK = Patience(attempts=3, wait_seconds=0.02, wait_seconds_max=0.05, stall_seconds=1.0)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_an_upload_whose_connection_breaks_goes_on_where_it_stopped(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    keys = new_keys(3_000)

    async def some_rows_are_committed() -> None:
        await until(lambda: has_rows(shop), seconds=20, what="a chunk is committed")

    cuts = [Cut(100_000, some_rows_are_committed), Cut(60_000)]
    async with BadLine(url, cuts).open() as line:
        ended = await import_file(key_file(tmp_path, keys), line.url, token)
        assert line.uploads == 3
    assert ended.status == 0, ended.errors
    assert ended.errors.count("goes on where it stopped") == 2
    assert await batches_of(shop) == [("released", 3_001)]
    assert await shop.left() == 3_000


async def test_an_upload_whose_answer_alone_was_lost_is_not_sent_again(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    async with BadLine(url, [LOST_ANSWER]).open() as line:
        ended = await import_file(key_file(tmp_path, new_keys(150)), line.url, token)
        assert line.uploads == 1
    assert ended.status == 0, ended.errors
    assert "is released" in ended.output
    assert await batches_of(shop) == [("released", 151)]
    assert await shop.left() == 150


async def test_an_upload_that_was_given_up_can_be_resumed_by_its_id(
    shop: Shop, url: str, token: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = key_file(tmp_path, new_keys(3_000))

    async def some_rows_are_committed() -> None:
        await until(lambda: has_rows(shop), seconds=20, what="a chunk is committed")

    batch_id = new_id()
    repeats: list[int] = []
    async with BadLine(url, [Cut(100_000, some_rows_are_committed)] * 3).open() as line:
        client = PublisherClient(session, line.url, token, patience=BRISK)
        with pytest.raises(ServiceUnreachable, match="broke 3 times"):
            await _upload(client, file, shop, batch_id, repeats)
        assert line.uploads == 3
    assert repeats == [2, 3]
    assert await shop.left() == 0
    ended = await import_file(file, url, token, "--resume", batch_id)
    assert ended.status == 0, ended.errors
    assert await batches_of(shop) == [("released", 3_001)]
    assert await shop.left() == 3_000


async def test_an_upload_that_is_interrupted_says_how_to_go_on(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    file = key_file(tmp_path, new_keys(3_000))
    never = asyncio.Event()
    async with BadLine(url, [Cut(100_000, never.wait)]).open() as line:
        environment = {"KEYSERVICE_URL": line.url, "KEYSERVICE_TOKEN": token, "PYTHONFAULTHANDLER": "1"}
        process = await start_keyservice("import-batch", file, "--pool", "main", **environment)
        await until(lambda: has_rows(shop), seconds=60, what="a chunk is committed")
        process.send_signal(signal.SIGINT)
        ending = asyncio.create_task(process.communicate())
        done, _ = await asyncio.wait([ending], timeout=30)
        if not done:
            # Where it hangs is in what it prints then.
            process.send_signal(signal.SIGABRT)
        _, errors = await ending
        assert done, errors.decode()
    assert process.returncode != 0
    assert b"Traceback" not in errors
    told = re.search(r"--resume (\S+)", errors.decode())
    assert told is not None
    ended = await import_file(file, url, token, "--resume", told[1])
    assert ended.status == 0, ended.errors
    assert await batches_of(shop) == [("released", 3_001)]


async def test_a_line_that_hangs_is_taken_for_broken(
    shop: Shop, url: str, token: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = key_file(tmp_path, new_keys(3_000))
    never = asyncio.Event()
    async with BadLine(url, [Cut(50_000, never.wait)]).open() as line:
        client = PublisherClient(session, line.url, token, patience=BRISK)
        # Sooner than the service itself would give the connection up.
        async with asyncio.timeout(shop.services.settings.upload_idle_seconds / 2):
            report = await _upload(client, file, shop, new_id(), [])
        assert line.uploads == 2
    assert (report.state, report.accepted) == (BatchState.RELEASED, 3_000)


async def test_a_service_with_too_many_uploads_is_asked_again(
    shop: Shop, url: str, token: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = key_file(tmp_path, new_keys(500))
    go_on = asyncio.Event()
    at_most = shop.services.settings.uploads_at_once // 2  # what one publisher may take

    async def all_wait() -> bool:
        return waiting == at_most

    waiting = 0

    async def held_back() -> AsyncIterator[bytes]:
        nonlocal waiting
        yield b"key\n"
        waiting += 1
        await go_on.wait()
        yield "\n".join(new_keys(2)).encode()

    headers = {"Authorization": f"Bearer {token}"}
    place = f"{url}/publisher/pools/{shop.pool_id}/batches?format=csv"
    others = [asyncio.create_task(_post(session, place, headers, held_back())) for _ in range(at_most)]
    await until(all_wait, seconds=10, what="every place is taken")
    repeats: list[int] = []

    def make_room(number: int, _: str) -> None:
        repeats.append(number)
        go_on.set()

    patience = Patience(attempts=20, wait_seconds=0.02, wait_seconds_max=0.1)
    client = PublisherClient(session, url, token, patience=patience)
    measured = FileToSend.measured(file)
    report = await client.upload(
        measured, shop.pool_id, {"format": "csv"}, batch_id=new_id(), listener=Listener(repeats=make_room)
    )
    assert await asyncio.gather(*others) == [201] * at_most
    assert repeats
    assert report.accepted == 500


async def _upload(client: PublisherClient, file: Path, shop: Shop, batch_id: UUID, repeats: list[int]) -> Report:
    listener = Listener(repeats=lambda number, _: repeats.append(number))
    measured = FileToSend.measured(file)
    # The file's name goes along, as the command sends it, so that the command can go on with the same upload.
    options = {"file_name": file.name}
    return await client.upload(measured, shop.pool_id, options, batch_id=batch_id, listener=listener)


async def _post(session: aiohttp.ClientSession, url: str, headers: dict[str, str], body: AsyncIterator[bytes]) -> int:
    async with session.post(url, headers=headers, data=body) as response:
        return response.status
