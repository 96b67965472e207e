"""Wholesalers that keys are bought from: Kinguin, asked again under its own order's id, and CodesWholesale with OAuth2 tokens."""

import json
from typing import Final
from urllib.parse import quote_plus

from keyservice.sandbox.asked import Answer, Asked, Granted, Reason, Refused, State
from keyservice.sandbox.credentials import require_basic_of, require_header
from keyservice.sandbox.family import Door, Family
from keyservice.sandbox.incoming import Incoming, member, whole_number
from keyservice.sandbox.issuing import Delivery, Repeat

_STATUSES: Final = {
    Reason.UNAUTHORIZED: 401,
    Reason.OUT_OF_STOCK: 503,
    Reason.NOT_FOUND: 404,
    Reason.CONFLICT: 409,
    Reason.CANCELLED: 409,
}


def _json(status: int, document: object) -> Answer:
    return Answer(status, json.dumps(document).encode())


def _refuse(refused: Refused) -> Answer:
    code = refused.reason.upper().replace("-", "_")
    return _json(_STATUSES.get(refused.reason, 400), {"code": code, "message": str(refused)})


def _only_product(body: dict[str, object], count: str) -> int:
    products = body.get("products")
    if not isinstance(products, list) or len(products) != 1 or not isinstance(products[0], dict):
        raise Refused(Reason.BAD_REQUEST, "products is no list of one")
    member(products[0], "productId")
    return whole_number(products[0].get(count), count)


# ----------------------------------------------------------------------------------------------------------- Kinguin
def _read_kinguin(incoming: Incoming, door: Door) -> Asked:
    """Behind the order, only its own id names it."""
    require_header(incoming, "X-Api-Key", door.credentials.api_key)
    match (incoming.method, *incoming.segments):
        case ("POST", "v2", "order"):
            body = incoming.json()
            return Asked("create", member(body, "orderExternalId"), count=_only_product(body, "qty"))
        case ("GET", "v2", "order", order_id, "keys"):
            return Asked("look_up", license_id=order_id)
        case ("POST", "v2", "order", order_id, "keys", "return"):
            return Asked("cancel", license_id=order_id)
        case _:
            raise Refused(Reason.NOT_FOUND, "there is no such resource")


def _grant_kinguin(asked: Asked, granted: Granted) -> Answer:
    if asked.operation == "look_up":
        return _json(200, [{"serial": key, "type": "text/plain"} for key in granted.keys])
    status = "processing" if granted.state is State.PROCESSING else granted.state.value
    return _json(201 if asked.operation == "create" else 200, {"orderId": granted.license_id, "status": status})


KINGUIN: Final = Family(
    *("kinguin", "/wholesale/kinguin", "Kinguin"),
    *(_read_kinguin, _grant_kinguin, _refuse),
    delivery=Delivery.WHEN_POLLED,
    repeat=Repeat.SECOND_KEY,
)


# ---------------------------------------------------------------------------------------------------- CodesWholesale
def _read_codeswholesale(incoming: Incoming, door: Door) -> Asked:
    """Tokens by client credentials (RFC 6749, section 4.4) open the orders."""
    match (incoming.method, *incoming.segments):
        case ("POST", "oauth", "token"):
            credentials = door.credentials
            require_basic_of(incoming, quote_plus(credentials.client_id), quote_plus(credentials.client_secret))
            if dict(incoming.form()).get("grant_type") != "client_credentials":
                raise Refused(Reason.BAD_REQUEST, "the grant type is unknown")
            return Asked("token")
        case ("POST", "orders"):
            door.tokens.require(incoming.header("Authorization"))
            body = incoming.json()
            return Asked("create", member(body, "clientOrderId"), count=_only_product(body, "quantity"))
        case _:
            raise Refused(Reason.NOT_FOUND, "there is no such resource")


def _token(incoming: Incoming, door: Door) -> Answer:
    token = door.tokens.issue()
    if token is None:
        return Answer(429, b"{}", headers={"Retry-After": "60"})
    return _json(200, {"access_token": token, "token_type": "Bearer", "expires_in": door.tokens.seconds})


def _grant_codeswholesale(asked: Asked, granted: Granted) -> Answer:
    return _json(201, {"orderId": granted.license_id, "codes": [{"code": key} for key in granted.keys]})


CODESWHOLESALE: Final = Family(
    *("codeswholesale", "/wholesale/codeswholesale", "CodesWholesale"),
    *(_read_codeswholesale, _grant_codeswholesale, _refuse),
    issue_token=_token,
)
