import base64
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from uuid import uuid4

import pytest

from keyservice.crypto.tokens import new_token
from keyservice.domain.caller import CallerKind
from keyservice.fulfillment.manage_callers import add_caller, revoke_caller
from keyservice.services import Services
from tests.api.bad_headers import (
    AUTHORIZATION,
    DIGEST,
    HARMLESS_AUTHORIZATION,
    IDEMPOTENCY_KEY,
    IGNORED,
    REFUSED_BY_THE_PARSER,
    REQUEST_IDS,
    SECRET,
    Lines,
)
from tests.api.json_entrances import Entrance, entrances, problem_faults
from tests.api.premises import Premises, bearer, forged, opened_premises, stored_rows
from tests.api.raw_http import PLANTED, Answer, assert_headers, read_answer, request

FILE: Final = b"HEADER-1\nHEADER-2\n"
JSON: Final = "Content-Type: application/json"
_DIGEST: Final = hashlib.sha256(FILE)


@pytest.fixture(scope="module")
async def premises(services: Services) -> AsyncIterator[Premises]:
    async with opened_premises(services) as opened:
        yield opened
        assert (await opened.served.get("/publisher/pools", bearer(opened.publisher))).status == 200


@pytest.fixture(scope="module")
async def words(premises: Premises) -> Mapping[str, str]:
    """What the placeholders of the tables stand for."""
    async with premises.services.database.transaction() as connection:
        revoked = await add_caller(connection, kind=CallerKind.ADMIN, name="revoked")
        await revoke_caller(connection, "revoked")
    token, unknown = premises.publisher, new_token()[1]
    return {
        "token": token,
        "secret": premises.reseller,
        "unknown": unknown,
        "revoked": revoked,
        "token_in_capitals": token.upper(),
        "token_cut": token[:-1],
        "token_of_another_secret": forged(token),
        "digest": base64.b64encode(_DIGEST.digest()).decode(),
        "hex_digest": _DIGEST.hexdigest(),
    }


def _filled(lines: Lines, words: Mapping[str, str]) -> list[str]:
    key = uuid4()
    return [
        line.format(**words, id=key, bare_id=key.hex) if "{" in line and "$" not in line else line for line in lines
    ]


def _leaks(answer: Answer, words: Mapping[str, str]) -> list[str]:
    said = f"{answer.headers}{answer.body.decode()}"
    secrets = [PLANTED, *(words[name] for name in ("token", "secret", "unknown", "revoked", "token_of_another_secret"))]
    return ["repeats a credential or what was planted"] if any(secret in said for secret in secrets) else []


