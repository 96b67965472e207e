"""The reference system's own protocol: one JSON request for a line item and operation, under HTTP Basic."""

import json
from dataclasses import replace
from typing import Final

from keyservice.sandbox.asked import Answer, Asked, Granted, Reason, Refused, State
from keyservice.sandbox.credentials import require_basic
from keyservice.sandbox.family import Door, Family
from keyservice.sandbox.incoming import Incoming, member, whole_number

_OPERATIONS: Final = {
    "new": "create",
    "cancel": "cancel",
    "renew": "renew",
    "upgrade": "upgrade",
    "pause": "pause",
    "resume": "resume",
    "suspend": "pause",
    "reactivate": "resume",
}
_STATUSES: Final = {
    Reason.UNAUTHORIZED: 401,
    Reason.BAD_REQUEST: 400,
    Reason.OUT_OF_STOCK: 409,
    Reason.NOT_FOUND: 404,
    Reason.CONFLICT: 409,
    Reason.CANCELLED: 410,
}


def _read(incoming: Incoming, door: Door) -> Asked:
    require_basic(incoming, door.credentials)
    return asked_of(incoming)


def asked_of(incoming: Incoming) -> Asked:
    """What the path and the body say. Raises Refused."""
    incoming.require("POST")
    folder, _, name = incoming.path.strip("/").rpartition("/")
    if folder != "licenses" or name not in _OPERATIONS:
        raise Refused(Reason.BAD_REQUEST, "there is no such operation")
    body = incoming.json()
    # The default payload has no quantity: one request is for one key unless a template says more.
    count = whole_number(body.get("quantity", 1), "quantity")
    for required in (("checkout", "orderId"), ("checkout", "lineItemId"), ("product", "id")):
        member(body, *required)
    is_test = body.get("testMode") in (True, "true")
    return Asked(_OPERATIONS[name], member(body, "fulfillmentId"), count=count, is_test=is_test)


def grant(asked: Asked, granted: Granted) -> Answer:
    """The default extraction names; several keys are a list."""
    body: dict[str, object] = {"PublisherLicenseID": granted.license_id, "status": granted.state}
    if granted.state is State.ISSUED:
        body["activationCode"] = granted.keys[0] if len(granted.keys) == 1 else granted.keys
    return Answer(200, json.dumps(body, ensure_ascii=False).encode())


def refuse(refused: Refused) -> Answer:
    """The status says it, and the body says why."""
    body = {"errorCode": refused.reason.upper().replace("-", "_"), "errorMessage": str(refused)}
    return Answer(_STATUSES[refused.reason], json.dumps(body).encode())


def _read_plugin(incoming: Incoming, door: Door) -> Asked:
    # It reads the body first: whoever sends bad JSON without credentials is told of the JSON.
    asked = asked_of(incoming)
    require_basic(incoming, door.credentials)
    return asked


def _refuse_plugin(refused: Refused) -> Answer:
    return replace(refuse(refused), status=200)


NEXWAY: Final = Family("nexway", "/nexway", "Nexway, the reference system", _read, grant, refuse)
PLUGIN: Final = Family(
    "plugin", "/plugin", "a shop plugin that answers 200 to every failure", _read_plugin, grant, _refuse_plugin
)
