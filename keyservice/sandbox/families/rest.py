"""Licensing services with a REST interface: Keygen, Cryptlex, LicenseSpring."""

import json
from collections.abc import Mapping
from typing import Any, Final

from keyservice.sandbox.asked import Answer, Asked, Granted, Reason, Refused, State
from keyservice.sandbox.credentials import require_header
from keyservice.sandbox.family import Door, Family
from keyservice.sandbox.incoming import Incoming, member, whole_number
from keyservice.sandbox.issuing import Repeat

_STATUSES: Final[Mapping[Reason, int]] = {
    Reason.UNAUTHORIZED: 401,
    Reason.BAD_REQUEST: 400,
    Reason.OUT_OF_STOCK: 422,
    Reason.NOT_FOUND: 404,
    Reason.CONFLICT: 409,
    Reason.CANCELLED: 409,
}


def _json(status: int, document: object, content_type: str = "application/json") -> Answer:
    return Answer(status, json.dumps(document, ensure_ascii=False).encode(), content_type)


# ------------------------------------------------------------------------------------------------------------ Keygen
_JSON_API: Final = "application/vnd.api+json"
_KEYGEN_ACTIONS: Final = {
    ("POST", "suspend"): "pause",
    ("POST", "reinstate"): "resume",
    ("DELETE", "revoke"): "cancel",
}


def _read_keygen(incoming: Incoming, door: Door) -> Asked:
    """The caller's own UUID is the license's id, so that our reference names it in every call."""
    require_header(incoming, "Authorization", f"Bearer {door.credentials.token}")
    match (incoming.method, *incoming.segments):
        case ("POST", "v1", "accounts", _, "licenses"):
            data = incoming.json().get("data")
            if not isinstance(data, dict) or data.get("type") != "licenses":
                raise Refused(Reason.BAD_REQUEST, "data.type is not licenses")
            member(data, "relationships", "policy", "data", "id")
            return Asked("create", member(data, "id"))
        case ("GET", "v1", "accounts", _, "licenses", reference):
            return Asked("look_up", reference)
        case (method, "v1", "accounts", _, "licenses", reference, "actions", action):
            if (method, action) in _KEYGEN_ACTIONS:
                return Asked(_KEYGEN_ACTIONS[method, action], reference)
        case _:
            pass
    raise Refused(Reason.NOT_FOUND, "there is no such resource")


def _grant_keygen(asked: Asked, granted: Granted) -> Answer:
    if asked.operation == "cancel":
        return Answer(204, b"", _JSON_API)
    attributes = {"key": "".join(granted.keys[:1]), "suspended": asked.operation == "pause"}
    data = [{"type": "licenses", "id": granted.reference, "attributes": {**attributes, "key": k}} for k in granted.keys]
    one = {"type": "licenses", "id": granted.reference, "attributes": attributes}
    status = 201 if asked.operation == "create" else 200
    return _json(status, {"data": one if len(data) == 1 else data}, _JSON_API)


def _refuse_keygen(refused: Refused) -> Answer:
    detail = "pool is empty" if refused.reason is Reason.OUT_OF_STOCK else str(refused)
    pointer = "/data/relationships/policy" if refused.reason is Reason.OUT_OF_STOCK else "/data"
    code = "POLICY_POOL_EMPTY" if refused.reason is Reason.OUT_OF_STOCK else refused.reason.upper().replace("-", "_")
    error = {"title": "Unprocessable resource", "detail": detail, "code": code, "source": {"pointer": pointer}}
    return _json(_STATUSES[refused.reason], {"errors": [error]}, _JSON_API)


KEYGEN: Final = Family(
    "keygen", "/rest/keygen", "Keygen", _read_keygen, _grant_keygen, _refuse_keygen, repeat=Repeat.CONFLICT
)


# ---------------------------------------------------------------------------------------------------------- Cryptlex
def _read_cryptlex(incoming: Incoming, door: Door) -> Asked:
    """Our reference is metadata; afterwards only the publisher's id names a license."""
    require_header(incoming, "Authorization", f"Bearer {door.credentials.token}")
    match (incoming.method, *incoming.segments):
        case ("POST", "v3", "licenses"):
            body = incoming.json()
            member(body, "productId")
            return Asked("create", _metadata(body, "order_id"))
        case ("GET", "v3", "licenses"):
            query = dict(incoming.query)
            if query.get("metadata.key") == "order_id" and query.get("metadata.value"):
                return Asked("look_up", query["metadata.value"], extra="search")
        case ("PATCH", "v3", "licenses", license_id):
            return Asked(_patched(incoming.json()), license_id=license_id)
        case _:
            pass
    raise Refused(Reason.NOT_FOUND, "there is no such resource")