async def test_only_one_good_bearer_token_opens_and_all_others_are_told_the_same(
    premises: Premises, words: Mapping[str, str]
) -> None:
    faults: list[str] = []
    said: set[str] = set()
    for method, path in (("GET", "/publisher/pools"), ("POST", "/publisher/pools"), ("GET", "/admin/publishers")):
        for name, lines in AUTHORIZATION.items():
            body = b'{"name":"opened without a credential"}' if method == "POST" else b""
            raw = request(f"{method} {path} HTTP/1.1", JSON, *_filled(lines, words), body=body)
            before = await stored_rows(premises.services.database)
            answer = await premises.served.send(raw)
            found = _leaks(answer, words) or list(problem_faults(answer, 401))
            if answer.status != 401 or not answer.headers.get("www-authenticate", "").startswith("Bearer "):
                found.append(f"answered {answer.status}: {answer.headers}")
            elif await stored_rows(premises.services.database) != before:
                found.append("changed something")
            else:
                said.add(answer.problem["type"])
            faults += [f"{method} {path}, {name}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)
    assert said == {"urn:keyservice:problem:unauthenticated"}


async def test_a_token_is_taken_however_its_scheme_is_written(premises: Premises, words: Mapping[str, str]) -> None:
    for name, lines in HARMLESS_AUTHORIZATION.items():
        assert (await premises.served.get("/publisher/pools", *_filled(lines, words))).status == 200, name


async def test_only_one_good_secret_opens_connect(premises: Premises, words: Mapping[str, str]) -> None:
    made = entrances(premises)
    faults: list[str] = []
    before = await stored_rows(premises.services.database)
    for entrance in (made["order"], made["stock"], made["cancel"]):
        for name, (lines, code) in SECRET.items():
            body = json.dumps(entrance.body).encode()
            raw = request(f"{entrance.method} {entrance.path} HTTP/1.1", JSON, *_filled(lines, words), body=body)
            answer = await premises.served.send(raw)
            told = json.loads(answer.body)
            found = _leaks(answer, words)
            if (answer.status, told.get("responseCode")) != (401, code) or not told.get("responseMessage"):
                found.append(f"answered {answer.status} and {told} instead of {code}")
            faults += [f"{entrance.name}, {name}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)
    assert await stored_rows(premises.services.database) == before


async def _uploaded(premises: Premises, *lines: str, file: bytes = FILE) -> Answer:
    target = f"POST /publisher/pools/{premises.own.pool_id}/batches HTTP/1.1"
    return await premises.served.send(
        request(target, bearer(premises.publisher), "Content-Type: text/plain", *lines, body=file)
    )


@pytest.mark.parametrize("table", [IDEMPOTENCY_KEY, DIGEST])
async def test_a_key_or_digest_that_is_none_refuses_the_upload_and_nothing_becomes_stock(
    premises: Premises, words: Mapping[str, str], table: Mapping[str, Lines]
) -> None:
    faults: list[str] = []
    tape = frozenset({"batches", "data_keys", "publisher_events"})  # a refused upload is kept as one
    before = await stored_rows(premises.services.database, but=tape)
    for name, lines in table.items():
        answer = await _uploaded(premises, *_filled(lines, words))
        found = [*_leaks(answer, words), *problem_faults(answer, 422)]
        faults += [f"{name}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)
    assert await stored_rows(premises.services.database, but=tape) == before
    assert await premises.own.left() == 0
    async with premises.services.database.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM batches WHERE state = 'receiving'") == 0


async def test_the_same_key_in_another_spelling_is_the_same_upload_and_another_publishers_is_another(
    premises: Premises, words: Mapping[str, str]
) -> None:
    key = uuid4()
    digest = f"Repr-Digest: sha-512=:AAAA:, sha-256=:{words['digest']}:"
    first = await _uploaded(premises, f"Idempotency-Key: {key}", digest)
    again = [
        await _uploaded(premises, f"Idempotency-Key: {text}") for text in (str(key).upper(), f'"{key}"', f"  {key} ")
    ]
    assert [answer.status for answer in (first, *again)] == [201, 200, 200, 200]
    assert {json.loads(answer.body)["batch_id"] for answer in (first, *again)} == {str(key)}
    target = f"POST /publisher/pools/{premises.foreign.pool_id}/batches HTTP/1.1"
    lines = (bearer(premises.foreign_publisher), "Content-Type: text/plain", f"Idempotency-Key: {key}")
    other = await premises.served.send(request(target, *lines, body=FILE))
    assert (other.status, json.loads(other.body)["accepted"]) == (201, 2)


async def test_a_part_of_a_file_is_not_taken_for_the_whole(premises: Premises) -> None:
    """RFC 9110, section 14.5: who does not support a partial upload refuses Content-Range, or half a key is sold."""
    before = await stored_rows(premises.services.database)
    answer = await _uploaded(premises, "Content-Range: bytes 100-116/118", file=b"ALF-OF-A-KEY\nKEY\n")
    assert answer.status == 400
    assert await stored_rows(premises.services.database) == before


async def test_headers_that_nobody_reads_change_no_answer(premises: Premises) -> None:
    made = entrances(premises)
    read = request("GET /publisher/pools HTTP/1.1", bearer(premises.publisher))
    plain = await premises.served.send(read)
    change, stock = made["changed pool"], made["stock"]
    for name, lines in IGNORED.items():
        answer = await premises.served.get("/publisher/pools", bearer(premises.publisher), *lines)
        assert (answer.status, answer.body) == (plain.status, plain.body), name
        assert_headers(answer)
        assert set(answer.headers) == set(plain.headers), name
        for entrance in (change, stock):
            answer = await premises.served.send(entrance.raw(b"{}" if entrance is change else _body(stock), *lines))
            assert answer.status == 200, f"{entrance.name}, {name}: {answer}"
            assert not [header for header in answer.headers if header.startswith("access-control")]


async def test_the_host_that_a_client_names_comes_back_nowhere(premises: Premises) -> None:
    entrance = entrances(premises)["pool"]
    raw = entrance.raw(_body(entrance), "X-Forwarded-Host: evil.test").replace(b"Host: x", b"Host: evil.test:99")
    answer = await premises.served.send(raw)
    assert (answer.status, answer.headers["location"]) == (
        201,
        f"/publisher/pools/{json.loads(answer.body)['pool_id']}",
    )
    assert "evil" not in str(answer)


async def test_a_request_id_is_kept_or_replaced_and_leads_from_every_refusal_to_the_log(premises: Premises) -> None:
    for name, (lines, kept) in REQUEST_IDS.items():
        answer = await premises.served.get(f"/publisher/pools/{uuid4()}", bearer(premises.publisher), *lines)
        assert answer.problem["instance"] == answer.headers["x-request-id"], name
        assert (answer.headers["x-request-id"] == kept) is (kept is not None), name
        assert_headers(answer)


async def test_what_the_parser_refuses_is_a_problem_for_every_audience_and_repeats_nothing(
    premises: Premises, words: Mapping[str, str]
) -> None:
    made = entrances(premises)
    before = await stored_rows(premises.services.database)
    faults: list[str] = []
    for entrance in (made["order"], made["pool"], made["publisher"], made["search"]):
        for name, (lines, status) in REFUSED_BY_THE_PARSER.items():
            answer = await premises.served.send(entrance.raw(_body(entrance), *lines))
            found = [*_leaks(answer, words), *problem_faults(answer, status)]
            faults += [f"{entrance.name}, {name}: {fault}" for fault in found if fault or answer.status != status]
    assert not faults, "\n".join(faults)
    assert await stored_rows(premises.services.database) == before


async def test_an_expectation_is_met_or_refused_before_anything_is_done(premises: Premises) -> None:
    made = entrances(premises)
    before = await stored_rows(premises.services.database)
    for lines in (f"Expect: {PLANTED}", "Expect: 100-continue, x", "Expect: 200-ok", "Expect:  "):
        answer = await premises.served.send(made["pool"].raw(_body(made["pool"]), lines))
        if lines.strip() != "Expect:":
            assert (answer.status, PLANTED in str(answer)) == (417, False), lines
            assert not list(problem_faults(answer, 417)), lines
            assert await stored_rows(premises.services.database) == before
    raw = made["template"].raw(_body(made["template"]), "Expect: 100-continue")
    head, _, body = raw.partition(b"\r\n\r\n")
    async with premises.served.connection() as (reader, writer):
        writer.write(head + b"\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(body)
        assert (await read_answer(reader)).status == 201


def _body(entrance: Entrance, **members: Any) -> bytes:
    return json.dumps({**entrance.body, **members}).encode()
