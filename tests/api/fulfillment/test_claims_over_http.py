"""The lean API as an order pipeline meets it."""

import asyncio
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from keyservice.domain.caller import CallerKind
from keyservice.fulfillment.manage_callers import add_caller
from keyservice.services import Services
from tests.fulfillment.pipeline import Pipeline
from tests.lab.shop import Shop

Answered = tuple[int, dict[str, Any]]


class Platform:
    """A pipeline over HTTP."""

    def __init__(self, http: aiohttp.ClientSession, shop: Shop, token: str) -> None:
        self._http = http
        self._shop = shop
        self._headers = {"Authorization": f"Bearer {token}"}

    async def claim(self, reference: str, quantity: int = 1, **members: Any) -> Answered:
        lines = [{"product_ref": self._shop.product_ref, "quantity": quantity}]
        return await self.post("", {"reference": reference, "lines": lines, **members})

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Answered:
        url = f"/fulfillment/claims{path}"
        async with self._http.post(url, json=body, headers=self._headers) as response:
            return response.status, await response.json(content_type=None)

    async def read(self, reference: str) -> Answered:
        async with self._http.get(f"/fulfillment/claims/{reference}", headers=self._headers) as response:
            return response.status, await response.json(content_type=None)


@pytest.fixture
async def platform(http: aiohttp.ClientSession, services: Services, shop: Shop) -> Platform:
    async with services.database.transaction() as connection:
        token = await add_caller(connection, kind=CallerKind.PIPELINE, name=f"platform-{shop.publisher}")
    return Platform(http, shop, token)


def keys(claim: dict[str, Any]) -> list[str]:
    units = [unit for line in claim["lines"] for unit in line["units"]]
    return [unit["key"]["text"] for unit in units if "key" in unit]


def states(claim: dict[str, Any]) -> list[str]:
    return [unit["state"] for line in claim["lines"] for unit in line["units"]]


async def test_a_claim_is_answered_with_keys_read_again_and_revoked(platform: Platform, shop: Shop) -> None:
    await shop.load(["WEB-1", "WEB-2", "WEB-3"])
    status, claim = await platform.claim("A:1~b.c-d", 2, email="ada@example.com")
    assert (status, claim["status"], keys(claim)) == (201, "COMPLETED", ["WEB-1", "WEB-2"])
    assert await platform.claim("A:1~b.c-d", 2, email="ada@example.com") == (201, claim)
    assert await platform.read("A:1~b.c-d") == (200, claim)
    unit = claim["lines"][0]["units"][0]["unit_id"]
    status, left = await platform.post("/A:1~b.c-d/revoke", {"reason": "refunded", "units": [unit]})
    assert (status, left["status"], states(left)) == (200, "PARTIAL_CANCELED", ["revoked", "issued"])
    assert keys(left) == ["WEB-2"]
    assert left["lines"][0]["units"][0]["ended_at"] > claim["created_at"]


async def test_a_hold_is_extended_committed_and_cannot_be_released_then(platform: Platform, shop: Shop) -> None:
    await shop.load(["WEB-4", "WEB-5"])
    _, held = await platform.claim("B-1", hold_seconds=60)
    assert (held["status"], states(held), keys(held)) == ("PAYMENT_PENDING", ["held"], [])
    _, longer = await platform.post("/B-1/extend", {"seconds": 600})
    assert longer["held_until"] > held["held_until"]
    status, sold = await platform.post("/B-1/commit")
    assert (status, keys(sold), sold["held_until"]) == (200, ["WEB-4"], None)
    status, problem = await platform.post("/B-1/release")
    assert (status, problem["type"]) == (409, "urn:keyservice:problem:hold-ended")
    await platform.claim("B-2", hold_seconds=60)
    status, released = await platform.post("/B-2/release")
    assert (status, released["status"], states(released)) == (200, "ABORTED", ["released"])


async def test_an_expired_hold_is_told_as_such(platform: Platform, shop: Shop, services: Services) -> None:
    await shop.load(["WEB-6"])
    await platform.claim("C-1", hold_seconds=60)
    async with services.database.transaction() as connection:
        await connection.execute(
            "UPDATE orders SET held_until = clock_timestamp() - interval '1 s' WHERE partner_order_number = 'C-1'"
        )
    status, problem = await platform.post("/C-1/commit")
    assert (status, problem["type"]) == (409, "urn:keyservice:problem:hold-expired")


