"""Bodies of Connect requests, complete as document 003 has them."""

from typing import Any


def order_body(
    number: str,
    *lines: tuple[int, int],
    email: str = "ada@example.com",
    unit_price: float = 10.0,
    vat_rate: float = 20.0,
) -> dict[str, Any]:
    """A full createOrder body; each line is (product reference, quantity)."""
    return {
        "affiliateId": 123,
        "currency": "EUR",
        "customer": {
            "email": email,
            "ipV4": "127.0.0.1",
            "ipV6": "2001:0db8:0000:85a3:0000:0000:ac1f:8001",
            "language": "fr_FR",
            "locationDelivery": _location(),
            "locationInvoice": _location(),
            "partnerId": "customer-17",
        },
        "discounts": [
            {
                "foreignRef": "SPRING",
                "label": "Spring",
                "operation": "Percents",
                "operationValue": 10.0,
                "priceDelta": 1.0,
            }
        ],
        "marketingProgramId": "autumn-2026",
        "metadata": [{"key": "shop", "value": "north"}],
        "orderDate": "2026-11-22T15:19:21+00:00",
        "orderLines": [
            {
                "amountDutyFree": unit_price,
                "amountTotal": round(unit_price * quantity * (1 + vat_rate / 100), 2),
                "endUserEmail": email,
                "productRef": str(product_ref),
                "quantity": quantity,
                "vatRate": vat_rate,
            }
            for product_ref, quantity in lines
        ],
        "partnerOrderNumber": number,
        "payment": {"paymentMethod": "CreditCard", "transactionId": "1009"},
    }


def _location() -> dict[str, Any]:
    return {
        "address1": "12 rue de l'Église",
        "address2": "2e étage",
        "city": "Nîmes",
        "companyName": "Lovelace & Cie",
        "country": "FR",
        "fax": "0466000001",
        "firstName": "Ada",
        "lastName": "Lovelace",
        "phone": "0466000000",
        "province": "FR-30",
        "title": 2,
        "zipCode": "30000",
    }


def keys_of(answer: dict[str, Any]) -> list[str]:
    """Where clients of the reference read the keys."""
    return [serial["data"] for line in answer["orderLines"] for item in line["lineItems"] for serial in item["serials"]]