def _metadata(body: dict[str, Any], key: str) -> str:
    for pair in body.get("metadata") or ():
        if isinstance(pair, dict) and pair.get("key") == key:
            return member(pair, "value")
    raise Refused(Reason.BAD_REQUEST, f"metadata has no {key}")


def _patched(body: dict[str, Any]) -> str:
    match body:
        case {"revoked": True}:
            return "cancel"
        case {"suspended": bool(is_suspended)}:
            return "pause" if is_suspended else "resume"
        case _:
            raise Refused(Reason.BAD_REQUEST, "nothing to change")


def _grant_cryptlex(asked: Asked, granted: Granted) -> Answer:
    is_revoked = granted.state in (State.CANCELLED, State.ALREADY_CANCELLED)
    state = {"revoked": is_revoked, "suspended": asked.operation == "pause", "expiresAt": None}
    licenses = [{"id": granted.license_id, "key": key, **state} for key in granted.keys or ("",)]
    if asked.extra == "search":
        return _json(200, licenses)
    one = licenses[0] if len(licenses) == 1 else licenses
    return _json(201 if asked.operation == "create" else 200, one)


def _refuse_cryptlex(refused: Refused) -> Answer:
    if refused.reason is Reason.NOT_FOUND and "nothing was issued" in str(refused):
        # A search that finds nothing is an empty list; a license of that id is none either.
        return _json(404, {"code": "LICENSE_NOT_FOUND", "message": str(refused)})
    code = refused.reason.upper().replace("-", "_")
    return _json(_STATUSES[refused.reason], {"code": code, "message": str(refused)})


CRYPTLEX: Final = Family(
    "cryptlex",
    "/rest/cryptlex",
    "Cryptlex",
    _read_cryptlex,
    _grant_cryptlex,
    _refuse_cryptlex,
    repeat=Repeat.SECOND_KEY,
)


# ----------------------------------------------------------------------------------------------------- LicenseSpring
def _read_licensespring(incoming: Incoming, door: Door) -> Asked:
    require_header(incoming, "Authorization", f"Api-Key {door.credentials.api_key}")
    match (incoming.method, *incoming.segments):
        case ("POST", "api", "v1", "orders", "create_order"):
            body = incoming.json()
            items = body.get("items")
            if not isinstance(items, list) or not items or not isinstance(items[0], dict):
                raise Refused(Reason.BAD_REQUEST, "items is no list")
            member(items[0], "product_code")
            count = whole_number(len(items[0].get("licenses") or ()), "items.0.licenses")
            return Asked("create", member(body, "id"), count=count, is_test=body.get("is_test") is True)
        case ("POST", "api", "v1", "licenses", "disable_bulk"):
            return Asked("cancel", license_id=_only_id(incoming))
        case ("POST", "api", "v1", "licenses", license_id, "enable"):
            return Asked("resume", license_id=license_id)
        case _:
            raise Refused(Reason.NOT_FOUND, "there is no such resource")


def _only_id(incoming: Incoming) -> str:
    try:
        found = json.loads(incoming.body)
    except ValueError:
        found = None
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], str):
        raise Refused(Reason.BAD_REQUEST, "not a list of one license id")
    return found[0]


def _grant_licensespring(asked: Asked, granted: Granted) -> Answer:
    licenses = [{"id": granted.license_id, "license_key": key} for key in granted.keys]
    return _json(201 if asked.operation == "create" else 200, {"id": granted.reference, "licenses": licenses})


def _refuse_licensespring(refused: Refused) -> Answer:
    code = refused.reason.replace("-", "_")
    return _json(_STATUSES[refused.reason], {"code": code, "message": str(refused)})


LICENSESPRING: Final = Family(
    "licensespring",
    "/rest/licensespring",
    "LicenseSpring",
    _read_licensespring,
    _grant_licensespring,
    _refuse_licensespring,
)
