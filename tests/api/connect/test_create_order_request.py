import copy
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import jiter
import pytest

from keyservice.api.connect import bodies, requests
from keyservice.api.connect.codes import CreateOrderCode as Code
from keyservice.api.connect.requests import Profile
from keyservice.domain.order import DiscountOperation, NewDiscount, NewOrderLine, NewPayment
from tests.api.connect.connect_bodies import (
    LINE,
    accepted,
    basic_body,
    codes,
    full_body,
    reference_body,
    refused,
    with_value,
    without,
)


def test_the_example_of_document_003_with_order_lines_is_accepted() -> None:
    order = accepted(reference_body())
    assert order.partner_order_number == "XXXXXXXXXXXXX"
    assert order.currency == "EUR"
    assert order.ordered_at == datetime(2004, 2, 12, 15, 19, 21, tzinfo=UTC)
    assert order.affiliate_id == 123
    assert order.marketing_program_id == "XXXXXXXXXXXXX"
    assert order.payment == NewPayment("XXXXXXX", "1009")
    assert order.discounts == ()
    assert order.lines == (
        NewOrderLine(1, 4626, 2, Decimal("16.66"), Decimal("39.98"), Decimal(20), (), has_end_user_email=False),
    )


def test_discounts_of_the_order_and_of_a_line_are_kept() -> None:
    order = accepted(full_body())
    discount = NewDiscount("SPRING", "Spring sale", DiscountOperation.PERCENTS, Decimal(10), Decimal("1.85"))
    assert order.discounts == order.lines[0].discounts == (discount,)


def test_what_is_personal_is_kept_apart_from_the_document() -> None:
    order = accepted(full_body())
    customer = full_body()["customer"]
    for name in ("locationDelivery", "locationInvoice"):
        customer[name]["title"] = 1
    assert order.people == {
        "customer": customer,
        "metadata": [{"key": "campaign", "value": "spring\n2004"}],
        "endUserEmails": {"1": "end.user@example.org"},
    }
    assert order.document == {
        "affiliateId": 123,
        "currency": "EUR",
        "discounts": [_document_discount()],
        "marketingProgramId": "XXXXXXXXXXXXX",
        "orderDate": "2004-02-12T15:19:21+00:00",
        "orderLines": [
            {
                "amountDutyFree": "16.6600",
                "amountTotal": "39.9800",
                "discounts": [_document_discount()],
                "productRef": 4626,
                "quantity": 2,
                "vatRate": "20.0000",
            }
        ],
        "partnerOrderNumber": "XXXXXXXXXXXXX",
        "payment": {"paymentMethod": "XXXXXXX", "transactionId": "1009"},
    }
    assert order.lines[0].has_end_user_email


def _document_discount() -> dict[str, Any]:
    return {
        "foreignRef": "SPRING",
        "label": "Spring sale",
        "operation": "Percents",
        "operationValue": "10.0000",
        "priceDelta": "1.8500",
    }


def test_both_parts_of_an_order_are_ready_for_json() -> None:
    order = accepted(full_body())
    assert json.loads(json.dumps(order.document)) == order.document
    assert json.loads(json.dumps(order.people)) == order.people


def test_the_repr_of_an_order_shows_nobody() -> None:
    order = accepted(with_value(full_body(), "/customer/email", "ada@example.org"))
    assert "ada@example.org" not in repr(order)
    assert "end.user@example.org" not in repr(order)


def test_the_body_that_was_read_is_left_as_it_was() -> None:
    body = full_body()
    accepted(body)
    assert body == full_body()
    spoilt = with_value(full_body(), f"{LINE}/quantity", 0)
    untouched = copy.deepcopy(spoilt)
    refused(spoilt)
    assert spoilt == untouched


def test_members_that_no_document_names_are_ignored_and_not_kept() -> None:
    body = full_body() | {"status": "COMPLETED", "dbVersion": 1}
    body["customer"]["tenant"] = "other"
    body["customer"]["locationInvoice"]["ssn"] = "078-05-1120"
    body["orderLines"][0]["serials"] = ["FREE-KEY"]
    assert accepted(body) == accepted(full_body())


