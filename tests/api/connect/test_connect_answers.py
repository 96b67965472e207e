import json
from base64 import b64decode
from datetime import date

import pytest

from keyservice.api.connect.answers import (
    AnsweredFile,
    AnsweredLine,
    AnsweredOrder,
    AnsweredUnit,
    ProductStock,
    cancel_answer,
    cancel_refusal_answer,
    order_answer,
    refusal_answer,
    stock_answer,
)
from keyservice.api.connect.codes import (
    AnswerCode,
    CancelOrderCode,
    CreateOrderCode,
    OrderDataCode,
    StockCode,
    StockStatus,
)
from keyservice.api.connect.requests import Refusal, Refused
from keyservice.api.connect.validation import read_cancel_request, read_order
from keyservice.domain.key import KeyText
from keyservice.domain.key_parts import PARTS_MIME, KeyPart, encode_parts
from tests.api.connect.connect_bodies import full_body, with_value

KEY = KeyText(b"AAAA-BBBB-CCCC")


def _order(*units: AnsweredUnit, code: AnswerCode = CreateOrderCode.OK) -> AnsweredOrder:
    return AnsweredOrder("A-1", 17, (AnsweredLine(4626, units),), code=code)


def test_an_order_answers_with_every_member_of_the_references_resource() -> None:
    line = AnsweredLine(
        product_ref=4626,
        units=(AnsweredUnit(KEY, "issued", subscription_id=5),),
        download_until=date(2017, 4, 12),
        digital_locker_link="https://locker.example.org/1",
        remark="thank you",
        files=(AnsweredFile("Setup", "exe", "https://files.example.org/1", 1024, "main"),),
    )
    answer = order_answer(AnsweredOrder("A-1", 17, (line,)))
    assert answer == {
        "partnerOrderNumber": "A-1",
        "orderNumber": 17,
        "downloadManager": {"pc": None, "mac": None},
        "orderLines": [
            {
                "productRef": 4626,
                "dateEndDownload": "2017-04-12",
                "digitalLockerLink": "https://locker.example.org/1",
                "remark": "thank you",
                "files": [
                    {
                        "label": "Setup",
                        "type": "exe",
                        "url": "https://files.example.org/1",
                        "size": 1024,
                        "group": "main",
                    }
                ],
                "lineItems": [
                    {
                        "subscriptionId": 5,
                        "serials": [{"data": "AAAA-BBBB-CCCC", "encoding": "", "charset": "UTF-8", "fileName": None}],
                        "responseCode": 0,
                        "responseMessage": "OK",
                    }
                ],
                "responseCode": 0,
                "responseMessage": "OK",
            }
        ],
        "responseCode": 0,
        "responseMessage": "OK",
    }
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize("state", ["revoked", "replaced", "released", "withdrawn", "cancelled", "pending"])
def test_a_unit_that_is_not_issued_shows_its_state_and_never_a_text(state: str) -> None:
    answer = order_answer(_order(AnsweredUnit(KEY, state)))
    unit = answer["orderLines"][0]["lineItems"][0]
    assert unit["serials"] == []
    assert unit["responseMessage"] == state
    assert "AAAA" not in json.dumps(answer)


def test_a_unit_that_waits_is_reported_by_its_line_and_not_by_the_order() -> None:
    answer = order_answer(_order(AnsweredUnit(KEY, "issued"), AnsweredUnit(None, "pending")))
    line = answer["orderLines"][0]
    assert [unit["responseCode"] for unit in line["lineItems"]] == [0, 1051]
    assert (line["responseCode"], line["responseMessage"]) == (1051, "Licenses are currently not available")
    assert answer["responseCode"] == 0


def test_an_ended_unit_waits_for_nothing() -> None:
    line = order_answer(_order(AnsweredUnit(None, "revoked")))["orderLines"][0]
    assert line["responseCode"] == line["lineItems"][0]["responseCode"] == 0


def test_an_issued_unit_whose_key_is_not_there_is_not_called_ok() -> None:
    unit = order_answer(_order(AnsweredUnit(None, "issued")))["orderLines"][0]["lineItems"][0]
    assert unit["responseCode"] == 1051


def test_an_order_and_a_line_may_have_codes_of_their_own() -> None:
    line = AnsweredLine(4626, (), code=CreateOrderCode.DOWNLOAD_LINK_ERROR)
    answer = order_answer(AnsweredOrder("A-1", 17, (line,), code=OrderDataCode.WAITING_FOR_PAYMENT))
    assert (answer["responseCode"], answer["orderLines"][0]["responseCode"]) == (1060, 1040)
    assert answer["responseMessage"] == OrderDataCode.WAITING_FOR_PAYMENT.message


@pytest.mark.parametrize("mime", [None, "text/plain", "text/xml"])
def test_a_text_key_is_answered_as_it_is(mime: str | None) -> None:
    unit = AnsweredUnit(KeyText("clé-ключ".encode()), "issued", mime, "license.txt")
    (serial,) = order_answer(_order(unit))["orderLines"][0]["lineItems"][0]["serials"]
    assert serial == {"data": "clé-ключ", "encoding": "", "charset": "UTF-8", "fileName": "license.txt"}


