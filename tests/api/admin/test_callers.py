from typing import Any

import aiohttp
import pytest

from keyservice.domain.caller import SCOPES_OF_KIND, CallerKind, Scope
from keyservice.fulfillment.ids import new_id
from tests.api.publisher.desk import Desk, desk_of, token_of
from tests.lab.shop import Shop

LIMITS: dict[str, Any] = {"requests_per_second": 10, "requests_burst": 20, "requests_per_day": 1_000}
NO_LIMITS: dict[str, int | None] = dict.fromkeys(LIMITS)


@pytest.fixture
async def admin(http: aiohttp.ClientSession, shop: Shop) -> Desk:
    return Desk(http, await token_of(shop, CallerKind.ADMIN))


def named(kind: Any = "reseller", **members: Any) -> dict[str, Any]:
    return {"kind": kind, "name": f"shop {new_id()}", **members}


async def added(admin: Desk, **members: Any) -> dict[str, Any]:
    reply = await admin.post("/admin/callers", json=named(**members))
    assert reply.status == 201, reply.body
    document: dict[str, Any] = reply.json
    return document


async def test_a_caller_is_added_and_its_token_is_shown_once(admin: Desk) -> None:
    reply = await admin.post("/admin/callers", json=named(is_sandbox=True, validation="priced", **LIMITS))
    made = reply.json
    assert (reply.status, reply.headers["location"]) == (201, f"/admin/callers/{made['caller_id']}")
    assert reply.headers["cache-control"] == "no-store"
    token = made.pop("token")
    assert token.startswith(made["client_id"])
    assert set(made["scopes"]) == SCOPES_OF_KIND[CallerKind.RESELLER]
    assert {name: made[name] for name in LIMITS} == LIMITS
    assert (made["is_sandbox"], made["validation"], made["cancel_period_days"]) == (True, "priced", 14)
    shown = await admin.get(reply.headers["location"])
    assert (shown.status, shown.json) == (200, made)
    assert token.encode() not in shown.body
    async with admin.http.post("/connect/stock", headers={"secret": token}, json={"productRefs": [1]}) as stock:
        assert stock.status == 200


async def test_a_caller_of_each_kind_can_be_added_and_does_what_its_kind_does(admin: Desk, shop: Shop) -> None:
    for kind, members, path in (
        ("publisher", {"publisher": shop.publisher}, "/publisher/pools"),
        ("auditor", {}, f"/publisher/pools?publisher={shop.publisher}"),
        ("admin", {}, "/admin/callers"),
        ("pipeline", {"is_sandbox": True}, f"/fulfillment/purchases/{new_id()}"),
    ):
        made = await added(admin, kind=kind, **members)
        assert set(made["scopes"]) == SCOPES_OF_KIND[CallerKind(kind)]
        reply = await Desk(admin.http, made["token"]).get(path)
        assert reply.status == (404 if kind == "pipeline" else 200)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"kind": "publisher"}, "#/publisher"),
        ({"publisher": "somebody"}, "#/publisher"),
        ({"kind": "auditor", "is_sandbox": True}, "#/is_sandbox"),
        ({"kind": "admin", "is_sandbox": True}, "#/is_sandbox"),
        ({"scopes": ["pools:write"]}, "#/scopes"),
        ({"scopes": ["everything"]}, "#/scopes/0"),
        ({"scopes": []}, "#/scopes"),
        ({"kind": "owner"}, "#/kind"),
        ({"validation": "whatever"}, "#/validation"),
        ({"cancel_period_days": -1}, "#/cancel_period_days"),
        ({"requests_per_second": 0}, "#/requests_per_second"),
        ({"requests_per_second": 1_000_001}, "#/requests_per_second"),
        ({"requests_per_second": "10"}, "#/requests_per_second"),
        ({"requests_per_day": 2_000_000_001}, "#/requests_per_day"),
        ({"requests_burst": 5}, "#/requests_burst"),
        ({"token": "ks_mine"}, "#/token"),
    ],
)
async def test_a_caller_that_makes_no_sense_is_refused(admin: Desk, members: dict[str, Any], field: str) -> None:
    reply = await admin.post("/admin/callers", json={**named(), **members})
    assert (reply.status, reply.json["errors"][0]["pointer"]) == (422, field)


