from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from keyservice.domain.caller import Scope
from keyservice.fulfillment.ids import new_id
from tests.api.publisher.desk import Desk, desk_of
from tests.lab.shop import Shop


def plan(*pool_ids: object) -> dict[str, Any]:
    return {"steps": [{"source": "pool", "pool": str(pool_id)} for pool_id in pool_ids]}


def product_ref() -> int:
    return int(new_id()) % 1_000_000_000_000 + 1


async def test_a_product_is_sold_from_the_pools_of_its_template_in_their_order(desk: Desk, shop: Shop) -> None:
    second = (await desk.post("/publisher/pools", json={"name": "second"})).json["pool_id"]
    body = {"name": "two pools", "quantity_mode": "block", "block_size": 2, "source_plan": plan(second, shop.pool_id)}
    template = await desk.post("/publisher/templates", json=body)
    assert template.status == 201
    whole = {**body, "source_plan": {**plan(second, shop.pool_id), "answer_seconds": 5, "accepts_surplus": False}}
    assert {name: template.json[name] for name in body} == whole
    product = {
        "product_ref": product_ref(),
        "name": "Antivirus 2028",
        "template_id": template.json["template_id"],
        "publisher_product_id": "AV-28",
    }
    made = await desk.post("/publisher/products", json=product)
    assert (made.status, made.json) == (201, {**product, "is_active": True})
    found = (await shop.services.catalogue.products([product["product_ref"]]))[product["product_ref"]]
    assert [str(pool_id) for pool_id in found.template.pool_ids] == [second, str(shop.pool_id)]
    assert found.template.units_of(3) == 6


@pytest.mark.parametrize(
    ("seconds", "status"), [(0, 201), (0.0, 201), (0.001, 201), (60, 201), (0.0009, 422), (60.1, 422)]
)
async def test_an_answer_waits_for_nothing_or_for_a_time_that_can_be_waited(
    desk: Desk, shop: Shop, seconds: float, status: int
) -> None:
    body = {"name": "patient", "source_plan": {**plan(shop.pool_id), "answer_seconds": seconds}}
    assert (await desk.post("/publisher/templates", json=body)).status == status


async def test_templates_and_products_are_listed_page_by_page(desk: Desk, shop: Shop) -> None:
    for number in range(3):
        body: dict[str, Any] = {"name": f"template {number}", "source_plan": plan(shop.pool_id)}
        template_id = (await desk.post("/publisher/templates", json=body)).json["template_id"]
        body = {"product_ref": product_ref(), "name": f"product {number}", "template_id": template_id}
        assert (await desk.post("/publisher/products", json=body)).status == 201
    for things in ("templates", "products"):
        seen, after = 0, ""
        while True:
            page = (await desk.get(f"/publisher/{things}?limit=3{after}")).json
            seen += len(page[things])
            if page["after"] is None:
                break
            after = f"&after={page['after']}"
        # The shop came with one of each.
        assert seen == 4


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"quantity_mode": "double"},
        {"block_size": 0},
        {"block_size": 2},
        {"quantity_mode": "block", "block_size": 10_001},
        {"source_plan": {}},
        {"source_plan": {"steps": []}},
        {"source_plan": {"steps": [{"source": "connector", "pool": str(uuid4())}]}},
        {"source_plan": {"steps": [{"source": "pool", "pool": "main"}]}},
        {"source_plan": plan(uuid4())},
        {"source_plan": plan(*[uuid4() for _ in range(9)])},
        {"source_plan": {**plan(uuid4()), "more": 1}},
        {"publisher_id": 1},
    ],
)
async def test_a_template_that_breaks_a_rule_is_refused(desk: Desk, shop: Shop, change: dict[str, Any]) -> None:
    body = {"name": "broken", "source_plan": plan(shop.pool_id), **change}
    assert (await desk.post("/publisher/templates", json=body)).status == 422


async def test_a_template_names_no_pool_twice_and_none_of_another_publisher(desk: Desk, shop: Shop) -> None:
    neighbour = await Shop.opened(shop.services)
    answers = [
        await desk.post("/publisher/templates", json={"name": "stolen", "source_plan": plan(shop.pool_id, other)})
        for other in (neighbour.pool_id, uuid4())
    ]
    assert [answer.status for answer in answers] == [422, 422]
    assert answers[0].json["errors"] == answers[1].json["errors"]
    twice = {"name": "twice", "source_plan": plan(shop.pool_id, shop.pool_id)}
    assert (await desk.post("/publisher/templates", json=twice)).status == 422


async def test_names_and_references_are_used_once(desk: Desk, shop: Shop, http: aiohttp.ClientSession) -> None:
    body = {"name": "once", "source_plan": plan(shop.pool_id)}
    made = await desk.post("/publisher/templates", json=body)
    assert [made.status, (await desk.post("/publisher/templates", json=body)).status] == [201, 409]
    product = {"product_ref": product_ref(), "name": "x", "template_id": made.json["template_id"]}
    answers = [await desk.post("/publisher/products", json=product) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 409]
    neighbour = await desk_of(http, await Shop.opened(shop.services))
    assert (await neighbour.post("/publisher/products", json=product)).status == 422


@pytest.mark.parametrize(
    "change",
    [
        {"product_ref": 0},
        {"product_ref": 2**53},
        {"product_ref": "1"},
        {"product_ref": True},
        {"name": "\u202e"},
        {"template_id": "nonsense"},
        {"template_id": str(uuid4())},
        {"publisher_product_id": ""},
        {"state": "active"},
    ],
)
async def test_a_product_that_breaks_a_rule_is_refused(desk: Desk, shop: Shop, change: dict[str, Any]) -> None:
    template = await desk.post("/publisher/templates", json={"name": "good", "source_plan": plan(shop.pool_id)})
    body = {"product_ref": product_ref(), "name": "x", "template_id": template.json["template_id"], **change}
    assert (await desk.post("/publisher/products", json=body)).status == 422


async def test_the_catalogue_is_written_with_its_scope_only(http: aiohttp.ClientSession, shop: Shop) -> None:
    reader = await desk_of(http, shop, Scope.POOLS_READ)
    assert (await reader.get("/publisher/templates")).status == (await reader.get("/publisher/products")).status == 200
    body: dict[str, Any] = {"name": "no", "source_plan": plan(shop.pool_id)}
    assert (await reader.post("/publisher/templates", json=body)).status == 403
    assert (await reader.post("/publisher/products", json={})).status == 403