@pytest.mark.parametrize(
    ("raw", "mime"),
    [
        (b"\x00\xff\x10", "application/octet-stream"),
        (b"plain", "application/zip"),
        (b"\xe9\xff", "text/plain"),
        (b"\xff", None),
    ],
)
def test_a_key_that_is_no_text_is_answered_in_base64(raw: bytes, mime: str | None) -> None:
    unit = AnsweredUnit(KeyText(raw), "issued", mime, "license.bin")
    (serial,) = order_answer(_order(unit))["orderLines"][0]["lineItems"][0]["serials"]
    assert b64decode(serial["data"], validate=True) == raw
    assert (serial["encoding"], serial["charset"], serial["fileName"]) == ("base64", "", "license.bin")


def test_each_part_of_a_key_is_a_serial_with_its_label() -> None:
    raw = encode_parts([KeyPart("Serial", "S-1"), KeyPart("Activation code", "clé")])
    (line,) = order_answer(_order(AnsweredUnit(KeyText(raw), "issued", PARTS_MIME)))["orderLines"]
    assert line["lineItems"][0]["serials"] == [
        {"data": "S-1", "encoding": "", "charset": "UTF-8", "fileName": None, "label": "Serial"},
        {"data": "clé", "encoding": "", "charset": "UTF-8", "fileName": None, "label": "Activation code"},
    ]


def test_the_repr_of_an_answered_order_shows_no_key() -> None:
    assert "AAAA" not in repr(_order(AnsweredUnit(KEY, "issued")))


def test_a_refused_order_answers_with_its_first_refusal_and_only_the_lines_that_are_refused() -> None:
    body = full_body()
    body["orderLines"].append({**body["orderLines"][0], "productRef": 4649, "quantity": 0, "vatRate": -1})
    refused = read_order(with_value(body, "/payment", "x"))
    assert isinstance(refused, Refused)
    quantity = "Quantity is not valid at /orderLines/1/quantity: Input should be greater than or equal to 1"
    assert refusal_answer(refused) == {
        "partnerOrderNumber": "XXXXXXXXXXXXX",
        "orderNumber": None,
        "downloadManager": {"pc": None, "mac": None},
        "orderLines": [
            {
                "productRef": 4649,
                "dateEndDownload": None,
                "digitalLockerLink": None,
                "remark": None,
                "files": [],
                "lineItems": [],
                "responseCode": 221,
                "responseMessage": quantity,
            }
        ],
        "responseCode": 221,
        "responseMessage": quantity,
    }


def test_an_order_that_is_refused_for_its_stock_names_the_line() -> None:
    code = CreateOrderCode.OUT_OF_STOCK
    refusal = Refusal(code, code.message, "/orderLines/0", line_number=1, product_ref=4626)
    answer = refusal_answer(Refused("A-1", (refusal,)))
    assert answer["responseCode"] == answer["orderLines"][0]["responseCode"] == 1044
    assert answer["orderLines"][0]["productRef"] == 4626


def test_stock_answers_product_by_product() -> None:
    answer = stock_answer(
        [
            ProductStock(4626, StockStatus.ENOUGH),
            ProductStock(4649, StockStatus.ALMOST_OUT),
            ProductStock(1, StockStatus.OUT, StockCode.PRODUCT_UNKNOWN),
            ProductStock(None, StockStatus.OUT, StockCode.PRODUCT_REF_MISSING),
        ]
    )
    assert answer == {
        "productStatus": [
            {"productRef": 4626, "status": 100, "responseCode": 0, "responseMessage": "OK"},
            {"productRef": 4649, "status": 200, "responseCode": 0, "responseMessage": "OK"},
            {"productRef": 1, "status": 300, "responseCode": 1010, "responseMessage": "Product is unknown"},
            {"productRef": None, "status": 300, "responseCode": 100, "responseMessage": "Product reference is missing"},
        ]
    }
    assert [type(entry["status"]) for entry in answer["productStatus"]] == [int] * 4


def test_a_cancelled_order_answers_with_its_numbers() -> None:
    assert cancel_answer("A-1", 17) == {
        "partnerOrderNumber": "A-1",
        "orderNumber": 17,
        "responseCode": 0,
        "responseMessage": "OK",
    }


def test_an_order_that_cannot_be_cancelled_answers_why() -> None:
    answer = cancel_answer("A-1", 17, CancelOrderCode.ALREADY_CANCELLED)
    assert (answer["responseCode"], answer["responseMessage"]) == (1011, "Order is already cancelled")


def test_a_cancellation_that_is_not_valid_answers_with_its_first_refusal() -> None:
    refused = read_cancel_request({"partnerOrderNumber": "A-1", "reasonCode": 1})
    assert isinstance(refused, Refused)
    assert cancel_refusal_answer(refused) == {
        "partnerOrderNumber": "A-1",
        "orderNumber": None,
        "responseCode": 101,
        "responseMessage": "Reason is not valid at /reasonCode: must be one of 2, 3, 4, 5, 6, 16",
    }
