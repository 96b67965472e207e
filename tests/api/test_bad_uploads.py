import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any
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
from tests.api.bad_packed_files import REFUSED_PACKED, TAKEN_PACKED
from tests.api.broken_json import in_chunks
from tests.api.premises import Premises, asked, bearer, opened_premises, stored_rows, tables_with
from tests.api.raw_http import PLANTED, read_answer, request
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
from tests.lab.shop import texts_of


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
        assert (await upload(opened, b"key\nSTILL-SERVED\n")).status == 201
        # A key's text is nowhere in plain, whatever became of its file.
        assert await tables_with(services.database, PLANTED) == []


@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "in chunks"])
@pytest.mark.parametrize("options", ["", "dry_run=true", "hold=true"])
async def test_a_file_that_cannot_be_read_with_certainty_is_refused_and_leaves_nothing(
    premises: Premises, options: str, is_chunked: bool
) -> None:
    faults: list[str] = []
    before = await stored_rows(premises.services.database, but=RECORDS)
    for name, file in (REFUSED | REFUSED_PACKED).items():
        content = file.pack(with_own_keys(file.content, next(numbers)))
        query = "&".join(filter(None, (file.query, options)))
        raw = raw_upload(premises, content, *file.lines, query=query, content_type=file.content_type)
        # In chunks the size is not known before it is exceeded.
        status, reason = (422, file.reason) if is_chunked and file.status == 413 else (file.status, file.reason)
        answer = await premises.served.send(in_chunks(raw) if is_chunked else raw)
        found = list(refusal_faults(answer, status, None if status == 413 else reason, file.line, file.byte_offset))
        after = await stored_rows(premises.services.database, but=RECORDS)
        if after != before:
            found.append(f"changed {[table for table in after if after[table] != before[table]]}")
            before = after
        if await unfinished_uploads(premises):
            found.append("left an unfinished upload")
        faults += [f"{name}: {fault}" for fault in found]
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)


async def test_every_row_of_a_file_that_is_taken_has_a_verdict_and_every_key_is_sold_to_the_letter(
    premises: Premises,
) -> None:
    faults: list[str] = []
    keys: list[str] = []
    texts = {
        f"the key {key!a}": TakenFile(f"{key}\n".encode(), (key,), header=0, content_type="text/plain")
        for key in INERT_KEYS
    }
    for name, file in (TAKEN | TAKEN_PACKED | texts).items():
        found, sold = await take_file(premises, name, file)
        faults += found
        keys += sold
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)
    bought = await premises.own.buy(f"all-{next(numbers)}", quantity=await premises.own.left())
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
        found, sold = await take_file(premises, f"the key {key[:30]!a}", file)
        faults += found
        bought = await premises.own.buy(f"mended-{next(numbers)}", quantity=len(sold))
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
        answer = await upload(premises, with_own_keys(b"key\n@1\n", next(numbers)), query=filled)
        faults += [f"{query[:80]}: {fault}" for fault in refusal_faults(answer, status, None, None, None)]
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)
    assert await stored_rows(premises.services.database, but=RECORDS) == before
    assert not await unfinished_uploads(premises)


async def test_a_pool_that_is_missing_or_anothers_is_told_alike_and_a_closed_one_is_told_so(premises: Premises) -> None:
    own, closed = premises.own, await _closed_pool(premises)
    content = with_own_keys(b"key\n@1\n", next(numbers))
    before = await stored_rows(premises.services.database)
    answers = {}
    for name, pool in (("missing", uuid4()), ("foreign", premises.foreign.pool_id), ("no id", "main"), ("dots", "..%2f"),
                       ("a product", own.product_ref), ("closed", closed)):  # fmt: skip
        answers[name] = await upload(premises, content, "X-Request-Id: 0123456789abcdef0123456789abcdef", pool=pool)
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
    whole = b"".join(b"%b\n" % with_own_keys(b"@1", next(numbers)) for _ in range(200))
    raw = raw_upload(premises, whole, key, content_type="text/plain")
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
                writer.write(raw_upload(premises, whole[:-5], digest, content_type="text/plain"))
                answer = await read_answer(reader)
                assert (answer.status, answer.problem["reason"]) == (422, "digest-mismatch")
                writer.write(whole[-5:])  # never taken for more of the file
                assert (await read_answer(reader)).status == 400
    assert await premises.own.left() == left
    again = await premises.served.send(raw)
    assert (again.status, json.loads(again.body)["accepted"]) == (201, 200)
    assert await premises.own.left() == left + 200
    assert not await unfinished_uploads(premises)


