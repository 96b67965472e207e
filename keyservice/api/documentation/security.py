"""How callers show who they are, and what each scope is for."""

from collections.abc import Collection
from typing import Any, Final

from keyservice.api.operation import Credential
from keyservice.domain.caller import Scope

TOKENS_PATH: Final = "/iam/tokens"
SCOPES: Final = {
    Scope.ORDERS_SUBMIT: "submit orders",
    Scope.ORDERS_READ: "read orders with their keys",
    Scope.ORDERS_CANCEL: "cancel orders",
    Scope.STOCK_READ: "ask for stock",
    Scope.CLAIMS_WRITE: "take keys, hold them, let them go, revoke them",
    Scope.CLAIMS_READ: "read what was taken",
    Scope.PURCHASES_READ: "read shoppers' purchases",
    Scope.KEYS_SEARCH: "find out what became of a key",
    Scope.POOLS_READ: "read pools, batches, products and events",
    Scope.POOLS_WRITE: "open and change pools",
    Scope.BATCHES_WRITE: "upload key files, hold and withdraw batches",
    Scope.CATALOGUE_WRITE: "make products and templates",
    Scope.REVOCATIONS_READ: "read which keys are dead",
    Scope.REVOCATIONS_ACKNOWLEDGE: "acknowledge that dead keys are dead at the publisher too",
    Scope.STATEMENTS_READ: "read signed statements",
    Scope.CONNECTORS_READ: "read connectors to a publisher's own API, and preview their requests",
    Scope.CONNECTORS_WRITE: "make and change connectors, give them secrets, enable them",
    Scope.KEY_REQUESTS_READ: "read what a publisher's own API was asked for",
    Scope.KEY_REQUESTS_DECIDE: "say what became of a request, and tell its keys",
    Scope.WEBHOOKS_READ: "read webhooks and what was sent to them",
    Scope.WEBHOOKS_WRITE: "make and change webhooks, and have notices sent again",
    Scope.PUBLISHERS_WRITE: "add publishers",
    Scope.CALLERS_READ: "read callers",
    Scope.CALLERS_WRITE: "add, limit and revoke callers",
}
_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "The caller's token, which was shown when the caller was added.",
}
_OAUTH2: Final = {
    "type": "oauth2",
    "description": "A short-lived token, which is got for the caller's own and covers all or some of its scopes.",
    "flows": {
        "clientCredentials": {
            "tokenUrl": TOKENS_PATH,
            "scopes": {str(scope): words for scope, words in SCOPES.items()},
        }
    },
}
_SECRET: Final = {"type": "apiKey", "in": "header", "name": "secret", "description": "The reseller's token."}
_CLIENT: Final = {
    "type": "http",
    "scheme": "basic",
    "description": "The first part of the caller's token, `ks_` and twelve characters, and the whole token.",
}
_SCHEMES: Final[dict[Credential, dict[str, Any]]] = {
    Credential.NONE: {},
    Credential.BEARER: {"bearer": _BEARER, "oauth2": _OAUTH2},
    Credential.CONNECT_SECRET: {"connectSecret": _SECRET},
    Credential.CLIENT: {"client": _CLIENT},
}


def security_schemes(credentials: Collection[Credential]) -> dict[str, Any]:
    """The schemes of these credentials by their names in the document."""
    return {
        name: scheme
        for credential in Credential
        if credential in credentials
        for name, scheme in _SCHEMES[credential].items()
    }


def security(credential: Credential, scopes: Collection[Scope]) -> list[dict[str, list[str]]]:
    """The schemes that do for an operation, each by itself, with the rights that the caller needs."""
    return [{name: [str(scope) for scope in scopes]} for name in _SCHEMES[credential]]
