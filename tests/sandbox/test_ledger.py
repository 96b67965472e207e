"""The publisher's books tell what was asked, issued and cancelled, and by their own rules."""

import re

import pytest

from keyservice.sandbox.issuing import Repeat
from keyservice.sandbox.made_keys import KEY_PATTERN
from keyservice.sandbox.publisher import Publisher, running_publisher
from tests.sandbox.asking import Caller, asking, new_reference


async def test_a_key_is_issued_once_and_a_repeat_gets_the_same(publisher: Publisher, caller: Caller) -> None:
    reference = new_reference()
    first, second = await caller.nexway(reference), await caller.nexway(reference)
    assert first.status == second.status == 200
    assert first.json == second.json
    assert re.fullmatch(KEY_PATTERN, first.json["activationCode"])
    assert publisher.keys_of(reference) == (first.json["activationCode"],)
    assert publisher.ledger.issued == 1
    assert publisher.ledger.entries[reference].times_asked == 2


@pytest.mark.parametrize(("repeat", "status", "issued"), [(Repeat.SECOND_KEY, 200, 2), (Repeat.CONFLICT, 409, 1)])
async def test_a_repeat_does_what_is_set(repeat: Repeat, status: int, issued: int) -> None:
    async with running_publisher(repeats={"nexway": repeat}) as publisher, asking(publisher) as caller:
        reference = new_reference()
        await caller.nexway(reference)
        assert (await caller.nexway(reference)).status == status
        assert len(set(publisher.keys_of(reference))) == publisher.ledger.issued == issued


async def test_the_same_seed_makes_the_same_keys_in_whatever_order() -> None:
    one, other = new_reference(), new_reference()
    keys = []
    for order in ((one, other), (other, one)):
        async with running_publisher(seed="7") as publisher, asking(publisher) as caller:
            for reference in order:
                await caller.nexway(reference)
            keys.append((publisher.keys_of(one), publisher.keys_of(other)))
    assert keys[0] == keys[1]
    assert keys[0][0] != keys[0][1]


async def test_a_cancellation_is_booked_once_and_a_repeat_is_told_so(publisher: Publisher, caller: Caller) -> None:
    reference = new_reference()
    await caller.nexway(reference)
    states = [(await caller.nexway(reference, "cancel")).json["status"] for _ in range(2)]
    assert states == ["cancelled", "already-cancelled"]
    assert publisher.ledger.voided == 1
    assert publisher.live_keys_of(reference) == ()
    assert (await caller.nexway(reference)).status == 410
    assert publisher.ledger.issued == 1


async def test_what_was_never_issued_cannot_be_cancelled(publisher: Publisher, caller: Caller) -> None:
    got = await caller.nexway(new_reference(), "cancel")
    assert (got.status, got.json["errorCode"]) == (404, "NOT_FOUND")
    assert publisher.ledger.voided == 0


async def test_a_stock_ends(publisher: Publisher, caller: Caller) -> None:
    publisher.counter.stock = 1
    assert (await caller.nexway(new_reference())).status == 200
    refused = await caller.nexway(new_reference())
    assert (refused.status, refused.json["errorCode"]) == (409, "OUT_OF_STOCK")
    assert publisher.ledger.issued == 1


async def test_every_request_is_in_the_ledger_with_what_became_of_it(publisher: Publisher, caller: Caller) -> None:
    reference = new_reference()
    await caller.nexway(reference)
    await caller.ask("POST", "nexway", "/licenses/new", json={})
    async with caller.session.get(f"{publisher.url}/ledger") as response:
        told = await response.json()
    assert [(seen["sequence"], seen["operation"], seen["reference"], seen["outcome"]) for seen in told["requests"]] == [
        (1, "create", reference, "done"),
        (2, "?", "", "refused: unauthorized"),
    ]
    assert told["references"][reference]["issues"][0]["keys"] == list(publisher.keys_of(reference))
    assert (told["issued"], told["voided"]) == (1, 0)


async def test_no_key_is_shown_where_the_ledger_is_printed(publisher: Publisher, caller: Caller) -> None:
    reference = new_reference()
    await caller.nexway(reference)
    (key,) = publisher.keys_of(reference)
    assert key not in repr(publisher)
    assert publisher.credentials.password not in repr(publisher)
