"""The codes that refuse each member of what resellers send, and what a request is after validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Self

from keyservice.api.connect.codes import AnswerCode, CancelOrderCode, CancelReason, StockCode
from keyservice.api.connect.codes import CreateOrderCode as Code

LINES_MAX: Final = 200
QUANTITY_MAX: Final = 9_999
PRODUCT_REFS_MAX: Final = 500
REFUSALS_MAX: Final = 100


class Profile(StrEnum):
    """How much a reseller has to send. What is sent has to be valid in every profile."""

    STRICT = "strict"
    """Every member that document 003 leaves unmarked, where createOrder has a code for its absence."""

    PRICED = "priced"
    """What the vendor's newer page requires, the customer's e-mail, and a unit price or a total on every line."""

    LENIENT = "lenient"
    """As priced, without the prices."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing wrong with a request, at a JSON pointer. What is wrong inside an order line names the line."""

    code: AnswerCode
    message: str
    pointer: str
    line_number: int | None = None
    product_ref: int | None = None

    @classmethod
    def at(cls, code: AnswerCode, pointer: str, detail: str = "") -> Self:
        where = f" at {pointer}" if pointer else ""
        why = f": {detail}" if detail else ""
        return cls(code, f"{code.message}{where}{why}", pointer)


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that broke at least one rule; the refusals stand in the order of the specification's members."""

    partner_order_number: str | None
    refusals: tuple[Refusal, ...]

    @property
    def first(self) -> Refusal:
        return self.refusals[0]


@dataclass(frozen=True, slots=True)
class AskedProduct:
    """One entry of a stock request; unless its code is OK there is nothing to look up."""

    product_ref: int | None
    code: StockCode


@dataclass(frozen=True, slots=True)
class StockRequest:
    """The products whose stock is asked for, in the order of the request."""

    products: tuple[AskedProduct, ...]


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """An order the reseller wants cancelled, and why."""

    partner_order_number: str
    reason: CancelReason
    comment: str | None


class Rule(NamedTuple):
    """The codes of one member. Without `missing` it may be absent; a basic one every profile needs, others the strict."""

    invalid: AnswerCode
    missing: AnswerCode | None = None
    is_basic: bool = False
    shape: "Shape | None" = None
    is_list: bool = False


class Shape(NamedTuple):
    """The rules of one object's members."""

    rules: Mapping[str, Rule]
    needed_in_strict: frozenset[str]
    needed_always: frozenset[str]

    def needed(self, profile: Profile) -> frozenset[str]:
        return self.needed_in_strict if profile is Profile.STRICT else self.needed_always


def _shape(rules: Mapping[str, Rule]) -> Shape:
    return Shape(
        rules=rules,
        needed_in_strict=frozenset(name for name, rule in rules.items() if rule.missing is not None),
        needed_always=frozenset(name for name, rule in rules.items() if rule.is_basic),
    )


DISCOUNT: Final = _shape(
    {
        "foreignRef": Rule(Code.DISCOUNT_REFERENCE_NOT_VALID, Code.DISCOUNT_REFERENCE_MISSING),
        "label": Rule(Code.DISCOUNT_LABEL_NOT_VALID, Code.DISCOUNT_LABEL_MISSING),
        "operation": Rule(Code.DISCOUNT_OPERATION_NOT_VALID, Code.DISCOUNT_OPERATION_MISSING),
        "operationValue": Rule(Code.DISCOUNT_OPERATION_VALUE_NOT_VALID, Code.DISCOUNT_OPERATION_VALUE_MISSING),
        "priceDelta": Rule(Code.DISCOUNT_PRICE_DELTA_NOT_VALID, Code.DISCOUNT_PRICE_DELTA_MISSING),
    }
)

LINE: Final = _shape(
    {
        "amountDutyFree": Rule(Code.AMOUNT_DUTY_FREE_NOT_VALID, Code.AMOUNT_DUTY_FREE_MISSING),
        "amountTotal": Rule(Code.AMOUNT_TOTAL_NOT_VALID, Code.AMOUNT_TOTAL_MISSING),
        "discounts": Rule(Code.DISCOUNT_MISSING, shape=DISCOUNT, is_list=True),
        "endUserEmail": Rule(Code.EMAIL_NOT_VALID),
        "productRef": Rule(Code.PRODUCT_REF_NOT_VALID, Code.PRODUCT_REF_MISSING, is_basic=True),
        "quantity": Rule(Code.QUANTITY_NOT_VALID, Code.QUANTITY_MISSING, is_basic=True),
        "vatRate": Rule(Code.VAT_RATE_NOT_VALID, Code.VAT_RATE_MISSING),
    }
)


