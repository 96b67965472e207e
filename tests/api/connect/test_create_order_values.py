from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from keyservice.api.connect.requests import Profile
from keyservice.domain.order import NewPayment
from tests.api.connect.connect_bodies import LINE, accepted, basic_body, codes, full_body, refused, with_value, without


@pytest.mark.parametrize(("sent", "kept"), [(4626, 4626), ("4626", 4626), ("0042", 42), (2**53, 2**53)])
def test_a_product_is_named_by_an_integer_or_its_digits(sent: object, kept: int) -> None:
    order = accepted(with_value(full_body(), f"{LINE}/productRef", sent))
    assert order.lines[0].product_ref == order.document["orderLines"][0]["productRef"] == kept


@pytest.mark.parametrize(("sent", "kept"), [(0, 0), (3, 3), ("Mr", 1), ("Mrs", 2), ("Ms", 3)])
def test_a_title_is_a_number_or_the_word_of_the_documents_example(sent: object, kept: int) -> None:
    order = accepted(with_value(full_body(), "/customer/locationInvoice/title", sent))
    assert order.people["customer"]["locationInvoice"]["title"] == kept


@pytest.mark.parametrize("sent", ["fr_FR", "fr-FR"])
def test_a_language_has_one_spelling_inside(sent: str) -> None:
    assert accepted(with_value(full_body(), "/customer/language", sent)).people["customer"]["language"] == "fr_FR"


@pytest.mark.parametrize(
    ("country", "sent", "kept"),
    [("US", "US-CA", "CA"), ("US", "CA", "CA"), ("AU", "NSW", "NSW"), ("FR", "FR-75", "75")],
)
@pytest.mark.parametrize("location", ["locationDelivery", "locationInvoice"])
def test_a_province_is_kept_without_its_country(location: str, country: str, sent: str, kept: str) -> None:
    body = with_value(full_body(), f"/customer/{location}/country", country)
    order = accepted(with_value(body, f"/customer/{location}/province", sent))
    assert order.people["customer"][location]["province"] == kept


def test_a_delivery_location_needs_no_province() -> None:
    body = with_value(full_body(), "/customer/locationDelivery/country", "US")
    accepted(without(body, "/customer/locationDelivery/province"))


def test_a_province_that_is_not_valid_is_not_reported_as_missing_too() -> None:
    body = with_value(full_body(), "/customer/locationInvoice/country", "US")
    assert codes(refused(with_value(body, "/customer/locationInvoice/province", "California"))) == [551]


@pytest.mark.parametrize("address", ["ipV4", "ipV6"])
def test_a_payment_needs_one_address_and_not_both(address: str) -> None:
    accepted(without(full_body(), f"/customer/{address}"))


def test_an_address_that_is_not_valid_is_not_reported_as_missing_too() -> None:
    body = without(full_body(), "/customer/ipV4")
    assert codes(refused(with_value(body, "/customer/ipV6", "x"))) == [341]


def test_without_a_payment_no_address_is_needed() -> None:
    body = without(without(without(full_body(), "/payment"), "/customer/ipV4"), "/customer/ipV6")
    assert accepted(body).payment is None


@pytest.mark.parametrize("payment", [{"transactionId": "7"}, {"paymentMethod": "", "transactionId": "7"}])
def test_a_payment_is_external_unless_it_says_otherwise(payment: dict[str, str]) -> None:
    assert accepted(with_value(full_body(), "/payment", payment)).payment == NewPayment("External Payment", "7")


def test_an_external_payment_needs_no_transaction() -> None:
    body = with_value(full_body(), "/payment", {"paymentMethod": "External Payment"})
    assert accepted(body).payment == NewPayment("External Payment", None)


