"""Which refusals a route has because of what kind of route it is, and how a refusal looks in the document."""

from collections.abc import Iterator
from typing import Any, Final

from aiohttp import hdrs

from keyservice.api.operation import JSON, Content, Credential, Operation
from keyservice.api.problems import CONTENT_TYPE

Response = dict[str, Any]

_UNREADABLE: Final = "The request cannot be understood as HTTP means it: its target, its headers or its body is broken."
_BODY: Final = {
    408: "The body did not arrive in time.",
    413: "The body is larger than this operation takes.",
    415: "The body is of a type or in a content encoding that is not read here.",
}
_REASONS: Final = {
    401: "There is no credential, or one that is not valid (any more).",
    403: "The credential does not cover this operation.",
    404: "There is no such thing, or it belongs to somebody else: the answer is the same.",
    422: "The request breaks a rule; `errors` says where.",
    429: "The caller has reached a limit of its requests.",
    503: "Too much work is waiting, or the database is away. Send the same request again after `Retry-After` seconds.",
}
_SHAPES: Final = {Credential.CONNECT_SECRET: (JSON, "ConnectRefusal"), Credential.CLIENT: (JSON, "TokenError")}
_HEADERS: Final[dict[int, dict[str, str]]] = {
    401: {hdrs.WWW_AUTHENTICATE: "Which credential is needed."},
    429: {hdrs.RETRY_AFTER: "Seconds to wait before the request is sent again."},
    503: {hdrs.RETRY_AFTER: "Seconds to wait before the request is sent again."},
}


def refusals_of(operation: Operation, credential: Credential, path: str) -> dict[int, str]:
    """Each status with its reason: those that the operation names, behind those that its kind brings with it."""
    found = dict(_usual(operation, credential, path))
    for status, reason in operation.refusals.items():
        found[status] = f"{found[status]} {reason}" if status in found else reason
    return dict(sorted(found.items()))


def refusal(status: int, reason: str, credential: Credential) -> Response:
    """A problem document; in Connect, a code and a message; of the token endpoint, OAuth2's own error."""
    media_type, schema = _SHAPES.get(credential, (CONTENT_TYPE, "Problem"))
    content = {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    response: Response = {"description": reason, "content": content}
    headers = _HEADERS.get(status, {})
    if headers:
        response["headers"] = described_headers(headers)
    return response


def described_headers(headers: dict[str, str]) -> dict[str, Any]:
    return {
        name: {
            "description": text,
            "schema": {"type": "integer", "minimum": 0} if name == hdrs.RETRY_AFTER else {"type": "string"},
        }
        for name, text in headers.items()
    }


def _usual(operation: Operation, credential: Credential, path: str) -> Iterator[tuple[int, str]]:
    yield 400, _UNREADABLE
    if credential is not Credential.NONE:
        yield from ((status, _REASONS[status]) for status in (401, 429, 503))
        if credential is not Credential.CLIENT:
            yield 403, _REASONS[403]
    if "{" in path or (operation.query is not None and "publisher" in operation.query.model_fields):
        yield 404, _REASONS[404]
    if operation.body is not None:
        yield from _BODY.items()
    if credential not in _SHAPES and _has_rules(operation):
        yield 422, _REASONS[422]


def _has_rules(operation: Operation) -> bool:
    takes = operation.query or operation.headers or (operation.body is not None and type(operation.body) is not Content)
    return bool(takes)
