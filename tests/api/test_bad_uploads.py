import csv
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from keyservice.services import Services
from keyservice.settings import Settings
from tests.api.bad_key_files import (
    BYTES_MAX,
    EXPIRY_DATES_MAX,
    INERT_KEYS,
    MALFORMED_KEYS,
    QUERIES,
    REFUSED,
    ROWS_MAX,
    TAKEN,
    TakenFile,
)
from tests.api.broken_json import in_chunks
from tests.api.json_entrances import problem_faults
from tests.api.premises import Premises, asked, bearer, opened_premises, stored_rows, tables_with
from tests.api.raw_http import PLANTED, Answer, read_answer, request
from tests.lab.shop import texts_of

# What a refused file leaves: that it was refused, and why.
RECORDS: Final = frozenset({"batches", "data_keys", "publisher_events"})
_numbers: Final = count(1)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        data_directory=tmp_path_factory.mktemp("uploads"),
        catalogue_seconds=0,
        upload_bytes_max=BYTES_MAX,
        upload_rows_max=ROWS_MAX,
        upload_chunk_rows=50,
        upload_idle_seconds=1.5,
        expiry_dates_max=EXPIRY_DATES_MAX,
    )


@pytest.fixture(scope="module")
async def premises(services: Services) -> AsyncIterator[Premises]:
    async with opened_premises(services) as opened:
        yield opened
        assert (await _upload(opened, b"key\nSTILL-SERVED\n")).status == 201
        # A key's text is nowhere in plain, whatever became of its file.
        assert await tables_with(services.database, PLANTED) == []


def _raw(
    premises: Premises,
    content: bytes,
    *lines: str,
    query: str = "",
    content_type: str = "text/csv",
    pool: object = None,
    token: str | None = None,
) -> bytes:
    target = f"/publisher/pools/{pool or premises.own.pool_id}/batches" + (f"?{query}" if query else "")
    types = [f"Content-Type: {content_type}"] if content_type else []
    return request(f"POST {target} HTTP/1.1", bearer(token or premises.publisher), *types, *lines, body=content)


async def _upload(premises: Premises, content: bytes, *lines: str, **options: Any) -> Answer:
    return await premises.served.send(_raw(premises, content, *lines, **options))


def _own(content: bytes, number: int) -> bytes:
    for digit in range(1, 10):
        content = content.replace(b"@%d" % digit, f"{PLANTED}-{number}-{digit}".encode())
    return content


async def _unfinished(premises: Premises) -> int:
    async with premises.services.database.connection() as connection:
        return int(
            await connection.fetchval(
                "SELECT (SELECT count(*) FROM batches WHERE state = 'receiving')"
                "     + (SELECT count(*) FROM segments WHERE state = 'receiving')"
            )
        )


def _refusal_faults(
    answer: Answer, status: int, reason: str | None, line: int | None, offset: int | None
) -> Iterator[str]:
    if answer.status != status:
        yield f"answered {answer.status} instead of {status}: {answer.body[:300]!r}"
        return
    yield from problem_faults(answer, status)
    problem = answer.problem
    if PLANTED in str(answer):
        yield f"repeats a key: {problem['detail']}"
    if reason is not None and problem.get("reason") != reason:
        yield f"has the reason {problem.get('reason')} instead of {reason}: {problem}"
    if line is not None and (problem.get("line") != line or not problem["detail"].startswith(f"line {line}: ")):
        yield f"names line {problem.get('line')} instead of {line}: {problem}"
    if offset is not None and problem.get("byte_offset") != offset:
        yield f"names byte {problem.get('byte_offset')} instead of {offset}"


@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "in chunks"])
@pytest.mark.parametrize("options", ["", "dry_run=true", "hold=true"])
async def test_a_file_that_cannot_be_read_with_certainty_is_refused_and_leaves_nothing(
    premises: Premises, options: str, is_chunked: bool
) -> None:
    faults: list[str] = []
    before = await stored_rows(premises.services.database, but=RECORDS)
    for name, file in REFUSED.items():
        content = _own(file.content, next(_numbers))
        query = "&".join(filter(None, (file.query, options)))
        raw = _raw(premises, content, *file.lines, query=query, content_type=file.content_type)
        # In chunks the size is not known before it is exceeded.
        status, reason = (422, file.reason) if is_chunked and file.status == 413 else (file.status, file.reason)
        answer = await premises.served.send(in_chunks(raw) if is_chunked else raw)
        found = list(_refusal_faults(answer, status, None if status == 413 else reason, file.line, file.byte_offset))
        after = await stored_rows(premises.services.database, but=RECORDS)
        if after != before:
            found.append(f"changed {[table for table in after if after[table] != before[table]]}")
            before = after
        if await _unfinished(premises):
            found.append("left an unfinished upload")
        faults += [f"{name}: {fault}" for fault in found]
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)


