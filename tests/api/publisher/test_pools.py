from uuid import uuid4

import aiohttp
import pytest

from keyservice.domain.caller import CallerKind, Scope
from tests.api.publisher.desk import Desk, desk_of, token_of
from tests.lab.shop import Shop


async def test_a_new_pool_is_empty_and_is_found_again(desk: Desk) -> None:
    body = {"name": "EU", "policy": "priority", "warning_level": 20, "alert_level": 5, "days_left_min": 90}
    made = await desk.post("/publisher/pools", json=body)
    assert made.status == 201
    assert {name: made.json[name] for name in body} == body
    assert (made.json["left"], made.json["alarm"], made.json["is_open"]) == (0, "alert", True)
    assert made.headers["location"] == f"/publisher/pools/{made.json['pool_id']}"
    assert (await desk.get(made.headers["location"])).json == made.json


async def test_a_sandbox_pool_is_made_one_and_stays_one(desk: Desk) -> None:
    made = await desk.post("/publisher/pools", json={"name": "trying out", "is_sandbox": True})
    assert (made.status, made.json["is_sandbox"]) == (201, True)
    path = made.headers["location"]
    for is_sandbox in (False, True, None):
        assert (await desk.ask("PATCH", path, json={"is_sandbox": is_sandbox})).status == 422
    assert (await desk.ask("PATCH", path, json={"name": "tried"})).json["is_sandbox"] is True
    assert (await desk.post("/publisher/pools", json={"name": "for sale"})).json["is_sandbox"] is False


async def test_the_level_of_a_pool_is_exact(desk: Desk, shop: Shop) -> None:
    await shop.load([f"EXACT-{number}" for number in range(7)])
    await shop.buy("two", quantity=2)
    pool = (await desk.get(f"/publisher/pools/{shop.pool_id}")).json
    assert (pool["left"], pool["alarm"]) == (5, "none")


async def test_pools_are_listed_page_by_page_with_their_levels(desk: Desk, shop: Shop) -> None:
    await shop.load(["LISTED"])
    for number in range(4):
        assert (await desk.post("/publisher/pools", json={"name": f"pool {number}"})).status == 201
    names, after = [], ""
    while True:
        page = (await desk.get(f"/publisher/pools?limit=2{after}")).json
        names += [(pool["name"], pool["left"]) for pool in page["pools"]]
        if page["after"] is None:
            break
        after = f"&after={page['after']}"
    assert names == [("main", 1), ("pool 0", 0), ("pool 1", 0), ("pool 2", 0), ("pool 3", 0)]


async def test_a_pool_changes_only_in_what_is_named(desk: Desk, shop: Shop) -> None:
    await shop.load(["LEVEL"])
    path = f"/publisher/pools/{shop.pool_id}"
    before = (await desk.get(path)).json
    changed = await desk.ask("PATCH", path, json={"warning_level": 3, "alert_level": 1})
    assert changed.json == {**before, "warning_level": 3, "alert_level": 1, "alarm": "alert"}
    assert (await desk.ask("PATCH", path, json={"policy": "expiring_first"})).json["policy"] == "expiring_first"
    assert (await desk.ask("PATCH", path, json={"days_left_min": 3_650})).json["days_left_min"] == 3_650
    assert (await desk.ask("PATCH", path, json={"is_open": False})).json["left"] == 0
    events = (await desk.get(f"/publisher/events?pool_id={shop.pool_id}")).json["events"]
    assert [event["name"] for event in events] == [
        "pool.changed",
        "pool.alarm_changed",
        "pool.changed",
        "pool.changed",
        "pool.changed",
    ]
    assert events[0]["facts"] == {"warning_level": 3, "alert_level": 1}


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"name": ""},
        {"name": " padded"},
        {"name": "x" * 201},
        {"name": "tab\tinside"},
        {"name": 7},
        {"name": "x", "policy": "lifo"},
        {"name": "x", "policy": None},
        {"name": "x", "warning_level": -1},
        {"name": "x", "days_left_min": -1},
        {"name": "x", "days_left_min": 3_651},
        {"name": "x", "days_left_min": "1"},
        {"name": "x", "warning_level": 1.0},
        {"name": "x", "warning_level": "1"},
        {"name": "x", "warning_level": True},
        {"name": "x", "warning_level": 10**18},
        {"name": "x", "warning_level": 1, "alert_level": 2},
        {"name": "x", "state": "open"},
        {"name": "x", "publisher_id": 1},
        {"name": "x", "is_sandbox": "true"},
        {"name": "x", "is_sandbox": 1},
        {"name": "x", "is_sandbox": None},
    ],
)
async def test_a_pool_that_breaks_a_rule_is_refused(desk: Desk, body: object) -> None:
    refusal = await desk.post("/publisher/pools", json=body)
    assert (refusal.status, refusal.headers["content-type"]) == (422, "application/problem+json")
    assert len((await desk.get("/publisher/pools")).json["pools"]) == 1


