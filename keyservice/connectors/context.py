"""What templates may use of a request: the reference's names, and beside them those of this service.

The names under LicenseID … AdditionalData are those of the reference's fulfillment templates (documents P2 and P9 of
`order-api.md` 4.5), so that a publisher's existing template finds what it expects.
"""

from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any, Final

from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.connector import Buyer, ConnectorOperation, RequestFacts

_OPERATION_NAMES: Final = {ConnectorOperation.LOOK_UP: "lookup"}


def template_context(facts: RequestFacts, document: ConnectorDocument) -> dict[str, Any]:
    """Plain dicts, lists and scalars. The same facts give the same context, at whatever time."""
    order_id, line_item_id = str(facts.order_id), str(facts.line_item_id)
    price = _price(facts.gross_price, facts.currency)
    return {
        "LicenseID": str(facts.license_ref),
        "Operation": _OPERATION_NAMES.get(facts.operation, facts.operation.value),
        "OperationExecutionID": str(facts.execution_id),
        "RequestTimestamp": int(facts.requested_at.timestamp() * 1000),
        "Checkout": {
            "OrderID": order_id,
            "LineItemID": line_item_id,
            "SubscriptionID": "",
            "CartExternalContext": "",
            "StoreExternalContext": "",
            "AffiliateID": facts.affiliate_id,
            "ResellerID": facts.reseller_id,
            "BillingPlanID": "",
            "ProductUsageID": "",
            "TrialContext": "",
            "Price": price,
        },
        "User": _user(facts.buyer),
        "Product": {
            "ID": str(facts.product_ref),
            "PublisherProductID": facts.publisher_product_id,
            "PublisherFulfillmentID": facts.publisher_license_id,
            "LineItemID": line_item_id,
            "Name": facts.product_name,
            "ExternalContext": "",
            "StartTimestamp": int(facts.ordered_at.timestamp() * 1000),
            "ExpirationTimestamp": 0,
            "Quantity": facts.quantity,
            "Price": price,
            "PriceFunctionParameters": {},
            "Variables": {},
            "ActivationLink": "",
        },
        "AdditionalData": {name: list(values) for name, values in sorted(facts.additional.items())},
        "Parameters": {**document.parameters, **(document.test_parameters if facts.is_test else {})},
        "Publisher": {"LicenseID": facts.publisher_license_id},
        "Order": {
            "Number": facts.order_number,
            "PartnerNumber": facts.partner_order_number,
            "LineNumber": facts.line_number,
            "OrderedAt": facts.ordered_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **_price(facts.order_gross_price, facts.currency),
        },
        "KeyCount": facts.key_count,
        "Reason": facts.reason,
        "IsTest": facts.is_test,
    }


def _price(amount: Decimal | None, currency: str) -> Mapping[str, Any]:
    """As a number, and as a text that has no rounding in it."""
    return {
        "GrossPrice": None if amount is None else float(amount),
        "GrossPriceText": "" if amount is None else f"{amount:f}",
        "Currency": currency,
    }


def _user(buyer: Buyer) -> Mapping[str, str]:
    return {
        "ID": buyer.shopper_id,
        "Email": buyer.email,
        "FirstName": buyer.first_name,
        "LastName": buyer.last_name,
        "CompanyName": buyer.company_name,
        "CompanyIdentifier": buyer.company_identifier,
        "Street": buyer.street,
        "City": buyer.city,
        "ZipCode": buyer.zip_code,
        "State": buyer.state,
        "Country": buyer.country,
        "Locale": buyer.locale,
        "Phone": buyer.phone,
    }
