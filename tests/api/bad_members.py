"""Each member of each JSON body, the junk that it must not take, and the answer to that."""

import base64
import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.api import junk_values as junk
from tests.api.json_entrances import Expected
from tests.api.junk_values import Junk, pieces, texts
from tests.api.raw_http import PLANTED


class Member(NamedTuple):
    pointer: str
    junk: Junk
    expected: Expected = 422


def _codes(pointer: str, values: Junk, *codes: int) -> Member:
    return Member(pointer, values, frozenset(codes))


def _location(name: str, missing: int, unknown_province: int) -> Iterator[Member]:
    place = f"/customer/{name}"
    yield _codes(place, junk.NOT_AN_OBJECT | pieces("null"), missing)
    yield _codes(f"{place}/address1", junk.TEXT_255 | junk.ABSENT, 460, 461)
    yield _codes(f"{place}/address2", junk.TEXT_255, 461)
    yield _codes(f"{place}/city", junk.TEXT_100 | junk.ABSENT, 490, 491)
    yield _codes(f"{place}/companyName", junk.TEXT_255, missing)
    yield _codes(f"{place}/country", junk.COUNTRY | junk.ABSENT, 500, 501, 1023)
    yield _codes(f"{place}/fax", junk.TEXT_32 | junk.ABSENT, 540, 541)
    yield _codes(f"{place}/firstName", junk.TEXT_100 | junk.ABSENT, 450, 451)
    yield _codes(f"{place}/lastName", junk.TEXT_100 | junk.ABSENT, 440, 441)
    yield _codes(f"{place}/phone", junk.TEXT_32 | junk.ABSENT, 530, 531)
    yield _codes(f"{place}/province", junk.PROVINCE, 551, unknown_province)
    yield _codes(f"{place}/title", junk.TITLE | pieces("null", '""'), 430, 431)
    yield _codes(f"{place}/zipCode", junk.TEXT_32 | junk.ABSENT, 480, 481)


def _discount(place: str) -> Iterator[Member]:
    yield _codes(place, junk.NOT_AN_OBJECT, 600)
    yield _codes(f"{place}/foreignRef", junk.TEXT_255 | junk.ABSENT, 610, 611)
    yield _codes(f"{place}/label", junk.TEXT_255 | junk.ABSENT, 620, 621)
    yield _codes(f"{place}/operation", junk.OPERATION | pieces("null"), 640, 641)
    yield _codes(f"{place}/operationValue", junk.AMOUNT | pieces("null", "100.01"), 650, 651)
    yield _codes(f"{place}/priceDelta", junk.AMOUNT | pieces("null"), 630, 631)


_LINE: Final = "/orderLines/0"
_ORDER: Final = [
    _codes("/affiliateId", junk.AFFILIATE, 1045),
    _codes("/currency", junk.CURRENCY, 120, 121, 1021),
    _codes("/customer", junk.NOT_AN_OBJECT, 100),
    _codes("/customer/email", junk.EMAIL | pieces("null"), 320, 321),
    _codes("/customer/ipV4", junk.IP_V4, 341),
    _codes("/customer/ipV6", junk.IP_V6, 341),
    _codes("/customer/language", junk.LANGUAGE | junk.ABSENT, 330, 331, 1022),
    _codes("/customer/partnerId", junk.TEXT_255 | junk.ABSENT, 310, 311),
    *_location("locationDelivery", 410, 1049),
    *_location("locationInvoice", 420, 1050),
    _codes("/discounts", junk.NOT_A_LIST | pieces(f"[{','.join(['{}'] * 21)}]"), 600),
    *_discount("/discounts/0"),
    _codes("/marketingProgramId", junk.TEXT_255, 100),
    _codes("/metadata", junk.NOT_A_LIST | pieces(json.dumps([{"key": "a", "value": "b"}] * 101)), 750),
    _codes("/metadata/0", junk.NOT_AN_OBJECT | pieces("{}", "null"), 750, 751),
    _codes("/metadata/0/key", junk.TEXT_100 | junk.ABSENT, 751),
    _codes("/metadata/0/value", junk.LINES, 750),
    _codes("/orderDate", junk.DATE | junk.ABSENT, 140, 141, 150, 151),
    _codes("/orderLines", junk.NOT_A_LIST | junk.ABSENT | pieces(f"[{','.join(['{}'] * 201)}]"), 200),
    _codes("/orderLines", pieces(json.dumps([{"productRef": 1, "quantity": 1}] * 20_000)), 200),
    _codes(_LINE, junk.NOT_AN_OBJECT | pieces("null"), 200),
    _codes(f"{_LINE}/amountDutyFree", junk.AMOUNT | pieces("null", '""'), 240, 241),
    _codes(f"{_LINE}/amountTotal", junk.AMOUNT | pieces("null", "11.98", "12.03", "0"), 250, 251),
    _codes(f"{_LINE}/discounts", junk.NOT_A_LIST, 600),
    *_discount(f"{_LINE}/discounts/0"),
    _codes(f"{_LINE}/endUserEmail", {name: one for name, one in junk.EMAIL.items() if one.strip('" ')}, 321),
    _codes(f"{_LINE}/productRef", junk.ORDERED_REF | junk.ABSENT, 210, 211),
    _codes(f"{_LINE}/productRef", pieces("9007199254740992", '"9007199254740992"'), 1020),
    _codes(f"{_LINE}/quantity", junk.QUANTITY | junk.ABSENT, 220, 221),
    _codes(f"{_LINE}/vatRate", junk.RATE | pieces("null", '""'), 230, 231),
    _codes("/partnerOrderNumber", junk.ORDER_NUMBER, 130),
    _codes("/payment", junk.NOT_AN_OBJECT, 700),
    _codes("/payment/paymentMethod", junk.TEXT_100, 711),
    _codes("/payment/transactionId", junk.TEXT_255 | junk.ABSENT, 721, 1047),
]