async def test_a_name_is_used_once(desk: Desk, shop: Shop, http: aiohttp.ClientSession) -> None:
    assert (await desk.post("/publisher/pools", json={"name": "twice"})).status == 201
    assert (await desk.post("/publisher/pools", json={"name": "twice"})).status == 409
    renamed = await desk.ask("PATCH", f"/publisher/pools/{shop.pool_id}", json={"name": "twice"})
    assert renamed.status == 409
    neighbour = await desk_of(http, await Shop.opened(shop.services))
    assert (await neighbour.post("/publisher/pools", json={"name": "twice"})).status == 201


async def test_levels_in_the_wrong_order_are_refused_and_change_nothing(desk: Desk, shop: Shop) -> None:
    path = f"/publisher/pools/{shop.pool_id}"
    before = (await desk.get(path)).json
    assert (await desk.ask("PATCH", path, json={"alert_level": 1})).status == 422
    assert (await desk.get(path)).json == before


async def test_foreign_missing_and_impossible_pools_answer_alike(
    desk: Desk, shop: Shop, http: aiohttp.ClientSession
) -> None:
    foreign = (await Shop.opened(shop.services)).pool_id
    answers = []
    for name in (foreign, uuid4(), "1", "%27", "0" * 4_000):
        for method, options in (("GET", {}), ("PATCH", {"json": {"name": "mine now"}})):
            answer = await desk.ask(method, f"/publisher/pools/{name}", **options)
            answers.append((answer.status, {**answer.json, "instance": None}))
    assert answers == [answers[0]] * len(answers)
    assert answers[0][0] == 404


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=-1", "limit=1e3", "limit=", "limit=1&limit=1", "after=1", "size=3", "Limit=3"],
)
async def test_a_page_that_cannot_be_is_refused(desk: Desk, query: str) -> None:
    assert (await desk.get(f"/publisher/pools?{query}")).status == 422


async def test_each_route_asks_for_its_scope(http: aiohttp.ClientSession, shop: Shop) -> None:
    reader = await desk_of(http, shop, Scope.POOLS_READ)
    assert (await reader.get("/publisher/pools")).status == 200
    assert (await reader.post("/publisher/pools", json={"name": "no"})).status == 403
    assert (await reader.ask("PATCH", f"/publisher/pools/{shop.pool_id}", json={})).status == 403
    writer = await desk_of(http, shop, Scope.POOLS_WRITE)
    assert (await writer.get("/publisher/pools")).status == 403
    assert (await Desk(http, shop.reseller_token).get("/publisher/pools")).status == 403
    assert (await Desk(http, "nonsense").get("/publisher/pools")).status == 401


async def test_an_admin_names_the_publisher_whose_pools_it_means(http: aiohttp.ClientSession, shop: Shop) -> None:
    admin = Desk(http, await token_of(shop, CallerKind.ADMIN))
    assert (await admin.get("/publisher/pools")).status == 422
    assert (await admin.get("/publisher/pools?publisher=nobody")).status == 404
    pools = (await admin.get(f"/publisher/pools?publisher={shop.publisher}")).json["pools"]
    assert [pool["pool_id"] for pool in pools] == [str(shop.pool_id)]


async def test_a_publisher_cannot_name_another(desk: Desk, shop: Shop) -> None:
    neighbour = await Shop.opened(shop.services)
    assert (await desk.get(f"/publisher/pools?publisher={neighbour.publisher}")).status == 404
    assert (await desk.get(f"/publisher/pools?publisher={shop.publisher}")).status == 200


async def test_events_are_read_page_by_page_and_are_the_publisher_s_own(
    desk: Desk, shop: Shop, http: aiohttp.ClientSession
) -> None:
    for number in range(5):
        await desk.post("/publisher/pools", json={"name": f"event {number}"})
    first = (await desk.get("/publisher/events?limit=3")).json
    second = (await desk.get(f"/publisher/events?limit=3&after={first['after']}")).json
    assert [event["facts"]["name"] for event in first["events"] + second["events"]] == [
        f"event {number}" for number in range(5)
    ]
    assert second["after"] is None
    neighbour = await desk_of(http, await Shop.opened(shop.services))
    assert (await neighbour.get("/publisher/events")).json["events"] == []
