"""Shops' own key generators: a form or a query in, one key a line out.

FastSpring, PayPro Global, ShareIt, SWREG, cleverbridge, Plesk's ISV protocol, Softline, SendOwl, Paddle Classic, 2Checkout.
"""

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1

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


_DAY: Final = re.compile(r"[0-3][0-9]/[01][0-9]/[0-9]{4}")


def _day(text: str, name: str) -> None:
    if not _DAY.fullmatch(text):
        raise Refused(Reason.BAD_REQUEST, f"{name} is no date dd/mm/yyyy")


def _read_cleverbridge(incoming: Incoming, door: Door) -> Asked:
    incoming.require("POST")
    require_basic(incoming, door.credentials)
    told = dict(incoming.form())
    _day(parameter(told, "PURCHASE_DATE"), "PURCHASE_DATE")
    parameter(told, "PRODUCT_ID")
    parameter(told, "RUNNING_NO")
    return Asked("create", parameter(told, "PURCHASE_ID"), count=whole_number(parameter(told, "QUANTITY"), "QUANTITY"))


_PLESK_ACTIONS: Final = {"PURCHASE": "create", "RENEW": "renew", "UPGRADE": "upgrade"}


def _read_plesk(incoming: Incoming, door: Door) -> Asked:
    """Nothing proves who asks."""
    incoming.require("POST")
    told = dict(incoming.form())
    if told.get("APS_PROTOCOL_MODEL") not in ("2", "3") or told.get("APS_ACTION") not in _PLESK_ACTIONS:
        raise Refused(Reason.BAD_REQUEST, "APS_PROTOCOL_MODEL or APS_ACTION is unknown")
    _day(parameter(told, "PURCHASE_DATE"), "PURCHASE_DATE")
    parameter(told, "PRODUCT_ID")
    is_test = parameter(told, "APS_TEST_MODE") == "Y"
    return Asked(_PLESK_ACTIONS[told["APS_ACTION"]], parameter(told, "PURCHASE_ID"), is_test=is_test)


def _read_softline(incoming: Incoming, door: Door) -> Asked:
    """A renewal tells the keys before it."""
    incoming.require("POST")
    told = dict(incoming.form())
    parameter(told, "ID")
    count = whole_number(parameter(told, "Quantity"), "Quantity")
    operation = "renew" if told.get("Key_last_renew") else "create"
    return Asked(operation, parameter(told, "Order"), count=count)


def _read_sendowl(incoming: Incoming, door: Door) -> Asked:
    incoming.require("GET")
    told = dict(incoming.query)
    return Asked("create", parameter(told, "order_id"), count=whole_number(told.get("quantity", "1"), "quantity"))


def _read_paddle(incoming: Incoming, door: Door) -> Asked:
    """p_signature is RSA with SHA-1 over all other fields, sorted by name, as PHP serializes them."""
    incoming.require("POST")
    told = dict(incoming.form())
    members = "".join(
        f's:{len(name.encode())}:"{name}";s:{len(value.encode())}:"{value}";'
        for name, value in sorted(told.items())
        if name != "p_signature"
    )
    signed = f"a:{len(told) - 1}:{{{members}}}"
    try:
        sent = base64.b64decode(told.get("p_signature", ""), validate=True)
        # The protocol's own hash; whoever has the choice takes another.
        door.credentials.public_key.verify(sent, signed.encode(), PKCS1v15(), SHA1())  # noqa: S303
    except (binascii.Error, InvalidSignature):
        raise Refused(Reason.UNAUTHORIZED, "the signature is wrong or missing") from None
    parameter(told, "p_product_id")
    return Asked("create", parameter(told, "p_order_id"), count=whole_number(told.get("p_quantity", "1"), "p_quantity"))


def _read_2checkout(incoming: Incoming, door: Door) -> Asked:
    """HASH is an HMAC over all values, each with its length in bytes before it."""
    incoming.require("POST")
    pairs = incoming.form()
    told = dict(pairs)
    signed = b"".join(str(len(value.encode())).encode() + value.encode() for name, value in pairs if name != "HASH")
    require_signature(told.get("HASH", ""), hmac.digest(door.credentials.signature.encode(), signed, "sha256").hex())
    parameter(told, "PID")
    count = whole_number(parameter(told, "QUANTITY"), "QUANTITY")
    return Asked("create", parameter(told, "REFNO"), count=count, is_test=told.get("TESTORDER") == "YES")


def _codes(asked: Asked, granted: Granted) -> Answer:
    shown = "".join(f"<Code>{escape(key)}</Code>" for key in granted.keys)
    return Answer(200, f"<Data>{shown}</Data>".encode(), "text/xml; charset=utf-8")


FASTSPRING: Final = Family("fastspring", "/forms/fastspring", "FastSpring", _read_fastspring, _lines, _refuse)
PAYPRO: Final = Family("paypro", "/forms/paypro", "PayPro Global", _read_paypro, _lines, _refuse)
SHAREIT: Final = Family("shareit", "/forms/shareit", "MyCommerce ShareIt", _read_shareit, _lines, _refuse)
SWREG: Final = Family("swreg", "/forms/swreg", "SWREG", _read_swreg, _tagged, _refuse)
CLEVERBRIDGE: Final = Family("cleverbridge", "/forms/cleverbridge", "cleverbridge", _read_cleverbridge, _lines, _refuse)
PLESK: Final = Family("plesk-isv", "/forms/plesk", "Plesk's ISV protocol", _read_plesk, _lines, _refuse)
SOFTLINE: Final = Family("softline", "/forms/softline", "Softline", _read_softline, _lines, _refuse)
SENDOWL: Final = Family("sendowl", "/forms/sendowl", "SendOwl", _read_sendowl, _lines, _refuse)
PADDLE: Final = Family("paddle-classic", "/forms/paddle", "Paddle Classic", _read_paddle, _lines, _refuse)
TWO_CHECKOUT: Final = Family("2checkout", "/forms/2checkout", "2Checkout", _read_2checkout, _codes, _refuse)