async def test_a_bad_key_is_replaced_and_the_repetition_changes_nothing(platform: Platform, shop: Shop) -> None:
    await shop.load(["WEB-7", "WEB-8", "WEB-9"])
    _, claim = await platform.claim("D-1")
    unit = claim["lines"][0]["units"][0]
    body = {"unit_id": unit["unit_id"], "claim_id": unit["claim_id"], "reason": "does not activate"}
    for _ in range(2):
        status, replaced = await platform.post("/D-1/replace", body)
        assert (status, keys(replaced)) == (200, ["WEB-8"])
    for unknown in ({"claim_id": str(uuid4())}, {"unit_id": str(uuid4())}):
        assert (await platform.post("/D-1/replace", body | unknown))[0] == 404


@pytest.mark.parametrize(
    "change", [{"claim_id": "x"}, {"unit_id": None}, {"reason": ""}, {"reason": "a\nb"}, {"by": 1}]
)
async def test_a_replacement_that_is_not_understood_is_refused(
    platform: Platform, shop: Shop, change: dict[str, Any]
) -> None:
    body: dict[str, Any] = {"unit_id": str(uuid4()), "claim_id": str(uuid4()), "reason": "bad"}
    status, problem = await platform.post("/E-1/replace", body | change)
    assert (status, problem["type"]) == (422, "urn:keyservice:problem:invalid")


async def test_too_few_keys_refuse_the_claim_and_another_body_under_its_reference(
    platform: Platform, shop: Shop
) -> None:
    await shop.load(["WEB-10"])
    status, problem = await platform.claim("F-1", 2)
    assert (status, problem["type"], problem["line"]) == (409, "urn:keyservice:problem:out-of-stock", 1)
    assert (await platform.read("F-1"))[0] == 404
    status, waiting = await platform.claim("F-1", 2, wait=True)
    assert (status, states(waiting)) == (201, ["issued", "pending"])
    status, problem = await platform.claim("F-1", 1)
    assert (status, problem["type"]) == (422, "urn:keyservice:problem:reference-reused")


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"wait": True, "hold_seconds": 60}, "#/wait"),
        ({"hold_seconds": 100_000}, "#/hold_seconds"),
        ({"lines": [{"product_ref": 5, "quantity": 1}]}, "#/lines/0/product_ref"),
        ({"lines": [{"product_ref": 5, "quantity": 10_000}]}, "#/lines/0/quantity"),
        ({"lines": [{"product_ref": 5}] * 201}, "#/lines"),
    ],
)
async def test_what_a_claim_cannot_be_is_told_by_its_member(
    platform: Platform, members: dict[str, Any], field: str
) -> None:
    status, problem = await platform.claim("G-1", **members)
    assert (status, problem["errors"][0]["pointer"]) == (422, field)


@pytest.mark.parametrize("reference", ["%20", "..%2f", "%00x", "%ff", "a" * 200, "%E2%80%AE"])
async def test_what_is_no_reference_names_no_claim(platform: Platform, reference: str) -> None:
    assert (await platform.read(reference))[0] in (400, 404)


async def test_another_pipelines_claim_is_not_there(platform: Platform, shop: Shop) -> None:
    await shop.load(["WEB-11"])
    await (await Pipeline.opened(shop)).claim("H-1")
    for path, body in (
        ("/commit", None),
        ("/release", None),
        ("/extend", {"seconds": 1}),
        ("/revoke", {"reason": "x"}),
    ):
        assert (await platform.post(f"/H-1{path}", body))[0] == 404
    assert (await platform.read("H-1"))[0] == 404


async def test_a_claim_of_more_keys_than_it_may_want_is_refused_before_anything_is_worked_out(
    platform: Platform, shop: Shop
) -> None:
    await shop.sell_in_blocks(10_000)
    async with asyncio.timeout(5):
        for members in ({}, {"wait": True}):
            status, problem = await platform.claim("blocks", 9_999, **members)
            assert (status, problem["type"].rpartition(":")[2]) == (422, "too-many-units")
            assert problem["errors"][0]["pointer"] == "#/lines/0/quantity"
    assert (await platform.read("blocks"))[0] == 404
    assert (await platform.claim("one-block", wait=True))[0] == 201


@pytest.mark.parametrize("paid_at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00Z"])
async def test_a_time_of_payment_at_the_end_of_time_harms_nobody(platform: Platform, shop: Shop, paid_at: str) -> None:
    async with asyncio.timeout(5):
        status, answer = await platform.claim("old", wait=True, paid_at=paid_at)
        assert status == (201 if paid_at.endswith("Z") else 422), answer
        assert (await platform.claim("next", wait=True))[0] == 201
