"""Shops' own key generators: a form or a query in, one key a line out. FastSpring, PayPro Global, ShareIt, SWREG."""

import hashlib
from typing import Final

from keyservice.sandbox.asked import Answer, Asked, Granted, Reason, Refused
from keyservice.sandbox.credentials import require_basic, require_signature
from keyservice.sandbox.family import Door, Family
from keyservice.sandbox.incoming import Incoming, parameter, whole_number

_STATUSES: Final = {Reason.UNAUTHORIZED: 401, Reason.OUT_OF_STOCK: 503}


def _lines(asked: Asked, granted: Granted) -> Answer:
    return Answer(200, "\n".join(granted.keys).encode(), "text/plain; charset=utf-8")


def _refuse(refused: Refused) -> Answer:
    """There is no documented form: whatever is not 200 is a fault."""
    return Answer(_STATUSES.get(refused.reason, 400), f"{refused}\n".encode(), "text/plain")


def _read_fastspring(incoming: Incoming, door: Door) -> Asked:
    """The values of all parameters in the order of their names, then the private key, as MD5."""
    incoming.require("POST")
    pairs = incoming.form()
    told = dict(pairs)
    signed = "".join(value for name, value in sorted(pairs) if name != "security_request_hash")
    wanted = hashlib.md5((signed + door.credentials.signature).encode(), usedforsecurity=False).hexdigest()
    require_signature(told.get("security_request_hash", ""), wanted)
    count = whole_number(parameter(told, "quantity"), "quantity")
    parameter(told, "internalProductName")
    return Asked("create", parameter(told, "reference"), count=count, is_test=told.get("test") == "true")


_SIGNED_BY_PAYPRO: Final = ("ORDER_ID", "ORDER_STATUS", "ORDER_TOTAL_AMOUNT", "CUSTOMER_EMAIL")


def _read_paypro(incoming: Incoming, door: Door) -> Asked:
    """SIGNATURE is SHA-256 over the order's facts, with the validation key among them."""
    incoming.require("POST")
    told = dict(incoming.form())
    if told.get("IPN_TYPE_NAME") != "LicenseRequested":
        raise Refused(Reason.BAD_REQUEST, "it is no request for a license")
    facts = "".join(told.get(name, "") for name in _SIGNED_BY_PAYPRO)
    signed = f"{facts}{door.credentials.signature}{told.get('TEST_MODE', '')}LicenseRequested"
    require_signature(told.get("SIGNATURE", ""), hashlib.sha256(signed.encode()).hexdigest())
    count = whole_number(parameter(told, "PRODUCT_QUANTITY"), "PRODUCT_QUANTITY")
    parameter(told, "PRODUCT_ID")
    return Asked("create", parameter(told, "ORDER_ID"), count=count, is_test=told["TEST_MODE"] == "1")


def _read_shareit(incoming: Incoming, door: Door) -> Asked:
    """Forms are ISO-8859-1 unless ENCODING says otherwise."""
    incoming.require("POST")
    require_basic(incoming, door.credentials)
    told = dict(incoming.form("iso-8859-1"))
    if told.get("ENCODING") == "UTF8":
        told = dict(incoming.form())
    count = whole_number(parameter(told, "QUANTITY"), "QUANTITY")
    parameter(told, "PRODUCT_ID")
    return Asked("create", parameter(told, "PURCHASE_ID"), count=count)


def _read_swreg(incoming: Incoming, door: Door) -> Asked:
    incoming.require("GET")
    require_basic(incoming, door.credentials)
    told = dict(incoming.query)
    count = whole_number(parameter(told, "quantity"), "quantity")
    parameter(told, "pc")
    return Asked("create", parameter(told, "o_no"), count=count)


def _tagged(asked: Asked, granted: Granted) -> Answer:
    shown = "".join(f"<softshop>{key}</softshop>\n" for key in granted.keys)
    return Answer(200, f"key follows\n{shown}".encode(), "text/plain")


FASTSPRING: Final = Family("fastspring", "/forms/fastspring", "FastSpring", _read_fastspring, _lines, _refuse)
PAYPRO: Final = Family("paypro", "/forms/paypro", "PayPro Global", _read_paypro, _lines, _refuse)
SHAREIT: Final = Family("shareit", "/forms/shareit", "MyCommerce ShareIt", _read_shareit, _lines, _refuse)
SWREG: Final = Family("swreg", "/forms/swreg", "SWREG", _read_swreg, _tagged, _refuse)
