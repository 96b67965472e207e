"""One row for each way to reach a code of createOrder; the last test proves that no code was forgotten."""

from decimal import Decimal
from typing import Any, Final, NamedTuple

import pytest

from keyservice.api.connect.codes import AnswerCode
from keyservice.api.connect.codes import CreateOrderCode as Code
from keyservice.api.connect.requests import Profile, Refused
from keyservice.api.connect.validation import read_order
from keyservice.domain.order import NewOrder
from tests.api.connect.connect_bodies import LINE, basic_body, full_body, with_value, without


class Row(NamedTuple):
    code: Code
    pointer: str
    value: Any


CUSTOMER: Final = "/customer"
LOCATIONS: Final = ("/customer/locationDelivery", "/customer/locationInvoice")
DISCOUNTS: Final = ("/discounts/0", "/orderLines/0/discounts/0")
TOO_LONG: Final = "x" * 256

# The members that a strict reseller has to send, and the code of each one's absence.
MISSING: Final = [
    (Code.CURRENCY_MISSING, "/currency"),
    (Code.PARTNER_ORDER_NUMBER_MISSING, "/partnerOrderNumber"),
    (Code.DATE_MISSING, "/orderDate"),
    (Code.ORDER_LINES_MISSING, "/orderLines"),
    (Code.PRODUCT_REF_MISSING, f"{LINE}/productRef"),
    (Code.QUANTITY_MISSING, f"{LINE}/quantity"),
    (Code.VAT_RATE_MISSING, f"{LINE}/vatRate"),
    (Code.AMOUNT_DUTY_FREE_MISSING, f"{LINE}/amountDutyFree"),
    (Code.AMOUNT_TOTAL_MISSING, f"{LINE}/amountTotal"),
    (Code.PARTNER_ID_MISSING, f"{CUSTOMER}/partnerId"),
    (Code.EMAIL_MISSING, f"{CUSTOMER}/email"),
    (Code.LANGUAGE_MISSING, f"{CUSTOMER}/language"),
    (Code.DELIVERY_LOCATION_MISSING, f"{CUSTOMER}/locationDelivery"),
    (Code.INVOICE_LOCATION_MISSING, f"{CUSTOMER}/locationInvoice"),
    *(
        (code, f"{location}/{name}")
        for location in LOCATIONS
        for code, name in (
            (Code.TITLE_MISSING, "title"),
            (Code.LAST_NAME_MISSING, "lastName"),
            (Code.FIRST_NAME_MISSING, "firstName"),
            (Code.ADDRESS_MISSING, "address1"),
            (Code.ZIP_CODE_MISSING, "zipCode"),
            (Code.CITY_MISSING, "city"),
            (Code.COUNTRY_MISSING, "country"),
            (Code.PHONE_MISSING, "phone"),
            (Code.FAX_MISSING, "fax"),
        )
    ),
    *(
        (code, f"{discount}/{name}")
        for discount in DISCOUNTS
        for code, name in (
            (Code.DISCOUNT_REFERENCE_MISSING, "foreignRef"),
            (Code.DISCOUNT_LABEL_MISSING, "label"),
            (Code.DISCOUNT_PRICE_DELTA_MISSING, "priceDelta"),
            (Code.DISCOUNT_OPERATION_MISSING, "operation"),
            (Code.DISCOUNT_OPERATION_VALUE_MISSING, "operationValue"),
        )
    ),
    (Code.METADATA_KEY_MISSING, "/metadata/0/key"),
]

BASIC: Final = ("/currency", "/partnerOrderNumber", "/orderDate", "/orderLines", f"{CUSTOMER}/email")
BASIC_IN_LINE: Final = (f"{LINE}/productRef", f"{LINE}/quantity")

OPTIONAL: Final = [
    "/affiliateId",
    "/discounts",
    "/marketingProgramId",
    "/metadata",
    "/metadata/0/value",
    "/payment",
    f"{CUSTOMER}/ipV6",
    f"{LINE}/discounts",
    f"{LINE}/endUserEmail",
    *(f"{location}/{name}" for location in LOCATIONS for name in ("address2", "companyName", "province")),
]


def _refuse(code: Code, pointer: str, *values: Any) -> list[Row]:
    return [Row(code, pointer, value) for value in values]


