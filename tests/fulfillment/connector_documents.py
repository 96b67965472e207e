"""Small connector documents for tests."""

from typing import Any

from keyservice.connectors.document import ConnectorDocument

BEARER: dict[str, Any] = {"kind": "bearer", "token_secret": "token"}


def plain_document(base_url: str = "https://licenses.example.com", **members: Any) -> dict[str, Any]:
    """A publisher that answers JSON with one key, and knows how to cancel."""
    body = {"kind": "json", "template": '{"reference":"{{.FulfillmentId}}"}'}
    create = {
        "path": "/licenses/new",
        "body": body,
        "keys": [{"source": "json", "path": "$.key"}],
        "license_id": {"source": "json", "path": "$.id"},
    }
    return {
        "base_url": base_url,
        "authentication": BEARER,
        "operations": {"create": create, "cancel": {"path": "/licenses/cancel", "body": body}},
        "test_parameters": {"mode": "test"},
        **members,
    }


def document(base_url: str = "https://licenses.example.com", **members: Any) -> ConnectorDocument:
    return ConnectorDocument.model_validate(plain_document(base_url, **members))
