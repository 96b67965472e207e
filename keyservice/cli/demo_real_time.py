"""The demo's act about a publisher that keeps its keys: it is asked at the moment of sale, and takes back what is cancelled."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Final

from keyservice.cli.demo_files import order_body
from keyservice.cli.demo_people import Cast
from keyservice.cli.demo_screen import Screen, Step, facts_table, masked
from keyservice.cli.demo_story import PRODUCT_REF
from keyservice.sandbox.publisher import Publisher

REAL_TIME_REF: Final = 158_341
_ORDER: Final = "WEB-1004"
_SETTLED_SECONDS: Final = 30.0


async def keys_are_asked_for(screen: Screen, cast: Cast, publisher: Publisher) -> None:
    """One order with a line from the pool and a line from the publisher's own API, sold and cancelled."""
    connector_id = await _connect(screen, cast, publisher)
    title = "One order: a key from the pool, one that is issued now"
    with screen.step(title, "The intent is committed before the first byte leaves the house.") as step:
        await _sell_by(step, cast, connector_id)
        answer = await cast.reseller.post("/connect/order/new", _mixed_order())
        step.equal("the order is accepted", (answer.status, answer.body["responseCode"]), (201, 0))
        from_pool, from_publisher = [_key_of(line) for line in answer.body["orderLines"]]
        step.show(facts_table(("from the pool", masked(from_pool)), ("from the publisher", masked(from_publisher))))
        issued = [key for issue in publisher.ledger.issues() for key in issue.keys if issue.cancelled_at is None]
        step.expect("the second one is in the publisher's books, issued once", issued == [from_publisher])
    with screen.step("The shop cancels the order", "Dead here at once; the publisher has to say so too.") as step:
        reason = {"partnerOrderNumber": _ORDER, "reasonCode": 2}
        cancelled = await cast.reseller.put("/connect/order/cancel", reason)
        step.equal("it is cancelled", cancelled.status, 200)
        request = await _settled(cast)
        step.equal("the publisher has acknowledged it", request["state"], "acknowledged")
        step.equal("keys that are still good in the publisher's books: 0", len(_live(publisher)), 0)


async def _connect(screen: Screen, cast: Cast, publisher: Publisher) -> str:
    title = "For another product the publisher keeps the keys"
    with screen.step(title, "A preset, where it is, a secret that is sealed, and a handshake.") as step:
        made = await cast.publisher.post(
            "/publisher/connectors",
            {
                "name": "license server",
                "preset": "nexway",
                "fill_in": {
                    "base_url": publisher.url_of("nexway"),
                    "authentication.user": publisher.credentials.user,
                },
            },
        )
        step.equal("the connector is a draft", (made.status, made.body["state"]), (201, "draft"))
        told = {field["name"] for field in made.body["buyer_fields"]}
        step.say(f"It would tell the publisher of the buyer: {', '.join(sorted(told))}.")
        path = f"/publisher/connectors/{made.body['connector_id']}"
        await cast.publisher.put(f"{path}/secrets", {"secrets": {"password": publisher.credentials.password}})
        hands = await cast.publisher.post(f"{path}/handshake", {"issue_and_void": True})
        step.show(
            facts_table(
                *((one["purpose"], f"{one['outcome']} in {one['seconds']:.3f} s") for one in hands.body["steps"])
            )
        )
        step.expect("they have shaken hands", bool(hands.body["is_good"]))
        enabled = await cast.publisher.patch(path, {"state": "enabled"})
        step.equal("it is enabled", enabled.body["state"], "enabled")
    return str(made.body["connector_id"])


async def _sell_by(step: Step, cast: Cast, connector_id: str) -> None:
    plan = {"steps": [{"source": "connector", "connector": connector_id}]}
    template = await cast.publisher.post("/publisher/templates", {"name": "asked for", "source_plan": plan})
    product = {
        "product_ref": REAL_TIME_REF,
        "name": "Lighthouse Studio",
        "template_id": template.body["template_id"],
    }
    made = await cast.publisher.post("/publisher/products", product)
    step.equal("a product is asked for there", made.status, 201)


def _mixed_order() -> dict[str, Any]:
    now = datetime.now(UTC)
    body = order_body(_ORDER, product_ref=PRODUCT_REF, quantity=1, ordered_at=now)
    other = order_body(_ORDER, product_ref=REAL_TIME_REF, quantity=1, ordered_at=now)
    return body | {"orderLines": [*body["orderLines"], *other["orderLines"]]}


def _key_of(line: Any) -> str:
    return str(line["lineItems"][0]["serials"][0]["data"])


def _live(publisher: Publisher) -> list[str]:
    return [key for issue in publisher.ledger.issues() if issue.cancelled_at is None for key in issue.keys]


async def _settled(cast: Cast) -> Any:
    """The cancellation, once its publisher has answered it."""
    deadline = time.monotonic() + _SETTLED_SECONDS
    while True:
        page = await cast.publisher.get("/publisher/key-requests")
        (request, *_) = page.body["key_requests"]
        if request["operation"] == "cancel" and request["settled_at"] is not None:
            return request
        if time.monotonic() > deadline:
            return request
        await asyncio.sleep(0.1)