async def test_a_publisher_that_is_not_there_and_a_name_that_is_taken_are_refused(admin: Desk) -> None:
    assert (await admin.post("/admin/callers", json=named("publisher", publisher="nobody"))).status == 404
    body = named()
    assert (await admin.post("/admin/callers", json=body)).status == 201
    assert (await admin.post("/admin/callers", json=body)).status == 409


async def test_no_admin_makes_an_admin_with_more_rights_than_its_own(http: aiohttp.ClientSession, shop: Shop) -> None:
    small = Desk(http, await token_of(shop, CallerKind.ADMIN, Scope.CALLERS_WRITE, Scope.POOLS_READ))
    assert (await added(small, kind="admin"))["scopes"] == ["callers:write", "pools:read"]
    assert (await added(small, kind="admin", scopes=["pools:read"]))["scopes"] == ["pools:read"]
    refused = await small.post("/admin/callers", json=named("admin", scopes=["publishers:write"]))
    assert refused.status == 403


async def test_limits_are_changed_one_by_one_and_taken_away(admin: Desk) -> None:
    path = f"/admin/callers/{(await added(admin))['caller_id']}"

    async def changed(**members: Any) -> dict[str, Any]:
        reply = await admin.ask("PATCH", path, json=members)
        assert reply.status == 200
        assert reply.json == (await admin.get(path)).json
        return {name: reply.json[name] for name in LIMITS}

    assert await changed() == NO_LIMITS
    assert await changed(**LIMITS) == LIMITS
    assert await changed(requests_per_day=7) == {**LIMITS, "requests_per_day": 7}
    assert await changed(requests_burst=None) == {**LIMITS, "requests_burst": None, "requests_per_day": 7}
    assert await changed(requests_per_second=None, requests_per_day=None) == NO_LIMITS


async def test_limits_that_make_no_sense_are_refused_and_change_nothing(admin: Desk) -> None:
    path = f"/admin/callers/{(await added(admin, requests_per_second=5, requests_burst=9))['caller_id']}"
    too_low = ({"requests_burst": 0}, {"requests_per_day": -1})
    for members in ({"requests_per_second": None}, *too_low, {"name": "x"}):
        assert (await admin.ask("PATCH", path, json=members)).status == 422
    shown = (await admin.get(path)).json
    assert (shown["requests_per_second"], shown["requests_burst"]) == (5, 9)


async def test_a_revoked_caller_is_refused_from_then_on(admin: Desk) -> None:
    made = await added(admin, kind="auditor")
    path, auditor = f"/admin/callers/{made['caller_id']}", Desk(admin.http, made["token"])
    assert (await auditor.get("/admin/publishers")).status == 200
    first = await admin.post(f"{path}/revoke")
    assert (first.status, first.json["revoked_at"] is None) == (200, False)
    assert (await auditor.get("/admin/publishers")).status == 401
    again = await admin.post(f"{path}/revoke")
    assert (again.status, again.json) == (200, first.json)


async def test_all_callers_are_listed_page_by_page_without_their_tokens(admin: Desk) -> None:
    made = [await added(admin) for _ in range(3)]
    found, after = [], 0
    while after is not None:
        reply = await admin.get(f"/admin/callers?limit=2&after={after}")
        assert not any(one["token"].encode() in reply.body for one in made)
        found += [one["caller_id"] for one in reply.json["callers"]]
        after = reply.json["after"]
    assert found == sorted(set(found))
    assert {one["caller_id"] for one in made} <= set(found)
    assert (await admin.get("/admin/callers?after=999999999999")).json == {"callers": [], "after": None}


@pytest.mark.parametrize(
    "caller_id", ["0", "2147483647", "2147483648", "99999999999999999999", "-1", "1.0", "x", "%D9%A1"]
)
async def test_a_caller_that_is_not_there_is_not_found(admin: Desk, caller_id: str) -> None:
    path = f"/admin/callers/{caller_id}"
    for method, end in (("GET", ""), ("POST", "/revoke")):
        assert (await admin.ask(method, path + end)).status == 404
    assert (await admin.ask("PATCH", path, json=LIMITS)).status == 404


async def test_publishers_and_auditors_know_nothing_of_callers(http: aiohttp.ClientSession, shop: Shop) -> None:
    auditor = Desk(http, await token_of(shop, CallerKind.AUDITOR))
    for desk in (await desk_of(http, shop), auditor):
        assert (await desk.get("/admin/callers")).status == 403
        assert (await desk.post("/admin/callers", json=named())).status == 403
