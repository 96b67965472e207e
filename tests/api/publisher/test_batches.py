import csv
import io
from uuid import uuid4

import aiohttp
import pytest

from keyservice.domain.caller import Scope
from tests.api.publisher.desk import Desk, desk_of
from tests.fulfillment.uploads import csv_of
from tests.lab.shop import Shop


async def test_a_batch_is_held_released_and_withdrawn(desk: Desk, shop: Shop) -> None:
    made = (await desk.upload(shop, csv_of(["A", "B", "C"]), hold="true")).json
    assert made["state"] == "held"
    batch = made["links"]["batch"]
    released = await desk.post(f"{batch}/release")
    assert (released.status, released.json["state"], released.json["keys"]["for_sale"]) == (200, "released", 3)
    await shop.buy("one")
    held = (await desk.post(f"{batch}/hold")).json
    assert held["keys"] == {
        "accepted": 3,
        "for_sale": 0,
        "held": 2,
        "near_expiry": 0,
        "expired": 0,
        "withdrawn": 0,
        "taken": 1,
    }
    withdrawn = (await desk.post(f"{batch}/withdraw")).json
    assert (withdrawn["state"], withdrawn["keys"]["withdrawn"]) == ("withdrawn", 2)
    assert (await desk.post(f"{batch}/release")).status == 409
    assert (await desk.get(batch)).json == withdrawn


async def test_a_batch_has_the_priority_that_it_was_given_last(desk: Desk, shop: Shop) -> None:
    made = (await desk.upload(shop, csv_of(["TURN"]), priority="-7")).json
    assert made["priority"] == -7
    batch = made["links"]["batch"]
    changed = await desk.ask("PATCH", batch, json={"priority": 1_000_000})
    assert (changed.status, changed.json["priority"]) == (200, 1_000_000)
    assert (await desk.get(batch)).json == changed.json
    await desk.post(f"{batch}/withdraw")
    assert (await desk.ask("PATCH", batch, json={"priority": 1})).status == 409


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], 5, {"priority": None}, {"priority": "1"}, {"priority": 1.0}, {"priority": True}),
        *({"priority": 1_000_001}, {"priority": -1_000_001}, {"priority": 2**63 - 1}, {"priority": [1]}),
        *({"priority": 1, "state": "held"}, {"priority": 1, "batch_id": "x"}, {"Priority": 1}),
    ],
)
async def test_a_change_of_a_batch_that_breaks_a_rule_is_refused(desk: Desk, shop: Shop, body: object) -> None:
    made = (await desk.upload(shop, csv_of([f"RULE-{shop.pool_id}"]))).json
    before = (await desk.get(made["links"]["batch"])).json
    refusal = await desk.ask("PATCH", made["links"]["batch"], json=body)
    assert (refusal.status, refusal.headers["content-type"]) == (422, "application/problem+json")
    assert (await desk.get(made["links"]["batch"])).json == before


async def test_the_batches_of_a_pool_are_listed_newest_first(desk: Desk, shop: Shop) -> None:
    made = [(await desk.upload(shop, csv_of([f"LIST-{number}"]))).json["batch_id"] for number in range(3)]
    path = f"/publisher/pools/{shop.pool_id}/batches"
    first = (await desk.get(f"{path}?limit=2")).json
    second = (await desk.get(f"{path}?limit=2&after={first['after']}")).json
    assert [batch["batch_id"] for batch in first["batches"] + second["batches"]] == made[::-1]
    assert second["after"] is None


async def test_the_refused_rows_are_a_table_without_keys_and_without_formulas(desk: Desk, shop: Shop) -> None:
    ids = ["plain", "=1+1", "+1", "-1", "@x", " =spaced", "\uff1dwide", "a=b", '"quoted"']
    lines = ["key,key_id", "TWICE,first", *(f'TWICE,"{name.replace(chr(34), chr(34) * 2)}"' for name in ids)]
    report = (await desk.upload(shop, "\n".join(lines).encode())).json
    answer = await desk.get(report["links"]["refused_rows"])
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="refused-{report["batch_id"]}.csv"'
    assert b"TWICE" not in answer.body
    rows = list(csv.reader(io.StringIO(answer.body.decode())))
    assert rows[0] == ["row", "verdict", "reason", "earlier_row", "publisher_key_id"]
    assert [row[:4] for row in rows[1:]] == [[str(3 + at), "duplicate_in_file", "", "2"] for at in range(len(ids))]
    assert [row[4] for row in rows[1:]] == [
        "plain",
        "'=1+1",
        "'+1",
        "'-1",
        "'@x",
        "' =spaced",
        "'\uff1dwide",
        "a=b",
        '"quoted"',
    ]


async def test_many_refused_rows_come_all(desk: Desk, shop: Shop) -> None:
    report = (await desk.upload(shop, csv_of(["SAME"] * 5_000))).json
    answer = await desk.get(report["links"]["refused_rows"])
    rows = list(csv.reader(io.StringIO(answer.body.decode())))[1:]
    assert [int(row[0]) for row in rows] == list(range(3, 5_002))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/publisher/batches/{}"),
        ("PATCH", "/publisher/batches/{}"),
        ("POST", "/publisher/batches/{}/release"),
        ("POST", "/publisher/batches/{}/hold"),
        ("POST", "/publisher/batches/{}/withdraw"),
        ("GET", "/publisher/imports/{}"),
        ("GET", "/publisher/imports/{}/refused-rows"),
        ("DELETE", "/publisher/imports/{}"),
    ],
)
async def test_foreign_missing_and_impossible_batches_answer_alike(
    desk: Desk, shop: Shop, http: aiohttp.ClientSession, method: str, path: str
) -> None:
    neighbour = await Shop.opened(shop.services)
    theirs = await desk_of(http, neighbour)
    foreign = (await theirs.upload(neighbour, csv_of(["FOREIGN"]))).json["batch_id"]
    body = {"priority": 1} if method == "PATCH" else None
    answers = [await desk.ask(method, path.format(name), json=body) for name in (foreign, uuid4(), "7", "%27--")]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.json["detail"] for answer in answers}) == 1
    assert await neighbour.left() == 1


async def test_changing_a_batch_needs_its_scope(http: aiohttp.ClientSession, desk: Desk, shop: Shop) -> None:
    made = (await desk.upload(shop, csv_of(["SCOPED"]))).json
    reader = await desk_of(http, shop, Scope.POOLS_READ)
    assert (await reader.get(made["links"]["batch"])).status == 200
    for verb in ("release", "hold", "withdraw"):
        assert (await reader.post(f"{made['links']['batch']}/{verb}")).status == 403
    assert (await reader.ask("DELETE", made["links"]["import"])).status == 403
    writer = await desk_of(http, shop, Scope.BATCHES_WRITE)
    assert (await writer.get(made["links"]["batch"])).status == 403
    assert (await writer.post(f"{made['links']['batch']}/hold")).status == 200
