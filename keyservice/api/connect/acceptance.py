"""From a body that broke no rule to the order that the domain knows."""

from decimal import Decimal
from typing import Any

from keyservice.api.connect.bodies import DiscountBody, LineBody, OrderBody, PaymentBody
from keyservice.domain.order import DiscountOperation, NewDiscount, NewOrder, NewOrderLine, NewPayment


def new_order(order: OrderBody) -> NewOrder:
    """Divides what is personal from what is not; both keep the names of document 003."""
    people: dict[str, Any] = {"customer": order.pop("customer")}
    if metadata := order.pop("metadata", None):
        people["metadata"] = metadata
    lines = order["orderLines"]
    emails = {str(number): line.pop("endUserEmail") for number, line in enumerate(lines, 1) if "endUserEmail" in line}
    if emails:
        people["endUserEmails"] = emails
    return NewOrder(
        partner_order_number=order["partnerOrderNumber"],
        currency=order["currency"],
        ordered_at=order["orderDate"],
        affiliate_id=order.get("affiliateId"),
        marketing_program_id=order.get("marketingProgramId"),
        payment=_payment(order.get("payment")),
        discounts=_discounts(order.get("discounts")),
        lines=tuple([_line(number, line, str(number) in emails) for number, line in enumerate(lines, 1)]),
        people=people,
        document=_document(order),
    )


def _payment(payment: PaymentBody | None) -> NewPayment | None:
    return NewPayment(payment["paymentMethod"], payment.get("transactionId")) if payment else None


def _line(line_number: int, line: LineBody, has_end_user_email: bool) -> NewOrderLine:
    return NewOrderLine(
        line_number=line_number,
        product_ref=line["productRef"],
        quantity=line["quantity"],
        amount_duty_free=line.get("amountDutyFree"),
        amount_total=line.get("amountTotal"),
        vat_rate=line.get("vatRate"),
        discounts=_discounts(line.get("discounts")),
        has_end_user_email=has_end_user_email,
    )


def _discounts(discounts: list[DiscountBody] | None) -> tuple[NewDiscount, ...]:
    return tuple(map(_discount, discounts)) if discounts else ()


def _discount(discount: DiscountBody) -> NewDiscount:
    operation = discount.get("operation")
    return NewDiscount(
        foreign_ref=discount.get("foreignRef"),
        label=discount.get("label"),
        operation=None if operation is None else DiscountOperation(operation),
        operation_value=discount.get("operationValue"),
        price_delta=discount.get("priceDelta"),
    )


def _document(order: OrderBody) -> dict[str, Any]:
    """Ready for JSON, whose numbers are not exact: amounts become text."""
    document: dict[str, Any] = {**order, "orderDate": order["orderDate"].isoformat()}
    document["orderLines"] = [_with_texts(line) for line in order["orderLines"]]
    if "discounts" in order:
        document["discounts"] = [_with_texts(discount) for discount in order["discounts"]]
    return document


def _with_texts(members: LineBody | DiscountBody) -> dict[str, Any]:
    texts: dict[str, Any] = {name: str(value) if type(value) is Decimal else value for name, value in members.items()}
    if "discounts" in texts:
        texts["discounts"] = [_with_texts(discount) for discount in texts["discounts"]]
    return texts
