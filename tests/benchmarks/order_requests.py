"""The bytes of createOrder requests: document 003's whole example with one line of one unit, each with its own number."""

import json
from collections.abc import Iterable
from decimal import Decimal

from tests.api.connect.connect_bodies import reference_body

_DIGITS = 9
_PLACE = b"#" * _DIGITS


def order_body(product_ref: int) -> bytes:
    """The JSON, with the place of the number wherever it must differ from order to order."""
    body = reference_body()
    place = _PLACE.decode()
    body["partnerOrderNumber"] = f"ORDER-{place}"
    body["customer"]["email"] = f"shopper.{place}@example.org"
    line = body["orderLines"][0]
    line |= {"productRef": str(product_ref), "quantity": 1, "amountTotal": Decimal("19.99")}
    return json.dumps(body, default=float).encode()


def order_requests(numbers: Iterable[int], *, product_ref: int, secret: str) -> list[bytes]:
    """One whole HTTP request for each number."""
    body = order_body(product_ref)
    head = (
        "POST /connect/order/new HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        f"secret: {secret}\r\n"
        "Content-Type: application/json\r\n"
        "Accept: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    parts = (head + body).split(_PLACE)
    return [(b"%0*d" % (_DIGITS, number)).join(parts) for number in numbers]
