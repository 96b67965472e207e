"""The rules of createOrder that need more than one value: who has to send what, and what has to agree with what."""

from collections.abc import Mapping
from typing import Any, Final, cast

from keyservice.api.connect import requests, values
from keyservice.api.connect.bodies import CustomerBody, DiscountBody, LineBody, LocationBody, OrderBody, PaymentBody
from keyservice.api.connect.codes import AnswerCode
from keyservice.api.connect.codes import CreateOrderCode as Code
from keyservice.api.connect.requests import Profile, Refusal, Shape
from keyservice.domain.order import EXTERNAL_PAYMENT, WrongLineTotal, check_line_total, minor_unit_digits
from keyservice.domain.places import has_province_codes, province_exists


class Laws:
    """The rules that need more than one value. They see only values that are valid by themselves.

    What has been refused already counts as neither there nor missing: one fault, one refusal.
    """

    __slots__ = ("currency", "profile", "quantity_max", "refusals", "refused_pointers")

    def __init__(self, profile: Profile, quantity_max: int, refusals: list[Refusal]) -> None:
        self.profile = profile
        self.quantity_max = quantity_max
        self.refusals = refusals
        self.refused_pointers = frozenset(refusal.pointer for refusal in refusals)
        self.currency: str | None = None

    def check_order(self, order: OrderBody) -> None:
        _drop_empty(order, "discounts", "metadata", "orderLines", "payment")
        self.currency = order.get("currency")
        self.demand(order, requests.ORDER, "")
        if "payment" in order:
            self.check_payment(order["payment"])
        self.check_customer(order.get("customer", {}), has_payment="payment" in order)
        for index, entry in enumerate(order.get("metadata", ())):
            self.demand(entry, requests.METADATA, f"/metadata/{index}")
        if "discounts" in order:
            self.check_discounts(order["discounts"], "/discounts")
        for index, line in enumerate(order.get("orderLines", ())):
            if len(self.refusals) < requests.REFUSALS_MAX:
                self.check_line(line, f"/orderLines/{index}")

    def check_payment(self, payment: PaymentBody) -> None:
        method = payment.setdefault("paymentMethod", EXTERNAL_PAYMENT)
        if method != EXTERNAL_PAYMENT and self.lacks(payment, "/payment", "transactionId"):
            self.refuse(Code.TRANSACTION_ID_NEEDED, "/payment/transactionId")

    def check_customer(self, customer: CustomerBody, *, has_payment: bool) -> None:
        _drop_empty(customer, "locationDelivery", "locationInvoice")
        self.demand(customer, requests.CUSTOMER, "/customer")
        if has_payment and self.lacks(customer, "/customer", "ipV4") and self.lacks(customer, "/customer", "ipV6"):
            self.refuse(Code.IP_ADDRESS_NEEDED, "/customer/ipV4")
        delivery, invoice = customer.get("locationDelivery"), customer.get("locationInvoice")
        if delivery is not None:
            pointer = "/customer/locationDelivery"
            self.demand(delivery, requests.DELIVERY, pointer)
            self.check_province(delivery, pointer, Code.DELIVERY_PROVINCE_UNKNOWN)
        if invoice is not None:
            pointer = "/customer/locationInvoice"
            self.demand(invoice, requests.INVOICE, pointer)
            self.check_province(invoice, pointer, Code.INVOICE_PROVINCE_UNKNOWN)
            self.demand_province(invoice, pointer)

    def check_province(self, location: LocationBody, pointer: str, unknown: Code) -> None:
        """A province keeps its code without the country in front, so that US-CA and CA are the same."""
        country, province = location.get("country"), location.get("province")
        if country is None or province is None:
            return
        prefix, _, code = province.rpartition("-")
        if prefix not in ("", country) or (has_province_codes(country) and not province_exists(country, code)):
            self.refuse(unknown, f"{pointer}/province")
        location["province"] = code

    def demand_province(self, invoice: LocationBody, pointer: str) -> None:
        """Document 003: can be required in the invoice node for the US, Canada, Brazil and Australia."""
        country = invoice.get("country")
        if country is not None and has_province_codes(country) and self.lacks(invoice, pointer, "province"):
            self.refuse(Code.PROVINCE_NEEDED, f"{pointer}/province")

    def check_line(self, line: LineBody, pointer: str) -> None:
        _drop_empty(line, "discounts")
        self.demand(line, requests.LINE, pointer)
        if "discounts" in line:
            self.check_discounts(line["discounts"], f"{pointer}/discounts")
        self.check_decimals(line, requests.LINE, _PRICES, pointer)
        if line.get("quantity", 0) > self.quantity_max:
            self.refuse(Code.QUANTITY_NOT_VALID, f"{pointer}/quantity", f"must be at most {self.quantity_max}")
        else:
            self.check_price(line, pointer)

    def check_price(self, line: LineBody, pointer: str) -> None:
        if self.currency is not None and line.keys() >= _PRICED_MEMBERS:
            try:
                check_line_total(
                    amount_duty_free=line["amountDutyFree"],
                    quantity=line["quantity"],
                    vat_rate=line["vatRate"],
                    amount_total=line["amountTotal"],
                    currency=self.currency,
                )
            except WrongLineTotal as wrong:
                self.refuse(Code.AMOUNT_TOTAL_NOT_VALID, f"{pointer}/amountTotal", str(wrong))
        elif self.profile is Profile.PRICED and all(self.lacks(line, pointer, name) for name in _PRICES):
            self.refuse(Code.PRICE_NEEDED, pointer)

    def check_discounts(self, discounts: list[DiscountBody], pointer: str) -> None:
        for index, discount in enumerate(discounts):
            place = f"{pointer}/{index}"
            self.demand(discount, requests.DISCOUNT, place)
            self.check_decimals(discount, requests.DISCOUNT, ("priceDelta",), place)
            if discount.get("operation") == "Percents" and discount.get("operationValue", 0) > 100:
                code = Code.DISCOUNT_OPERATION_VALUE_NOT_VALID
                self.refuse(code, f"{place}/operationValue", "must be at most 100 percent")

    def check_decimals(self, body: Mapping[str, Any], shape: Shape, names: tuple[str, ...], pointer: str) -> None:
        """Two decimals more than the currency has; for most that is the limit that every amount has anyway."""
        if self.currency is None or (digits := minor_unit_digits(self.currency) + 2) >= values.DECIMALS_MAX:
            return
        for name in names:
            if name in body and body[name] != round(body[name], digits):
                detail = f"must have at most {digits} decimals in {self.currency}"
                self.refuse(shape.rules[name].invalid, f"{pointer}/{name}", detail)

    def demand(self, body: Mapping[str, object], shape: Shape, pointer: str) -> None:
        needed = shape.needed(self.profile)
        if not body.keys() >= needed:
            for name in needed - body.keys():
                self.refuse(cast(AnswerCode, shape.rules[name].missing), f"{pointer}/{name}")

    def lacks(self, body: Mapping[str, object], pointer: str, name: str) -> bool:
        return name not in body and f"{pointer}/{name}" not in self.refused_pointers

    def refuse(self, code: AnswerCode, pointer: str, detail: str = "") -> None:
        parts = pointer.split("/")
        if not any("/".join(parts[:length]) in self.refused_pointers for length in range(1, len(parts) + 1)):
            self.refusals.append(Refusal.at(code, pointer, detail))


def _drop_empty(body: OrderBody | CustomerBody | LineBody, *containers: str) -> None:
    """An empty container is a missing one: two bodies that say the same are the same, also when they are compared."""
    members = cast(dict[str, object], body)
    for name in containers:
        if name in members and not members[name]:
            del members[name]


_PRICES: Final = ("amountDutyFree", "amountTotal")
_PRICED_MEMBERS: Final = frozenset({"amountDutyFree", "amountTotal", "quantity", "vatRate"})
