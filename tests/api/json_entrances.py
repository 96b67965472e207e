"""Every door through which JSON comes in, with a body that it takes, and what a refusal looks like behind each."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from keyservice.api.connect.codes import AnswerCode, CancelOrderCode, CreateOrderCode, StockCode
from tests.api.premises import Premises, bearer
from tests.api.raw_http import PLANTED, Answer, request
from tests.lab.order_bodies import order_body

# An HTTP status, or the answer codes of which one must stand in a Connect answer of status 200.
Expected = int | frozenset[int]
HELD: Final = "(held)"
HELD_CLAIM: Final = "json-held"
SOLD_CLAIM: Final = "json-sold"
_numbers: Final = count(1)


@dataclass(frozen=True, slots=True)
class Entrance:
    """A body that is taken is planted with a value that no answer to a spoilt one may repeat."""

    name: str
    method: str
    path: str
    credential: str
    body: Mapping[str, Any] = field(repr=False)
    created: int = 201
    codes: type[AnswerCode] | None = None
    """The codes of a Connect service; the others answer with problem documents."""

    not_an_object: Expected = 422
    bytes_max: int = 1_048_576

    def raw(self, body: bytes, *headers: str, content_type: str = "Content-Type: application/json") -> bytes:
        lines = [self.credential, *([content_type] if content_type else []), *headers]
        return request(f"{self.method} {self.path} HTTP/1.1", *lines, body=body)

    def spoilt(self, pointer: str, fragment: str) -> str:
        """The body with this piece of JSON text at the pointer, whatever Python makes of it."""
        body = json.loads(json.dumps(self.body))
        *parents, last = [int(part) if part.isdigit() else part for part in pointer.split("/")[1:]]
        place = body
        for part in parents:
            place = place[part]
        place[last] = HELD
        return json.dumps(body).replace(f'"{HELD}"', fragment)

    def faults(self, answer: Answer, expected: Expected) -> Iterator[str]:
        """What is wrong with the answer to a body that must be refused."""
        status = expected if isinstance(expected, int) else 200
        if answer.status != status:
            yield f"answered {answer.status} instead of {status}: {answer.body[:200]!r}"
        elif PLANTED in f"{answer.headers}{answer.body.decode()}":
            yield f"repeats what was sent: {answer.body!r}"
        elif self.codes is None:
            yield from problem_faults(answer, status)
        else:
            yield from _connect_faults(answer, expected, self.codes)


def problem_faults(answer: Answer, status: int) -> Iterator[str]:
    """RFC 9457, section 3.1, and the request id that leads to the log."""
    if answer.headers.get("content-type") != "application/problem+json":
        yield f"is no problem document: {answer.headers}"
        return
    problem = json.loads(answer.body)
    members = {name: type(problem.get(name)) for name in ("type", "title", "detail", "instance")}
    if set(members.values()) != {str} or not problem["detail"] or problem.get("status") != status:
        yield f"lacks a member: {problem}"
    elif not problem["type"].startswith("urn:keyservice:problem:"):
        yield f"has a type of its own: {problem}"
    elif problem["instance"] != answer.headers["x-request-id"]:
        yield f"does not name its request: {problem}"


def _connect_faults(answer: Answer, expected: Expected, codes: type[AnswerCode]) -> Iterator[str]:
    body = json.loads(answer.body)
    told = body.get("productStatus", [body])
    known = frozenset({100}) if isinstance(expected, int) else expected
    for one in told:
        if one.get("responseCode") not in known:
            yield f"has the code {one.get('responseCode')} instead of one of {sorted(known)}: {answer.body[:300]!r}"
        elif not isinstance(one.get("responseMessage"), str):
            yield f"has no message: {body}"
        elif one["responseCode"] not in {int(code) for code in codes}:
            yield f"has a code that the service does not know: {body}"
    if not told:
        yield f"has no code: {body}"


def entrances(premises: Premises) -> dict[str, Entrance]:
    """Each call gives bodies of their own: names, handles and order numbers are taken once."""
    number = next(_numbers)
    publisher, admin = bearer(premises.publisher), bearer(premises.admin)
    secret = f"secret: {premises.reseller}"
    pipeline, shop, foreign = bearer(premises.pipeline), premises.own, premises.foreign
    order = order_body(f"json-{number}", (shop.product_ref, 1))
    order["customer"]["partnerId"] = PLANTED
    order["orderLines"][0]["discounts"] = [dict(order["discounts"][0])]
    named = f"{PLANTED} {number}"
    plan = {"steps": [{"source": "pool", "pool": str(shop.pool_id)}]}
    product = {"name": named, "product_ref": 5_000_000 + number, "template_id": template_id(premises)}
    found = [
        Entrance("order", "POST", "/connect/order/new", secret, order, 201, CreateOrderCode, frozenset({100})),
        Entrance(
            "stock",
            "POST",
            "/connect/stock",
            secret,
            {"productRefs": [shop.product_ref], "note": PLANTED},
            200,
            StockCode,
            frozenset({100}),
        ),
        Entrance(
            "cancel",
            "PUT",
            "/connect/order/cancel",
            secret,
            {"comment": PLANTED, "partnerOrderNumber": f"json-{number}", "reasonCode": 2},
            200,
            CancelOrderCode,
            frozenset({110}),
        ),
        Entrance(
            "pool",
            "POST",
            "/publisher/pools",
            publisher,
            {
                "name": named,
                "policy": "fifo",
                "warning_level": 9,
                "alert_level": 4,
                "days_left_min": 9,
                "is_sandbox": False,
            },
        ),
        Entrance(
            "changed pool",
            "PATCH",
            f"/publisher/pools/{shop.pool_id}",
            publisher,
            {
                "name": named + " b",
                "policy": "fifo",
                "warning_level": 9,
                "alert_level": 4,
                "days_left_min": 9,
                "is_open": True,
            },
            200,
        ),
        Entrance(
            "withdrawal",
            "POST",
            f"/publisher/pools/{shop.pool_id}/withdrawals",
            publisher,
            {"keys": [f"{PLANTED}-{number}"], "publisher_key_ids": [f"{PLANTED}-{number}"], "reason": "a leak"},
            200,
        ),
        Entrance(
            "template",
            "POST",
            "/publisher/templates",
            publisher,
            {"name": named, "quantity_mode": "block", "block_size": 5, "source_plan": plan},
        ),
        Entrance(
            "product", "POST", "/publisher/products", publisher, {**product, "publisher_product_id": f"{PLANTED} sku"}
        ),
        Entrance(
            "package",
            "POST",
            "/license-keys-provider/packages",
            publisher,
            {
                "name": f"{named} package",
                "nexwayProductId": [str(6_000_000 + number)],
                "publisherProductId": [f"{PLANTED} sku"],
                "status": "ENABLED",
                "threshold": 5,
                "publisherId": shop.publisher,
            },
        ),
        Entrance(
            "changed package",
            "PUT",
            f"/license-keys-provider/packages/{foreign.pool_id}",
            bearer(premises.foreign_publisher),
            {
                "id": str(foreign.pool_id),
                "name": f"{named} c",
                "nexwayProductId": [str(foreign.product_ref)],
                "publisherProductId": [f"{PLANTED} sku"],
                "status": "ENABLED",
                "threshold": 9,
                "publisherId": foreign.publisher,
                "stock": {"available": 1, "occupied": 2, "canceled": 3, "renewed": 4, "blacklisted": 5},
            },
            200,
        ),
        Entrance("publisher", "POST", "/admin/publishers", admin, {"name": named, "handle": f"json-{number}"}),
        Entrance(
            "caller",
            "POST",
            "/admin/callers",
            admin,
            {
                "name": named,
                "kind": "reseller",
                "scopes": ["stock:read"],
                "validation": "priced",
                "cancel_period_days": 30,
                "is_sandbox": True,
                "requests_per_second": 10,
                "requests_burst": 20,
                "requests_per_day": 1_000,
            },
        ),
        Entrance(
            "search",
            "POST",
            "/fulfillment/purchases/search",
            bearer(premises.reseller),
            {"email": f"{PLANTED}@example.com", "size": 20, "after": None},
            200,
            bytes_max=4_096,
        ),
        Entrance("key search", "POST", "/publisher/keys/search", publisher, {"key": f"{PLANTED}-KEY"}, 200),
        Entrance(
            "search by ending",
            "POST",
            "/admin/keys/search-by-ending",
            admin,
            {"ending": "ENDIN", "publisher": shop.publisher, "purpose": PLANTED},
            200,
        ),
        # Of a feed that has two entries.
        Entrance(
            "acknowledgement", "POST", "/publisher/revocations/acknowledge", publisher, {"sequences": [1, 2]}, 200
        ),
        Entrance(
            "claim",
            "POST",
            "/fulfillment/claims",
            pipeline,
            {
                "reference": f"json-{number}",
                "lines": [{"product_ref": shop.product_ref, "quantity": 1}],
                "email": f"{PLANTED}@example.com",
                "hold_seconds": 60,
                "wait": False,
                "paid_at": "2026-11-22T15:19:21+00:00",
            },
        ),
        Entrance("longer hold", "POST", f"/fulfillment/claims/{HELD_CLAIM}/extend", pipeline, {"seconds": 3_600}, 200),
        Entrance(
            "revocation",
            "POST",
            f"/fulfillment/claims/{SOLD_CLAIM}/revoke",
            pipeline,
            {"reason": PLANTED, "units": None},
            200,
        ),
        Entrance(
            "reinstatement",
            "POST",
            f"/fulfillment/claims/{SOLD_CLAIM}/reinstate",
            pipeline,
            {"reason": PLANTED, "units": None},
            200,
        ),
    ]
    return {entrance.name: entrance for entrance in found}


NAMES: Final = (
    *("order", "stock", "cancel", "pool", "changed pool", "template", "product", "publisher", "caller", "search"),
    *("acknowledgement", "withdrawal", "claim", "longer hold", "revocation", "reinstatement"),
    *("key search", "search by ending", "package", "changed package"),
)


def template_id(premises: Premises, *, foreign: bool = False) -> str:
    return str(premises.templates[premises.foreign.publisher if foreign else premises.own.publisher])
