"""Requests that must fail, each with a key in a place where it has no business to be."""

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit

from yarl import URL

from tests.lab.driver import BROKEN, Driver
from tests.lab.order_bodies import order_body

_RAW_SECONDS: Final = 10.0
_JSON: Final = {"Content-Type": "application/json"}
# Where a value of the caller's own is looked at on its way to a refusal.
_ORDER_PLACES: Final = (
    *(("currency",), ("orderDate",), ("affiliateId",), ("customer",), ("orderLines",), ("payment",), ("metadata",)),
    *(("customer", "email"), ("customer", "language"), ("customer", "ipV4"), ("customer", "locationDelivery")),
    *(("customer", "locationInvoice", "country"), ("customer", "locationInvoice", "title")),
    *(("orderLines", 0), ("orderLines", 0, "productRef"), ("orderLines", 0, "quantity"), ("orderLines", 0, "vatRate")),
)


@dataclass(frozen=True, slots=True)
class Wrong:
    """One request; a `dict` as its body goes out as JSON."""

    method: str
    target: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back, and whether it is a refusal."""

    request: Wrong
    is_refused: bool
    text: str


def wrong_requests(driver: Driver, admin: str, key: str) -> Iterator[Wrong]:
    """All of them with this key."""
    store = driver.store
    secret = {"secret": store.reseller_token}
    yield from _orders(driver, key, secret)
    yield from _targets(driver, key, secret, {"Authorization": f"Bearer {admin}"})
    upload, csv = store.batches_path, {**store.bearer, "Content-Type": "text/csv"}
    for name in ("Idempotency-Key", "Repr-Digest", "Content-Encoding", "Content-Type"):
        yield Wrong("POST", upload, key.encode(), {**csv, name: key})
    yield Wrong("POST", upload, key.encode(), {**csv, "Repr-Digest": f"sha-256=:{key}:"})
    for name in ("format", "delimiter", "expires_on", "header", "dry_run", "hold", key):
        yield Wrong("POST", f"{upload}?{quote(name)}={quote(key)}", key.encode(), csv)
    for name, value in (("secret", key), ("Authorization", f"Bearer {key}"), ("Authorization", key)):
        yield Wrong("POST", "/connect/order/new", order_body("nobody", (1, 1)), {name: value})
        yield Wrong("GET", "/publisher/pools", None, {name: value})
    for name in ("User-Agent", "Referer", "Cookie", "Origin", "Accept", "Forwarded", "X-Forwarded-For", key[:12]):
        yield Wrong("GET", "/connect/order/nobody", None, {**secret, name: key})
    yield Wrong("POST", "/connect/stock", {"productRefs": [1]}, {**secret, "Expect": key})


def _orders(driver: Driver, key: str, secret: dict[str, str]) -> Iterator[Wrong]:
    new, cancel = "/connect/order/new", "/connect/order/cancel"
    for raw in ('{"a":"%s', '{"a":"%s","a":1}', '{"%s":1,"%s":2}', '"%s"', '["%s"]', '{"a":%s}', '{"a":"%s\u0000"}'):
        yield Wrong("POST", new, raw.replace("%s", key).encode(), {**secret, **_JSON})
    yield Wrong("POST", new, key.encode(), {**secret, "Content-Type": "text/plain"})
    yield Wrong("POST", new, key.encode().ljust(2_000_000, b" "), {**secret, **_JSON})
    for place in _ORDER_PLACES:
        body: Any = order_body("nobody", (driver.store.product_ref, 1))
        inner = body
        for part in place[:-1]:
            inner = inner[part]
        inner[place[-1]] = key
        yield Wrong("POST", new, body, secret)
    # 1010: the number stands for another order. 1044: so many keys are not there. Neither stores anything.
    for number, quantity in ((f"{driver.numbers}0", 2), (f"{driver.numbers}short", 9_999)):
        body = order_body(number, (driver.store.product_ref, quantity))
        body["customer"]["locationInvoice"] |= {"lastName": key, "companyName": key}
        body |= {"metadata": [{"key": "note", "value": key}], "marketingProgramId": key, key: key}
        yield Wrong("POST", new, body, secret)
    yield Wrong("PUT", cancel, {"partnerOrderNumber": "nobody", "reasonCode": key}, secret)
    yield Wrong("PUT", cancel, {"partnerOrderNumber": "nobody", "reasonCode": 2, "comment": key}, secret)
    yield Wrong("PUT", cancel, {"partnerOrderNumber": "nobody", "reasonCode": 2, "comment": f"{key}\x07"}, secret)
    yield Wrong("POST", "/connect/stock", key.encode(), {**secret, **_JSON})


def _targets(driver: Driver, key: str, secret: dict[str, str], admin: dict[str, str]) -> Iterator[Wrong]:
    named, bearer = quote(key, safe=""), driver.store.bearer
    reseller = {"Authorization": f"Bearer {driver.store.reseller_token}"}
    yield Wrong("GET", f"/connect/order/{named}", None, secret)
    yield Wrong("GET", f"/{named}")
    yield Wrong("GET", f"/connect/%00{named}", None, secret)
    yield Wrong("LAB", f"/{named}")
    for path in ("pools/{}", "batches/{}", "imports/{}", "imports/{}/refused-rows", "pools/{}/batches"):
        yield Wrong("GET", f"/publisher/{path.format(named)}", None, bearer)
    for query in ("pools?after={}", "pools?limit={}", "pools?{}=1", "events?pool_id={}", "products?after={}"):
        yield Wrong("GET", f"/publisher/{query.format(named)}", None, bearer)
    yield Wrong("GET", f"/publisher/pools?publisher={named}", None, bearer)
    yield Wrong("GET", f"/publisher/pools?publisher={named}", None, admin)
    yield Wrong("DELETE", f"/publisher/imports/{named}", None, bearer)
    yield Wrong("POST", f"/publisher/batches/{named}/release", None, bearer)
    for body in (
        {"name": f"{key}\n"},
        {"name": "x", "policy": key},
        {"name": "x", key: 1},
        {"name": "x", "alert_level": key},
    ):
        yield Wrong("POST", "/publisher/pools", body, bearer)
    yield Wrong("POST", "/publisher/products", {"product_ref": key, "name": "x", "template_id": key}, bearer)
    yield Wrong("POST", "/publisher/templates", {"name": "x", "source_plan": {"steps": [{"source": key}]}}, bearer)
    yield Wrong("POST", "/admin/publishers", {"handle": key, "name": "x"}, admin)
    yield Wrong("GET", f"/admin/pools?after={named}", None, admin)
    yield Wrong("GET", f"/fulfillment/purchases/{named}", None, reseller)
    yield Wrong("POST", "/fulfillment/purchases/search", {"email": key}, reseller)
    yield Wrong("POST", "/fulfillment/purchases/search", {"email": "a@example.com", "after": key}, reseller)


async def answer_to(driver: Driver, wrong: Wrong) -> Answered:
    """Sent as it is, and answered; the headers of the answer belong to its text."""
    body = json.dumps(wrong.body).encode() if isinstance(wrong.body, dict) else wrong.body
    data = None if body is None else io.BytesIO(body)
    headers = {**_JSON, **wrong.headers} if isinstance(wrong.body, dict) else wrong.headers
    try:
        async with driver.session.request(
            wrong.method, URL(wrong.target, encoded=True), data=data, headers=headers
        ) as response:
            text = await response.text()
            is_refused = response.status >= 400 or json.loads(text).get("responseCode") not in (None, 0)
            return Answered(wrong, is_refused, f"{response.reason} {dict(response.headers)} {text}")
    except BROKEN:
        return Answered(wrong, is_refused=True, text="")


def broken_http(key: str, secret: str) -> list[bytes]:
    """What no HTTP client sends: the parser refuses it, or waits for the rest until it has waited long enough."""
    head = f"POST /connect/order/new HTTP/1.1\r\nHost: x\r\nsecret: {secret}\r\nContent-Type: application/json\r\n"
    return [
        one.encode()
        for one in (
            f"GET /{key} HTTP/9.9\r\n\r\n",
            f"{key} / HTTP/1.1\r\n\r\n",
            f"GET / HTTP/1.1\r\n{key}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {key}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: x\r\n{key} : x\r\n\r\n",
            f"{head}Transfer-Encoding: chunked\r\n\r\n{key}\r\n",
            f"{head}Transfer-Encoding: {key}\r\n\r\n{key}\r\n",
            f'{head}Content-Length: 900\r\n\r\n{{"a":"{key}"',
            f"GET /{key}",
            f"GET /{key * 300} HTTP/1.1\r\n\r\n",
        )
    ]


async def answer_to_raw(base_url: str, content: bytes) -> str:
    """All that comes back until the service closes the connection."""
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(content)
        async with asyncio.timeout(_RAW_SECONDS):
            return (await reader.read()).decode("latin-1")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
