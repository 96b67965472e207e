from uuid import uuid4

import aiohttp
import pytest

from keyservice.domain.caller import Scope
from tests.api.publisher.desk import Desk, desk_of
from tests.lab.shop import Shop, texts_of

FILE = b"key,key_id\nLEAKED-1,L-1\nLEAKED-2,L-2\nLEAKED-3,L-3\nWHOLE-1,W-1\n"


def path_of(shop: Shop) -> str:
    return f"/publisher/pools/{shop.pool_id}/withdrawals"


async def test_keys_are_withdrawn_by_text_and_by_the_publisher_s_id_and_no_answer_repeats_them(
    desk: Desk, shop: Shop
) -> None:
    batch = (await desk.upload(shop, FILE)).json["links"]["batch"]
    body = {"keys": ["LEAKED-1", "UNKNOWN-KEY"], "publisher_key_ids": ["L-3"], "reason": "found on a forum"}
    answer = await desk.post(path_of(shop), json=body)
    assert answer.status == 200
    assert answer.json["entries"] == [
        {"named_by": "key", "index": 0, "outcome": "withdrawn"},
        {"named_by": "key", "index": 1, "outcome": "not_found"},
        {"named_by": "publisher_key_id", "index": 0, "outcome": "withdrawn"},
    ]
    assert (answer.json["outcomes"]["withdrawn"], sum(answer.json["outcomes"].values())) == (2, 3)
    assert not any(word in answer.body for word in (b"LEAKED", b"UNKNOWN", b"L-3"))
    keys = (await desk.get(batch)).json["keys"]
    assert (keys["for_sale"], keys["withdrawn"]) == (2, 2)
    assert texts_of(await shop.buy("the others", quantity=2)) == ["LEAKED-2", "WHOLE-1"]

    again = (await desk.post(path_of(shop), json={**body, "publisher_key_ids": ["L-3", "W-1"]})).json
    outcomes = [entry["outcome"] for entry in again["entries"]]
    assert outcomes == ["already_withdrawn", "not_found", "already_withdrawn", "issued"]
    uploaded = (await desk.upload(shop, FILE)).json["verdicts"]
    assert (uploaded["withdrawn"], uploaded["already_issued"]) == (2, 2)


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], {"reason": "leak"}, {"keys": ["A"]}, {"keys": [], "publisher_key_ids": [], "reason": "leak"}),
        *({"keys": ["A"], "reason": ""}, {"keys": ["A"], "reason": None}, {"keys": ["A"], "reason": "x" * 201}),
        {"keys": ["A"], "reason": "two\nlines"},
        *({"keys": "A", "reason": "leak"}, {"keys": {"0": "A"}, "reason": "leak"}, {"keys": None, "reason": "leak"}),
        *({"keys": [5], "reason": "leak"}, {"keys": [""], "reason": "leak"}, {"keys": [["A"]], "reason": "leak"}),
        {"keys": ["A" * 1_025], "reason": "leak"},
        {"keys": [f"K-{number}" for number in range(1_001)], "reason": "leak"},
        {"keys": ["A"] * 501, "publisher_key_ids": ["B"] * 500, "reason": "leak"},
        {"publisher_key_ids": ["x" * 129], "reason": "leak"},
        {"keys": ["A"], "reason": "leak", "pool_id": "another"},
        {"keys": [{"parts": {"login": "a", "code": "b"}}], "reason": "leak"},
        {"keys": ["SECRET-OF-OURS"], "reason": "SECRET-OF-OURS is on a forum"},
    ],
)
async def test_a_withdrawal_that_breaks_a_rule_is_refused_and_withdraws_nothing(
    desk: Desk, shop: Shop, body: object
) -> None:
    await desk.upload(shop, b"key\nA-KEY\nB-KEY\n")
    refusal = await desk.post(path_of(shop), json=body)
    assert (refusal.status, refusal.headers["content-type"]) == (422, "application/problem+json")
    assert b"SECRET-OF-OURS" not in refusal.body
    assert await shop.left() == 2


async def test_as_many_as_may_be_named_are_withdrawn_in_one_request(desk: Desk, shop: Shop) -> None:
    keys = [f"MANY-{number}" for number in range(1_000)]
    await desk.upload(shop, "\n".join(["key", *keys]).encode())
    answer = await desk.post(path_of(shop), json={"keys": keys, "reason": "all of them"})
    assert answer.json["outcomes"]["withdrawn"] == 1_000
    assert await shop.left() == 0


async def test_foreign_missing_and_impossible_pools_answer_alike(
    desk: Desk, shop: Shop, http: aiohttp.ClientSession
) -> None:
    neighbour = await Shop.opened(shop.services)
    await (await desk_of(http, neighbour)).upload(neighbour, b"key\nTHEIRS\n")
    body = {"keys": ["THEIRS"], "reason": "mine"}
    answers = [
        await desk.post(f"/publisher/pools/{name}/withdrawals", json=body)
        for name in (neighbour.pool_id, uuid4(), "1", "%27")
    ]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.json["detail"] for answer in answers}) == 1
    assert (await desk.post(path_of(shop), json=body)).json["entries"][0]["outcome"] == "not_found"
    assert await neighbour.left() == 1


async def test_withdrawing_needs_its_scope(http: aiohttp.ClientSession, desk: Desk, shop: Shop) -> None:
    await desk.upload(shop, b"key\nSCOPED\n")
    body = {"keys": ["SCOPED"], "reason": "leak"}
    reader = await desk_of(http, shop, Scope.POOLS_READ, Scope.POOLS_WRITE)
    assert (await reader.post(path_of(shop), json=body)).status == 403
    assert await shop.left() == 1
    writer = await desk_of(http, shop, Scope.BATCHES_WRITE)
    assert (await writer.post(path_of(shop), json=body)).status == 200
