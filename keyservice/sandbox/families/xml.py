"""Publishers that are asked in XML: BMT Micro, and SOAP 1.1 of no publisher in particular."""

from typing import Final
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from keyservice.sandbox.asked import Answer, Asked, Granted, Reason, Refused
from keyservice.sandbox.credentials import require_basic
from keyservice.sandbox.family import Door, Family
from keyservice.sandbox.incoming import Incoming, whole_number

_XML: Final = "text/xml; charset=utf-8"


def _text(root: Element, path: str) -> str:
    found = root.findtext(path)
    if not found:
        raise Refused(Reason.BAD_REQUEST, f"there is no {path.rpartition('/')[2]}")
    return found


# --------------------------------------------------------------------------------------------------------- BMT Micro
def _read_bmtmicro(incoming: Incoming, door: Door) -> Asked:
    """Nothing proves who asks. As many keydata elements are answered as keycount says."""
    incoming.require("POST")
    root = incoming.xml()
    return Asked("create", _text(root, ".//orderid"), count=whole_number(_text(root, ".//keycount"), "keycount"))


def _grant_bmtmicro(asked: Asked, granted: Granted) -> Answer:
    shown = "".join(f"<keydata>{escape(key)}</keydata>" for key in granted.keys)
    return Answer(200, f"<response>{shown}</response>".encode(), _XML)


def _refuse_bmtmicro(refused: Refused) -> Answer:
    """An error in the answer: the order is queued."""
    error = f"<code>{refused.reason.upper()}</code><message>{escape(str(refused))}</message>"
    return Answer(200, f"<response><error>{error}</error></response>".encode(), _XML)


BMTMICRO: Final = Family("bmtmicro", "/xml/bmtmicro", "BMT Micro", _read_bmtmicro, _grant_bmtmicro, _refuse_bmtmicro)


# -------------------------------------------------------------------------------------------------------------- SOAP
_ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_ACTIONS: Final = {"createLicense": "create", "cancelLicense": "cancel"}


def _read_soap(incoming: Incoming, door: Door) -> Asked:
    """The header SOAPAction has to name what the body asks for (SOAP 1.1, section 6.1.1)."""
    incoming.require("POST")
    require_basic(incoming, door.credentials)
    body = incoming.xml().find(f"{{{_ENVELOPE}}}Body")
    asked = None if body is None else next(iter(body), None)
    if (
        asked is None
        or asked.tag not in _ACTIONS
        or incoming.header("SOAPAction").strip('"') != f"urn:sandbox:{asked.tag}"
    ):
        raise Refused(Reason.BAD_REQUEST, "the body and SOAPAction do not name an operation")
    count = whole_number(asked.findtext("count") or "1", "count")
    return Asked(_ACTIONS[asked.tag], _text(asked, "reference"), count=count)


def _enveloped(status: int, inner: str) -> Answer:
    envelope = f'<soap:Envelope xmlns:soap="{_ENVELOPE}"><soap:Body>{inner}</soap:Body></soap:Envelope>'
    return Answer(status, envelope.encode(), _XML)


def _grant_soap(asked: Asked, granted: Granted) -> Answer:
    shown = "".join(f"<key>{escape(key)}</key>" for key in granted.keys)
    license_id = f"<licenseId>{escape(granted.license_id)}</licenseId>"
    return _enveloped(200, f"<{asked.operation}Response>{license_id}{shown}</{asked.operation}Response>")


def _refuse_soap(refused: Refused) -> Answer:
    """A fault says whose it is: the client's for a request that will never be granted, else the server's."""
    if refused.reason is Reason.UNAUTHORIZED:
        return _fault(401, "Client.Authentication", refused)
    return _fault(500, "Server" if refused.reason is Reason.OUT_OF_STOCK else "Client", refused)


def _fault(status: int, code: str, refused: Refused) -> Answer:
    told = f"<faultcode>soap:{code}</faultcode><faultstring>{escape(str(refused))}</faultstring>"
    return _enveloped(status, f"<soap:Fault>{told}</soap:Fault>")


SOAP: Final = Family("soap", "/xml/soap", "SOAP 1.1", _read_soap, _grant_soap, _refuse_soap)
