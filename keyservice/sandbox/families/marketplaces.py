"""Marketplaces that sell what publishers deliver in the moment of the sale, in JSON.

Sellix and SellAuth take the whole body for the key. Alibaba's is asked again until it is done, Huawei's repeats what it has
said or delivers later by itself, and Eneba's reserves before it provides.
"""

import base64
import hmac
import json
from typing import Final

from keyservice.sandbox.asked import Answer, Asked, Granted, Reason, Refused, State
from keyservice.sandbox.credentials import require_signature
from keyservice.sandbox.family import Door, Family
from keyservice.sandbox.incoming import Incoming, member, whole_number
from keyservice.sandbox.issuing import Delivery

_STATUSES: Final = {Reason.UNAUTHORIZED: 401, Reason.OUT_OF_STOCK: 503, Reason.NOT_FOUND: 404}


def _text(asked: Asked, granted: Granted) -> Answer:
    return Answer(200, "\n".join(granted.keys).encode(), "text/plain; charset=utf-8")


def _json(status: int, document: object) -> Answer:
    return Answer(status, json.dumps(document).encode())


def _refuse(refused: Refused) -> Answer:
    return _json(_STATUSES.get(refused.reason, 400), {"error": str(refused)})


# -------------------------------------------------------------------------------------------------- Sellix, SellAuth
def _read_sellix(incoming: Incoming, door: Door) -> Asked:
    """X-Sellix-Signature is an HMAC of the body."""
    incoming.require("POST")
    wanted = hmac.digest(door.credentials.signature.encode(), incoming.body, "sha512").hex()
    require_signature(incoming.header("X-Sellix-Signature"), wanted)
    body = incoming.json()
    if body.get("event") != "product:dynamic" or not incoming.header("X-Sellix-Product-Id"):
        raise Refused(Reason.BAD_REQUEST, "it is no order of a dynamic product")
    count = whole_number((body.get("data") or {}).get("quantity"), "data.quantity")
    return Asked("create", member(body, "data", "uniqid"), count=count)


def _read_sellauth(incoming: Incoming, door: Door) -> Asked:
    """One for each item; nothing proves who asks."""
    incoming.require("POST")
    body = incoming.json()
    if body.get("event") != "INVOICE.ITEM.DELIVER-DYNAMIC":
        raise Refused(Reason.BAD_REQUEST, "it is no order of a dynamic item")
    count = whole_number((body.get("item") or {}).get("quantity"), "item.quantity")
    return Asked("create", member(body, "unique_id"), count=count)


# ----------------------------------------------------------------------------------------------------------- Alibaba
def _read_alibaba(incoming: Incoming, door: Door) -> Asked:
    incoming.require("POST")
    body = incoming.json()
    match body.get("action"):
        case "CREATE_ORDER":
            return Asked("create", member(body, "orderId"), count=whole_number(body.get("quantity"), "quantity"))
        case "QUERY_ORDER":
            return Asked("look_up", member(body, "orderId"))
        case _:
            raise Refused(Reason.BAD_REQUEST, "the action is unknown")


def _grant_alibaba(asked: Asked, granted: Granted) -> Answer:
    if granted.state is State.PROCESSING:
        return _json(200, {"isvOrderStatus": "CREATING"})
    return _json(200, {"isvOrderStatus": "DEPLOYED", "licenses": list(granted.keys)})


def _refuse_alibaba(refused: Refused) -> Answer:
    if refused.reason is Reason.OUT_OF_STOCK:
        return _json(200, {"isvOrderStatus": "DEPLOY_FAILED"})
    return _refuse(refused)


# ------------------------------------------------------------------------------------------------------------ Huawei
def _read_huawei(incoming: Incoming, door: Door, activity: str) -> Asked:
    """The signature in the query covers timestamp and nonce. The same eventId gets the same license again."""
    incoming.require("POST")
    query = dict(incoming.query)
    signed = (query.get("timestamp", "") + query.get("nonce", "")).encode()
    wanted = hmac.digest(door.credentials.signature.encode(), signed, "sha256")
    require_signature(query.get("signature", ""), base64.b64encode(wanted).decode())
    body = incoming.json()
    if body.get("activity") != activity:
        raise Refused(Reason.BAD_REQUEST, "the activity is unknown")
    return Asked("create", member(body, "eventId"), is_test=body.get("testFlag") == "1")


def _read_huawei_at_once(incoming: Incoming, door: Door) -> Asked:
    return _read_huawei(incoming, door, "getLicense")


def _read_huawei_later(incoming: Incoming, door: Door) -> Asked:
    return _read_huawei(incoming, door, "getLicenseAsync")


def _grant_huawei(asked: Asked, granted: Granted) -> Answer:
    if granted.state is State.PROCESSING:
        return _json(200, {"resultCode": "accepted"})
    return _json(200, {"resultCode": "done", "license": granted.keys[0] if len(granted.keys) == 1 else granted.keys})


# ------------------------------------------------------------------------------------------------------------- Eneba
_ENEBA_ACTIONS: Final = {"RESERVE": "reserve", "PROVIDE": "create"}


def _read_eneba(incoming: Incoming, door: Door) -> Asked:
    incoming.require("POST")
    body = incoming.json()
    operation = _ENEBA_ACTIONS.get(str(body.get("action")))
    if operation is None:
        raise Refused(Reason.BAD_REQUEST, "the action is unknown")
    return Asked(operation, member(body, "orderId"), count=whole_number(body.get("quantity"), "quantity"))


def _grant_eneba(asked: Asked, granted: Granted) -> Answer:
    if granted.state is State.RESERVED:
        return _json(200, {"success": True})
    return _json(200, {"keys": list(granted.keys)})


SELLIX: Final = Family("sellix", "/marketplaces/sellix", "Sellix", _read_sellix, _text, _refuse)
SELLAUTH: Final = Family("sellauth", "/marketplaces/sellauth", "SellAuth", _read_sellauth, _text, _refuse)
ALIBABA: Final = Family(
    *("alibaba-wuying", "/marketplaces/alibaba", "Alibaba's Wuying, asked again until it is done"),
    *(_read_alibaba, _grant_alibaba, _refuse_alibaba),
    delivery=Delivery.WHEN_POLLED,
)
HUAWEI: Final = Family(
    "huawei", "/marketplaces/huawei", "Huawei's KooGallery", _read_huawei_at_once, _grant_huawei, _refuse
)
HUAWEI_ASYNC: Final = Family(
    *("huawei-async", "/marketplaces/huawei-async", "Huawei's KooGallery, delivered later"),
    *(_read_huawei_later, _grant_huawei, _refuse),
    delivery=Delivery.PUSHED,
)
ENEBA: Final = Family(
    *("eneba", "/marketplaces/eneba", "Eneba, which reserves before it provides"),
    *(_read_eneba, _grant_eneba, _refuse),
    delivery=Delivery.AFTER_RESERVATION,
)