async def _take(premises: Premises, name: str, file: TakenFile) -> tuple[list[str], list[str]]:
    """Upload it; what is wrong, and the keys that are on sale now."""
    number = next(_numbers)
    keys = [_own(key.encode(), number).decode() for key in file.keys]
    before = await premises.own.left()
    answer = await _upload(premises, _own(file.content, number), query=file.query, content_type=file.content_type)
    if answer.status != (201 if keys else 200):
        return [f"{name}: answered {answer.status}: {answer.body[:400]!r}"], []
    faults = []
    report = json.loads(answer.body)
    malformed = Counter(why if why in report["verdicts"] else "malformed" for why in file.refused.values())
    expected = Counter(accepted=len(keys), blank=file.blank, header=file.header) + malformed
    if Counter({verdict: rows for verdict, rows in report["verdicts"].items() if rows}) != expected:
        faults.append(f"verdicts {report['verdicts']} instead of {expected}")
    if report["rows"] != sum(report["verdicts"].values()) or report["refused"] != len(file.refused):
        faults.append(f"rows do not add up: {report}")
    if await premises.own.left() - before != len(keys):
        faults.append("the pool did not grow by the accepted keys")
    if PLANTED in str(answer):
        faults.append("the report repeats a key")
    raw = request(f"GET {report['links']['refused_rows']} HTTP/1.0", bearer(premises.publisher))
    listed = await asked(premises.served, raw)
    rows = {int(row["row"]): row for row in csv.DictReader(io.StringIO(listed.body.decode(), newline=""))}
    told = {row: (cells["reason"] or cells["verdict"]).partition(":")[0] for row, cells in rows.items()}
    if told != dict(file.refused):
        faults.append(f"refused rows {told} instead of {file.refused}")
    if PLANTED in str(listed):
        faults.append("the list of refused rows repeats a key")
    return [f"{name}: {fault}" for fault in faults], keys


async def test_every_row_of_a_file_that_is_taken_has_a_verdict_and_every_key_is_sold_to_the_letter(
    premises: Premises,
) -> None:
    faults: list[str] = []
    keys: list[str] = []
    texts = {
        f"the key {key!a}": TakenFile(f"{key}\n".encode(), (key,), header=0, content_type="text/plain")
        for key in INERT_KEYS
    }
    for name, file in (TAKEN | texts).items():
        found, sold = await _take(premises, name, file)
        faults += found
        keys += sold
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)
    bought = await premises.own.buy(f"all-{next(_numbers)}", quantity=await premises.own.left())
    assert sorted(texts_of(bought)) == sorted(keys)


async def test_a_text_that_cannot_be_a_key_is_told_with_its_row_and_never_mended(premises: Premises) -> None:
    faults: list[str] = []
    for key in MALFORMED_KEYS:
        why = (
            "nul-character"
            if "\0" in key
            else "cell-too-long"
            if len(key) > 4_096
            else "key-too-long"
            if len(key) > 512
            else "invalid-key"
        )
        content = f"@1 before\n{key}\n@1 behind\n".encode()
        file = TakenFile(content, ("@1 before", "@1 behind"), {2: why}, header=0, content_type="text/plain")
        found, sold = await _take(premises, f"the key {key[:30]!a}", file)
        faults += found
        bought = await premises.own.buy(f"mended-{next(_numbers)}", quantity=len(sold))
        faults += [f"{key!a}: sold {len(texts_of(bought))}"] if sorted(texts_of(bought)) != sorted(sold) else []
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)


async def test_a_query_that_is_not_understood_refuses_the_upload_and_leaves_nothing(premises: Premises) -> None:
    faults: list[str] = []
    before = await stored_rows(premises.services.database, but=RECORDS)
    names = {"{own}": premises.own.publisher, "{foreign}": premises.foreign.publisher}
    for query, status in QUERIES.items():
        filled = query
        for name, value in names.items():
            filled = filled.replace(name, value)
        answer = await _upload(premises, _own(b"key\n@1\n", next(_numbers)), query=filled)
        faults += [f"{query[:80]}: {fault}" for fault in _refusal_faults(answer, status, None, None, None)]
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)
    assert await stored_rows(premises.services.database, but=RECORDS) == before
    assert not await _unfinished(premises)