@pytest.mark.parametrize(
    ("sent", "moment"),
    [
        ("2004-02-12T15:19:21Z", datetime(2004, 2, 12, 15, 19, 21, tzinfo=UTC)),
        ("2004-02-12T15:19:21+0200", datetime(2004, 2, 12, 13, 19, 21, tzinfo=UTC)),
        ("2004-02-12T15:19:21.5-05", datetime(2004, 2, 12, 20, 19, 21, 500_000, tzinfo=UTC)),
        ("2004-02-29T15:19Z", datetime(2004, 2, 29, 15, 19, tzinfo=UTC)),
        ("1970-01-01T00:00:00+14:00", datetime(1969, 12, 31, 10, tzinfo=UTC)),
        ("2199-12-31T23:59:59.999999-23:59", datetime(2200, 1, 1, 23, 58, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_an_order_date_is_a_moment(sent: str, moment: datetime) -> None:
    order = accepted(with_value(full_body(), "/orderDate", sent))
    assert order.ordered_at == moment
    assert order.ordered_at.utcoffset() is not None
    assert order.document["orderDate"] == order.ordered_at.isoformat()


@pytest.mark.parametrize("city", ["  Paris ", "Paris\n"])
def test_blanks_around_a_text_are_dropped(city: str) -> None:
    order = accepted(with_value(full_body(), "/customer/locationInvoice/city", city))
    assert order.people["customer"]["locationInvoice"]["city"] == "Paris"


@pytest.mark.parametrize("city", ["東京\u3000都", "क्\u200dष", "Saint\u00a0Denis", "x" * 100, "😀"])
def test_every_script_has_cities(city: str) -> None:
    order = accepted(with_value(full_body(), "/customer/locationInvoice/city", city))
    assert order.people["customer"]["locationInvoice"]["city"] == city


@pytest.mark.parametrize(
    "address", ["a@b", "first.last+tag@example.co.uk", "o'hara@x.org", "j" * 64 + "@x.org", "jane@müller.de"]
)
def test_a_plausible_address_is_accepted(address: str) -> None:
    assert accepted(with_value(full_body(), "/customer/email", address)).people["customer"]["email"] == address


@pytest.mark.parametrize(("currency", "decimals"), [("JPY", 2), ("EUR", 4), ("KWD", 4)])
def test_an_amount_has_at_most_two_decimals_more_than_its_currency(currency: str, decimals: int) -> None:
    body = basic_body() | {"currency": currency, "discounts": [{}]}
    least = Decimal(1).scaleb(-decimals)
    for pointer, code in (
        (f"{LINE}/amountDutyFree", 241),
        (f"{LINE}/amountTotal", 251),
        ("/discounts/0/priceDelta", 631),
    ):
        accepted(with_value(body, pointer, 16 + least), profile=Profile.LENIENT)
        assert codes(refused(with_value(body, pointer, 16 + least / 10), profile=Profile.LENIENT)) == [code]


@pytest.mark.parametrize("amount", [12, Decimal("12.0"), Decimal("12.000000"), Decimal("1.2e1")])
def test_equal_amounts_are_equal_texts(amount: object) -> None:
    order = accepted(with_value(full_body(), "/discounts/0/priceDelta", amount))
    assert order.document["discounts"][0]["priceDelta"] == "12.0000"


@pytest.mark.parametrize("amount", [0, Decimal("0.0001"), Decimal("-0.0"), Decimal("999999999999.9999")])
def test_the_limits_of_an_amount_are_accepted_and_written_without_an_exponent(amount: Any) -> None:
    order = accepted(with_value(full_body(), "/discounts/0/priceDelta", amount))
    assert order.document["discounts"][0]["priceDelta"] == f"{abs(amount):.4f}"


def test_only_a_percentage_ends_at_100() -> None:
    body = with_value(full_body(), "/discounts/0/operationValue", 101)
    assert codes(refused(body)) == [651]
    assert accepted(with_value(body, "/discounts/0/operation", "Amount")).discounts[0].operation_value == 101


def test_discounts_are_not_part_of_the_total() -> None:
    body = full_body()
    assert accepted(without(body, f"{LINE}/discounts")).lines[0].amount_total == Decimal("39.98")
    assert accepted(full_body()).lines[0].amount_total == Decimal("39.98")