def test_the_first_refusal_is_the_first_in_the_order_of_the_document() -> None:
    body = with_value(full_body(), "/payment/paymentMethod", 1)
    body = with_value(body, f"{LINE}/vatRate", -1)
    body = with_value(body, f"{LINE}/amountTotal", -1)
    body = with_value(body, "/customer/locationInvoice/country", "XX")
    body = with_value(body, "/customer/locationDelivery/zipCode", 1)
    body = without(body, "/partnerOrderNumber")
    body = without(body, "/customer/email")
    answer = refused(body)
    assert [refusal.pointer for refusal in answer.refusals] == [
        "/customer/email",
        "/customer/locationDelivery/zipCode",
        "/customer/locationInvoice/country",
        f"{LINE}/amountTotal",
        f"{LINE}/vatRate",
        "/partnerOrderNumber",
        "/payment/paymentMethod",
    ]
    assert answer.first.code is Code.EMAIL_MISSING
    assert answer.partner_order_number is None


def test_the_eleventh_line_comes_after_the_third() -> None:
    body = full_body()
    body["orderLines"] = [dict(body["orderLines"][0]) for _ in range(11)]
    body["orderLines"][2]["quantity"] = body["orderLines"][10]["quantity"] = 0
    assert [refusal.line_number for refusal in refused(body).refusals] == [3, 11]


def test_a_refusal_inside_a_line_names_the_line_and_its_product() -> None:
    body = full_body()
    body["orderLines"].append({**body["orderLines"][0], "productRef": 4649, "quantity": 0})
    (refusal,) = refused(body).refusals
    assert (refusal.line_number, refusal.product_ref) == (2, 4649)


def test_a_refused_line_without_a_usable_product_names_only_itself() -> None:
    (refusal,) = refused(with_value(full_body(), f"{LINE}/productRef", "A1")).refusals
    assert (refusal.line_number, refusal.product_ref) == (1, None)


def test_a_refusal_of_the_order_names_no_line() -> None:
    (refusal,) = refused(with_value(full_body(), "/currency", "euro")).refusals
    assert (refusal.line_number, refusal.product_ref) == (None, None)


def test_a_refused_order_keeps_its_number_when_that_is_usable() -> None:
    assert refused(without(full_body(), "/currency")).partner_order_number == "XXXXXXXXXXXXX"
    assert refused(with_value(full_body(), "/partnerOrderNumber", "A\nB")).partner_order_number is None


@pytest.mark.parametrize(
    "pointer",
    [
        *(f"/customer/{name}" for name in ("email", "ipV4", "ipV6", "language", "partnerId")),
        *(f"/customer/locationInvoice/{name}" for name in full_body()["customer"]["locationInvoice"]),
        *("/metadata/0/key", "/metadata/0/value", "/orderLines/0/endUserEmail", "/partnerOrderNumber", "/orderDate"),
    ],
)
def test_a_refusal_never_repeats_the_value(pointer: str) -> None:
    secret = "Ada-Lovelace\x00" * 300
    answer = refused(with_value(full_body(), pointer, secret))
    assert len(answer.refusals) == 1
    assert "Ada" not in repr(answer)


@pytest.mark.parametrize("count", [1, 200])
def test_as_many_lines_as_allowed_are_accepted(count: int) -> None:
    body = full_body()
    body["orderLines"] *= count
    assert [line.line_number for line in accepted(body).lines] == list(range(1, count + 1))


def test_one_line_too_many_refuses_the_order_without_looking_at_the_lines() -> None:
    body = with_value(full_body(), f"{LINE}/quantity", 0)
    body["orderLines"] *= 201
    assert codes(refused(body)) == [200]
    body["orderLines"] = full_body()["orderLines"] * 3
    assert codes(refused(body, lines_max=2)) == [200]
    assert len(accepted(body, lines_max=3).lines) == 3


def test_the_largest_quantity_is_a_setting() -> None:
    body = with_value(full_body(), f"{LINE}/amountDutyFree", 0)
    body = with_value(body, f"{LINE}/amountTotal", 0)
    assert accepted(with_value(body, f"{LINE}/quantity", 9_999)).lines[0].quantity == 9_999
    assert codes(refused(with_value(body, f"{LINE}/quantity", 6), quantity_max=5)) == [221]
    assert accepted(with_value(body, f"{LINE}/quantity", 5), quantity_max=5).lines[0].quantity == 5
    assert accepted(with_value(body, f"{LINE}/quantity", 10_000), quantity_max=10_000).lines[0].quantity == 10_000


