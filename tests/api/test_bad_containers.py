"""Workbooks and archives over HTTP, where a file of keys is refused as a whole, or each of its rows is told."""

import base64
import csv
import io
import json
import os
import stat
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import pytest

from keyservice.services import Services
from keyservice.settings import Settings
from tests.api.bad_containers import REFUSED_CONTAINERS, TAKEN_CONTAINERS, book_of
from tests.api.bad_key_files import BYTES_MAX, EXPIRY_DATES_MAX, ROWS_MAX
from tests.api.premises import Premises, asked, bearer, opened_premises, stored_rows, tables_with
from tests.api.raw_http import PLANTED, Answer, request
from tests.api.sending_files import (
    RECORDS,
    numbers,
    raw_upload,
    refusal_faults,
    take_file,
    unfinished_uploads,
    upload,
    with_own_keys,
)
from tests.lab.order_bodies import order_body
from tests.lab.shop import texts_of
from tests.unpacking.archives import archive_of, joined, with_mode

ZIP = "application/zip"
ENTRIES_MAX = 50
ENTRY_BYTES_MAX = 8_192


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        data_directory=tmp_path_factory.mktemp("containers"),
        catalogue_seconds=0,
        upload_bytes_max=BYTES_MAX,
        upload_packed_bytes_max=BYTES_MAX,
        upload_rows_max=ROWS_MAX,
        upload_entries_max=ENTRIES_MAX,
        upload_entry_bytes_max=ENTRY_BYTES_MAX,
        upload_chunk_rows=7,
        upload_idle_seconds=1.5,
        expiry_dates_max=EXPIRY_DATES_MAX,
    )


@pytest.fixture(scope="module")
async def premises(services: Services) -> AsyncIterator[Premises]:
    async with opened_premises(services) as opened:
        yield opened
        assert (await upload(opened, b"key\nSTILL-SERVED\n")).status == 201
        assert await tables_with(services.database, PLANTED) == []


@pytest.mark.parametrize("options", ["", "dry_run=true"])
async def test_a_container_that_cannot_be_read_with_certainty_is_refused_and_leaves_nothing(
    premises: Premises, options: str
) -> None:
    faults: list[str] = []
    before = await stored_rows(premises.services.database, but=RECORDS)
    for name, file in REFUSED_CONTAINERS.items():
        content = file.pack(with_own_keys(file.content, next(numbers)))
        query = "&".join(filter(None, (file.query, options)))
        answer = await upload(premises, content, *file.lines, query=query, content_type=file.content_type)
        reason = None if file.status == 413 else file.reason
        found = list(refusal_faults(answer, file.status, reason or None, file.line, file.byte_offset))
        after = await stored_rows(premises.services.database, but=RECORDS)
        if after != before:
            found.append(f"changed {[table for table in after if after[table] != before[table]]}")
            before = after
        if await unfinished_uploads(premises):
            found.append("left an unfinished upload")
        faults += [f"{name}: {fault}" for fault in found]
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)


async def test_every_row_of_a_sheet_has_a_verdict_and_every_key_is_sold_to_the_letter(premises: Premises) -> None:
    faults: list[str] = []
    keys: list[str] = []
    for name, file in TAKEN_CONTAINERS.items():
        found, sold = await take_file(premises, name, file)
        faults += found
        keys += sold
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)
    bought = await premises.own.buy(f"all-{next(numbers)}", quantity=await premises.own.left())
    assert sorted(texts_of(bought)) == sorted(keys)


async def refused_entries(premises: Premises, report: Mapping[str, Any]) -> dict[int, str]:
    raw = request(f"GET {report['links']['refused_rows']} HTTP/1.0", bearer(premises.publisher))
    listed = await asked(premises.served, raw)
    rows = csv.DictReader(io.StringIO(listed.body.decode(), newline=""))
    return {int(row["row"]): row["reason"] or row["verdict"] for row in rows}


async def bought_serials(premises: Premises, quantity: int) -> list[dict[str, Any]]:
    """One order over Connect, whose units' serials are one list each."""
    answer = await ordered(premises, f"files-{next(numbers)}", quantity)
    (line,) = json.loads(answer.body)["orderLines"]
    assert {item["responseMessage"] for item in line["lineItems"]} == {"OK"}, line
    return [serial for item in line["lineItems"] for serial in item["serials"]]


async def ordered(premises: Premises, number: str, quantity: int) -> Answer:
    body = json.dumps(order_body(number, (premises.own.product_ref, quantity))).encode()
    head = (
        "POST /connect/order/new HTTP/1.1",
        f"secret: {premises.own.reseller_token}",
        "Content-Type: application/json",
    )
    return await premises.served.send(request(*head, body=body))


