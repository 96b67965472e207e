"""Importing a file as a form: what clients send, what broken ones send, and a form that comes piece by piece."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
import pytest

from keyservice.fulfillment.ids import new_id
from keyservice.services import Services
from keyservice.settings import Settings
from tests.api.broken_json import in_chunks
from tests.api.json_entrances import problem_faults
from tests.api.license_keys_provider.forms import BAD_FORMS, BOUNDARY, END, FILE, FORM_TYPE, GOOD, GOOD_FORMS, part
from tests.api.premises import Premises, bearer, opened_premises, stored_rows
from tests.api.raw_http import PLANTED, Answer, read_answer, request
from tests.api.sending_files import RECORDS, unfinished_uploads, with_own_keys

BYTES_MAX: Final = 262_144
_numbers: Final = count(1)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        data_directory=tmp_path_factory.mktemp("imports"),
        catalogue_seconds=0,
        upload_bytes_max=BYTES_MAX,
        upload_chunk_rows=50,
        upload_idle_seconds=1.5,
    )


@pytest.fixture(scope="module")
async def premises(services: Services) -> AsyncIterator[Premises]:
    async with opened_premises(services) as opened:
        yield opened
        assert (await _send(opened, with_own_keys(GOOD, 10**6))).status == 201


def _raw(premises: Premises, body: bytes, *lines: str, content_type: str = FORM_TYPE, query: str = "") -> bytes:
    target = f"/license-keys-provider/import/{premises.own.pool_id}{query and f'?{query}'}"
    types = [f"Content-Type: {content_type}"] if content_type else []
    return request(f"POST {target} HTTP/1.1", bearer(premises.publisher), *types, *lines, body=body)


async def _send(premises: Premises, body: bytes, *lines: str, **options: Any) -> Answer:
    return await premises.served.send(_raw(premises, body, *lines, **options))


@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "in chunks"])
async def test_a_form_that_is_not_one_file_for_certain_is_refused_and_leaves_nothing(
    premises: Premises, is_chunked: bool
) -> None:
    faults: list[str] = []
    before = await stored_rows(premises.services.database, but=RECORDS)
    for name, form in BAD_FORMS.items():
        raw = _raw(premises, with_own_keys(form.body, next(_numbers)), *form.lines, content_type=form.content_type)
        # In chunks the size is not known before the headers of the part are seen to be too long.
        status = 400 if is_chunked and form.status == 413 else form.status
        answer = await premises.served.send(in_chunks(raw) if is_chunked else raw)
        found = list(_faults(answer, status, form.reason))
        after = await stored_rows(premises.services.database, but=RECORDS)
        if after != before:
            found.append(f"changed {[table for table in after if after[table] != before[table]]}")
            before = after
        faults += [f"{name}: {fault}" for fault in found]
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)
    assert await unfinished_uploads(premises) == 0


@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "in chunks"])
async def test_a_form_as_clients_send_it_is_taken_with_every_row(premises: Premises, is_chunked: bool) -> None:
    faults: list[str] = []
    for name, (body, content_type, file_name) in GOOD_FORMS.items():
        before = await premises.own.left()
        raw = _raw(premises, with_own_keys(body, next(_numbers)), content_type=content_type)
        answer = await premises.served.send(in_chunks(raw) if is_chunked else raw)
        if answer.status != 201:
            faults.append(f"{name}: {answer}")
            continue
        report = json.loads(answer.body)
        if (report["accepted"], report["file_name"], report["format"]) != (2, file_name, "csv"):
            faults.append(f"{name}: {report}")
        if await premises.own.left() - before != 2 or PLANTED in str(answer):
            faults.append(f"{name}: the pool did not grow by two, or a key is repeated")
    assert not faults, "\n".join(faults)


async def test_the_boundary_is_found_wherever_the_pieces_are_cut(premises: Premises) -> None:
    """A piece is at least 64 KiB: the file is as long as puts each byte of the boundary at its end once."""
    piece = 65_536
    for shift in range(-len(BOUNDARY) - 8, 8):
        head = part(b"")[:-2]
        row = with_own_keys(b"@1", next(_numbers))
        lines = [b"%b-%05d,%b\n" % (row, number, b"n" * 400) for number in range(piece // 450)]
        content = b"key,notes\n" + b"".join(lines)
        while (missing := piece + shift - len(head) - len(content)) > 900:
            content += b"%b-%05d,%b\n" % (row, missing, b"n" * 400)
        content += row + b"," + b"n" * (missing - len(row) - 1)
        body = head + content + b"\r\n" + END
        report = json.loads((await _send(premises, body)).body)
        assert (report["bytes"], report["accepted"]) == (len(content), content.count(b"\n")), shift


async def test_a_file_that_is_too_large_is_refused_however_its_size_is_told(premises: Premises) -> None:
    rows = b"".join(b"LARGE-%06d-%b\n" % (number, b"x" * 80) for number in range(BYTES_MAX // 94 + 100))
    body = part(b"key\n" + rows) + END
    assert (await _send(premises, body + b"x" * 20_000)).status == 413
    for raw in (_raw(premises, body), in_chunks(_raw(premises, body))):
        answer = await premises.served.send(raw)
        assert (answer.status, answer.problem["reason"]) == (422, "file-too-large")
    assert await unfinished_uploads(premises) == 0


async def test_an_import_that_breaks_off_goes_on_under_its_idempotency_key(premises: Premises) -> None:
    import_id = new_id()
    key = f"Idempotency-Key: {import_id}"
    rows = with_own_keys(b"".join(b"@1-%05d-%b\n" % (number, b"x" * 50) for number in range(3_000)), next(_numbers))
    body = part(b"key\n" + rows) + END
    whole = _raw(premises, body, key)
    async with premises.served.connection() as (reader, writer):
        writer.write(whole[: len(whole) * 3 // 4])
        await writer.drain()
        answer = await read_answer(reader)
    assert answer.status == 408
    assert 0 < await _stored(premises, import_id) < 3_000
    for status in (201, 200):
        answer = await _send(premises, body, key)
        assert (answer.status, json.loads(answer.body)["accepted"]) == (status, 3_000)
    # A repetition is believed only to the last byte of the form.
    answer = await _send(premises, body + b"more", key)
    assert list(_faults(answer, 422, "not-one-file")) == []
    other = await _send(premises, part(b"key\n" + rows[:-5] + b"\n") + END, key)
    assert (other.status, other.problem["reason"]) == (409, "another-file")


async def test_a_client_that_goes_away_in_the_middle_takes_nothing_with_it(premises: Premises) -> None:
    before = await stored_rows(premises.services.database)
    async with premises.served.connection() as (_, writer):
        writer.write(_raw(premises, with_own_keys(GOOD, next(_numbers)))[:-20])
        await writer.drain()
    async with asyncio.timeout(10):
        while premises.served.open_connections:
            await asyncio.sleep(0.01)
    after = await stored_rows(premises.services.database, but=RECORDS)
    assert after == {table: rows for table, rows in before.items() if table not in RECORDS}


async def test_how_rows_are_read_may_be_said_in_the_query(premises: Premises) -> None:
    body = with_own_keys(part(b"1;@1\n2;@2\n") + END, next(_numbers))
    refused = await _send(premises, body)
    assert list(_faults(refused, 422, None)) == []
    taken = await _send(premises, body, query="header=absent&key_column=2&delimiter=;&hold=true&expires_on=2099-12-31")
    report = json.loads(taken.body)
    assert (taken.status, report["state"], report["accepted"]) == (201, "held", 2)
    body = with_own_keys(GOOD, next(_numbers))
    for options, status in (("dry_run=true", 200), ("", 201)):
        assert (await _send(premises, body, query=options)).status == status
    for query in ("format=csv", "file_name=x.csv", "sheet=1", "dryrun=true", "hold=yes"):
        assert (await _send(premises, body, query=query)).status == 422


async def test_a_package_of_somebody_else_or_none_is_not_there_and_the_body_is_not_waited_for(
    premises: Premises,
) -> None:
    for package in (premises.foreign.pool_id, uuid4(), "nothing"):
        target = f"POST /license-keys-provider/import/{package} HTTP/1.1"
        raw = request(target, bearer(premises.publisher), f"Content-Type: {FORM_TYPE}", body=with_own_keys(GOOD, 1))
        assert (await premises.served.send(raw)).status == 404


async def test_an_admin_imports_for_a_publisher(premises: Premises) -> None:
    own = premises.own
    for query, status in (
        ("", 422),
        (f"publisherId={own.publisher}", 201),
        (f"publisher={premises.foreign.publisher}", 404),
    ):
        target = f"/license-keys-provider/import/{own.pool_id}{query and f'?{query}'}"
        body = with_own_keys(GOOD, next(_numbers))
        raw = request(f"POST {target} HTTP/1.1", bearer(premises.admin), f"Content-Type: {FORM_TYPE}", body=body)
        assert (await premises.served.send(raw)).status == status


async def test_both_doors_share_the_places_for_uploads(premises: Premises) -> None:
    """Four places in a process and two for one publisher: two imports that stand still keep the third upload out."""
    async with asyncio.timeout(60):
        # They stand still for a second or so, which may be over before the third comes.
        while not await _is_third_kept_out(premises):
            pass


async def _is_third_kept_out(premises: Premises) -> bool:
    half = _raw(premises, with_own_keys(GOOD, next(_numbers)))[:-20]
    target = f"POST /publisher/pools/{premises.own.pool_id}/batches?dry_run=true HTTP/1.1"
    upload = request(target, bearer(premises.publisher), "Content-Type: text/csv", body=b"key\nA\n")
    async with premises.served.connection() as (_, first), premises.served.connection() as (_, second):
        for writer in (first, second):
            writer.write(half)
            await writer.drain()
        return 503 in [(await premises.served.send(upload)).status for _ in range(5)]


async def test_clients_of_http_libraries_are_understood(http: aiohttp.ClientSession, premises: Premises) -> None:
    form = aiohttp.FormData()
    form.add_field("file", with_own_keys(FILE, next(_numbers)), filename="keys.csv", content_type="text/csv")
    headers = {"Authorization": f"Bearer {premises.publisher}"}
    target = f"/license-keys-provider/import/{premises.own.pool_id}"
    async with http.post(target, data=form, headers=headers) as response:
        assert (response.status, (await response.json())["accepted"]) == (201, 2)


def _faults(answer: Answer, status: int, reason: str | None) -> list[str]:
    if answer.status != status:
        return [f"answered {answer.status} instead of {status}: {answer.body[:300]!r}"]
    found = list(problem_faults(answer, status))
    if PLANTED in str(answer):
        found.append(f"repeats what was sent: {answer.body!r}")
    if reason is not None and answer.problem.get("reason") != reason:
        found.append(f"has the reason {answer.problem.get('reason')} instead of {reason}")
    return found


async def _stored(premises: Premises, batch_id: UUID) -> int:
    async with premises.services.database.transaction() as connection:
        return int(await connection.fetchval("SELECT rows_done FROM batches WHERE batch_id = $1", batch_id))