async def test_a_pool_that_is_missing_or_anothers_is_told_alike_and_a_closed_one_is_told_so(premises: Premises) -> None:
    own, closed = premises.own, await _closed_pool(premises)
    content = _own(b"key\n@1\n", next(_numbers))
    before = await stored_rows(premises.services.database)
    answers = {}
    for name, pool in (("missing", uuid4()), ("foreign", premises.foreign.pool_id), ("no id", "main"), ("dots", "..%2f"),
                       ("a product", own.product_ref), ("closed", closed)):  # fmt: skip
        answers[name] = await _upload(premises, content, "X-Request-Id: 0123456789abcdef0123456789abcdef", pool=pool)
    assert answers.pop("closed").status == 409
    assert {answer.status for answer in answers.values()} == {404}
    assert len({answer.body for answer in answers.values()}) == 1
    assert await stored_rows(premises.services.database) == before


async def _closed_pool(premises: Premises) -> str:
    opened = request(
        "POST /publisher/pools HTTP/1.1",
        bearer(premises.publisher),
        "Content-Type: application/json",
        body=b'{"name":"closed"}',
    )
    pool_id: str = json.loads((await premises.served.send(opened)).body)["pool_id"]
    closing = request(
        f"PATCH /publisher/pools/{pool_id} HTTP/1.1",
        bearer(premises.publisher),
        "Content-Type: application/json",
        body=b'{"is_open":false}',
    )
    assert (await premises.served.send(closing)).status == 200
    return pool_id


