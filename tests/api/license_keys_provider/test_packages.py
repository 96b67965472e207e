"""Packages over HTTP: the reference's batch store as a second door to the same pools."""

from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from keyservice.domain.caller import CallerKind, Scope
from keyservice.fulfillment.ids import new_id
from tests.api.publisher.desk import Desk, Reply, desk_of, token_of
from tests.fulfillment.feeds import cancelled
from tests.lab.shop import Shop, texts_of

PACKAGES = "/license-keys-provider/packages"
NOTHING = {"available": 0, "occupied": 0, "canceled": 0, "renewed": 0, "blacklisted": 0}


def _ref() -> int:
    return int(new_id()) % 1_000_000_000_000 + 1


async def _made(desk: Desk, *refs: int, **members: Any) -> dict[str, Any]:
    body = {"name": f"package {uuid4()}", "nexwayProductId": [str(ref) for ref in refs or (_ref(),)], **members}
    reply = await desk.post(PACKAGES, json=body)
    assert reply.status == 201, reply
    assert reply.headers["location"] == f"{PACKAGES}/{reply.json['id']}"
    package: dict[str, Any] = reply.json
    return package


async def _put(desk: Desk, package: dict[str, Any], **changes: Any) -> Reply:
    return await desk.ask("PUT", f"{PACKAGES}/{package['id']}", json={**package, **changes})


async def _products(desk: Desk) -> dict[int, dict[str, Any]]:
    found = await desk.get("/publisher/products?limit=500")
    return {product["product_ref"]: product for product in found.json["products"]}


async def test_a_package_is_a_pool_whose_products_can_be_sold_at_once(desk: Desk, shop: Shop) -> None:
    refs = sorted((_ref(), _ref()))
    package = await _made(desk, *refs, publisherProductId=["pro", "home"], threshold=3)
    assert package == {
        "id": package["id"],
        "publisherId": shop.publisher,
        "name": package["name"],
        "status": "ENABLED",
        "nexwayProductId": [str(ref) for ref in refs],
        "publisherProductId": ["pro", "home"],
        "threshold": 3,
        "stock": NOTHING,
    }
    pool = (await desk.get(f"/publisher/pools/{package['id']}")).json
    assert (pool["name"], pool["warning_level"], pool["alert_level"], pool["alarm"]) == (package["name"], 3, 3, "alert")
    await shop.load(["SOLD-1", "SOLD-2"], pool_id=pool["pool_id"])
    sold = await shop.submit(shop.with_lines(shop.order("order"), (refs[1], 1)))
    assert texts_of(sold) == ["SOLD-1"]
    assert (await desk.get(f"{PACKAGES}/{package['id']}")).json["stock"] == {**NOTHING, "available": 1, "occupied": 1}
    events = (await desk.get("/publisher/events", params={"pool_id": package["id"]})).json["events"]
    assert ("pool.products_changed", {"added": refs, "removed": []}) in [(one["name"], one["facts"]) for one in events]


async def test_a_product_of_the_publishers_own_is_sold_from_the_new_package_from_now_on(desk: Desk, shop: Shop) -> None:
    await shop.load(["OLD-1"])
    package = await _made(desk, shop.product_ref)
    await shop.load(["NEW-1"], pool_id=package["id"])
    assert texts_of(await shop.buy("order")) == ["NEW-1"]
    assert (await desk.get(f"{PACKAGES}/{shop.pool_id}")).json["nexwayProductId"] == []


async def test_the_number_of_another_publishers_product_is_refused_like_any_that_is_taken(
    desk: Desk, shop: Shop, http: aiohttp.ClientSession
) -> None:
    foreign = await Shop.opened(shop.services)
    before = await _products(desk)
    for refs in ([foreign.product_ref], [_ref(), foreign.product_ref]):
        body = {"name": f"package {uuid4()}", "nexwayProductId": [str(ref) for ref in refs]}
        refusal = await desk.post(PACKAGES, json=body)
        assert (refusal.status, refusal.json["detail"]) == (409, "the number of a product is taken; choose another")
        listed = await desk.get(PACKAGES, params={"size": 500, "format": "short"})
        assert body["name"] not in [one["name"] for one in listed.json["items"]]
    assert await _products(desk) == before
    theirs = await desk_of(http, foreign)
    assert (await _products(theirs))[foreign.product_ref]["template_id"]