_ONE_REF: Final = {f"[{name}]": f"[{one}]" for name, one in junk.ORDERED_REF.items()}
_STOCK: Final = [
    _codes("/productRefs", junk.NOT_A_LIST, 101),
    _codes("/productRefs", junk.ABSENT | pieces("[null]", '[""]', '[" "]', "[[]]", "[{}]"), 100),
    _codes("/productRefs", _ONE_REF | pieces(f"[{','.join(['1'] * 501)}]", f"[{','.join(['1'] * 200_000)}]"), 101),
    _codes("/productRefs", pieces("[9007199254740992]", '["0009007199254740"]'), 1010),
]

_CANCEL: Final = [
    _codes("/comment", junk.NOT_A_TEXT | texts("x" * 1_001, f"{PLANTED}\x1b[2J"), 101),
    _codes("/partnerOrderNumber", junk.ORDER_NUMBER, 110),
    _codes("/reasonCode", junk.REASON | pieces("null", '""', "[]", "{}"), 100, 101),
]

_TERMS: Final = [
    Member("/name", junk.NAME),
    Member("/policy", junk.POLICY),
    Member("/warning_level", junk.LEVEL | pieces("3")),
    Member("/alert_level", junk.LEVEL | pieces("10")),
    Member("/days_left_min", junk.LEVEL | pieces("3651")),
]
# null means in a change: as it was.
_CHANGE: Final = [
    Member(one.pointer, {name: text for name, text in one.junk.items() if text != "null"}) for one in _TERMS
]


def _cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


_AN_ID: Final = "01a2011f-fb7c-7035-9638-d0f8c3502bf4"
_CURSORS: Final = (
    junk.NOT_A_TEXT
    | texts("", " ", "0", "!", "====", PLANTED, PLANTED * 20, "m\u00fc", "bnVsbA==", "W10=", "e30=")
    | texts(*(base64.urlsafe_b64encode(raw).decode() for raw in (b"[" * 140, b"\xff\xfe[", b"NaN", b'"a"', b"[1]")))
    | texts(_cursor(1, 2), _cursor("1", _AN_ID), _cursor(None, _AN_ID), _cursor(1, None), _cursor(1, [_AN_ID]))
    | texts(_cursor(10**25, _AN_ID), _cursor(-(10**25), _AN_ID), _cursor(1e300, _AN_ID), _cursor(float("inf"), _AN_ID))
    | texts(_cursor(float("nan"), _AN_ID), _cursor(2**62, _AN_ID), _cursor([1], _AN_ID), _cursor({}, _AN_ID))
    | texts(_cursor(1, "'; DROP TABLE orders"), _cursor(1, _AN_ID, 3), _cursor(1, _AN_ID)[:-6])
)

_STEP: Final = {"source": "pool", "pool": _AN_ID}
_PLANS: Final = pieces(
    *("null", "[]", "{}", "5", f'"{PLANTED}"', '{"steps":null}', '{"steps":[]}', '{"steps":{}}', '{"steps":[null]}'),
    *('{"steps":[[]]}', '{"steps":[{}]}', f'{{"steps":["{PLANTED}"]}}', '{"steps":[{"source":"pool"}]}'),
    json.dumps({"steps": [_STEP]}),
    json.dumps({"steps": [_STEP] * 9}),
    json.dumps({"steps": [_STEP] * 8_000}),
    json.dumps({"steps": [{**_STEP, "source": "connector"}]}),
    json.dumps({"steps": [{**_STEP, "source": "POOL"}]}),
    json.dumps({"steps": [{**_STEP, "publisher": PLANTED}]}),
    json.dumps({"steps": [_STEP], PLANTED: 1}),
)