@pytest.mark.parametrize("fate", ["cut", "stalled", "broken chunk", "too short"])
async def test_a_file_that_does_not_arrive_whole_is_no_stock_and_goes_on_when_it_is_sent_again(
    premises: Premises, fate: str
) -> None:
    key = f"Idempotency-Key: {uuid4()}"
    whole = b"".join(b"%b\n" % _own(b"@1", next(_numbers)) for _ in range(200))
    raw = _raw(premises, whole, key, content_type="text/plain")
    head, _, body = raw.partition(b"\r\n\r\n")
    left = await premises.own.left()
    async with premises.served.connection() as (reader, writer):
        match fate:
            case "cut":
                writer.write(head + b"\r\n\r\n" + body[: len(body) // 2])
                await writer.drain()
            case "stalled":
                writer.write(head + b"\r\n\r\n" + body[:-1])
                assert (await read_answer(reader)).status == 408
            case "broken chunk":
                writer.write(in_chunks(raw).removesuffix(b"0\r\n\r\n") + b"junk\r\n")
                assert (await read_answer(reader)).status == 400
            case _:
                digest = "Repr-Digest: sha-256=:" + "A" * 43 + "=:"
                writer.write(_raw(premises, whole[:-5], digest, content_type="text/plain"))
                answer = await read_answer(reader)
                assert (answer.status, answer.problem["reason"]) == (422, "digest-mismatch")
                writer.write(whole[-5:])  # never taken for more of the file
                assert (await read_answer(reader)).status == 400
    assert await premises.own.left() == left
    again = await premises.served.send(raw)
    assert (again.status, json.loads(again.body)["accepted"]) == (201, 200)
    assert await premises.own.left() == left + 200
    assert not await _unfinished(premises)


async def test_one_id_stands_for_one_file_with_its_options_in_one_pool(premises: Premises) -> None:
    number = next(_numbers)
    content, key = _own(b"key\n@1\n", number), f"Idempotency-Key: {uuid4()}"
    assert (await _upload(premises, content, key)).status == 201
    before = await stored_rows(premises.services.database)
    other = _own(b"key\n@1\n@2\n", number)
    rows: list[tuple[str, bytes, dict[str, Any]]] = [
        ("another-file", other, {}),
        ("another-file", content[:-1], {}),
        ("other-options", content, {"query": "dry_run=true"}),
        ("other-options", content, {"query": "hold=true"}),
        ("other-options", content, {"query": "expires_on=2099-12-31"}),
        ("other-options", content, {"content_type": "text/plain"}),
        ("other-pool", content, {"pool": await _second_pool(premises)}),
    ]
    before = await stored_rows(premises.services.database)
    for reason, sent, options in rows:
        answer = await _upload(premises, sent, key, **options)
        assert (answer.status, answer.problem["reason"]) == (409, reason), f"{reason}, {options}: {answer}"
    assert await stored_rows(premises.services.database) == before
    assert (await _upload(premises, content, key)).status == 200


async def _second_pool(premises: Premises) -> str:
    answer = await premises.served.send(
        request(
            "POST /publisher/pools HTTP/1.1",
            bearer(premises.publisher),
            "Content-Type: application/json",
            body=json.dumps({"name": f"second {next(_numbers)}"}).encode(),
        )
    )
    pool_id: str = json.loads(answer.body)["pool_id"]
    return pool_id


async def test_formulas_in_the_list_of_refused_rows_are_made_inert(premises: Premises) -> None:
    ids = ("=1+1", "+1", "-1", "@SUM(1)", "\uff1d1", " =1", "plain")
    content = "key,publisher_key_id\nINERT-1,first\n" + "".join(f"INERT-1,{one}\n" for one in ids)
    report = json.loads((await _upload(premises, content.encode())).body)
    raw = request(f"GET {report['links']['refused_rows']} HTTP/1.0", bearer(premises.publisher))
    listed = await asked(premises.served, raw)
    shown = [row["publisher_key_id"] for row in csv.DictReader(io.StringIO(listed.body.decode(), newline=""))]
    assert shown == [f"'{one}" for one in ids[:-1]] + ["plain"]
    assert "attachment" in listed.headers["content-disposition"]


async def test_a_page_that_a_proxy_sent_instead_of_the_file_is_no_list_of_keys(premises: Premises) -> None:
    for page in (b"<html>\n<body>502 Bad Gateway</body>\n</html>\n", b'<HTML lang="en">\n<p>Please log in.</p>\n'):
        answer = await _upload(premises, page, content_type="text/plain")
        assert answer.status == 422, f"sold as keys: {page!r}"


async def test_a_first_row_that_is_a_key_of_words_is_neither_repeated_nor_kept_in_plain(premises: Premises) -> None:
    """The file has no header, although it was said to have one, so what is quoted as a column's name is a key."""
    words = "Correct-Horse-Battery-Staple"
    answer = await _upload(premises, f"{words}\nOther-Words\n".encode(), query="key_column=license")
    assert (answer.status, answer.problem["reason"]) == (422, "unknown-column")
    assert (words in str(answer), await tables_with(premises.services.database, words)) == (False, [])


async def test_a_key_that_was_there_before_is_told_by_what_became_of_it_and_not_stored_again(
    premises: Premises,
) -> None:
    own, number = premises.own, next(_numbers)
    if left := await own.left():
        await own.buy(f"emptied-{number}", quantity=left)
    issued, revoked, stocked, elsewhere, withdrawn = (f"{PLANTED}-{number}-{n}" for n in range(5))
    await own.load([issued, revoked])
    await own.buy(f"issued-{number}")
    await own.buy(f"revoked-{number}")
    await own.load([stocked])
    await own.load([elsewhere], pool_id=UUID(await _second_pool(premises)))
    segment_id = await own.load([withdrawn])
    async with premises.services.database.connection() as connection:
        batch_id = await connection.fetchval("SELECT batch_id FROM segments WHERE segment_id = $1", segment_id)
    withdrawing = request(f"POST /publisher/batches/{batch_id}/withdraw HTTP/1.1", bearer(premises.publisher))
    assert (await premises.served.send(withdrawing)).status == 200
    body = json.dumps({"partnerOrderNumber": f"revoked-{number}", "reasonCode": 2}).encode()
    cancelling = (
        "PUT /connect/order/cancel HTTP/1.1",
        f"secret: {own.reseller_token}",
        "Content-Type: application/json",
    )
    assert json.loads((await premises.served.send(request(*cancelling, body=body))).body)["responseCode"] == 0
    file = TakenFile(
        "".join(f"{key}\n" for key in (issued, revoked, stocked, elsewhere, withdrawn, "@1")).encode(),
        ("@1",),
        {1: "already_issued", 2: "revoked", 3: "duplicate_in_stock", 4: "duplicate_in_stock", 5: "withdrawn"},
        header=0,
        content_type="text/plain",
    )
    faults, _ = await _take(premises, "known keys", file)
    assert not faults, faults
