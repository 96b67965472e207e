"""The Connect services as a reseller meets them."""

import asyncio
import io
from typing import Any

import aiohttp
import pytest

from keyservice.domain.caller import CallerKind, Scope
from keyservice.fulfillment.manage_callers import add_caller, revoke_caller
from keyservice.services import Services
from tests.lab.order_bodies import keys_of, order_body
from tests.lab.shop import Shop


@pytest.fixture
async def strict(services: Services, shop: Shop) -> dict[str, str]:
    return {"secret": await new_reseller(services, f"strict-{shop.publisher}")}


async def new_reseller(services: Services, name: str, **options: Any) -> str:
    async with services.database.transaction() as connection:
        return await add_caller(connection, kind=CallerKind.RESELLER, name=name, **options)


async def post(
    http: aiohttp.ClientSession, path: str, body: object, headers: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    async with http.post(path, json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_an_order_is_answered_with_its_keys_where_clients_of_the_reference_read_them(
    http: aiohttp.ClientSession, shop: Shop, strict: dict[str, str]
) -> None:
    await shop.load(["CONN-1", "CONN-2", "CONN-3"])
    status, answer = await post(http, "/connect/order/new", order_body("http-1", (shop.product_ref, 2)), strict)
    assert (status, answer["responseCode"], answer["partnerOrderNumber"]) == (201, 0, "http-1")
    assert keys_of(answer) == ["CONN-1", "CONN-2"]
    assert isinstance(answer["orderNumber"], int)
    line = answer["orderLines"][0]
    assert line["productRef"] == shop.product_ref
    assert line["responseCode"] == 0
    assert set(line["lineItems"][0]["serials"][0]) == {"data", "encoding", "charset", "fileName"}


async def test_the_same_body_again_is_the_same_answer_to_the_byte(
    http: aiohttp.ClientSession, shop: Shop, strict: dict[str, str]
) -> None:
    await shop.load(["SAME-1", "SAME-2"])
    body = order_body("http-same", (shop.product_ref, 1))
    answers = []
    for _ in range(2):
        async with http.post("/connect/order/new", json=body, headers=strict) as response:
            answers.append((response.status, await response.read()))
    assert answers[0] == answers[1]
    assert answers[0][0] == 201


async def test_members_in_another_order_and_numbers_spelt_differently_are_the_same_body(
    http: aiohttp.ClientSession, shop: Shop, strict: dict[str, str]
) -> None:
    await shop.load(["SPELT-1", "SPELT-2"])
    body = order_body("http-spelt", (shop.product_ref, 1))
    _, first = await post(http, "/connect/order/new", body, strict)
    turned = dict(reversed(body.items()))
    turned["orderLines"] = [
        dict(reversed(body["orderLines"][0].items())) | {"amountTotal": 12, "amountDutyFree": 10.00}
    ]
    _, second = await post(http, "/connect/order/new", turned, strict)
    assert second == first


async def test_another_body_under_the_same_number_is_1010(
    http: aiohttp.ClientSession, shop: Shop, strict: dict[str, str]
) -> None:
    await shop.load(["OTHER-1", "OTHER-2", "OTHER-3"])
    await post(http, "/connect/order/new", order_body("http-other", (shop.product_ref, 1)), strict)
    status, answer = await post(http, "/connect/order/new", order_body("http-other", (shop.product_ref, 2)), strict)
    assert (status, answer["responseCode"]) == (200, 1010)
    assert keys_of(answer) == []
    assert await shop.left() == 2


async def test_two_resellers_may_use_the_same_number(
    http: aiohttp.ClientSession, services: Services, shop: Shop
) -> None:
    await shop.load(["TWO-1", "TWO-2"])
    keys = []
    for name in ("a", "b"):
        token = await new_reseller(services, f"{name}-{shop.publisher}")
        _, answer = await post(
            http, "/connect/order/new", order_body("shared", (shop.product_ref, 1)), {"secret": token}
        )
        keys += keys_of(answer)
    assert sorted(keys) == ["TWO-1", "TWO-2"]


async def test_out_of_stock_is_1044_at_the_line_and_at_the_order(
    http: aiohttp.ClientSession, shop: Shop, strict: dict[str, str]
) -> None:
    await shop.load(["FEW-1"])
    status, answer = await post(http, "/connect/order/new", order_body("http-few", (shop.product_ref, 2)), strict)
    assert (status, answer["responseCode"], answer["orderLines"][0]["responseCode"]) == (200, 1044, 1044)
    async with http.get("/connect/order/http-few", headers=strict) as response:
        assert (response.status, (await response.json())["responseCode"]) == (404, 1010)


async def test_more_keys_than_an_order_may_want_is_221_before_anything_is_worked_out(
    http: aiohttp.ClientSession, shop: Shop, strict: dict[str, str]
) -> None:
    await shop.sell_in_blocks(10_000)
    body = order_body("http-blocks", (shop.product_ref, 1), (shop.product_ref, 9_999))
    async with asyncio.timeout(5):
        status, answer = await post(http, "/connect/order/new", body, strict)
    assert (status, answer["responseCode"]) == (200, 221)
    assert [line["responseCode"] for line in answer["orderLines"]] == [221]


async def test_an_unknown_product_is_1020(http: aiohttp.ClientSession, strict: dict[str, str]) -> None:
    _, answer = await post(http, "/connect/order/new", order_body("http-unknown", (999_999_999_999_999, 1)), strict)
    assert answer["responseCode"] == answer["orderLines"][0]["responseCode"] == 1020


async def test_a_missing_field_is_told_by_its_code(
    http: aiohttp.ClientSession, shop: Shop, strict: dict[str, str]
) -> None:
    body = order_body("http-missing", (shop.product_ref, 1))
    del body["customer"]["email"]
    status, answer = await post(http, "/connect/order/new", body, strict)
    assert (status, answer["responseCode"]) == (200, 320)


async def test_reading_an_order_gives_its_answer_again_and_after_cancelling_no_key(
    http: aiohttp.ClientSession, shop: Shop, strict: dict[str, str]
) -> None:
    await shop.load(["READ-1", "READ-2"])
    _, made = await post(http, "/connect/order/new", order_body("http-read", (shop.product_ref, 1)), strict)
    async with http.get("/connect/order/http-read", headers=strict) as response:
        assert (response.status, await response.json()) == (200, made)
    cancel = {"partnerOrderNumber": "http-read", "reasonCode": 2, "comment": "changed her mind"}
    async with http.put("/connect/order/cancel", json=cancel, headers=strict) as response:
        canceled = await response.json()
    assert (canceled["responseCode"], canceled["orderNumber"]) == (0, made["orderNumber"])
    async with http.get("/connect/order/http-read", headers=strict) as response:
        after = await response.json()
    assert keys_of(after) == []
    assert after["orderLines"][0]["lineItems"][0]["responseMessage"] == "revoked"
    assert await shop.left() == 1
    async with http.put("/connect/order/cancel", json=cancel, headers=strict) as response:
        assert (await response.json())["responseCode"] == 1011
    # Sent again after the cancellation: the same order, its key dead.
    _, again = await post(http, "/connect/order/new", order_body("http-read", (shop.product_ref, 1)), strict)
    assert again == after


@pytest.mark.parametrize(
    ("change", "code"),
    [({"reasonCode": None}, 100), ({"reasonCode": 7}, 101), ({"partnerOrderNumber": ""}, 110)],
)
async def test_a_cancellation_that_breaks_a_rule_is_told_by_its_code(
    http: aiohttp.ClientSession, strict: dict[str, str], change: dict[str, Any], code: int
) -> None:
    cancel = {"partnerOrderNumber": "nobody", "reasonCode": 2} | change
    async with http.put("/connect/order/cancel", json=cancel, headers=strict) as response:
        assert (response.status, (await response.json())["responseCode"]) == (200, code)


async def test_cancelling_an_unknown_order_is_1010(http: aiohttp.ClientSession, strict: dict[str, str]) -> None:
    async with http.put(
        "/connect/order/cancel", json={"partnerOrderNumber": "nobody", "reasonCode": 2}, headers=strict
    ) as response:
        assert (response.status, (await response.json())["responseCode"]) == (404, 1010)


async def test_the_cancel_period_is_the_resellers_and_fraud_has_none(
    http: aiohttp.ClientSession, services: Services, shop: Shop
) -> None:
    await shop.load(["LATE-1"])
    headers = {"secret": await new_reseller(services, f"late-{shop.publisher}", cancel_period_days=0)}
    await post(http, "/connect/order/new", order_body("http-late", (shop.product_ref, 1)), headers)
    for reason, code in ((2, 1020), (16, 0)):
        cancel = {"partnerOrderNumber": "http-late", "reasonCode": reason}
        async with http.put("/connect/order/cancel", json=cancel, headers=headers) as response:
            assert (await response.json())["responseCode"] == code


async def test_a_reseller_without_the_right_to_cancel_is_1030(
    http: aiohttp.ClientSession, services: Services, shop: Shop
) -> None:
    await shop.load(["KEEP-1"])
    token = await new_reseller(services, f"keep-{shop.publisher}", scopes=[Scope.ORDERS_SUBMIT])
    headers = {"secret": token}
    await post(http, "/connect/order/new", order_body("http-keep", (shop.product_ref, 1)), headers)
    async with http.put(
        "/connect/order/cancel", json={"partnerOrderNumber": "http-keep", "reasonCode": 2}, headers=headers
    ) as response:
        assert (response.status, (await response.json())["responseCode"]) == (403, 1030)


async def test_stock_is_enough_almost_out_and_out(http: aiohttp.ClientSession, services: Services) -> None:
    shop = await Shop.opened(services, warning_level=2, alert_level=1)
    headers = {"secret": shop.reseller_token}

    async def status_of(*refs: object) -> list[tuple[int, int]]:
        _, answer = await post(http, "/connect/stock", {"productRefs": list(refs)}, headers)
        return [(one["status"], one["responseCode"]) for one in answer["productStatus"]]

    assert await status_of(shop.product_ref) == [(300, 0)]
    await shop.load(["STOCK-1", "STOCK-2", "STOCK-3"])
    assert await status_of(shop.product_ref, str(shop.product_ref)) == [(100, 0), (100, 0)]
    await shop.buy("stock", quantity=1)
    assert await status_of(shop.product_ref, 999_999_999_999_998, "x", None) == [
        (200, 0),
        (300, 1010),
        (300, 101),
        (300, 100),
    ]


async def test_the_keys_of_a_sandbox_are_no_stock_of_a_shop(http: aiohttp.ClientSession, services: Services) -> None:
    for is_sandbox, status in ((False, 100), (True, 300)):
        shop = await Shop.opened(services, is_sandbox=is_sandbox)
        await shop.load([f"SANDBOX-{is_sandbox}"])
        asked = {"productRefs": [shop.product_ref]}
        _, answer = await post(http, "/connect/stock", asked, {"secret": shop.reseller_token})
        assert [one["status"] for one in answer["productStatus"]] == [status]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 70),
        ({"secret": ""}, 70),
        ({"secret": "guess"}, 71),
        ({"secret": "ks_aaaaaaaaaaaa_" + "A" * 43 + "_aaaaaa"}, 71),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/connect/order/new"), ("POST", "/connect/stock"),
                                              ("PUT", "/connect/order/cancel"), ("GET", "/connect/order/x")])  # fmt: skip