_NO_REFERENCES: Final = (
    *(
        "",
        " ",
        "-a",
        ".",
        "a b",
        "a/b",
        "a%2fb",
        "a\n",
        "\u0661",
        "\u00e4",
        "a" * 101,
        "a?b",
        "a#b",
        "<script>",
        PLANTED + "!",
    ),
)
_NO_SECONDS: Final = pieces(
    '"5"', "true", "5.0", "5e0", "0", "-1", "86401", "2592001", "9223372036854775807", "[]", "{}"
)
_LINES_TOO_MANY: Final = json.dumps([{"product_ref": 1}] * 10_001)
_NO_REASONS: Final = junk.NAME | pieces("null")
_NO_TIMES: Final = texts(
    *(
        "",
        " ",
        "now",
        PLANTED,
        "2026-11-22",
        "2026-11-22T15:19:21",
        "2026-02-30T00:00:00Z",
        "24:00",
        "2026-11-22T25:00:00Z",
    ),
) | pieces("true", "[]", "{}", "5", "-1e30")

_NO_REFS: Final = (
    junk.NOT_A_TEXT
    | pieces("null")
    | texts(
        *("", "0", "-1", "+5", "5.0", "5e0", "0x5", "05", " 5", "5 ", "5\n", "1_000", "\u0665", "\uff15", "\u00b2"),
        *("9007199254740992", "18446744073709551616", "9" * 400, PLANTED, "1;DROP TABLE products"),
    )
)
_PACKAGE: Final = [
    Member("/name", junk.NAME | pieces("null")),
    Member("/nexwayProductId", junk.NOT_A_LIST | pieces("null", "[]", '["5","5"]')),
    Member("/nexwayProductId", pieces(json.dumps([str(number) for number in range(1, 502)]))),
    Member("/nexwayProductId/0", _NO_REFS),
    Member("/publisherProductId", junk.NOT_A_LIST | pieces('["one","two"]', json.dumps([PLANTED] * 501))),
    Member("/publisherProductId/0", junk.NAME | pieces("null")),
    Member("/status", junk.NOT_A_TEXT | texts("", "enabled", "ENABLED ", "OPEN", PLANTED)),
    Member("/threshold", {name: text for name, text in junk.LEVEL.items() if text != "null"}),
    Member("/publisherId", junk.NOT_A_TEXT | texts("", "x" * 64)),
]
_STOCK_SENT_BACK: Final = ("available", "occupied", "canceled", "renewed", "blacklisted")