async def test_what_an_answer_says_may_be_sent_back_with_changes(desk: Desk) -> None:
    kept, dropped, added = _ref(), _ref(), _ref()
    package = await _made(desk, kept, dropped, publisherProductId=["kept", "dropped"])
    changed = await _put(
        desk, package, name="renamed", status="DISABLED", threshold=7, nexwayProductId=[str(kept), str(added)],
        publisherProductId=["kept", "added"],
    )  # fmt: skip
    assert changed.status == 200
    assert changed.json | {"nexwayProductId": [], "publisherProductId": []} == {
        **package,
        "name": "renamed",
        "status": "DISABLED",
        "threshold": 7,
        "nexwayProductId": [],
        "publisherProductId": [],
    }
    assert sorted(changed.json["nexwayProductId"]) == sorted((str(kept), str(added)))
    assert sorted(changed.json["publisherProductId"]) == ["added", "kept"]
    assert {
        ref: product["is_active"] for ref, product in (await _products(desk)).items() if ref in (kept, dropped)
    } == {
        kept: True,
        dropped: False,
    }
    back = await _put(desk, changed.json, nexwayProductId=[str(dropped)], publisherProductId=None)
    assert (back.json["nexwayProductId"], back.json["publisherProductId"]) == ([str(dropped)], ["dropped"])
    again = await _put(desk, back.json)
    assert again.json == back.json


async def test_a_product_that_is_left_out_cannot_be_ordered_until_a_package_takes_it_again(
    desk: Desk, shop: Shop
) -> None:
    ref = _ref()
    package = await _made(desk, ref)
    await shop.load(["KEY-1", "KEY-2"], pool_id=package["id"])
    assert ref in await shop.services.catalogue.products([ref])
    await _put(desk, package, nexwayProductId=[str(_ref())])
    assert await shop.services.catalogue.products([ref]) == {}
    taken = await _made(desk, ref)
    product = (await shop.services.catalogue.products([ref]))[ref]
    assert [str(pool_id) for pool_id in product.template.pool_ids] == [taken["id"]]


async def test_what_a_person_bound_by_a_template_of_its_own_is_left_alone(desk: Desk, shop: Shop) -> None:
    package = (await desk.get(f"{PACKAGES}/{shop.pool_id}")).json
    assert package["nexwayProductId"] == [str(shop.product_ref)]
    template = (await _products(desk))[shop.product_ref]["template_id"]
    refusal = await _put(desk, package, nexwayProductId=[str(_ref())])
    assert (refusal.status, "a template of its own" in refusal.json["detail"]) == (409, True)
    joined = await _put(desk, package, nexwayProductId=[str(shop.product_ref), str(_ref())])
    assert joined.status == 200
    assert (await _products(desk))[shop.product_ref]["template_id"] == template


async def test_two_levels_that_were_set_elsewhere_stay_while_the_threshold_does(desk: Desk, shop: Shop) -> None:
    await desk.ask("PATCH", f"/publisher/pools/{shop.pool_id}", json={"warning_level": 9, "alert_level": 2})
    package = (await desk.get(f"{PACKAGES}/{shop.pool_id}")).json
    assert package["threshold"] == 9
    await _put(desk, package, name="renamed")
    pool = (await desk.get(f"/publisher/pools/{shop.pool_id}")).json
    assert (pool["name"], pool["warning_level"], pool["alert_level"]) == ("renamed", 9, 2)
    await _put(desk, package, threshold=4)
    pool = (await desk.get(f"/publisher/pools/{shop.pool_id}")).json
    assert (pool["warning_level"], pool["alert_level"]) == (4, 4)


async def test_ids_that_fit_no_product_are_refused_and_change_nothing(desk: Desk) -> None:
    first, second = sorted((_ref(), _ref()))
    package = await _made(desk, first, second, publisherProductId=["one", "two"])
    for refs, ids in (
        ([first, second], ["three"]),
        ([first], ["one", "two"]),
        ([first, second], ["one", "two", "one"]),
    ):
        refusal = await _put(desk, package, nexwayProductId=[str(ref) for ref in refs], publisherProductId=ids)
        assert (refusal.status, refusal.json["errors"][0]["pointer"]) == (422, "#/publisherProductId")
    assert (await desk.get(f"{PACKAGES}/{package['id']}")).json == package
    some = await _put(desk, package, publisherProductId=["two"])
    assert some.json["publisherProductId"] == ["one", "two"]


async def test_a_name_that_is_taken_and_an_id_of_another_package_are_refused(desk: Desk) -> None:
    package, other = await _made(desk), await _made(desk)
    taken = await desk.post(PACKAGES, json={"name": package["name"], "nexwayProductId": [str(_ref())]})
    assert taken.status == 409
    assert (await _put(desk, other, name=package["name"])).status == 409
    wrong = await _put(desk, package, id=other["id"])
    assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "#/id")
    assert (await _put(desk, package, id=package["id"].upper())).status == 200