def _location(missing: Code) -> Shape:
    """companyName has no code and takes the location's; address2 has none and takes that of address1."""
    return _shape(
        {
            "address1": Rule(Code.ADDRESS_NOT_VALID, Code.ADDRESS_MISSING),
            "address2": Rule(Code.ADDRESS_NOT_VALID),
            "city": Rule(Code.CITY_NOT_VALID, Code.CITY_MISSING),
            "companyName": Rule(missing),
            "country": Rule(Code.COUNTRY_NOT_VALID, Code.COUNTRY_MISSING),
            "fax": Rule(Code.FAX_NOT_VALID, Code.FAX_MISSING),
            "firstName": Rule(Code.FIRST_NAME_NOT_VALID, Code.FIRST_NAME_MISSING),
            "lastName": Rule(Code.LAST_NAME_NOT_VALID, Code.LAST_NAME_MISSING),
            "phone": Rule(Code.PHONE_NOT_VALID, Code.PHONE_MISSING),
            "province": Rule(Code.PROVINCE_NOT_VALID),
            "title": Rule(Code.TITLE_NOT_VALID, Code.TITLE_MISSING),
            "zipCode": Rule(Code.ZIP_CODE_NOT_VALID, Code.ZIP_CODE_MISSING),
        }
    )


DELIVERY: Final = _location(Code.DELIVERY_LOCATION_MISSING)
INVOICE: Final = _location(Code.INVOICE_LOCATION_MISSING)

CUSTOMER: Final = _shape(
    {
        "email": Rule(Code.EMAIL_NOT_VALID, Code.EMAIL_MISSING, is_basic=True),
        "ipV4": Rule(Code.IP_ADDRESS_NOT_VALID),
        "ipV6": Rule(Code.IP_ADDRESS_NOT_VALID),
        "language": Rule(Code.LANGUAGE_NOT_VALID, Code.LANGUAGE_MISSING),
        "locationDelivery": Rule(Code.DELIVERY_LOCATION_MISSING, Code.DELIVERY_LOCATION_MISSING, shape=DELIVERY),
        "locationInvoice": Rule(Code.INVOICE_LOCATION_MISSING, Code.INVOICE_LOCATION_MISSING, shape=INVOICE),
        "partnerId": Rule(Code.PARTNER_ID_NOT_VALID, Code.PARTNER_ID_MISSING),
    }
)

METADATA: Final = _shape(
    {
        "key": Rule(Code.METADATA_KEY_MISSING, Code.METADATA_KEY_MISSING, is_basic=True),
        "value": Rule(Code.METADATA_MISSING),
    }
)

PAYMENT: Final = _shape(
    {
        "paymentMethod": Rule(Code.PAYMENT_METHOD_NOT_VALID),
        "transactionId": Rule(Code.TRANSACTION_ID_NOT_VALID),
    }
)

# affiliateId has no code for a wrong form and takes that of a wrong affiliate. customer and marketingProgramId have
# none at all and take the order's; the latter cannot be required, although only the newer page marks it optional.
ORDER: Final = _shape(
    {
        "affiliateId": Rule(Code.AFFILIATE_NOT_VALID),
        "currency": Rule(Code.CURRENCY_NOT_VALID, Code.CURRENCY_MISSING, is_basic=True),
        "customer": Rule(Code.ORDER_MISSING, shape=CUSTOMER),
        "discounts": Rule(Code.DISCOUNT_MISSING, shape=DISCOUNT, is_list=True),
        "marketingProgramId": Rule(Code.ORDER_MISSING),
        "metadata": Rule(Code.METADATA_MISSING, shape=METADATA, is_list=True),
        "orderDate": Rule(Code.DATE_NOT_VALID, Code.DATE_MISSING, is_basic=True),
        "orderLines": Rule(Code.ORDER_LINES_MISSING, Code.ORDER_LINES_MISSING, is_basic=True, shape=LINE, is_list=True),
        "partnerOrderNumber": Rule(Code.PARTNER_ORDER_NUMBER_MISSING, Code.PARTNER_ORDER_NUMBER_MISSING, is_basic=True),
        "payment": Rule(Code.PAYMENT_MISSING, shape=PAYMENT),
    }
)

# A comment that cannot be kept is refused as part of the reason: it has no code of its own.
CANCEL: Final = _shape(
    {
        "comment": Rule(CancelOrderCode.REASON_NOT_VALID),
        "partnerOrderNumber": Rule(
            CancelOrderCode.ORDER_NUMBER_MISSING, CancelOrderCode.ORDER_NUMBER_MISSING, is_basic=True
        ),
        "reasonCode": Rule(CancelOrderCode.REASON_NOT_VALID, CancelOrderCode.REASON_MISSING, is_basic=True),
    }
)
