"""The rule of each single value in a Connect request. Document 003 states no limits; the lengths and bounds are ours.

A rule whose breach has a code of its own raises it by `_breach`; every other breach gets the code of the member.
No message repeats the value: it may be personal.
"""

import re
import socket
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, PlainValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from keyservice.api.connect.codes import CancelReason
from keyservice.api.connect.codes import CreateOrderCode as Code
from keyservice.api.operation import PRINTABLE
from keyservice.domain.order import currency_exists
from keyservice.domain.places import country_exists, language_exists

AMOUNT_MAX: Final = Decimal("999999999999.9999")
DECIMALS_MAX: Final = 4
PRODUCT_REF_MAX: Final = 2**53
INT32_MAX: Final = 2**31 - 1
YEARS: Final = range(1970, 2200)

_STEP: Final = Decimal(1).scaleb(-DECIMALS_MAX)

# What breaks lines and logs. Not everything unprintable: the ideographic space stands in Japanese addresses and the
# joiners in Persian names. Halves of surrogate pairs never pass as text.
_NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
_NO_CONTROLS_BUT_LINES: Final = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$"
# Blanks inside, never around: two order numbers that look the same must be the same.
_PRINTABLE: Final = r"^[^\p{C}\p{Z}](?:(?:[^\p{C}\p{Z}]| )*[^\p{C}\p{Z}])?$"
# A local part outside ASCII needs a mail route that few have; a domain outside ASCII can be written in ASCII.
_EMAIL: Final = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[\w-]+(?:\.[\w-]+)*$"
_PROVINCE: Final = r"^(?:[A-Z]{2}-)?[A-Z0-9]{1,3}$"

_LANGUAGE: Final = re.compile(r"([a-z]{2,3})[_-]([A-Z]{2})")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME_AND_ZONE: Final = re.compile(
    r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
)
_DIGITS: Final = re.compile(r"[0-9]{1,16}")


def _text(length_max: int) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=length_max, pattern=_NO_CONTROLS)


def _free_text(length_max: int) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=length_max, pattern=_NO_CONTROLS_BUT_LINES)


def _breach(code: Code, detail: str) -> PydanticCustomError:
    return PydanticCustomError(code.name, "{detail}", {"detail": detail})


def _invalid(detail: str) -> PydanticCustomError:
    return PydanticCustomError("invalid", "{detail}", {"detail": detail})


def _currency(value: str) -> str:
    if not currency_exists(value):
        raise _breach(Code.CURRENCY_UNKNOWN, "no currency of ISO 4217 that is in use")
    return value


def _country(value: str) -> str:
    if not country_exists(value):
        raise _breach(Code.COUNTRY_UNKNOWN, "no country of ISO 3166-1")
    return value


def _language(value: str) -> str:
    """fr_FR in document 003, fr-FR in 004; kept in the first form."""
    match = _LANGUAGE.fullmatch(value)
    if match is None:
        raise _invalid("must look like fr_FR (ISO 639 and ISO 3166)")
    language, country = match.groups()
    if not (language_exists(language) and country_exists(country)):
        raise _breach(Code.LANGUAGE_UNKNOWN, "the language or the country does not exist")
    return f"{language}_{country}"


def _order_date(value: object) -> datetime:
    text = value if type(value) is str else ""
    day, separator, time_and_zone = text.partition("T")
    if not _is_day(day):
        raise _invalid(f"must be like 2004-02-12T15:19:21+00:00 (ISO 8601), in {YEARS[0]} to {YEARS[-1]}")
    if not separator:
        raise _breach(Code.TIME_MISSING, "must end like T15:19:21+00:00 (ISO 8601)")
    try:
        if _TIME_AND_ZONE.fullmatch(time_and_zone):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise _breach(Code.TIME_NOT_VALID, "must end like T15:19:21+00:00 (ISO 8601), with a zone")


def _is_day(day: str) -> bool:
    try:
        return bool(_DAY.fullmatch(day)) and date.fromisoformat(day).year in YEARS
    except ValueError:
        return False


def _ip_address(family: socket.AddressFamily, name: str) -> Callable[[str], str]:
    """inet_pton and not the module ipaddress, which takes twenty times as long for the same verdict."""

    def check(value: str) -> str:
        try:
            socket.inet_pton(family, value)
        except (OSError, ValueError):
            raise _invalid(f"must be an {name} address") from None
        return value

    return check


def _product_ref(value: object) -> int:
    """Document 003 declares a string, the older services and the answer an integer."""
    if type(value) is str and _DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is int and 1 <= value <= PRODUCT_REF_MAX:
        return value
    raise _invalid(f"must be a whole number from 1 to {PRODUCT_REF_MAX}, or its digits as text")


def _title(value: object) -> int:
    """An integer in the specification's text, a word in its example; kept as the integer."""
    if type(value) is str:
        value = _TITLES.get(value)
    if type(value) is int and 0 <= value <= 3:
        return value
    raise _invalid("must be 0 (unknown), 1 (Mr), 2 (Mrs) or 3 (Ms)")


