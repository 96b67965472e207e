"""Bodies of createOrder that are accepted, for tests to spoil, and what reading them gives."""

import copy
from decimal import Decimal
from typing import Any, Final

from keyservice.api.connect.requests import Refused
from keyservice.api.connect.validation import read_order
from keyservice.domain.order import NewOrder

# Document 003's own example, with what it blanks out by X and leaves out filled in: the order lines, which it omits,
# and codes where X is none (e-mail, country, province).
_LOCATION: dict[str, Any] = {
    "address1": "XXXXXXXXXX",
    "address2": "XXXXXXXXXX",
    "city": "XXXXXXXXXX",
    "companyName": "XXXXXXXXXX",
    "country": "FR",
    "fax": "XXXXXXXXXX",
    "firstName": "XXXXXXXXXX",
    "lastName": "XXXXXXXXXX",
    "phone": "XXXXXXXXXX",
    "province": "IDF",
    "title": "Mr",
    "zipCode": "XXXXXXXXXX",
}

_REFERENCE: dict[str, Any] = {
    "affiliateId": 123,
    "currency": "EUR",
    "customer": {
        "email": "XXXXX@XX",
        "ipV4": "127.0.0.1",
        "ipV6": "2001:0db8:0000:85a3:0000:0000:ac1f:8001",
        "language": "fr_FR",
        "partnerId": "XXXXXXX",
    },
    "marketingProgramId": "XXXXXXXXXXXXX",
    "orderDate": "2004-02-12T15:19:21+00:00",
    "orderLines": [
        {
            "amountDutyFree": Decimal("16.66"),
            "amountTotal": Decimal("39.98"),
            "productRef": "4626",
            "quantity": 2,
            "vatRate": 20,
        }
    ],
    "partnerOrderNumber": "XXXXXXXXXXXXX",
    "payment": {"paymentMethod": "XXXXXXX", "transactionId": "1009"},
}

LINE: Final = "/orderLines/0"

_DISCOUNT: dict[str, Any] = {
    "foreignRef": "SPRING",
    "label": "Spring sale",
    "operation": "Percents",
    "operationValue": 10,
    "priceDelta": Decimal("1.85"),
}


def reference_body() -> dict[str, Any]:
    body = copy.deepcopy(_REFERENCE)
    body["customer"] |= {"locationDelivery": dict(_LOCATION), "locationInvoice": dict(_LOCATION)}
    return body


def full_body() -> dict[str, Any]:
    """Every member of document 003 is there."""
    body = reference_body()
    body["discounts"] = [copy.deepcopy(_DISCOUNT)]
    body["metadata"] = [{"key": "campaign", "value": "spring\n2004"}]
    body["orderLines"][0] |= {"discounts": [copy.deepcopy(_DISCOUNT)], "endUserEmail": "end.user@example.org"}
    return body


def basic_body() -> dict[str, Any]:
    """What the lenient profile needs and nothing else."""
    return {
        "currency": "EUR",
        "customer": {"email": "jane@example.org"},
        "orderDate": "2004-02-12T15:19:21Z",
        "orderLines": [{"productRef": 4626, "quantity": 1}],
        "partnerOrderNumber": "A-1",
    }


def with_value(body: dict[str, Any], pointer: str, value: object) -> dict[str, Any]:
    """A copy with one value replaced."""
    copied = copy.deepcopy(body)
    *parents, name = _parts(pointer)
    _descend(copied, parents)[name] = value
    return copied


def without(body: dict[str, Any], pointer: str) -> dict[str, Any]:
    """A copy with one member taken out."""
    copied = copy.deepcopy(body)
    *parents, name = _parts(pointer)
    del _descend(copied, parents)[name]
    return copied


def _parts(pointer: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in pointer.split("/")[1:]]


def _descend(body: Any, parts: list[Any]) -> Any:
    for part in parts:
        body = body[part]
    return body


def accepted(body: object, **settings: Any) -> NewOrder:
    order = read_order(body, **settings)
    assert isinstance(order, NewOrder), order
    return order


def refused(body: object, **settings: Any) -> Refused:
    answer = read_order(body, **settings)
    assert isinstance(answer, Refused)
    return answer


def codes(answer: Refused) -> list[int]:
    return [int(refusal.code) for refusal in answer.refusals]