NO_AMOUNT: Final = (
    *(-1, True, "1", [1], {"a": 1}, 1.5, 10**12, Decimal("1e12"), Decimal("-0.01"), Decimal("0.00001")),
    *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1e30")),
)

INVALID: Final = [
    *_refuse(Code.AFFILIATE_NOT_VALID, "/affiliateId", True, "1", -1, 2**31, Decimal(1), [1]),
    *_refuse(Code.CURRENCY_NOT_VALID, "/currency", "eur", "EURO", "EUR\n", 978, True, ["EUR"]),
    *_refuse(Code.CURRENCY_UNKNOWN, "/currency", "ABC", "DEM", "XAU"),
    *_refuse(Code.ORDER_MISSING, CUSTOMER, "jane", 1, [1], True),
    *_refuse(Code.ORDER_MISSING, "/marketingProgramId", 1, TOO_LONG, "a\x00b"),
    *_refuse(Code.EMAIL_NOT_VALID, f"{CUSTOMER}/email", 1, "jane", "jane@", "@example.org", "a@b@c", "jane doe@x.org"),
    *_refuse(Code.EMAIL_NOT_VALID, f"{CUSTOMER}/email", "Jane <jane@x.org>", "a@x.org,b@x.org", "jane@x.org\r\nBcc: b"),
    *_refuse(
        Code.EMAIL_NOT_VALID, f"{CUSTOMER}/email", "jane@x.org\n", "jane\x00@x.org", "<script>@x.org", "jané@x.org"
    ),
    *_refuse(Code.EMAIL_NOT_VALID, f"{CUSTOMER}/email", "jane@x..org", "j" * 65 + "@x.org", "jane@" + "x" * 250),
    *_refuse(Code.EMAIL_NOT_VALID, f"{LINE}/endUserEmail", "jane", ["jane@example.org"]),
    *_refuse(Code.IP_ADDRESS_NOT_VALID, f"{CUSTOMER}/ipV4", "1.2.3", "256.1.1.1", "01.2.3.4", "::1", "1.2.3.4\x00", 16),
    *_refuse(Code.IP_ADDRESS_NOT_VALID, f"{CUSTOMER}/ipV6", "1::2::3", "fe80::1%eth0", "127.0.0.1", "x", 1),
    *_refuse(Code.LANGUAGE_NOT_VALID, f"{CUSTOMER}/language", "fr", "FR_fr", "fr_FR_x", "french", 1, "fr_FR\n"),
    *_refuse(Code.LANGUAGE_UNKNOWN, f"{CUSTOMER}/language", "xx_FR", "fr_XX", "en_XE"),
    *_refuse(Code.PARTNER_ID_NOT_VALID, f"{CUSTOMER}/partnerId", 7, TOO_LONG, "a\nb"),
    *_refuse(Code.DELIVERY_LOCATION_MISSING, LOCATIONS[0], "Paris", [1], 1),
    *_refuse(Code.INVOICE_LOCATION_MISSING, LOCATIONS[1], "Paris", [1], 1),
    *_refuse(Code.DELIVERY_LOCATION_MISSING, f"{LOCATIONS[0]}/companyName", 1, TOO_LONG),
    *_refuse(Code.INVOICE_LOCATION_MISSING, f"{LOCATIONS[1]}/companyName", 1, TOO_LONG),
    *(
        row
        for location in LOCATIONS
        for row in (
            *_refuse(Code.ADDRESS_NOT_VALID, f"{location}/address1", 1, TOO_LONG, "a\tb", "a\u2028b", "\ud800"),
            *_refuse(Code.ADDRESS_NOT_VALID, f"{location}/address2", 1, TOO_LONG),
            *_refuse(Code.CITY_NOT_VALID, f"{location}/city", 1, "x" * 101, "a\x7fb"),
            *_refuse(Code.COUNTRY_NOT_VALID, f"{location}/country", 1, "fr", "FRA", "F", "XXXXXXXXXX"),
            *_refuse(Code.COUNTRY_UNKNOWN, f"{location}/country", "XX", "EU", "XK"),
            *_refuse(Code.FAX_NOT_VALID, f"{location}/fax", 331, "1" * 33),
            *_refuse(Code.FIRST_NAME_NOT_VALID, f"{location}/firstName", 1, "x" * 101, "a\nb"),
            *_refuse(Code.LAST_NAME_NOT_VALID, f"{location}/lastName", 1, "x" * 101, "a\r\nb"),
            *_refuse(Code.PHONE_NOT_VALID, f"{location}/phone", 331, "1" * 33),
            *_refuse(Code.PROVINCE_NOT_VALID, f"{location}/province", 75, "idf", "FR-IDFX", "XXXXXXXXXX", "Île"),
            *_refuse(Code.TITLE_NOT_VALID, f"{location}/title", -1, 4, True, "Dr", "1", Decimal(1), [1]),
            *_refuse(Code.ZIP_CODE_NOT_VALID, f"{location}/zipCode", 75001, "1" * 33),
        )
    ),
    *_refuse(Code.DELIVERY_PROVINCE_UNKNOWN, f"{LOCATIONS[0]}/province", "DE-BY"),
    *_refuse(Code.INVOICE_PROVINCE_UNKNOWN, f"{LOCATIONS[1]}/province", "DE-BY"),
    *_refuse(Code.DISCOUNT_MISSING, "/discounts", "10%", {"label": "x"}, {"unknown": 1}, 1),
    *_refuse(Code.DISCOUNT_MISSING, f"{LINE}/discounts", "10%", {"label": "x"}, {"unknown": 1}, 1),
    *(
        row
        for discount in DISCOUNTS
        for row in (
            *_refuse(Code.DISCOUNT_MISSING, discount, None, "10%", 1, []),
            *_refuse(Code.DISCOUNT_REFERENCE_NOT_VALID, f"{discount}/foreignRef", 1, TOO_LONG),
            *_refuse(Code.DISCOUNT_LABEL_NOT_VALID, f"{discount}/label", 1, TOO_LONG, "a\x00b"),
            *_refuse(Code.DISCOUNT_OPERATION_NOT_VALID, f"{discount}/operation", "Percent", "amount", 1),
            *_refuse(Code.DISCOUNT_OPERATION_VALUE_NOT_VALID, f"{discount}/operationValue", 101, *NO_AMOUNT),
            *_refuse(Code.DISCOUNT_PRICE_DELTA_NOT_VALID, f"{discount}/priceDelta", *NO_AMOUNT),
        )
    ),
    *_refuse(Code.METADATA_MISSING, "/metadata", "x", {"key": "a"}, {"unknown": 1}, 1),
    *_refuse(Code.METADATA_MISSING, "/metadata/0", None, "x"),
    *_refuse(Code.METADATA_KEY_MISSING, "/metadata/0/key", 1, "x" * 101, "a\nb"),
    *_refuse(Code.METADATA_MISSING, "/metadata/0/value", 1, "x" * 2001, "a\x00b"),
    *_refuse(
        Code.DATE_NOT_VALID, "/orderDate", "2004-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z"
    ),
    *_refuse(Code.DATE_NOT_VALID, "/orderDate", "20040212T151921Z", "2004-W07-4T15:19:21Z", "12.02.2004", "T15:19:21Z"),
    *_refuse(
        Code.DATE_NOT_VALID, "/orderDate", 1_076_599_161_000, True, "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z"
    ),
    *_refuse(Code.TIME_MISSING, "/orderDate", "2004-02-12"),
    *_refuse(Code.TIME_NOT_VALID, "/orderDate", "2004-02-12T", "2004-02-12T15:19:21", "2004-02-12T25:00:00Z"),
    *_refuse(
        Code.TIME_NOT_VALID, "/orderDate", "2004-02-12T23:59:60Z", "2004-02-12T15:19:21Z\n", "2004-02-12T15:19:21+99:00"
    ),
    *_refuse(Code.ORDER_LINES_MISSING, "/orderLines", "x", 1, {"productRef": 1}, {"unknown": 1}),
    *_refuse(Code.ORDER_LINES_MISSING, LINE, None, "x", 1, []),
    *_refuse(Code.AMOUNT_DUTY_FREE_NOT_VALID, f"{LINE}/amountDutyFree", *NO_AMOUNT),
    *_refuse(Code.AMOUNT_TOTAL_NOT_VALID, f"{LINE}/amountTotal", *NO_AMOUNT, Decimal("33.32"), 0),
    *_refuse(Code.VAT_RATE_NOT_VALID, f"{LINE}/vatRate", Decimal("100.0001"), 101, *NO_AMOUNT),
    *_refuse(Code.PRODUCT_REF_NOT_VALID, f"{LINE}/productRef", 0, -1, 2**53 + 1, "0", "-1", "4 626", "A1", "٣", True),
    *_refuse(Code.PRODUCT_REF_NOT_VALID, f"{LINE}/productRef", Decimal("4626.0"), "9" * 17, [4626]),
    *_refuse(
        Code.QUANTITY_NOT_VALID, f"{LINE}/quantity", 0, -1, 10_000, 10**30, True, "2", Decimal("2.0"), Decimal("1e2")
    ),
    *_refuse(Code.PARTNER_ORDER_NUMBER_MISSING, "/partnerOrderNumber", 1, "x" * 65, " A", "A ", "A\n", "A\u200bB"),
    *_refuse(Code.PAYMENT_MISSING, "/payment", "x", 1, [1]),
    *_refuse(Code.PAYMENT_METHOD_NOT_VALID, "/payment/paymentMethod", 1, "x" * 101),
    *_refuse(Code.TRANSACTION_ID_NOT_VALID, "/payment/transactionId", 1009, TOO_LONG),
]