async def test_one_id_stands_for_one_file_with_its_options_in_one_pool(premises: Premises) -> None:
    number = next(numbers)
    content, key = with_own_keys(b"key\n@1\n", number), f"Idempotency-Key: {uuid4()}"
    assert (await upload(premises, content, key)).status == 201
    before = await stored_rows(premises.services.database)
    other = with_own_keys(b"key\n@1\n@2\n", number)
    rows: list[tuple[str, bytes, dict[str, Any]]] = [
        ("another-file", other, {}),
        ("another-file", content[:-1], {}),
        ("other-options", content, {"query": "dry_run=true"}),
        ("other-options", content, {"query": "hold=true"}),
        ("other-options", content, {"query": "priority=1"}),
        ("other-options", content, {"query": "expires_on=2099-12-31"}),
        ("other-options", content, {"content_type": "text/plain"}),
        ("other-pool", content, {"pool": await _second_pool(premises)}),
    ]
    before = await stored_rows(premises.services.database)
    for reason, sent, options in rows:
        answer = await upload(premises, sent, key, **options)
        assert (answer.status, answer.problem["reason"]) == (409, reason), f"{reason}, {options}: {answer}"
    assert await stored_rows(premises.services.database) == before
    assert (await upload(premises, content, key)).status == 200


async def _second_pool(premises: Premises) -> str:
    answer = await premises.served.send(
        request(
            "POST /publisher/pools HTTP/1.1",
            bearer(premises.publisher),
            "Content-Type: application/json",
            body=json.dumps({"name": f"second {next(numbers)}"}).encode(),
        )
    )
    pool_id: str = json.loads(answer.body)["pool_id"]
    return pool_id


async def test_formulas_in_the_list_of_refused_rows_are_made_inert(premises: Premises) -> None:
    ids = ("=1+1", "+1", "-1", "@SUM(1)", "\uff1d1", " =1", "plain")
    content = "key,publisher_key_id\nINERT-1,first\n" + "".join(f"INERT-1,{one}\n" for one in ids)
    report = json.loads((await upload(premises, content.encode())).body)
    raw = request(f"GET {report['links']['refused_rows']} HTTP/1.0", bearer(premises.publisher))
    listed = await asked(premises.served, raw)
    shown = [row["publisher_key_id"] for row in csv.DictReader(io.StringIO(listed.body.decode(), newline=""))]
    assert shown == [f"'{one}" for one in ids[:-1]] + ["plain"]
    assert "attachment" in listed.headers["content-disposition"]


async def test_a_page_that_a_proxy_sent_instead_of_the_file_is_no_list_of_keys(premises: Premises) -> None:
    for page in (b"<html>\n<body>502 Bad Gateway</body>\n</html>\n", b'<HTML lang="en">\n<p>Please log in.</p>\n'):
        answer = await upload(premises, page, content_type="text/plain")
        assert answer.status == 422, f"sold as keys: {page!r}"


async def test_a_first_row_that_is_a_key_of_words_is_neither_repeated_nor_kept_in_plain(premises: Premises) -> None:
    """The file has no header, although it was said to have one, so what is quoted as a column's name is a key."""
    words = "Correct-Horse-Battery-Staple"
    answer = await upload(premises, f"{words}\nOther-Words\n".encode(), query="key_column=license")
    assert (answer.status, answer.problem["reason"]) == (422, "unknown-column")
    assert (words in str(answer), await tables_with(premises.services.database, words)) == (False, [])


async def test_a_key_that_was_there_before_is_told_by_what_became_of_it_and_not_stored_again(
    premises: Premises,
) -> None:
    own, number = premises.own, next(numbers)
    if left := await own.left():
        await own.buy(f"emptied-{number}", quantity=left)
    issued, revoked, stocked, elsewhere, withdrawn = (f"{PLANTED}-{number}-{n}" for n in range(5))
    await own.load([issued, revoked])
    await own.buy(f"issued-{number}")
    await own.buy(f"revoked-{number}")
    await own.load([stocked])
    await own.load([elsewhere], pool_id=UUID(await _second_pool(premises)))
    segment_id = await own.load([withdrawn])
    async with premises.services.database.transaction() as connection:
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
    faults, _ = await take_file(premises, "known keys", file)
    assert not faults, faults
