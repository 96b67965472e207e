"""Uploads that break off, come again, come twice at once, or come with something else."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from keyservice.domain.batch import BatchState, UploadConflict, UploadIncomplete, UploadRefused, Verdict
from keyservice.domain.key_file import ColumnMapping, KeyFileFormat, KeyFileLimits
from keyservice.fulfillment.discard_upload import discard_upload
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_batches import withdraw_batch
from keyservice.fulfillment.receive_batch import Received, Upload
from keyservice.postgres.connection import Database
from tests.fulfillment.deaf_proxy import deaf_proxy
from tests.fulfillment.uploads import (
    ConnectionCut,
    announced,
    csv_of,
    cut_off,
    in_pieces,
    receive,
    receive_cut,
    refused,
    rows_of,
    stored,
    until,
    until_stored,
)
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of

pytestmark = pytest.mark.slow

_numbers = itertools.count()


def many_keys(count: int = 12_000) -> list[str]:
    """Distinct keys of this call with a duplicate, a blank and a malformed row among them."""
    name = f"RESUME-{next(_numbers)}"
    keys = [f"{name}-{number:06}" for number in range(count)]
    keys[100] = keys[7]
    keys[5_000] = ""
    keys[9_000] = "bad\x01"
    keys[11_000] = keys[200]
    return keys


async def bought_out(shop: Shop, count: int) -> list[str]:
    """Every key of the shop, in the order of the tape: an order has a limit, and two have all of them."""
    first = texts_of(await shop.buy(f"first half of {count}", quantity=count // 2))
    return first + texts_of(await shop.buy(f"second half of {count}", quantity=count - count // 2))


def accepted_of(keys: list[str]) -> list[str]:
    return [key for key in dict.fromkeys(keys) if key and "\x01" not in key]


async def test_what_was_cut_off_is_no_stock_and_goes_on_under_its_id(shop: Shop, database_urls: DatabaseUrls) -> None:
    keys, batch_id = many_keys(), new_id()
    data = csv_of(keys)
    cut = await receive_cut(shop, data[: len(data) // 2], batch_id, chunk_rows=500)
    assert cut.state is BatchState.RECEIVING
    assert 3_000 <= cut.report.rows < 6_001
    assert 0 < cut.report.bytes_done <= len(data) // 2
    assert await shop.left() == 0

    again = await receive(shop, data, replace(announced(shop), batch_id=batch_id), chunk_rows=500)
    assert (again.report.batch_id, again.is_replay) == (batch_id, False)
    assert dict(again.report.counts) == {
        Verdict.HEADER: 1,
        Verdict.ACCEPTED: 11_996,
        Verdict.DUPLICATE_IN_FILE: 2,
        Verdict.BLANK: 1,
        Verdict.MALFORMED: 1,
    }
    assert again.report.sha256 == hashlib.sha256(data).digest()
    assert await bought_out(shop, 11_996) == accepted_of(keys)
    assert await rows_of(shop, "batches") == 1
    assert await violations(database_urls.superuser) == {}


@pytest.mark.parametrize("chunk_rows", [1, 3, 64])
async def test_an_upload_cut_off_anywhere_ends_like_one_that_was_not(
    shop: Shop, database_urls: DatabaseUrls, chunk_rows: int
) -> None:
    keys = [f"CUT-{chunk_rows}-{number:02}" for number in range(40)]
    data = csv_of([*keys, keys[7]])
    limits = KeyFileLimits(block_bytes=16)
    upload = replace(announced(shop), batch_id=new_id())
    assert upload.batch_id is not None
    rows = []
    for at in range(0, len(data), 37):
        with pytest.raises(ConnectionCut):
            await receive(shop, cut_off(data[:at], 5), upload, chunk_rows=chunk_rows, limits=limits)
        rows.append((await stored(shop, upload.batch_id)).report.rows)
    assert rows == sorted(rows)
    assert chunk_rows == 64 or len(set(rows)) > 5
    report = (await receive(shop, in_pieces(data, 7), upload, chunk_rows=chunk_rows, limits=limits)).report
    assert (report.accepted, report.rows) == (40, 42)
    assert texts_of(await shop.buy("cut", quantity=40)) == keys
    assert await violations(database_urls.superuser) == {}


async def test_a_dry_run_that_was_cut_off_goes_on_too(shop: Shop) -> None:
    keys = many_keys()
    data = csv_of(keys)
    upload = replace(announced(shop), batch_id=new_id(), is_dry_run=True)
    with pytest.raises(ConnectionCut):
        await receive(shop, cut_off(data[:200_000]), upload, chunk_rows=500)
    assert upload.batch_id is not None
    assert (await stored(shop, upload.batch_id)).report.rows > 0
    report = (await receive(shop, data, upload)).report
    assert (report.state, report.accepted, report.counts[Verdict.DUPLICATE_IN_FILE]) == (BatchState.CHECKED, 11_996, 2)
    assert await rows_of(shop, "dry_run_fingerprints") == await rows_of(shop, "keys") == 0


@pytest.mark.parametrize("other", ["longer", "shorter", "different", "unreadable"])
async def test_another_file_does_not_continue_an_upload(shop: Shop, other: str) -> None:
    keys, batch_id = many_keys(), new_id()
    data = csv_of(keys)
    cut = await receive_cut(shop, data[:200_000], batch_id, chunk_rows=100)
    files = {
        "longer": b"key\nINSERTED\n" + data[4:],
        "shorter": data[: cut.report.bytes_done - 1],
        "different": data.replace(b"-000003\n", b"-000004\n"),
        "unreadable": b'key\n"OPEN' + data,
    }
    with pytest.raises(UploadConflict) as conflict:
        await receive(shop, files[other], replace(announced(shop), batch_id=batch_id), chunk_rows=100)
    assert conflict.value.reason == "another-file"
    assert (await stored(shop, batch_id)).report == cut.report
    # The right one does.
    assert (await receive(shop, data, replace(announced(shop), batch_id=batch_id))).report.accepted == 11_996


async def test_a_declared_digest_finds_the_unfinished_upload_without_an_id(shop: Shop) -> None:
    keys, batch_id = many_keys(), new_id()
    data = csv_of(keys)
    upload = replace(announced(shop), declared_sha256=hashlib.sha256(data).digest())
    with pytest.raises(ConnectionCut):
        await receive(shop, cut_off(data[:150_000]), replace(upload, batch_id=batch_id), chunk_rows=100)
    with pytest.raises(UploadConflict) as conflict:
        await receive(shop, data, replace(upload, is_held=True))
    assert conflict.value.reason == "other-options"
    report = (await receive(shop, data, upload)).report
    assert (report.batch_id, report.accepted) == (batch_id, 11_996)
    # It is finished now: the same file is another upload, and all its keys are known.
    assert (await receive(shop, data, upload)).report.state is BatchState.REFUSED


@pytest.mark.parametrize("when", ["whole", "resumed"])
async def test_a_file_that_is_not_what_was_declared_leaves_nothing(shop: Shop, when: str) -> None:
    data = csv_of(many_keys())
    upload = replace(announced(shop), batch_id=new_id(), declared_sha256=hashlib.sha256(b"else").digest())
    if when == "resumed":
        with pytest.raises(ConnectionCut):
            await receive(shop, cut_off(data[:150_000]), upload, chunk_rows=100)
    with pytest.raises(UploadRefused) as refusal:
        await receive(shop, data, upload, chunk_rows=100)
    assert refusal.value.refusal.reason == "digest-mismatch"
    assert await rows_of(shop, "keys") == 0
    right = replace(upload, batch_id=new_id(), declared_sha256=hashlib.sha256(data).digest())
    assert (await receive(shop, data, right)).report.accepted == 11_996


async def test_a_file_shorter_than_announced_is_not_believed_to_its_last_row(shop: Shop) -> None:
    data = csv_of(["WHOLE-1", "WHOLE-2-LONG"])
    upload = replace(announced(shop), batch_id=new_id(), declared_bytes=len(data))
    with pytest.raises(UploadIncomplete):
        await receive(shop, data[:-6], upload)
    assert await rows_of(shop, "keys") == await shop.left() == 0
    assert (await receive(shop, data, upload)).report.accepted == 2
    assert texts_of(await shop.buy("whole", quantity=2)) == ["WHOLE-1", "WHOLE-2-LONG"]


async def test_the_same_upload_again_is_answered_with_its_report_and_adds_nothing(shop: Shop) -> None:
    data = csv_of(["ONCE-1", "ONCE-2", "ONCE-1"])
    upload = replace(announced(shop), batch_id=new_id())
    first = await receive(shop, data, upload)
    second = await receive(shop, in_pieces(data, 5), upload)
    assert (first.is_replay, second.is_replay) == (False, True)
    assert second.report == first.report
    assert await shop.left() == 2
    assert upload.batch_id is not None
    await withdraw_batch(shop.services.database, shop.publisher_id, upload.batch_id, caller_id=1)
    assert (await receive(shop, data, upload)).report.state is BatchState.WITHDRAWN


@pytest.mark.parametrize("other", [b"key\nONCE-1\nONCE-3\n", b"key\nONCE-1\n", b"key\nONCE-1\nONCE-2\nONCE-3\n", b""])
async def test_another_file_under_a_finished_id_is_refused(shop: Shop, other: bytes) -> None:
    upload = replace(announced(shop), batch_id=new_id())
    await receive(shop, csv_of(["ONCE-1", "ONCE-2"]), upload)
    with pytest.raises(UploadConflict) as conflict:
        await receive(shop, other, upload)
    assert conflict.value.reason == "another-file"
    assert await shop.left() == 2


async def test_the_same_id_with_other_options_or_another_pool_is_refused(shop: Shop) -> None:
    upload = replace(announced(shop), batch_id=new_id(), declared_sha256=None, declared_bytes=10)
    data = csv_of(["OPTION"])
    assert len(data) == 11
    upload = replace(upload, declared_bytes=11)
    await receive(shop, data, upload)
    for changed, reason in (
        (replace(upload, is_held=True), "other-options"),
        (replace(upload, is_dry_run=True), "other-options"),
        (replace(upload, mapping=ColumnMapping(key="key")), "other-options"),
        (replace(upload, priority=1), "other-options"),
        (replace(upload, file_format=KeyFileFormat.TXT), "other-options"),
        (replace(upload, declared_bytes=12), "another-file"),
    ):
        with pytest.raises(UploadConflict) as conflict:
            await receive(shop, data, changed)
        assert conflict.value.reason == reason
    neighbour = await Shop.opened(shop.services)
    async with shop.services.database.transaction() as connection:
        pool_id = new_id()
        await connection.execute(
            "INSERT INTO pools (publisher_id, pool_id, name, policy, warning_level, alert_level, created_at)"
            " VALUES ($1, $2, 'another', 'fifo', 0, 0, now())",
            *(shop.publisher_id, pool_id),
        )
    with pytest.raises(UploadConflict) as conflict:
        await receive(shop, data, replace(upload, pool_id=pool_id))
    assert conflict.value.reason == "other-pool"
    # The id of one publisher says nothing about another's.
    theirs = replace(upload, publisher_id=neighbour.publisher_id, pool_id=neighbour.pool_id)
    assert (await receive(neighbour, data, theirs)).report.accepted == 1


async def test_a_discarded_upload_does_not_go_on(shop: Shop) -> None:
    data, batch_id = csv_of(many_keys()), new_id()
    await receive_cut(shop, data[:150_000], batch_id)
    await discard_upload(shop.services.database, shop.publisher_id, batch_id, caller_id=1)
    with pytest.raises(UploadConflict) as conflict:
        await receive(shop, data, replace(announced(shop), batch_id=batch_id))
    assert conflict.value.reason == "discarded"
    assert await rows_of(shop, "keys") == 0
    assert (await receive(shop, data)).report.accepted == 11_996


async def test_two_connections_with_the_same_upload_make_one_batch(shop: Shop, database_urls: DatabaseUrls) -> None:
    keys = many_keys()
    data = csv_of(keys)
    upload = replace(announced(shop), batch_id=new_id())
    outcomes = await asyncio.gather(
        *(receive(shop, data, upload, chunk_rows=300) for _ in range(3)), return_exceptions=True
    )
    reports = [one.report for one in outcomes if not isinstance(one, BaseException)]
    conflicts = [one for one in outcomes if isinstance(one, UploadConflict)]
    assert len(reports) == 1
    assert [conflict.reason for conflict in conflicts] == ["written-elsewhere"] * 2
    assert reports[0].accepted == await shop.left() == 11_996
    assert await bought_out(shop, 11_996) == accepted_of(keys)
    assert await violations(database_urls.superuser) == {}


async def sleeping_upload(
    shop: Shop, upload: Upload, data: bytes, wakes: asyncio.Event, rest: bytes
) -> "asyncio.Task[Received]":
    """A connection that has stored 3,000 rows and then goes silent until it is woken up."""
    task = asyncio.create_task(receive(shop, until(wakes, data[:100_000], rest), upload, chunk_rows=3_000))
    assert upload.batch_id is not None
    assert (await until_stored(shop, upload.batch_id, 1)).report.rows == 3_000
    return task


async def test_a_connection_that_was_overtaken_writes_nothing_more(shop: Shop, database_urls: DatabaseUrls) -> None:
    data, upload = csv_of(many_keys()), replace(announced(shop), batch_id=new_id())
    assert upload.batch_id is not None
    wakes, goes_on = asyncio.Event(), asyncio.Event()
    sleeper = await sleeping_upload(shop, upload, data, wakes, data[100_000:])
    overtaker = asyncio.create_task(
        receive(shop, until(goes_on, data[:180_000], data[180_000:]), upload, chunk_rows=300)
    )
    ahead = await until_stored(shop, upload.batch_id, 4_000)
    wakes.set()
    with pytest.raises(UploadConflict) as conflict:
        await sleeper
    assert conflict.value.reason == "written-elsewhere"
    assert (await stored(shop, upload.batch_id)).report.rows >= ahead.report.rows
    goes_on.set()
    assert (await overtaker).report.accepted == await shop.left() == 11_996
    assert await violations(database_urls.superuser) == {}


async def test_an_overtaken_connection_cannot_discard_the_upload_of_the_other(shop: Shop) -> None:
    data, upload = csv_of(many_keys()), replace(announced(shop), batch_id=new_id())
    wakes = asyncio.Event()
    sleeper = await sleeping_upload(shop, upload, data, wakes, b'\n"OPEN')
    assert (await receive(shop, data, upload)).report.accepted == 11_996
    wakes.set()
    with pytest.raises(UploadConflict):
        await sleeper
    assert await shop.left() == 11_996


async def test_an_upload_that_is_discarded_while_it_comes_ends_with_a_conflict(shop: Shop) -> None:
    data, upload = csv_of(many_keys()), replace(announced(shop), batch_id=new_id())
    assert upload.batch_id is not None
    goes_on = asyncio.Event()
    running = await sleeping_upload(shop, upload, data, goes_on, data[100_000:])
    await discard_upload(shop.services.database, shop.publisher_id, upload.batch_id, caller_id=1)
    goes_on.set()
    with pytest.raises(UploadConflict):
        await running
    assert await rows_of(shop, "keys") == await rows_of(shop, "segments") == 0


async def test_an_upload_survives_broken_database_connections(shop: Shop, database_urls: DatabaseUrls) -> None:
    keys = many_keys()
    killed = 0
    is_over = asyncio.Event()

    async def kill_connections() -> None:
        nonlocal killed
        superuser = await asyncpg.connect(database_urls.superuser)
        try:
            while not is_over.is_set():
                # Only those that write a chunk: who only reads is told that the database is away, and asks again.
                killed += await superuser.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND query ~ '(COPY|INSERT INTO|UPDATE batches)'"
                    " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
                )
                await asyncio.sleep(0.01)
        finally:
            await superuser.close()

    killer = asyncio.create_task(kill_connections())
    try:
        report = (await receive(shop, csv_of(keys), chunk_rows=50)).report
    finally:
        is_over.set()
        await killer
    assert killed > 3
    assert dict(report.counts) == {
        Verdict.HEADER: 1,
        Verdict.ACCEPTED: 11_996,
        Verdict.DUPLICATE_IN_FILE: 2,
        Verdict.BLANK: 1,
        Verdict.MALFORMED: 1,
    }
    assert len(await refused(shop, report.batch_id)) == 3
    assert await bought_out(shop, 11_996) == accepted_of(keys)
    assert await violations(database_urls.superuser) == {}


@pytest.mark.parametrize("lose_every", [2, 3])
@pytest.mark.parametrize("is_dry_run", [False, True])
async def test_an_upload_survives_lost_answers_to_its_commits(
    shop: Shop, database_urls: DatabaseUrls, lose_every: int, is_dry_run: bool
) -> None:
    keys = many_keys()
    async with (
        deaf_proxy(database_urls.service, lose_every=lose_every) as (url, proxy),
        Database.opened(url, connections_max=2) as database,
    ):
        deaf = replace(shop, services=replace(shop.services, database=database))
        upload = replace(announced(shop), is_dry_run=is_dry_run)
        report = (await receive(deaf, csv_of(keys), upload, chunk_rows=1_000)).report
        assert proxy.lost >= 4
    assert (report.accepted, report.rows) == (11_996, 12_001)
    assert len(await refused(shop, report.batch_id)) == 3
    assert await shop.left() == (0 if is_dry_run else 11_996)
    assert await rows_of(shop, "batches") == 1
    assert await rows_of(shop, "dry_run_fingerprints") == 0
    assert await violations(database_urls.superuser) == {}


async def test_a_cancelled_upload_leaves_whole_chunks(shop: Shop, database_urls: DatabaseUrls) -> None:
    data = csv_of(many_keys())

    async def upload_until_cancelled(upload: Upload, rows: int) -> None:
        task = asyncio.create_task(receive(shop, _slowly(data), upload, chunk_rows=100))
        assert upload.batch_id is not None
        await until_stored(shop, upload.batch_id, rows)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    upload = replace(announced(shop), batch_id=new_id())
    for rows in (100, 3_000):
        await upload_until_cancelled(upload, rows)
        assert upload.batch_id is not None
        assert (await stored(shop, upload.batch_id)).report.rows % 100 == 0
    assert await violations(database_urls.superuser) == {}
    assert (await receive(shop, data, upload)).report.accepted == 11_996


async def _slowly(data: bytes) -> AsyncIterator[bytes]:
    async for piece in in_pieces(data, 3_000):
        await asyncio.sleep(0)
        yield piece