@pytest.mark.parametrize(
    ("pointer", "entry", "count_max", "code"),
    [
        ("/discounts", {"label": "x"}, bodies.DISCOUNTS_MAX, 600),
        (f"{LINE}/discounts", {"label": "x"}, bodies.DISCOUNTS_MAX, 600),
        ("/metadata", {"key": "x"}, bodies.METADATA_MAX, 750),
    ],
)
def test_every_list_has_a_limit(pointer: str, entry: dict[str, str], count_max: int, code: int) -> None:
    accepted(with_value(full_body(), pointer, [entry] * count_max), profile=Profile.LENIENT)
    too_many = with_value(full_body(), pointer, [entry] * (count_max + 1))
    assert codes(refused(too_many, profile=Profile.LENIENT)) == [code]


@pytest.mark.parametrize(
    "line",
    [
        {"productRef": 4626, "discounts": [{}] * bodies.DISCOUNTS_MAX},
        {"productRef": "A1", "discounts": [{"label": 1, "foreignRef": 1}] * bodies.DISCOUNTS_MAX},
    ],
)
def test_a_body_full_of_mistakes_gets_a_bounded_list_of_them(line: dict[str, Any]) -> None:
    answer = refused(full_body() | {"orderLines": [line] * 200})
    assert requests.REFUSALS_MAX <= len(answer.refusals) <= 2 * requests.REFUSALS_MAX
    assert answer.first.pointer.startswith("/orderLines/0/")


@pytest.mark.parametrize("absent", ["amountDutyFree", "amountTotal", "vatRate"])
def test_a_total_is_checked_only_against_a_price_and_a_rate_that_are_there(absent: str) -> None:
    body = with_value(full_body(), f"{LINE}/amountTotal", 1)
    accepted(without(body, f"{LINE}/{absent}"), profile=Profile.LENIENT)
    assert codes(refused(body, profile=Profile.LENIENT)) == [251]


def test_the_least_that_a_lenient_reseller_sends_is_enough() -> None:
    order = accepted(basic_body(), profile=Profile.LENIENT)
    assert order.people == {"customer": {"email": "jane@example.org"}}
    assert order.lines == (NewOrderLine(1, 4626, 1, None, None, None, (), has_end_user_email=False),)
    assert order.document["orderLines"] == [{"productRef": 4626, "quantity": 1}]


def test_a_client_that_writes_empty_text_for_what_it_does_not_have_is_understood() -> None:
    absent = {"payment": "", "discounts": "", "metadata": "", "affiliateId": "", "marketingProgramId": ""}
    body = basic_body() | absent
    body["customer"] |= {
        "ipV4": "",
        "partnerId": "",
        "locationDelivery": "",
        "locationInvoice": {"city": "", "fax": " "},
    }
    body["orderLines"][0] |= {"amountTotal": None, "discounts": []}
    assert accepted(body, profile=Profile.LENIENT) == accepted(basic_body(), profile=Profile.LENIENT)


def test_an_empty_location_is_missing_as_a_whole() -> None:
    blank = dict.fromkeys(full_body()["customer"]["locationInvoice"], "")
    for nothing in ({}, blank, {"unknown": 1}):
        assert codes(refused(with_value(full_body(), "/customer/locationInvoice", nothing))) == [420]


def test_a_body_read_from_json_is_accepted() -> None:
    raw = json.dumps(full_body(), default=float).encode()
    assert accepted(jiter.from_json(raw, float_mode="decimal")) == accepted(full_body())


def test_the_codes_of_a_member_are_known_for_every_member() -> None:
    shapes = {
        bodies.OrderBody: requests.ORDER,
        bodies.CustomerBody: requests.CUSTOMER,
        bodies.LocationBody: requests.INVOICE,
        bodies.LineBody: requests.LINE,
        bodies.DiscountBody: requests.DISCOUNT,
        bodies.MetadataBody: requests.METADATA,
        bodies.PaymentBody: requests.PAYMENT,
        bodies.CancelBody: requests.CANCEL,
    }
    for body, shape in shapes.items():
        assert [*body.__annotations__] == [*shape.rules] == sorted(shape.rules)
