"""One order from its submission to its cancellation, as the OpenAPI document shows it."""

from typing import Any, Final

_LOCATION: Final = {
    "title": 2,
    "firstName": "Ada",
    "lastName": "Byron",
    "address1": "12 St James's Square",
    "zipCode": "SW1Y 4JH",
    "city": "London",
    "country": "GB",
    "phone": "+44 20 0000 0000",
    "fax": "+44 20 0000 0001",
}
_NUMBER: Final = "WEB-5001"

ORDER: Final[dict[str, Any]] = {
    "partnerOrderNumber": _NUMBER,
    "orderDate": "2026-11-22T15:19:21+00:00",
    "currency": "EUR",
    "marketingProgramId": "autumn",
    "payment": {"paymentMethod": "External Payment"},
    "customer": {
        "email": "ada@example.com",
        "language": "en_GB",
        "partnerId": "C-17",
        "ipV4": "192.0.2.17",
        "locationInvoice": _LOCATION,
        "locationDelivery": _LOCATION,
    },
    "orderLines": [
        {"productRef": "270001", "quantity": 1, "amountDutyFree": 49.90, "vatRate": 20, "amountTotal": 59.88}
    ],
}

STOCK: Final = {"productRefs": ["270001"]}

CANCEL: Final = {"partnerOrderNumber": _NUMBER, "reasonCode": 3, "comment": "not what was expected"}

_SERIAL: Final = {"data": "R4T7K-2MNP9-XW3QH-6VJBD-C8GFY", "encoding": "", "charset": "UTF-8", "fileName": None}

ANSWERED_ORDER: Final[dict[str, Any]] = {
    "partnerOrderNumber": _NUMBER,
    "orderNumber": 1001,
    "downloadManager": {"pc": None, "mac": None},
    "orderLines": [
        {
            "productRef": 270001,
            "dateEndDownload": "2026-12-13",
            "digitalLockerLink": None,
            "remark": None,
            "files": [],
            "lineItems": [{"subscriptionId": None, "serials": [_SERIAL], "responseCode": 0, "responseMessage": "OK"}],
            "responseCode": 0,
            "responseMessage": "OK",
        }
    ],
    "responseCode": 0,
    "responseMessage": "OK",
}
