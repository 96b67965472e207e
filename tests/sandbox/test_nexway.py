"""The reference's own protocol, and the plugin that answers 200 whatever happens."""

import pytest

from keyservice.sandbox.publisher import Publisher
from tests.sandbox.asking import Caller, new_reference, payload


async def test_every_operation_of_the_reference_is_known(publisher: Publisher, caller: Caller) -> None:
    reference = new_reference()
    assert (await caller.nexway(reference)).json["activationCode"]
    for operation in ("renew", "upgrade", "pause", "resume", "suspend", "reactivate", "cancel"):
        assert (await caller.nexway(reference, operation)).status == 200
    operations = publisher.ledger.entries[reference].operations
    assert operations == ["renew", "upgrade", "pause", "resume", "pause", "resume"]
    assert (await caller.nexway(reference, "destroy")).status == 400


async def test_several_keys_are_a_list(publisher: Publisher, caller: Caller) -> None:
    reference = new_reference()
    got = await caller.nexway(reference, quantity=3)
    assert tuple(got.json["activationCode"]) == publisher.keys_of(reference)
    assert len(publisher.keys_of(reference)) == 3


async def test_whoever_has_no_password_gets_nothing(publisher: Publisher, caller: Caller) -> None:
    for headers in ({}, {"Authorization": "Basic !"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}):
        body = payload(new_reference())
        got = await caller.ask("POST", "nexway", "/licenses/new", json=body, headers=headers)
        assert (got.status, got.json["errorCode"]) == (401, "UNAUTHORIZED")
    assert publisher.ledger.issued == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"fulfillmentId": 7}', b'{"fulfillmentId": ""}', b'{"a":1,"a":1}']
)
async def test_a_body_that_is_not_the_protocols_is_refused(publisher: Publisher, caller: Caller, body: bytes) -> None:
    got = await caller.ask("POST", "nexway", "/licenses/new", data=body, headers=caller.basic)
    assert (got.status, got.json["errorCode"]) == (400, "BAD_REQUEST")
    plugin = await caller.ask("POST", "plugin", "/licenses/new", data=body, headers=caller.basic)
    assert (plugin.status, plugin.json["errorCode"]) == (200, "BAD_REQUEST")
    assert publisher.ledger.issued == 0


async def test_the_plugin_answers_200_to_every_failure(publisher: Publisher, caller: Caller) -> None:
    publisher.counter.stock = 0
    body = payload(new_reference())
    failures = [
        (await caller.nexway(body["fulfillmentId"], family="plugin"), "OUT_OF_STOCK"),
        (await caller.nexway(body["fulfillmentId"], "cancel", family="plugin"), "NOT_FOUND"),
        (await caller.ask("POST", "plugin", "/licenses/new", json=body), "UNAUTHORIZED"),
        (await caller.ask("GET", "plugin", "/licenses/new"), "BAD_REQUEST"),
    ]
    for got, code in failures:
        assert (got.status, got.json["errorCode"]) == (200, code)
        assert "activationCode" not in got.json
    publisher.counter.stock = None
    assert (await caller.nexway(body["fulfillmentId"], family="plugin")).json["activationCode"]
