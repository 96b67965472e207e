"""What the publisher is told to do wrong it does, to the call that is meant, and its books stay right."""

import asyncio
import gzip
import zlib
from typing import Any

import aiohttp
import pytest

from keyservice.sandbox.misbehaviour import Misbehaviour, Wrong, random_script
from keyservice.sandbox.publisher import Publisher
from tests.sandbox.asking import SECONDS, Caller, Got, new_reference

NO_ANSWER = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)


@pytest.mark.parametrize(
    ("kind", "issued"),
    [(Wrong.RESET_BEFORE, 0), (Wrong.RESET_AFTER, 1), (Wrong.HALF_BODY, 1)],
)
async def test_a_connection_ends_without_an_answer(
    publisher: Publisher, caller: Caller, kind: Wrong, issued: int
) -> None:
    publisher.script(kind)
    with pytest.raises(NO_ANSWER):
        await caller.nexway(new_reference())
    assert publisher.ledger.issued == issued
    assert publisher.ledger.requests[-1].misbehaviour == kind


@pytest.mark.parametrize(
    ("kind", "status", "issued"),
    [
        (Wrong.STATUS_BEFORE, 503, 0),
        (Wrong.STATUS_AFTER, 503, 1),
        (Wrong.RATE_LIMITED, 429, 0),
        (Wrong.REDIRECT, 307, 0),
        (Wrong.OUT_OF_STOCK, 409, 0),
    ],
)
async def test_another_status_comes(
    publisher: Publisher, caller: Caller, kind: Wrong, status: int, issued: int
) -> None:
    publisher.script(Misbehaviour(kind, status=503, text="http://127.0.0.1:9/there"))
    got = await caller.nexway(new_reference())
    assert got.status == status
    assert publisher.ledger.issued == issued
    if kind in (Wrong.RATE_LIMITED, Wrong.REDIRECT):
        name = "Retry-After" if kind is Wrong.RATE_LIMITED else "Location"
        assert got.headers[name] == "http://127.0.0.1:9/there"


async def test_a_hanging_call_ends_with_the_publisher_and_issues_nothing(publisher: Publisher, caller: Caller) -> None:
    publisher.script(Wrong.HANG)
    asked = asyncio.create_task(caller.nexway(new_reference()))
    while not publisher.ledger.requests or not publisher.ledger.requests[-1].misbehaviour:
        await asyncio.sleep(0)
    assert not asked.done()
    publisher.conduct.closing.set()
    with pytest.raises(NO_ANSWER):
        await asked
    assert publisher.ledger.issued == 0


async def test_a_late_answer_is_issued_before_it_comes_and_a_slow_one_after(
    publisher: Publisher, caller: Caller
) -> None:
    for kind, expected in ((Wrong.LATE, "done"), (Wrong.SLOW, "under way")):
        publisher.script(Misbehaviour(kind, seconds=0.3))
        reference = new_reference()
        asked = asyncio.create_task(caller.nexway(reference))
        while not (seen := publisher.ledger.requests[-1:]) or seen[0].misbehaviour != kind:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert seen[0].outcome == expected
        assert (await asked).json["activationCode"] in publisher.keys_of(reference)


async def test_a_slow_call_is_carried_out_though_the_caller_has_left(publisher: Publisher, caller: Caller) -> None:
    publisher.script(Misbehaviour(Wrong.SLOW, seconds=0.2))
    reference = new_reference()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await caller.nexway(reference)
    async with asyncio.timeout(SECONDS):
        while not publisher.keys_of(reference):
            await asyncio.sleep(0.01)


async def _issued_and_answered(publisher: Publisher, caller: Caller, wrong: Misbehaviour) -> tuple[str, Got]:
    reference = new_reference()
    publisher.script(wrong)
    got = await caller.nexway(reference)
    (key,) = publisher.keys_of(reference)
    return key, got


@pytest.mark.parametrize("kind", [Wrong.HTML_PAGE, Wrong.EMPTY, Wrong.WRONG_TYPES])
async def test_a_body_is_no_answer(publisher: Publisher, caller: Caller, kind: Wrong) -> None:
    key, got = await _issued_and_answered(publisher, caller, Misbehaviour(kind))
    assert got.status == 200
    assert key.encode() not in got.body


async def test_members_stand_twice_with_different_texts(publisher: Publisher, caller: Caller) -> None:
    key, got = await _issued_and_answered(publisher, caller, Misbehaviour(Wrong.DUPLICATE_MEMBERS))
    assert got.body.count(b'"activationCode"') == 2
    assert key.encode() in got.body
    assert got.json["activationCode"] == "OTHER"