async def test_each_file_of_an_archive_is_a_key_that_is_sold_to_the_byte(premises: Premises) -> None:
    mark = f"{PLANTED}-{next(numbers)}".encode()
    files = {
        "one.lic": mark + b"-1",
        "folder/": b"",
        "folder/two.PDF": mark + b"%PDF-1.7\0\xff",
        "deep/er/Schl\u00fcssel \u2116 3.txt": mark + "-clé\n".encode(),
        "four.bin": mark + os.urandom(ENTRY_BYTES_MAX - len(mark)),
        "five.bin": mark + os.urandom(ENTRY_BYTES_MAX - len(mark) + 1),
        "six.lic": b"",
        "seven.lic": mark + b"-1",
        "__MACOSX/._one.lic": mark + b"-system",
        "x/.DS_Store": mark + b"-system 2",
        "inner.bin": archive_of({"a": mark}),
        "inner.tgz": b"\x1f\x8b\x08\x00" + mark,
        "../../etc/cron.d/x": mark + b"-path",
        "/absolute": mark + b"-path 2",
        "C:\\x": mark + b"-path 3",
        "a\u202egnp.exe": mark + b"-path 4",
        "dots/../x": mark + b"-path 5",
        "n" * 256: mark + b"-path 6",
        "last.lic": mark + b"-last",
    }
    answer = await upload(premises, archive_of(files), content_type=ZIP)
    assert answer.status == 201, answer
    report = json.loads(answer.body)
    accepted = ["one.lic", "two.PDF", "Schl\u00fcssel \u2116 3.txt", "four.bin", "last.lic"]
    assert (report["rows"], report["accepted"], report["verdicts"]["blank"]) == (len(files), 5, 1)
    assert await refused_entries(premises, report) == {
        6: "file-too-large",
        7: "empty-key",
        8: "duplicate_in_file",
        **dict.fromkeys((9, 10), "system-file"),
        **dict.fromkeys((11, 12), "nested-archive"),
        **dict.fromkeys(range(13, 19), "unusable-name"),
    }
    by_name = {name.rpartition("/")[2]: content for name, content in files.items()}
    serials = {serial["fileName"]: serial for serial in await bought_serials(premises, 5)}
    assert sorted(serials) == sorted(accepted)
    for name, serial in serials.items():
        is_text = name.endswith(".txt")
        assert (serial["encoding"], serial["charset"]) == (("", "UTF-8") if is_text else ("base64", ""))
        content = serial["data"].encode() if is_text else base64.b64decode(serial["data"], validate=True)
        assert content == by_name[name]


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR])
async def test_what_is_no_file_is_no_key(premises: Premises, mode: int) -> None:
    answer = await upload(premises, with_mode("a.lic", f"/etc/{PLANTED}".encode(), mode | 0o777), content_type=ZIP)
    report = json.loads(answer.body)
    assert (answer.status, report["accepted"], report["refusal"]["reason"]) == (200, 0, "nothing-accepted")
    assert await refused_entries(premises, report) == {1: "not-a-file"}


async def test_a_name_in_another_charset_is_told(premises: Premises) -> None:
    content = f"{PLANTED}-{next(numbers)}".encode()
    packed = zlib.compress(content, wbits=-15)
    answer = await upload(premises, joined([("Schlüssel".encode("cp850"), packed, content)]), content_type=ZIP)
    assert await refused_entries(premises, json.loads(answer.body)) == {1: "unusable-name"}


@pytest.mark.parametrize("file_format", ["csv", "xlsx", "jsonl"])
async def test_keys_of_several_parts_are_sold_part_by_part(premises: Premises, file_format: str) -> None:
    number = next(numbers)
    parts = [(f"{PLANTED}-{number}-S1", f"{PLANTED}-{number}-C1"), (f"{PLANTED}-{number}-S2", f"{PLANTED}-{number}-C2")]
    rows = [("Serial", "Activation code"), *parts]
    csv_file = "".join(f"{serial},{code}\n" for serial, code in rows).encode()
    query = "part_columns=Serial,activation%20code"
    match file_format:
        case "csv":
            answer = await upload(premises, csv_file, query=query)
        case "xlsx":
            answer = await upload(premises, book_of(csv_file), query=f"{query}&format=xlsx", content_type="")
        case _:
            lines = [
                {"parts": [{"label": "Serial", "value": s}, {"label": "Activation code", "value": c}]} for s, c in parts
            ]
            answer = await upload(
                premises,
                "".join(f"{json.dumps(line)}\n" for line in lines).encode(),
                query="format=jsonl",
                content_type="",
            )
    assert (answer.status, json.loads(answer.body)["accepted"]) == (201, 2), answer
    # The same parts again, from whatever format, are the same key.
    again = await upload(premises, csv_file, query=query)
    assert json.loads(again.body)["verdicts"]["duplicate_in_stock"] == 2
    serials = await bought_serials(premises, 2)
    assert [(serial["label"], serial["data"]) for serial in serials] == [
        (label, value) for pair in parts for label, value in zip(rows[0], pair, strict=True)
    ]
    assert {serial["fileName"] for serial in serials} == {None}


async def test_a_container_that_is_sent_again_is_the_same_upload_and_another_one_is_not(premises: Premises) -> None:
    key = f"Idempotency-Key: {uuid4()}"
    number = next(numbers)
    content = book_of(with_own_keys(b"key\n@1\n@2\n", number))
    first = await upload(premises, content, key, query="format=xlsx", content_type="")
    again = await upload(premises, content, key, query="format=xlsx", content_type="")
    assert (first.status, again.status) == (201, 200)
    assert json.loads(first.body)["sha256"] == json.loads(again.body)["sha256"]
    other = await upload(
        premises, book_of(with_own_keys(b"key\n@1\n@3\n", number)), key, query="format=xlsx", content_type=""
    )
    named = await upload(premises, content, key, query="format=xlsx&sheet=Keys", content_type="")
    assert [(one.status, one.problem["reason"]) for one in (other, named)] == [
        (409, "another-file"),
        (409, "other-options"),
    ]


async def test_a_container_that_does_not_arrive_whole_is_no_stock(premises: Premises) -> None:
    key = f"Idempotency-Key: {uuid4()}"
    raw = raw_upload(
        premises, book_of(with_own_keys(b"key\n@1\n", next(numbers))), key, query="format=xlsx", content_type=""
    )
    left = await premises.own.left()
    async with premises.served.connection() as (_, writer):
        writer.write(raw[:-30])
        await writer.drain()
    assert await premises.own.left() == left
    again = await premises.served.send(raw)
    assert (again.status, json.loads(again.body)["accepted"]) == (201, 1)
