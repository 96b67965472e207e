"""An order as it is accepted: what was bought and for how much and, kept apart from that, for whom."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, Final

from babel.core import get_global
from babel.numbers import get_currency_precision

from keyservice.domain.errors import Invalid

EXTERNAL_PAYMENT: Final = "External Payment"


class DiscountOperation(StrEnum):
    """How a discount was worked out (document 003, discounts[].operation)."""

    AMOUNT = "Amount"
    PERCENTS = "Percents"


@dataclass(frozen=True, slots=True)
class NewDiscount:
    """A discount the reseller gave; it is kept for the record and never calculated with."""

    foreign_ref: str | None
    label: str | None
    operation: DiscountOperation | None
    operation_value: Decimal | None
    price_delta: Decimal | None


@dataclass(frozen=True, slots=True)
class NewPayment:
    """How the reseller was paid."""

    method: str
    transaction_id: str | None


@dataclass(frozen=True, slots=True)
class NewOrderLine:
    """One product and how many keys of it are wanted; lines count from 1."""

    line_number: int
    product_ref: int
    quantity: int
    amount_duty_free: Decimal | None
    amount_total: Decimal | None
    vat_rate: Decimal | None
    discounts: tuple[NewDiscount, ...]
    has_end_user_email: bool


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order whose every field is valid. `people` holds all that is personal, `document` all the rest as JSON."""

    partner_order_number: str
    currency: str
    ordered_at: datetime
    affiliate_id: int | None
    marketing_program_id: str | None
    payment: NewPayment | None
    discounts: tuple[NewDiscount, ...]
    lines: tuple[NewOrderLine, ...]
    people: dict[str, Any] = field(repr=False)
    document: dict[str, Any]


class WrongLineTotal(Invalid):
    """The total of a line is not its price times its quantity plus VAT."""

    code = "wrong-line-total"

    def __init__(self, *, expected: Decimal, tolerance: Decimal) -> None:
        super().__init__(
            f"must be amountDutyFree * quantity plus VAT: {expected:f}, give or take {tolerance:f}", field="amountTotal"
        )
        self.expected = expected
        self.tolerance = tolerance


def check_line_total(
    *, amount_duty_free: Decimal, quantity: int, vat_rate: Decimal, amount_total: Decimal, currency: str
) -> None:
    """Document 003: amountTotal = amountDutyFree * quantity * (1 + vatRate / 100). Discounts are not in that formula.

    The document names no rounding. A unit price may have been rounded to the minor unit before it was multiplied, and
    the total after, so half a minor unit is forgiven for each piece (with the VAT on it) and half a one for the total.
    """
    # In hundredths, so that nothing is divided and every step is exact.
    gross_percents = quantity * (100 + vat_rate)
    half_minor_unit = Decimal(5).scaleb(-minor_unit_digits(currency) - 1)
    expected = amount_duty_free * gross_percents
    tolerance = half_minor_unit * (gross_percents + 100)
    if abs(amount_total * 100 - expected) > tolerance:
        raise WrongLineTotal(expected=(expected / 100).normalize(), tolerance=(tolerance / 100).normalize())


def currency_exists(code: str) -> bool:
    """ISO 4217, upper case, and still somebody's tender."""
    return code in _currencies()


@lru_cache(maxsize=512)
def minor_unit_digits(currency: str) -> int:
    """Decimals of the currency's minor unit: 2 for EUR, 0 for JPY, 3 for KWD."""
    return get_currency_precision(currency)


@cache
def _currencies() -> frozenset[str]:
    territories = get_global("territory_currencies").values()
    return frozenset(code for history in territories for code, _, end, tender in history if end is None and tender)
