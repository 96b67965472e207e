"""What resellers get: the JSON of the Connect answers, with every member of the reference's resource in its place."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from keyservice.api.connect.codes import AnswerCode, CancelOrderCode, CreateOrderCode, StockCode, StockStatus
from keyservice.api.connect.requests import Refusal, Refused
from keyservice.api.key_document import text_of
from keyservice.domain.key import KeyText
from keyservice.domain.key_parts import PARTS_MIME, decode_parts

Json = dict[str, Any]

ISSUED: Final = "issued"
# A unit in one of these states waits for nothing: there is no key, and none will come.
ENDED: Final = frozenset({"revoked", "replaced", "released", "withdrawn", "cancelled"})


@dataclass(frozen=True, slots=True)
class AnsweredUnit:
    """One wanted key. Its text is answered only while the unit is issued, whatever `key` holds."""

    key: KeyText | None
    state: str
    mime: str | None = None
    name: str | None = None
    subscription_id: int | None = None


@dataclass(frozen=True, slots=True)
class AnsweredFile:
    """One thing to download; the size is in bytes."""

    label: str
    type: str
    url: str
    size: int
    group: str | None = None


@dataclass(frozen=True, slots=True)
class AnsweredLine:
    """One product of an order; without a code of its own the line has that of its first unit that waits."""

    product_ref: int
    units: tuple[AnsweredUnit, ...]
    download_until: date | None = None
    digital_locker_link: str | None = None
    remark: str | None = None
    files: tuple[AnsweredFile, ...] = ()
    code: AnswerCode | None = None


@dataclass(frozen=True, slots=True)
class AnsweredOrder:
    """An order that was accepted. The code is the order's own: a line that waits does not make it a refusal."""

    partner_order_number: str
    order_number: int
    lines: tuple[AnsweredLine, ...]
    code: AnswerCode = CreateOrderCode.OK


@dataclass(frozen=True, slots=True)
class ProductStock:
    """How much there is of one product that was asked for."""

    product_ref: int | None
    status: StockStatus
    code: StockCode = StockCode.OK


def order_answer(order: AnsweredOrder) -> Json:
    """createOrder and get order data, which have the same shape."""
    lines = [_line(line) for line in order.lines]
    return _order(order.partner_order_number, order.order_number, lines, order.code, order.code.message)


def refusal_answer(refused: Refused) -> Json:
    """createOrder or get order data, refused: the first refusal is the order's, each refused line has its own first.

    Lines that nothing is wrong with are left out, since nothing in a refused order may say OK.
    """
    lines: dict[int, Json] = {}
    for refusal in refused.refusals:
        if refusal.line_number is not None and refusal.line_number not in lines:
            lines[refusal.line_number] = _refused_line(refusal)
    first = refused.first
    return _order(refused.partner_order_number, None, list(lines.values()), first.code, first.message)


def stock_answer(products: Iterable[ProductStock]) -> Json:
    """getStockStatus: no code but those of the products."""
    return {
        "productStatus": [
            {
                "productRef": product.product_ref,
                "status": int(product.status),
                "responseCode": int(product.code),
                "responseMessage": product.code.message,
            }
            for product in products
        ]
    }


def cancel_answer(
    partner_order_number: str | None, order_number: int | None, code: CancelOrderCode = CancelOrderCode.OK
) -> Json:
    """cancelOrder, done or refused for a reason that lies in the order."""
    return _cancelled(partner_order_number, order_number, code, code.message)


def cancel_refusal_answer(refused: Refused) -> Json:
    """cancelOrder, refused for a reason that lies in the request."""
    return _cancelled(refused.partner_order_number, None, refused.first.code, refused.first.message)


def _cancelled(partner_order_number: str | None, order_number: int | None, code: AnswerCode, message: str) -> Json:
    return {
        "partnerOrderNumber": partner_order_number,
        "orderNumber": order_number,
        "responseCode": int(code),
        "responseMessage": message,
    }


def _order(
    partner_order_number: str | None, order_number: int | None, lines: list[Json], code: AnswerCode, message: str
) -> Json:
    return {
        "partnerOrderNumber": partner_order_number,
        "orderNumber": order_number,
        "downloadManager": {"pc": None, "mac": None},
        "orderLines": lines,
        "responseCode": int(code),
        "responseMessage": message,
    }


def _line(line: AnsweredLine) -> Json:
    code = line.code if line.code is not None else _line_code(line.units)
    return {
        "productRef": line.product_ref,
        "dateEndDownload": None if line.download_until is None else line.download_until.isoformat(),
        "digitalLockerLink": line.digital_locker_link,
        "remark": line.remark,
        "files": [_file(file) for file in line.files],
        "lineItems": [_unit(unit) for unit in line.units],
        "responseCode": int(code),
        "responseMessage": code.message,
    }


def _refused_line(refusal: Refusal) -> Json:
    return {
        "productRef": refusal.product_ref,
        "dateEndDownload": None,
        "digitalLockerLink": None,
        "remark": None,
        "files": [],
        "lineItems": [],
        "responseCode": int(refusal.code),
        "responseMessage": refusal.message,
    }


def _file(file: AnsweredFile) -> Json:
    return {"label": file.label, "type": file.type, "url": file.url, "size": file.size, "group": file.group}


def _line_code(units: tuple[AnsweredUnit, ...]) -> AnswerCode:
    return next((code for code in map(_unit_code, units) if code is not CreateOrderCode.OK), CreateOrderCode.OK)


def _unit_code(unit: AnsweredUnit) -> AnswerCode:
    is_settled = unit.state in ENDED or _answered_key(unit) is not None
    return CreateOrderCode.OK if is_settled else CreateOrderCode.LICENSES_NOT_AVAILABLE


def _answered_key(unit: AnsweredUnit) -> KeyText | None:
    return unit.key if unit.state == ISSUED else None


def _unit(unit: AnsweredUnit) -> Json:
    key, code = _answered_key(unit), _unit_code(unit)
    return {
        "subscriptionId": unit.subscription_id,
        "serials": [] if key is None else _serials(key, unit.mime, unit.name),
        "responseCode": int(code),
        "responseMessage": unit.state if key is None else code.message,
    }


def _serials(key: KeyText, mime: str | None, name: str | None) -> list[Json]:
    """One for a text or a file, one for each part of a key of several parts, whose label is a member of its own.

    No document says what `encoding` may hold; plain text needs none, and base64 carries what is not text.
    """
    if mime == PARTS_MIME:
        return [{**_text_serial(part.value, None), "label": part.label} for part in decode_parts(key)]
    # A text file may be in another charset than UTF-8; its bytes are what was sold.
    text = text_of(key) if mime is None or mime.startswith("text/") else None
    if text is None:
        return [{"data": b64encode(key.raw).decode(), "encoding": "base64", "charset": "", "fileName": name}]
    return [_text_serial(text, name)]


def _text_serial(text: str, name: str | None) -> Json:
    return {"data": text, "encoding": "", "charset": "UTF-8", "fileName": name}
