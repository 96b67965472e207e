"""Workbooks, archives and packed files that break off, and go on where they stopped."""

import asyncio
import contextlib
import gzip
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from keyservice.domain.batch import BatchState, UploadConflict, UploadIncomplete, Verdict
from keyservice.domain.key_file import KeyFileFormat
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.receive_batch import Upload
from tests.fulfillment.uploads import (
    ConnectionCut,
    announced,
    csv_of,
    cut_off,
    receive,
    rows_of,
    stored,
    until_stored,
    verdicts,
)
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of
from tests.unpacking.archives import archive_of
from tests.unpacking.workbooks import workbook

_numbers = itertools.count()


def many_keys(count: int) -> list[str]:
    """Distinct keys of this call, with one twice."""
    name = f"PACKED-{next(_numbers)}"
    keys = [f"{name}-{number:06}" for number in range(count)]
    keys[count // 2] = keys[7]
    return keys


def as_workbook(keys: Sequence[str]) -> bytes:
    return workbook([["key"], *([key] for key in keys)])


def as_archive(keys: Sequence[str]) -> bytes:
    return archive_of({f"{number}.txt": key.encode() for number, key in enumerate(keys)})


FORMATS = {KeyFileFormat.XLSX: as_workbook, KeyFileFormat.ZIP: as_archive}


async def broken_off(shop: Shop, content: bytes, upload: Upload) -> int:
    """Receive until some rows are stored, and end it there. How many are stored."""
    assert upload.batch_id is not None
    receiving = asyncio.create_task(receive(shop, content, upload, chunk_rows=10))
    await until_stored(shop, upload.batch_id, 20)
    receiving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await receiving
    assert receiving.cancelled(), "it was through before it could be broken off"
    batch = await stored(shop, upload.batch_id)
    assert batch.state is BatchState.RECEIVING
    return batch.report.rows


@pytest.mark.parametrize(("file_format", "packed"), FORMATS.items(), ids=FORMATS)
async def test_a_container_goes_on_behind_the_rows_that_are_stored(
    shop: Shop, database_urls: DatabaseUrls, file_format: KeyFileFormat, packed: Callable[[Sequence[str]], bytes]
) -> None:
    keys = many_keys(6_000)
    content = packed(keys)
    upload = replace(announced(shop, file_format=file_format), batch_id=new_id())
    rows = await broken_off(shop, content, upload)
    assert await shop.left() == 0
    with pytest.raises(UploadConflict) as other:
        await receive(shop, packed([*keys[:-1], "ANOTHER-KEY"]), upload)
    assert other.value.reason == "another-file"
    received = await receive(shop, content, upload, chunk_rows=500)
    assert 20 <= rows < received.report.rows == len(keys) + (file_format is KeyFileFormat.XLSX)
    assert (received.report.accepted, received.report.bytes_done) == (len(keys) - 1, len(content))
    assert upload.batch_id is not None
    header = 1 if file_format is KeyFileFormat.XLSX else 0
    assert await verdicts(shop, upload.batch_id) == {len(keys) // 2 + 1 + header: Verdict.DUPLICATE_IN_FILE}
    assert await shop.left() == len(keys) - 1
    bought = await shop.buy(f"packed-{next(_numbers)}", quantity=8)
    assert texts_of(bought) == keys[:8]
    assert await violations(database_urls.superuser) == {}


async def test_a_container_that_is_cut_off_stores_nothing_and_says_so(shop: Shop) -> None:
    content = as_workbook(many_keys(100))
    upload = replace(announced(shop, file_format=KeyFileFormat.XLSX), batch_id=new_id(), declared_bytes=len(content))
    with pytest.raises(UploadIncomplete):
        await receive(shop, content[:-30], upload)
    with pytest.raises(ConnectionCut):
        await receive(shop, cut_off(content), upload)
    assert await rows_of(shop, "keys") == 0
    assert (await receive(shop, content, upload)).report.accepted == 99


async def test_a_packed_file_goes_on_in_the_middle_of_its_packed_bytes(shop: Shop) -> None:
    keys = many_keys(20_000)
    content = gzip.compress(csv_of(keys))
    upload = replace(announced(shop), batch_id=new_id(), is_gzip=True)
    assert upload.batch_id is not None
    with pytest.raises(ConnectionCut):
        await receive(shop, cut_off(content[: len(content) // 2]), upload, chunk_rows=100)
    batch = await stored(shop, upload.batch_id)
    assert 0 < batch.report.rows < len(keys)
    assert 0 < batch.report.bytes_done <= len(content) // 2
    with pytest.raises(UploadConflict):
        await receive(shop, gzip.compress(csv_of(keys), 1), upload)
    report = (await receive(shop, content, upload)).report
    assert (report.rows, report.accepted, report.bytes_done) == (len(keys) + 1, len(keys) - 1, len(content))


async def test_progress_of_a_container_is_the_share_of_it_that_is_read(shop: Shop) -> None:
    content = as_workbook(many_keys(30_000))
    upload = replace(
        announced(shop, file_format=KeyFileFormat.XLSX), batch_id=new_id(), declared_bytes=len(content), is_dry_run=True
    )
    assert upload.batch_id is not None
    receiving = asyncio.create_task(receive(shop, content, upload, chunk_rows=500))
    seen = [(await until_stored(shop, upload.batch_id, rows)).progress for rows in (2_000, 10_000, 20_000)]
    await receiving
    shares = [one.report.bytes_done / len(content) for one in seen]
    rows = [one.report.rows / 30_000 for one in seen]
    assert all(abs(share - part) < 0.35 for share, part in zip(shares, rows, strict=True)), (shares, rows)
    assert shares == sorted(shares)