async def test_a_disabled_package_sells_nothing_and_still_tells_its_stock(desk: Desk, shop: Shop) -> None:
    ref = _ref()
    package = await _made(desk, ref, status="DISABLED")
    await shop.load(["KEY-1"], pool_id=package["id"])
    stock = (await desk.get(f"{PACKAGES}/{package['id']}")).json["stock"]
    assert stock["available"] == 1
    pool = (await desk.get(f"/publisher/pools/{package['id']}")).json
    assert (pool["is_open"], pool["left"]) == (False, 0)


async def test_stock_tells_where_every_key_is(desk: Desk, shop: Shop, http: aiohttp.ClientSession) -> None:
    await shop.load([f"KEY-{number}" for number in range(13)])
    held = await shop.load(["HELD-1", "HELD-2"], state="held")
    bought = await shop.buy("kept", quantity=3)
    assert len(texts_of(bought)) == 3
    await cancelled(shop, "canceled", quantity=2)
    await _replaced_and_held(Desk(http, await token_of(shop, CallerKind.PIPELINE)), shop)
    withdrawn = await desk.post(
        f"/publisher/pools/{shop.pool_id}/withdrawals", json={"keys": ["KEY-12"], "reason": "a leak"}
    )
    assert withdrawn.status == 200
    # Three kept, the one in the place of the replaced, and one on hold.
    stock = (await desk.get(f"{PACKAGES}/{shop.pool_id}")).json["stock"]
    assert stock == {"available": 4, "occupied": 5, "canceled": 2, "renewed": 1, "blacklisted": 1}
    async with shop.services.database.transaction() as connection:
        batch = await connection.fetchval("SELECT batch_id FROM segments WHERE segment_id = $1", held)
    assert (await desk.post(f"/publisher/batches/{batch}/withdraw")).status == 200
    stock = (await desk.get(f"{PACKAGES}/{shop.pool_id}")).json["stock"]
    assert stock == {"available": 4, "occupied": 5, "canceled": 2, "renewed": 1, "blacklisted": 3}


async def _replaced_and_held(pipeline: Desk, shop: Shop) -> None:
    lines = [{"product_ref": shop.product_ref}]
    claim = await pipeline.post("/fulfillment/claims", json={"reference": f"bad-{shop.publisher}", "lines": lines})
    unit = claim.json["lines"][0]["units"][0]
    body = {"unit_id": unit["unit_id"], "claim_id": unit["claim_id"], "reason": "does not activate"}
    replaced = await pipeline.post(f"/fulfillment/claims/bad-{shop.publisher}/replace", json=body)
    hold = {"reference": f"held-{shop.publisher}", "lines": lines, "hold_seconds": 600}
    assert (replaced.status, (await pipeline.post("/fulfillment/claims", json=hold)).status) == (200, 201)


async def test_lists_come_in_the_references_envelope_sorted_and_filtered(desk: Desk, shop: Shop) -> None:
    names = [f"{letter} {uuid4()}" for letter in "CAB"]
    made = [await _made(desk, name=name, threshold=level) for name, level in zip(names, (1, 3, 2), strict=True)]
    await _put(desk, made[2], status="DISABLED")
    mine = await _made(desk, _ref(), publisherProductId=["wanted"])
    everything = {str(shop.pool_id), *(one["id"] for one in made), mine["id"]}

    first = (await desk.get(PACKAGES, params={"size": 2, "page": 0})).json
    assert {name: first[name] for name in ("last", "number", "size", "totalItems", "totalPages")} == {
        "last": False, "number": 0, "size": 2, "totalItems": 5, "totalPages": 3,
    }  # fmt: skip
    pages = [(await desk.get(PACKAGES, params={"size": 2, "page": page})).json for page in range(4)]
    assert [len(page["items"]) for page in pages] == [2, 2, 1, 0]
    assert [page["last"] for page in pages] == [False, False, True, True]
    assert {one["id"] for page in pages for one in page["items"]} == everything

    async def ids(**query: Any) -> list[str]:
        reply = await desk.get(PACKAGES, params=query)
        assert reply.status == 200, reply
        return [one["id"] for one in reply.json["items"] if one["id"] in {package["id"] for package in made}]

    c, a, b = (package["id"] for package in made)
    assert await ids() == await ids(sort="id") == await ids(sort="id,asc") == [c, a, b]
    assert await ids(sort="id,desc") == [b, a, c]
    assert await ids(sort="name") == [a, b, c]
    assert await ids(sort="name,desc") == [c, b, a]
    assert await ids(sort="threshold,desc") == [a, b, c]
    assert await ids(sort="threshold") == [c, b, a]
    assert (await ids(sort="status"))[0] == (await ids(sort="status,desc"))[-1] == b

    for query in ({"nexwayProductId": mine["nexwayProductId"][0]}, {"publisherProductId": "wanted"}):
        found = (await desk.get(PACKAGES, params=query)).json
        assert ([one["id"] for one in found["items"]], found["totalItems"]) == ([mine["id"]], 1)
    both = {"nexwayProductId": made[0]["nexwayProductId"][0], "publisherProductId": "wanted"}
    assert (await desk.get(PACKAGES, params=both)).json["items"] == []