# Refusals that need more than one spoilt member: the body and the pointer that the refusal names.
COMBINED: Final = [
    (Code.IP_ADDRESS_NEEDED, f"{CUSTOMER}/ipV4", without(without(full_body(), "/customer/ipV4"), "/customer/ipV6")),
    (Code.TRANSACTION_ID_NEEDED, "/payment/transactionId", without(full_body(), "/payment/transactionId")),
    *(
        (
            Code.PROVINCE_NEEDED,
            "/customer/locationInvoice/province",
            without(
                with_value(full_body(), "/customer/locationInvoice/country", country),
                "/customer/locationInvoice/province",
            ),
        )
        for country in ("US", "CA", "BR", "AU")
    ),
    *(
        (
            code,
            f"{location}/province",
            with_value(with_value(full_body(), f"{location}/country", "US"), f"{location}/province", province),
        )
        for code, location in zip(
            (Code.DELIVERY_PROVINCE_UNKNOWN, Code.INVOICE_PROVINCE_UNKNOWN), LOCATIONS, strict=True
        )
        for province in ("XX", "US-XX", "ON", "CA-ON")
    ),
]

# Codes that the body of a request alone cannot cause, and who gives them instead.
ELSEWHERE: Final = {
    Code.OK: "an accepted order",
    Code.SECRET_MISSING: "the header, before the body",
    Code.SECRET_NOT_VALID: "the header, before the body",
    Code.IP_ADDRESS_MISSING: "IP_ADDRESS_NEEDED: an address is optional until there is a payment",
    Code.PROVINCE_MISSING: "PROVINCE_NEEDED: a province is optional but in four countries",
    Code.PAYMENT_METHOD_MISSING: "the method has a default",
    Code.TRANSACTION_ID_MISSING: "TRANSACTION_ID_NEEDED: the id is optional for external payments",
    Code.PRICE_NEEDED: "the priced profile",
    Code.INTERNAL_ERROR: "a failure",
    Code.ORDER_ALREADY_CREATED: "the database",
    Code.PRODUCT_UNKNOWN: "the catalogue",
    Code.XML_DOCUMENT_ERROR: "SOAP",
    Code.XML_ATTRIBUTE_MISSING: "SOAP",
    Code.XML_ELEMENT_EMPTY: "SOAP",
    Code.XML_ELEMENT_MISSING: "SOAP",
    Code.XML_DOCUMENT_MISSING: "SOAP",
    Code.AFFILIATE_INACTIVE: "the affiliate's record",
    Code.DOWNLOAD_LINK_ERROR: "the delivery of files",
    Code.CART_TOO_BIG_FOR_BACKUP: "the backup option",
    Code.PRODUCT_NOT_COMPATIBLE: "the catalogue",
    Code.PRODUCT_DEPENDENCY: "the catalogue",
    Code.OUT_OF_STOCK: "the pools",
    Code.LICENSES_NOT_AVAILABLE: "the pools and connectors",
    Code.INTERNAL_ERROR_IN_DELIVERY: "a failure",
    Code.WAITING_FOR_PAYMENT: "the order's state",
    Code.WAITING_FOR_FRAUD_CHECK: "the order's state",
    Code.CANCELLED_FOR_FRAUD: "the order's state",
    Code.PAYMENT_NOT_FOUND: "the payment",
    Code.CANCELLED_FOR_PAYMENT: "the order's state",
    Code.PAYMENT_ERROR: "the payment",
}