MEMBERS: Final[dict[str, list[Member]]] = {
    "package": _PACKAGE,
    "changed package": [
        *_PACKAGE,
        Member("/id", {name: text for name, text in junk.UUID.items() if text != "null"} | texts(_AN_ID)),
        Member("/stock", junk.NOT_AN_OBJECT | pieces("{}", '{"available":1}')),
        *(Member(f"/stock/{name}", pieces("null", '"1"', "1.0", "true")) for name in _STOCK_SENT_BACK),
    ],
    "order": _ORDER,
    "stock": _STOCK,
    "cancel": _CANCEL,
    "pool": [*_TERMS, Member("/is_sandbox", junk.FLAG | pieces("null"))],
    "changed pool": [*_CHANGE, Member("/is_open", junk.FLAG)],
    "withdrawal": [
        Member("/keys", junk.NOT_A_LIST | pieces("null", f"[{','.join(['1'] * 3)}]", json.dumps(["x"] * 1_000))),
        Member("/keys", pieces(json.dumps([PLANTED] * 1_001), json.dumps([PLANTED] * 20_000))),
        Member("/keys/0", junk.NOT_A_TEXT | pieces("null") | texts("", "x" * 1_025, "\u00e9" * 1_025)),
        Member("/publisher_key_ids", junk.NOT_A_LIST | pieces("null", json.dumps(["x"] * 1_000))),
        Member("/publisher_key_ids/0", junk.NOT_A_TEXT | pieces("null") | texts("", "x" * 129)),
        Member("/reason", junk.NAME | pieces("null") | texts("x" * 201)),
    ],
    "template": [
        Member("/name", junk.NAME | pieces("null")),
        Member("/quantity_mode", junk.MODE | texts("one", "quantity")),
        Member("/block_size", junk.BLOCK_SIZE),
        Member("/source_plan", _PLANS),
        Member("/source_plan/steps/0/pool", junk.UUID | texts(_AN_ID)),
    ],
    "product": [
        Member("/name", junk.NAME | pieces("null")),
        Member("/product_ref", junk.PRODUCT_REF),
        Member("/template_id", junk.UUID | texts(_AN_ID)),
        Member("/publisher_product_id", junk.NAME),
    ],
    "publisher": [Member("/name", junk.NAME | pieces("null")), Member("/handle", junk.HANDLE)],
    "caller": [
        Member("/name", junk.NAME | pieces("null")),
        Member("/kind", junk.CALLER_KIND | texts("publisher", "auditor")),
        Member("/scopes", junk.SCOPES),
        Member("/validation", junk.POLICY | pieces("null")),
        Member("/cancel_period_days", junk.LEVEL | pieces("3651")),
        Member("/is_sandbox", junk.FLAG | pieces("null")),
        Member("/requests_per_second", junk.LIMIT | pieces("1000001", "null")),
        Member("/requests_burst", junk.LIMIT | pieces("1000001")),
        Member("/requests_per_day", junk.LIMIT | pieces("2000000001")),
    ],
    "search": [
        Member("/email", junk.EMAIL | pieces("null")),
        Member("/size", junk.SIZE),
        Member("/after", _CURSORS),
    ],
    "key search": [
        Member("/key", junk.NOT_A_TEXT | pieces("null", '""') | texts("x" * 1_025)),
    ],
    "search by ending": [
        Member("/ending", junk.NOT_A_TEXT | pieces("null") | texts("", "NDIN", "ENDING", "x" * 1_025)),
        Member("/publisher", junk.NOT_A_TEXT | pieces("null") | texts("x" * 64)),
        Member("/purpose", junk.NAME | pieces("null") | texts("for endin", "ENDIN")),
    ],
    "acknowledgement": [
        Member("/sequences", junk.NOT_A_LIST | pieces("null", "[]", f"[{','.join(['1'] * 1_001)}]")),
        Member("/sequences/0", junk.SEQUENCE),
    ],
    "claim": [
        Member("/reference", junk.NOT_A_TEXT | junk.ABSENT | pieces("null") | texts(*_NO_REFERENCES)),
        Member("/lines", pieces("null", "[]", "{}", "5", f'"{PLANTED}"', "[null]", "[[]]", "[{}]", _LINES_TOO_MANY)),
        Member("/lines/0/product_ref", junk.PRODUCT_REF | pieces("9007199254740991")),
        Member("/lines/0/quantity", junk.BLOCK_SIZE | pieces("10000", "1000001")),
        Member("/email", {name: text for name, text in junk.EMAIL.items() if text != "null"}),
        Member("/hold_seconds", _NO_SECONDS),
        Member("/wait", junk.FLAG | pieces("null", "true")),  # a hold does not wait
        Member("/paid_at", _NO_TIMES),
    ],
    "longer hold": [Member("/seconds", _NO_SECONDS | pieces("null"))],
    "revocation": [
        Member("/reason", _NO_REASONS),
        Member("/units", pieces("[]", "{}", "5", f'"{PLANTED}"', "[null]", f'["{PLANTED}"]', f'["{_AN_ID}\\n"]')),
    ],
    "reinstatement": [
        Member("/reason", _NO_REASONS),
        Member("/units", pieces("[]", "{}", "5", f'"{PLANTED}"', "[null]", f'["{PLANTED}"]', f'["{_AN_ID}\\n"]')),
    ],
}  # fmt: skip

# No member of any body, and nothing that a caller may say.
SERVER_ONLY: Final = {
    name: json.dumps(value)
    for name, value in {
        PLANTED: PLANTED,
        "": PLANTED,
        "__proto__": {"admin": True},
        "alarm": "none",
        "batch_id": _AN_ID,
        "caller_id": 1,
        "createdBy": 1,
        "created_at": "2026-11-22T00:00:00Z",
        "dbVersion": 0,
        "fulfillmentStatus": "CREATION_ACCEPTED",
        "isTest": True,
        "is_active": True,
        "left": 1_000_000,
        "lineItemDataId": _AN_ID,
        "lineItems": [{"serials": [{"data": PLANTED}]}],
        "orderId": _AN_ID,
        "orderNumber": 100_000_001,
        "order_id": _AN_ID,
        "pool_id": _AN_ID,
        "publisher": "another",
        "publisher_id": 2,
        "responseCode": 0,
        "scopes": ["publishers:write"],
        "state": "open",
        "status": "COMPLETED",
        "template": _AN_ID,
        "tenant": 2,
    }.items()
}