async def test_without_a_valid_secret_every_service_answers_401_in_connects_shape(
    http: aiohttp.ClientSession, headers: dict[str, str], code: int, method: str, path: str
) -> None:
    async with http.request(method, path, json={}, headers=headers) as response:
        assert (response.status, (await response.json())["responseCode"]) == (401, code)


async def test_a_revoked_secret_is_refused(http: aiohttp.ClientSession, services: Services, shop: Shop) -> None:
    name = f"gone-{shop.publisher}"
    headers = {"secret": await new_reseller(services, name)}
    assert (await post(http, "/connect/stock", {"productRefs": [1]}, headers))[0] == 200
    async with services.database.transaction() as connection:
        await revoke_caller(connection, name)
    assert (await post(http, "/connect/stock", {"productRefs": [1]}, headers))[0] == 401


async def test_a_body_that_cannot_be_read_is_told_so_in_connects_shape(
    http: aiohttp.ClientSession, strict: dict[str, str]
) -> None:
    for data, content_type, status in (
        (b"{", "application/json", 400),
        (b'{"a":1,"a":2}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b'{"a":"' + b"x" * 2_000_000 + b'"}', "application/json", 413),
    ):
        async with http.post(
            "/connect/order/new", data=io.BytesIO(data), headers={**strict, "Content-Type": content_type}
        ) as response:
            answer = await response.json()
        assert (response.status, answer["responseCode"]) == (status, 100)


async def test_orders_submitted_cancelled_and_cancelled_again_at_once_end_in_one_state(
    http: aiohttp.ClientSession, shop: Shop, strict: dict[str, str]
) -> None:
    await shop.load([f"RACE-{number}" for number in range(40)])

    async def race(number: int) -> None:
        body = order_body(f"race-{number}", (shop.product_ref, 1))
        cancel = {"partnerOrderNumber": f"race-{number}", "reasonCode": 2}

        async def put() -> int:
            async with http.put("/connect/order/cancel", json=cancel, headers=strict) as response:
                return int((await response.json())["responseCode"])

        (_, made), *canceled = await asyncio.gather(post(http, "/connect/order/new", body, strict), put(), put())
        assert made["responseCode"] == 0
        assert sorted(canceled) in ([0, 1010], [0, 1011], [1010, 1010])
        async with http.get(f"/connect/order/race-{number}", headers=strict) as response:
            found = await response.json()
        assert (keys_of(found) == []) == (0 in canceled)

    await asyncio.gather(*(race(number) for number in range(20)))
    assert await shop.left() == 20


async def test_purchase_history_shows_a_shoppers_keys_with_their_states(
    http: aiohttp.ClientSession, services: Services, shop: Shop
) -> None:
    await shop.load(["HIST-AAAA-BBBB-CCCC", "HIST-DDDD-EEEE-FFFF"])
    email = f"grace-{shop.publisher}@example.com"
    token = await new_reseller(services, f"history-{shop.publisher}")
    bearer = {"Authorization": f"Bearer {token}"}
    for number in ("hist-1", "hist-2"):
        await post(
            http, "/connect/order/new", order_body(number, (shop.product_ref, 1), email=email), {"secret": token}
        )
    async with http.put(
        "/connect/order/cancel", json={"partnerOrderNumber": "hist-1", "reasonCode": 3}, headers={"secret": token}
    ) as response:
        assert (await response.json())["responseCode"] == 0
    _, first_page = await post(http, "/fulfillment/purchases/search", {"email": email.upper(), "size": 1}, bearer)
    _, second_page = await post(
        http, "/fulfillment/purchases/search", {"email": email, "size": 1, "after": first_page["after"]}, bearer
    )
    found = first_page["purchases"] + second_page["purchases"]
    assert [(one["partnerOrderNumber"], one["status"]) for one in found] == [
        ("hist-2", "COMPLETED"),
        ("hist-1", "CANCELED"),
    ]
    units = []
    for one in found:
        async with http.get(f"/fulfillment/purchases/{one['id']}", headers=bearer) as response:
            purchase = await response.json()
        units += [unit for line in purchase["lines"] for unit in line["units"]]
    assert [unit["state"] for unit in units] == ["issued", "revoked"]
    assert units[0]["key"] == "HIST-DDDD-EEEE-FFFF"
    assert (units[0]["keyDocument"]["kind"], units[0]["keyDocument"]["text"]) == ("text", units[0]["key"])
    assert not {"key", "keyDocument"} & units[1].keys()


async def test_an_admin_sees_the_end_of_a_key_and_another_reseller_nothing(
    http: aiohttp.ClientSession, services: Services, shop: Shop
) -> None:
    await shop.load(["MASKED-1111-2222-WXYZ"])
    bought = await shop.buy("masked")
    async with services.database.transaction() as connection:
        admin = await add_caller(connection, kind=CallerKind.ADMIN, name=f"admin-{shop.publisher}")
    other = await new_reseller(services, f"nosy-{shop.publisher}")
    path = f"/fulfillment/purchases/{bought.order_id}"
    async with http.get(path, headers={"Authorization": f"Bearer {admin}"}) as response:
        (unit,) = (await response.json())["lines"][0]["units"]
    assert (unit["keyEndsWith"], "key" in unit, "keyDocument" in unit) == ("WXYZ", False, False)
    async with services.database.transaction() as connection:
        events = await connection.fetch(
            "SELECT e.name FROM order_events e JOIN callers c USING (caller_id) WHERE e.order_id = $1 AND c.kind = 'admin'",
            bought.order_id,
        )
    assert [row["name"] for row in events] == ["order.read"]
    async with http.get(path, headers={"Authorization": f"Bearer {other}"}) as response:
        assert response.status == 404
    _, nothing = await post(
        http, "/fulfillment/purchases/search", {"email": "ada@example.com"}, {"Authorization": f"Bearer {other}"}
    )
    assert nothing["purchases"] == []