def refusals(body: object, **settings: Any) -> list[tuple[AnswerCode, str]]:
    answer = read_order(body, **settings)
    assert isinstance(answer, Refused)
    return [(refusal.code, refusal.pointer) for refusal in answer.refusals]


@pytest.mark.parametrize("profile", Profile)
def test_a_body_with_every_member_is_accepted_in_every_profile(profile: Profile) -> None:
    assert isinstance(read_order(full_body(), profile=profile), NewOrder)


@pytest.mark.parametrize(("code", "pointer"), MISSING)
def test_a_strict_reseller_is_told_which_member_is_missing(code: Code, pointer: str) -> None:
    assert refusals(without(full_body(), pointer)) == [(code, pointer)]


@pytest.mark.parametrize(("code", "pointer"), MISSING)
@pytest.mark.parametrize("nothing", [None, "", " \t\n", "\u3000", [], {}])
def test_null_blank_text_and_empty_containers_count_as_missing(code: Code, pointer: str, nothing: Any) -> None:
    assert refusals(with_value(full_body(), pointer, nothing)) == [(code, pointer)]


@pytest.mark.parametrize("pointer", OPTIONAL)
@pytest.mark.parametrize("nothing", [None, "", " ", [], {}])
def test_an_optional_member_may_be_absent_or_empty(pointer: str, nothing: Any) -> None:
    assert isinstance(read_order(without(full_body(), pointer)), NewOrder)
    assert isinstance(read_order(with_value(full_body(), pointer, nothing)), NewOrder)