_TITLES: Final = {"Mr": 1, "Mrs": 2, "Ms": 3}


def _amount(value: object) -> Decimal:
    return _decimal(value, AMOUNT_MAX)


def _percents(value: object) -> Decimal:
    return _decimal(value, _HUNDRED)


_HUNDRED: Final = Decimal(100)


def _decimal(value: object, most: Decimal) -> Decimal:
    """Exact, and always with DECIMALS_MAX decimals, so that equal amounts are equal texts."""
    number = Decimal(value) if type(value) is int else value
    if type(number) is Decimal and number.is_finite() and 0 <= number <= most:
        exact = number.quantize(_STEP)
        if exact == number:
            return exact.copy_abs()
    raise _invalid(f"must be a number from 0 to {most} with at most {DECIMALS_MAX} decimals")


def _cancel_reason(value: object) -> CancelReason:
    if type(value) is int and value in _REASONS:
        return CancelReason(value)
    raise _invalid("must be one of " + ", ".join(map(str, sorted(_REASONS))))


_REASONS: Final = frozenset(reason.value for reason in CancelReason)


# How the OpenAPI document shows what is checked by a function.
def _shown(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema(schema)


def _shown_number(most: Decimal, example: float) -> WithJsonSchema:
    return _shown(
        type="number",
        minimum=0,
        maximum=float(most),
        description=f"With at most {DECIMALS_MAX} decimals.",
        examples=[example],
    )


Text32 = Annotated[str, _text(32)]
Text100 = Annotated[str, _text(100)]
Text255 = Annotated[str, _text(255)]
MetadataValue = Annotated[str, _free_text(2_000)]
Comment = Annotated[str, _free_text(1_000)]
PartnerOrderNumber = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=_PRINTABLE),
    _shown(type="string", minLength=1, maxLength=64, format=PRINTABLE, examples=["WEB-5001"]),
]
Email = Annotated[
    str,
    StringConstraints(max_length=254, pattern=_EMAIL),
    _shown(type="string", maxLength=254, format="email", examples=["ada@example.com"]),
]
IpV4 = Annotated[str, AfterValidator(_ip_address(socket.AF_INET, "IPv4")), _shown(type="string", format="ipv4")]
IpV6 = Annotated[str, AfterValidator(_ip_address(socket.AF_INET6, "IPv6")), _shown(type="string", format="ipv6")]
Currency = Annotated[
    str,
    StringConstraints(pattern="^[A-Z]{3}$"),
    AfterValidator(_currency),
    Field(description="A currency of ISO 4217.", examples=["EUR"]),
]
Country = Annotated[
    str,
    StringConstraints(pattern="^[A-Z]{2}$"),
    AfterValidator(_country),
    Field(description="A country of ISO 3166-1.", examples=["FR"]),
]
Language = Annotated[
    str,
    AfterValidator(_language),
    _shown(type="string", pattern="^[a-z]{2,3}[_-][A-Z]{2}$", examples=["fr_FR"]),
]
Province = Annotated[str, StringConstraints(pattern=_PROVINCE)]
OrderDate = Annotated[
    datetime,
    PlainValidator(_order_date),
    _shown(type="string", format="date-time", examples=["2026-11-22T15:19:21+00:00"]),
]
AffiliateId = Annotated[int, Field(ge=0, le=INT32_MAX)]
ProductRef = Annotated[
    int,
    PlainValidator(_product_ref),
    _shown(
        anyOf=[
            {"type": "integer", "minimum": 1, "maximum": PRODUCT_REF_MAX},
            {"type": "string", "pattern": "^[0-9]{1,16}$"},
        ],
        description="The product's number, or its digits as text.",
        examples=["270001"],
    ),
]
Quantity = Annotated[int, Field(ge=1, le=INT32_MAX)]
Title = Annotated[
    int,
    PlainValidator(_title),
    _shown(
        anyOf=[{"type": "integer", "minimum": 0, "maximum": 3}, {"type": "string", "enum": [*_TITLES]}],
        description="0 unknown, 1 Mr, 2 Mrs, 3 Ms.",
    ),
]
Operation = Literal["Amount", "Percents"]
Amount = Annotated[Decimal, PlainValidator(_amount), _shown_number(AMOUNT_MAX, 49.9)]
Percents = Annotated[Decimal, PlainValidator(_percents), _shown_number(_HUNDRED, 20)]
Reason = Annotated[
    CancelReason,
    PlainValidator(_cancel_reason),
    WithJsonSchema(
        {
            "type": "integer",
            "enum": [int(reason) for reason in CancelReason],
            "x-enum-varnames": [reason.name for reason in CancelReason],
            "description": ", ".join(
                f"{int(reason)} {reason.name.lower().replace('_', ' ')}" for reason in CancelReason
            )
            + ".",
        }
    ),
]