async def test_bytes_are_not_those_of_the_charset(publisher: Publisher, caller: Caller) -> None:
    _, got = await _issued_and_answered(publisher, caller, Misbehaviour(Wrong.BYTE_ORDER_MARK))
    assert got.body.startswith(b"\xef\xbb\xbf{")
    _, got = await _issued_and_answered(publisher, caller, Misbehaviour(Wrong.LATIN_1))
    with pytest.raises(UnicodeDecodeError):
        got.body.decode()


async def test_bodies_are_huge(publisher: Publisher, caller: Caller) -> None:
    _, got = await _issued_and_answered(publisher, caller, Misbehaviour(Wrong.HUGE_BODY))
    assert len(got.body) > 16_000_000
    _, got = await _issued_and_answered(publisher, caller, Misbehaviour(Wrong.GZIP_BOMB))
    assert got.headers["Content-Encoding"] == "gzip"
    assert len(gzip.decompress(got.body)) > 500 * len(got.body)
    _, got = await _issued_and_answered(publisher, caller, Misbehaviour(Wrong.DEFLATE_BOMB))
    assert len(zlib.decompress(got.body)) > 500 * len(got.body)


async def test_a_body_has_no_end(publisher: Publisher, caller: Caller) -> None:
    publisher.script(Wrong.ENDLESS_BODY)
    reference = new_reference()
    path = publisher.url_of("nexway") + "/licenses/new"
    body = {"fulfillmentId": reference, "checkout": {"orderId": "1", "lineItemId": "1"}, "product": {"id": "1"}}
    async with caller.session.post(path, json=body, headers=caller.basic) as response:
        read = 0
        while read < 20_000_000:
            read += len(await response.content.readany())
    assert publisher.keys_of(reference)


async def test_other_keys_than_those_in_the_books(publisher: Publisher, caller: Caller) -> None:
    """Each answer shows something else, and the ledger holds exactly the one that was issued."""
    shown = {}
    earlier = (await caller.nexway(new_reference())).json["activationCode"]
    for kind in (Wrong.MORE_KEYS, Wrong.FEWER_KEYS, Wrong.DUPLICATE_KEY, Wrong.FOREIGN_KEY, Wrong.MALFORMED_KEY):
        key, got = await _issued_and_answered(publisher, caller, Misbehaviour(kind, text="ANOTHER-SHOPS-KEY"))
        shown[kind] = got.json["activationCode"]
        assert shown[kind] != key
    assert len(shown[Wrong.MORE_KEYS]) == 2
    assert shown[Wrong.FEWER_KEYS] == []
    assert shown[Wrong.FOREIGN_KEY] == "ANOTHER-SHOPS-KEY"
    assert shown[Wrong.DUPLICATE_KEY] in [key for issue in publisher.ledger.issues() for key in issue.keys]
    _, replayed = await _issued_and_answered(publisher, caller, Misbehaviour(Wrong.REPLAY))
    assert replayed.json["activationCode"] == earlier


async def test_only_the_call_that_is_meant_goes_wrong(publisher: Publisher, caller: Caller) -> None:
    meant = new_reference()
    publisher.script(
        Misbehaviour(Wrong.STATUS_BEFORE, reference=meant),
        Misbehaviour(Wrong.STATUS_BEFORE, operation="cancel"),
        Misbehaviour(Wrong.STATUS_BEFORE, family="keygen"),
    )
    other = new_reference()
    assert (await caller.nexway(other)).status == 200
    assert (await caller.nexway(meant)).status == 500
    assert (await caller.nexway(meant)).status == 200
    assert (await caller.nexway(other, "cancel")).status == 500
    assert publisher.scripted == 1
    publisher.calm_down()
    assert publisher.scripted == 0


async def test_who_is_not_let_in_spends_nothing_of_the_script(publisher: Publisher, caller: Caller) -> None:
    publisher.script(Wrong.OUT_OF_STOCK)
    assert (await caller.ask("POST", "nexway", "/licenses/new", json={})).status == 401
    assert publisher.scripted == 1


async def test_a_script_comes_by_http_too_and_is_checked(publisher: Publisher, caller: Caller) -> None:
    url = f"{publisher.url}/script"
    async with caller.session.post(url, json=[{"kind": "status-before", "status": 502}]) as response:
        assert (response.status, await response.json()) == (200, {"waiting": 1})
    assert (await caller.nexway(new_reference())).status == 502
    wrongs: list[Any] = [[{"kind": "polite"}], [{"kind": "slow", "seconds": -1}], [{"kind": "hang", "more": 1}], {}]
    for wrong in wrongs:
        async with caller.session.post(url, json=wrong) as response:
            assert response.status == 422
    assert publisher.scripted == 0


def test_a_random_script_is_that_of_its_seed_and_has_every_kind() -> None:
    made = random_script(3, 2_000)
    assert made == random_script(3, 2_000)
    assert made != random_script(4, 2_000)
    assert {one.kind for one in made} == set(Wrong)
    assert 0.3 < sum(one.kind is Wrong.NOTHING for one in made) / len(made) < 0.5