@pytest.mark.parametrize("row", INVALID, ids=lambda row: f"{row.code}{row.pointer}-{row.value!r:.24}")
@pytest.mark.parametrize("profile", Profile)
def test_what_is_sent_has_to_be_valid_in_every_profile(row: Row, profile: Profile) -> None:
    assert refusals(with_value(full_body(), row.pointer, row.value), profile=profile) == [(row.code, row.pointer)]


@pytest.mark.parametrize(("code", "pointer", "body"), COMBINED)
@pytest.mark.parametrize("profile", Profile)
def test_members_that_belong_together_are_judged_together(
    code: Code, pointer: str, body: dict[str, Any], profile: Profile
) -> None:
    assert refusals(body, profile=profile) == [(code, pointer)]


@pytest.mark.parametrize("profile", [Profile.PRICED, Profile.LENIENT])
@pytest.mark.parametrize(("code", "pointer"), MISSING)
def test_other_profiles_need_only_the_basic_members(code: Code, pointer: str, profile: Profile) -> None:
    body = without(full_body(), pointer)
    if pointer in (*BASIC, *BASIC_IN_LINE, "/metadata/0/key"):
        assert refusals(body, profile=profile) == [(code, pointer)]
    else:
        assert isinstance(read_order(body, profile=profile), NewOrder)


@pytest.mark.parametrize("price", ["amountDutyFree", "amountTotal"])
def test_a_priced_line_needs_a_unit_price_or_a_total(price: str) -> None:
    assert refusals(basic_body(), profile=Profile.PRICED) == [(Code.PRICE_NEEDED, LINE)]
    assert isinstance(read_order(with_value(basic_body(), f"{LINE}/{price}", 0), profile=Profile.PRICED), NewOrder)


def test_a_price_that_is_not_valid_is_not_reported_as_missing_too() -> None:
    body = with_value(basic_body(), f"{LINE}/amountTotal", -1)
    assert refusals(body, profile=Profile.PRICED) == [(Code.AMOUNT_TOTAL_NOT_VALID, f"{LINE}/amountTotal")]


def test_a_lenient_line_needs_no_price() -> None:
    assert isinstance(read_order(basic_body(), profile=Profile.LENIENT), NewOrder)


@pytest.mark.parametrize("body", [None, [], {}, "x", 1, True, [{"currency": "EUR"}]])
def test_what_is_no_object_is_no_order(body: object) -> None:
    assert refusals(body) == [(Code.ORDER_MISSING, "")]


def test_every_code_is_reached_here_or_given_elsewhere() -> None:
    reached = {Code.ORDER_MISSING, *(row.code for row in INVALID)}
    reached |= {code for code, *_ in MISSING} | {code for code, *_ in COMBINED}
    assert reached | ELSEWHERE.keys() == set(Code)
    assert not reached & ELSEWHERE.keys()
