"""What resellers send, as types: pydantic judges each member by them, and the OpenAPI document shows them.

Members that no specification names are ignored and never kept: refusing them would break clients that send more than the
documents say. The order of the members is document 003's, which is alphabetical. No type demands a member, since each
absence has a code of its own; the document says what every profile demands.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from keyservice.api.connect import examples, requests, values
from keyservice.api.connect.requests import Shape

DISCOUNTS_MAX: Final = 20
METADATA_MAX: Final = 100


def _strict_types(
    *shapes: Shape, also: frozenset[str] = frozenset(), example: Mapping[str, Any] | None = None
) -> ConfigDict:
    needed = sorted(frozenset[str]().union(also, *(shape.needed_always for shape in shapes)))

    def show_needed(schema: dict[str, Any]) -> None:
        if needed:
            schema["required"] = needed
        if example is not None:
            schema["examples"] = [example]

    return ConfigDict(strict=True, extra="ignore", use_attribute_docstrings=True, json_schema_extra=show_needed)


class DiscountBody(TypedDict, total=False):
    """A discount that the reseller gave, as a fact: no amount is computed from it."""

    __pydantic_config__ = _strict_types(requests.DISCOUNT)  # type: ignore[misc]

    foreignRef: values.Text255
    """The reseller's own name for it."""

    label: values.Text255
    operation: values.Operation
    operationValue: values.Amount
    """The amount, or at most 100 percent."""

    priceDelta: values.Amount
    """What it took off the price."""


Discounts = Annotated[list[DiscountBody], Field(max_length=DISCOUNTS_MAX)]


class LineBody(TypedDict, total=False):
    """One product and how many of it. The strict profile demands the prices, and that they agree."""

    __pydantic_config__ = _strict_types(requests.LINE)  # type: ignore[misc]

    amountDutyFree: values.Amount
    """The price of one, without tax."""

    amountTotal: values.Amount
    """The price of all, with tax."""

    discounts: Discounts
    endUserEmail: values.Email
    """Who uses the product, where that is not the customer."""

    productRef: values.ProductRef
    quantity: values.Quantity
    vatRate: values.Percents


class LocationBody(TypedDict, total=False):
    """An address. The strict profile demands all of it but company, second line and province."""

    __pydantic_config__ = _strict_types()  # type: ignore[misc]

    address1: values.Text255
    address2: values.Text255
    city: values.Text100
    companyName: values.Text255
    country: values.Country
    fax: values.Text32
    firstName: values.Text100
    lastName: values.Text100
    phone: values.Text32
    province: values.Province
    """A province of ISO 3166-2, with the country in front or without; needed in some countries."""

    title: values.Title
    zipCode: values.Text32


class CustomerBody(TypedDict, total=False):
    """Who bought. An order with a payment needs one of the IP addresses."""

    __pydantic_config__ = _strict_types(requests.CUSTOMER)  # type: ignore[misc]

    email: values.Email
    ipV4: values.IpV4
    ipV6: values.IpV6
    language: values.Language
    locationDelivery: LocationBody
    locationInvoice: LocationBody
    partnerId: values.Text255
    """The reseller's own number of the customer."""


class MetadataBody(TypedDict, total=False):
    """What the reseller wants to keep with the order."""

    __pydantic_config__ = _strict_types(requests.METADATA)  # type: ignore[misc]

    key: values.Text100
    value: values.MetadataValue


class PaymentBody(TypedDict, total=False):
    """How it was paid; any method but `External Payment` needs its transaction."""

    __pydantic_config__ = _strict_types(requests.PAYMENT)  # type: ignore[misc]

    paymentMethod: values.Text100
    transactionId: values.Text255


class OrderBody(TypedDict, total=False):
    """An order (CreateOrderRequest of document 003). The reseller's profile says what it has to contain beyond this."""

    __pydantic_config__ = _strict_types(requests.ORDER, also=frozenset({"customer"}), example=examples.ORDER)  # type: ignore[misc]

    affiliateId: values.AffiliateId
    currency: values.Currency
    customer: CustomerBody
    discounts: Discounts
    marketingProgramId: values.Text255
    metadata: Annotated[list[MetadataBody], Field(max_length=METADATA_MAX)]
    orderDate: values.OrderDate
    """When it was bought, with time and zone (ISO 8601)."""

    orderLines: list[LineBody]
    partnerOrderNumber: values.PartnerOrderNumber
    """The reseller's number of the order; the same number with the same order again gets the first answer."""

    payment: PaymentBody


class CancelBody(TypedDict, total=False):
    """Which order is to be cancelled, and why."""

    __pydantic_config__ = _strict_types(requests.CANCEL, example=examples.CANCEL)  # type: ignore[misc]

    comment: values.Comment
    partnerOrderNumber: values.PartnerOrderNumber
    reasonCode: values.Reason


class StockBody(TypedDict):
    """Which products are asked for."""

    __pydantic_config__ = _strict_types(example=examples.STOCK)  # type: ignore[misc]

    productRefs: Annotated[list[values.ProductRef], Field(min_length=1, max_length=requests.PRODUCT_REFS_MAX)]
