from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyservice.domain.order import WrongLineTotal, check_line_total, currency_exists, minor_unit_digits

_CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD"])
_AMOUNTS = st.decimals(min_value=0, max_value=Decimal("999999999999.9999"), places=4)
_RATES = st.decimals(min_value=0, max_value=100, places=4)
_QUANTITIES = st.integers(min_value=1, max_value=9_999)


def _agrees(amount_duty_free: Decimal, quantity: int, vat_rate: Decimal, amount_total: Decimal, currency: str) -> bool:
    try:
        check_line_total(
            amount_duty_free=amount_duty_free,
            quantity=quantity,
            vat_rate=vat_rate,
            amount_total=amount_total,
            currency=currency,
        )
    except WrongLineTotal:
        return False
    return True


@given(_AMOUNTS, _QUANTITIES, _RATES, _AMOUNTS, _CURRENCIES)
@example(Decimal("999999999999.9999"), 9_999, Decimal("99.9999"), Decimal(0), "EUR")
def test_a_total_agrees_exactly_when_it_lies_within_the_stated_tolerance(
    amount_duty_free: Decimal, quantity: int, vat_rate: Decimal, amount_total: Decimal, currency: str
) -> None:
    gross = 1 + Fraction(vat_rate) / 100
    half_minor_unit = Fraction(1, 2 * 10 ** minor_unit_digits(currency))
    tolerance = half_minor_unit * quantity * gross + half_minor_unit
    is_within = abs(Fraction(amount_total) - Fraction(amount_duty_free) * quantity * gross) <= tolerance
    assert _agrees(amount_duty_free, quantity, vat_rate, amount_total, currency) == is_within


@given(_AMOUNTS, _QUANTITIES, _RATES, _CURRENCIES)
def test_the_edge_of_the_tolerance_agrees_and_one_step_beyond_does_not(
    amount_duty_free: Decimal, quantity: int, vat_rate: Decimal, currency: str
) -> None:
    gross = quantity * (100 + vat_rate) / 100
    half_minor_unit = Decimal(5).scaleb(-minor_unit_digits(currency) - 1)
    edge = amount_duty_free * gross + half_minor_unit * gross + half_minor_unit
    assert _agrees(amount_duty_free, quantity, vat_rate, edge, currency)
    assert not _agrees(amount_duty_free, quantity, vat_rate, edge + Decimal("1e-9"), currency)


@given(
    st.decimals(min_value=0, max_value=10**6, places=6),
    _QUANTITIES,
    _RATES,
    _CURRENCIES,
    st.sampled_from([ROUND_HALF_UP, ROUND_HALF_EVEN]),
)
def test_a_reseller_who_rounds_the_unit_price_or_the_total_or_both_is_believed(
    exact_price: Decimal, quantity: int, vat_rate: Decimal, currency: str, rounding: str
) -> None:
    minor_unit = Decimal(1).scaleb(-minor_unit_digits(currency))
    price = exact_price.quantize(minor_unit, rounding)
    from_exact = (exact_price * quantity * (100 + vat_rate) / 100).quantize(minor_unit, rounding)
    from_rounded = (price * quantity * (100 + vat_rate) / 100).quantize(minor_unit, rounding)
    assert _agrees(price, quantity, vat_rate, from_exact, currency)
    assert _agrees(price, quantity, vat_rate, from_rounded, currency)


def test_a_total_that_forgets_the_vat_is_refused() -> None:
    with pytest.raises(WrongLineTotal, match=r"39\.984, give or take 0\.017"):
        check_line_total(
            amount_duty_free=Decimal("16.66"),
            quantity=2,
            vat_rate=Decimal(20),
            amount_total=Decimal("33.32"),
            currency="EUR",
        )


def test_a_refused_total_tells_what_was_expected() -> None:
    with pytest.raises(WrongLineTotal) as refusal:
        check_line_total(
            amount_duty_free=Decimal(100),
            quantity=3,
            vat_rate=Decimal(10),
            amount_total=Decimal("330.50").quantize(Decimal(1), ROUND_UP) + 2,
            currency="JPY",
        )
    assert refusal.value.expected == 330
    assert refusal.value.tolerance == Decimal("2.15")


@pytest.mark.parametrize(("currency", "digits"), [("EUR", 2), ("JPY", 0), ("KWD", 3)])
def test_the_minor_unit_is_the_currencys_own(currency: str, digits: int) -> None:
    assert minor_unit_digits(currency) == digits


@pytest.mark.parametrize("code", ["EUR", "USD", "JPY", "KWD", "TRY", "BRL"])
def test_a_currency_in_use_exists(code: str) -> None:
    assert currency_exists(code)


@pytest.mark.parametrize("code", ["DEM", "HRK", "XAU", "USN", "XXX", "ABC", "eur", ""])
def test_a_currency_of_the_past_a_metal_and_a_fund_do_not_exist(code: str) -> None:
    assert not currency_exists(code)
