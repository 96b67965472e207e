"""What the document says in words: the service as a whole, its audiences, and the names in its paths."""

from typing import Any, Final

TITLE: Final = "keyservice"
DESCRIPTION: Final = """\
**keyservice** delivers license keys for software that is sold online: publishers upload keys into pools, resellers order them, \
and each key is delivered once.

**Errors** are problem documents (RFC 9457, `application/problem+json`). `type` and the member `reason`, where there is one, \
are stable; `detail` says what to do; `instance` is the request's id, which is in the log and in the header `X-Request-Id` of \
each answer. Connect answers in a shape of its own, `responseCode` and `responseMessage`, and most of its refusals have \
status 200.

**Requests** are refused when they contain what the operation does not know, in the body and in the query alike; only Connect \
passes over members that it does not know. A path that does not exist is answered with 404, a method that the path does not \
have with 405 and the header `Allow`. There is no HEAD but for the health checks, since reading a key is an event, and no \
OPTIONS: other web sites may not call the service from a browser.

**Texts** of the format `printable` have no control characters and, of all blanks, only the space, and that only inside.

**Limits**: a caller may be limited to a number of requests per second and per day. It then finds where it stands in the \
headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10) of each answer; beyond a limit the answer \
is 429 with `Retry-After`, and nothing was looked at.

**Lists** come in pages: `after` of one page is asked for with `?after=` to get the next, until it is null.

**Repeating** a request that may have been carried out is safe where the operation says so: an order under its \
`partnerOrderNumber`, an upload under its `Idempotency-Key`.
"""

AUDIENCES: Final = {
    "publisher": "Publishers and, with `?publisher=<handle>`, admins and auditors: pools, batches of keys, products.",
    "license-keys-provider": "Publishers: the reference's own batch store, as a second door to the same pools.",
    "license-manager": "Publishers: the reference's license manager, as a second door to connectors and key requests.",
    "connect": "Resellers: stock, orders, cancellation. Paths, members and codes are those of Nexway's Connect.",
    "fulfillment": "Order pipelines: keys by reference, on hold or waited for; what a shopper bought, with its keys.",
    "admin": "Admins and auditors: all publishers and all pools; callers, which only admins see.",
    "iam": "Everyone: tokens in exchange for a client's credentials.",
    "health": "Whoever watches the service: is it alive, is it ready.",
    "documentation": "Everyone: this document, and the page that shows it.",
}
"""In the order in which the page shows them."""

_UUID: Final = {"type": "string", "format": "uuid"}
PATH_NAMES: Final[dict[str, dict[str, Any]]] = {
    "pool_id": {"description": "The pool's id.", "schema": _UUID},
    "package_id": {"description": "The package's id, which is that of its pool.", "schema": _UUID},
    "batch_id": {"description": "The batch's id, which is also that of its import.", "schema": _UUID},
    "version": {
        "description": "The version's number, from 1.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1_000},
    },
    "secret_name": {
        "description": "The secret's name.",
        "schema": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$"},
    },
    "connector_id": {"description": "The connector's id.", "schema": _UUID},
    "key_request_id": {"description": "The key request's id.", "schema": _UUID},
    "license_id": {"description": "The license's id, under which its publisher knows it.", "schema": _UUID},
    "execution_id": {"description": "The id of an operation of this license.", "schema": _UUID},
    "operation_id": {"description": "The operation's id, which is that of its key request.", "schema": _UUID},
    "endpoint_id": {"description": "The webhook's id.", "schema": _UUID},
    "notice_id": {"description": "The notice's id.", "schema": _UUID},
    "purchase_id": {"description": "The purchase's id, as the search gives it.", "schema": _UUID},
    "caller_id": {"description": "The caller's id.", "schema": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}},
    "month": {
        "description": "A month in UTC that has begun, such as 2026-11.",
        "schema": {"type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$"},
    },
    "revocation": {
        "description": "The entry's number in the feed, or its `revocation_id`.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 36},
    },
    "reference": {
        "description": "The caller's own name for the claim.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:~-]{0,99}$"},
    },
    "partnerOrderNumber": {
        "description": "The number under which the reseller submitted the order.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 64},
    },
}


def path_name(name: str) -> dict[str, Any]:
    """The parameter of this name in a path; one that is not described yet shows by its empty description."""
    return PATH_NAMES.get(name, {"description": "", "schema": _UUID if name.endswith("_id") else {"type": "string"}})