async def test_the_short_form_has_no_stock(desk: Desk) -> None:
    package = await _made(desk)
    listed = (await desk.get(PACKAGES, params={"format": "short", "sort": "id,desc", "size": 1})).json
    assert listed["items"] == [{name: package[name] for name in ("id", "publisherId", "name", "status")}]


@pytest.mark.parametrize(
    "query",
    [
        *("size=0", "size=501", "size=-1", "size=1e3", "size=", "page=-1", "page=1.5", "page=NaN", "page=1000001"),
        *(
            "sort=stock",
            "sort=sealed",
            "sort=name,",
            "sort=name,up",
            "sort=name;drop",
            "sort=NAME",
            "sort=",
            "sort=name&sort=id",
        ),
        *("format=long", "format=", "nexwayProductId=x", "nexwayProductId=0", "nexwayProductId=9007199254740992"),
        *("publisherProductId=", "publisherId=", "after=x", "limit=1", "unknown=1", "activationCode=XK7Q-94TM-PW2Z"),
        "publisherProductId=" + "x" * 201,
    ],
)
async def test_a_query_that_is_not_understood_is_refused(desk: Desk, query: str) -> None:
    refusal = await desk.get(f"{PACKAGES}?{query}")
    assert refusal.status == 422, refusal
    assert "XK7Q" not in refusal.body.decode()


async def test_an_admin_sees_all_packages_and_names_a_publisher_to_act_for_it(
    shop: Shop, http: aiohttp.ClientSession
) -> None:
    foreign = await Shop.opened(shop.services)
    admin = Desk(http, await token_of(shop, CallerKind.ADMIN))
    auditor = Desk(http, await token_of(shop, CallerKind.AUDITOR))
    for overseer in (admin, auditor):
        seen = (await overseer.get(PACKAGES, params={"size": 500, "sort": "id,desc"})).json["items"]
        assert {str(shop.pool_id), str(foreign.pool_id)} <= {one["id"] for one in seen}
        for query in ({"publisher": foreign.publisher}, {"publisherId": foreign.publisher}):
            listed = (await overseer.get(PACKAGES, params=query)).json
            assert [one["publisherId"] for one in listed["items"]] == [foreign.publisher]
            assert (await overseer.get(f"{PACKAGES}/{foreign.pool_id}", params=query)).status == 200
            assert (await overseer.get(f"{PACKAGES}/{shop.pool_id}", params=query)).status == 404
    body = {"name": f"package {uuid4()}", "nexwayProductId": [str(_ref())]}
    assert (await admin.post(PACKAGES, json=body)).status == 422
    assert (await auditor.post(PACKAGES, json={**body, "publisherId": shop.publisher})).status == 403
    assert (await admin.post(PACKAGES, json={**body, "publisherId": "nobody"})).status == 404
    made = await admin.post(PACKAGES, json={**body, "publisherId": foreign.publisher})
    assert (made.status, made.json["publisherId"]) == (201, foreign.publisher)
    other = {"publisher": shop.publisher}
    assert (await admin.ask("PUT", f"{PACKAGES}/{made.json['id']}", params=other, json=made.json)).status == 422
    assert (await admin.ask("PUT", f"{PACKAGES}/{made.json['id']}", json=made.json)).status == 200


async def test_a_publisher_names_nobody_but_itself(desk: Desk, shop: Shop) -> None:
    foreign = await Shop.opened(shop.services)
    for query, status in (({"publisherId": shop.publisher}, 200), ({"publisherId": foreign.publisher}, 404)):
        assert (await desk.get(PACKAGES, params=query)).status == status
    body = {"name": f"package {uuid4()}", "nexwayProductId": [str(_ref())]}
    assert (await desk.post(PACKAGES, json={**body, "publisherId": foreign.publisher})).status == 404
    assert (await desk.post(PACKAGES, json={**body, "publisherId": shop.publisher})).status == 201


async def test_opening_a_package_needs_the_right_to_pools_and_the_right_to_products(
    shop: Shop, http: aiohttp.ClientSession
) -> None:
    for scopes, status in (
        ((Scope.POOLS_WRITE,), 403),
        ((Scope.CATALOGUE_WRITE,), 403),
        ((Scope.POOLS_WRITE, Scope.CATALOGUE_WRITE), 201),
    ):
        some = await desk_of(http, shop, *scopes)
        body = {"name": f"package {uuid4()}", "nexwayProductId": [str(_ref())]}
        assert (await some.post(PACKAGES, json=body)).status == status
