"""The one bridge from errors to HTTP: RFC 9457 problem details. No other module turns an error into a status."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, get_args

from aiohttp import hdrs, web
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from keyservice.api import problem_document
from keyservice.api.reading import RequestRefused
from keyservice.domain.connector import ConnectorRefused, TemplateFailed
from keyservice.domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KeyserviceError,
    NotFound,
    OutcomeUnknown,
    OutOfStock,
    Overloaded,
    ReferenceReused,
    Sealed,
    Tampered,
    TooManyRequests,
    Unauthenticated,
)
from keyservice.logs import REQUEST_ID

CONTENT_TYPE: Final = "application/problem+json"
URN: Final = "urn:keyservice:problem:"
ERRORS_MAX: Final = 50
RETRY_AFTER_SECONDS: Final = 5


class Unexpected(KeyserviceError):
    """Stands for an error that nobody foresaw, whose text is nobody's business; the log has its type and place."""

    code = "unexpected"


# A sub-application answers in a shape of its own by setting this. It is given domain errors, RequestRefused, Unexpected,
# pydantic's ValidationError and aiohttp's HTTPException, never an error whose text has not been thought of.
ErrorBridge = Callable[[web.Request, Exception], web.Response]
ERROR_BRIDGE: Final[web.AppKey[ErrorBridge]] = web.AppKey("ERROR_BRIDGE")


@dataclass(frozen=True, slots=True)
class Problem:
    """What a kind of error looks like outside. A `detail` here replaces the message of the error."""

    status: int
    title: str
    detail: str | None = None
    headers: Mapping[str, str] | None = None
    may_retry: bool = False


PROBLEMS: Final[Mapping[type[KeyserviceError], Problem]] = {
    Invalid: Problem(422, "The request breaks a rule"),
    NotFound: Problem(404, "There is no such thing here"),
    Conflict: Problem(409, "The present state does not allow this"),
    Unauthenticated: Problem(
        401, "A valid credential is needed", headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="keyservice"'}
    ),
    Forbidden: Problem(403, "The credential does not cover this"),
    TooManyRequests: Problem(429, "Too many requests for now", may_retry=True),
    ConnectorRefused: Problem(422, "The connector's document cannot be used"),
    TemplateFailed: Problem(422, "A template of the connector does not come to a request"),
    OutOfStock: Problem(409, "Not enough keys are left"),
    ReferenceReused: Problem(422, "The same reference came with another body"),
    Overloaded: Problem(
        503, "Too much work is waiting", "Nothing was started. Send the same request again.", may_retry=True
    ),
    OutcomeUnknown: Problem(
        503, "The outcome is not known", "Send the same request again: it is carried out once.", may_retry=True
    ),
    Sealed: Problem(503, "The service is sealed", "Nothing was started. Try again later.", may_retry=True),
    Tampered: Problem(500, "A stored value cannot be trusted", "It was not used. Tell the operator the instance."),
    Unexpected: Problem(500, "Something unexpected happened", "Tell the operator the instance."),
    KeyserviceError: Problem(500, "Something unexpected happened", "Tell the operator the instance."),
}

# A pointer names members, and some names are made up by the caller: one that does not look like a member's is not repeated.
_MEMBER: Final = re.compile(r"[A-Za-z_]{1,40}[0-9]{0,2}")
_RESERVED: Final = frozenset({"type", "title", "status", "detail", "instance", "errors"})
# pydantic's messages with a part that is taken from the input.
_QUOTING: Final = {
    "get_attribute_error": "The value cannot be read",
    "iteration_error": "The value cannot be read",
    "mapping_type": "Input should be an object",
    "bytes_invalid_encoding": "The data is not in the expected encoding",
    "date_parsing": "Input should be a valid date in the format YYYY-MM-DD",
    "date_from_datetime_parsing": "Input should be a valid date or datetime",
    "time_parsing": "Input should be in a valid time format",
    "datetime_parsing": "Input should be a valid datetime",
    "datetime_object_invalid": "Input should be a valid datetime",
    "datetime_from_date_parsing": "Input should be a valid datetime or date",
    "timezone_offset": "The time zone offset is not the required one",
    "time_delta_parsing": "Input should be a valid duration",
    "union_tag_invalid": "The member that selects the variant has an unknown value",
    "url_parsing": "Input should be a valid URL",
    "url_syntax_violation": "Input should be a valid URL",
    "uuid_parsing": "Input should be a valid UUID",
    "json_invalid": "Input should be valid JSON",
}
# The types whose message is pydantic's own; all others were written by a validator of ours.
_FIXED: Final = frozenset(get_args(ErrorType)) - {"value_error", "assertion_error"}


def problem_response(error: Exception, request: web.Request) -> web.Response:
    """The answer to any error; texts of errors that are not written for callers stay inside."""
    match error:
        case KeyserviceError():
            return _of_domain(error)
        case ValidationError():
            return _of_validation(error)
        case web.HTTPException():
            return _of_http(error)
        case _:
            return _of_domain(Unexpected())


def is_unexpected(error: Exception) -> bool:
    """Whether the operator must hear of it: nothing in the table says what it means."""
    match error:
        case RequestRefused() | ValidationError() | web.HTTPException():
            return False
        case KeyserviceError():
            return _problem_of(error).status == HTTPStatus.INTERNAL_SERVER_ERROR
        case _:
            return True


def _of_domain(error: KeyserviceError) -> web.Response:
    problem = _problem_of(error)
    members = {name: value for name, value in error.facts.items() if name not in _RESERVED}
    detail = problem.detail or str(error)
    if isinstance(error, Invalid) and error.field is not None:
        members["errors"] = [{"pointer": _pointer(error.field.split(".")), "detail": detail}]
    response = _respond(problem.status, error.code, problem.title, detail, members)
    response.headers.update(problem.headers or {})
    if problem.may_retry:
        seconds = getattr(error, "retry_after_seconds", RETRY_AFTER_SECONDS)
        response.headers[hdrs.RETRY_AFTER] = str(seconds)
    if isinstance(error, RequestRefused) and error.closes:
        response.force_close()
    return response


def _problem_of(error: KeyserviceError) -> Problem:
    if isinstance(error, RequestRefused):
        return Problem(error.status, HTTPStatus(error.status).phrase)
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def _of_http(error: web.HTTPException) -> web.Response:
    status = HTTPStatus(error.status)
    response = _respond(error.status, status.phrase.lower().replace(" ", "-"), status.phrase, status.description, {})
    for name in (hdrs.ALLOW, hdrs.WWW_AUTHENTICATE, hdrs.RETRY_AFTER):
        if name in error.headers:
            response.headers[name] = error.headers[name]
    return response


def _of_validation(error: ValidationError) -> web.Response:
    details = error.errors(include_url=False, include_context=False, include_input=True)
    errors = [{"pointer": _pointer_of(detail), "detail": _message_of(detail)} for detail in details[:ERRORS_MAX]]
    return _respond(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        Invalid.code,
        PROBLEMS[Invalid].title,
        f"{len(details)} of its members are not as they should be; see errors",
        {"errors": errors},
    )


def _respond(status: int, code: str, title: str, detail: str, members: Mapping[str, object]) -> web.Response:
    problem = problem_document.Problem.model_validate(
        {
            "type": URN + code,
            "title": title,
            "status": status,
            "detail": detail,
            "instance": REQUEST_ID.get(),
            **members,
        }
    )
    body = problem.model_dump_json(exclude_unset=True, fallback=lambda _: None)
    return web.Response(status=status, body=body.encode(), content_type=CONTENT_TYPE)


def _pointer(parts: list[str]) -> str:
    """RFC 6901 in its URI fragment form, as RFC 9457 shows it."""
    return "#" + "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _pointer_of(detail: ErrorDetails) -> str:
    return _pointer([str(part) if isinstance(part, int) or _MEMBER.fullmatch(part) else "?" for part in detail["loc"]])


def _message_of(detail: ErrorDetails) -> str:
    kind, message = detail["type"], detail["msg"]
    if kind in _QUOTING:
        return _QUOTING[kind]
    if kind not in _FIXED and any(text in message for text in _texts(detail["input"])):
        return "The value is not allowed"
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            if len(value) > 2:
                yield value
        case dict():
            for name, item in value.items():
                yield from _texts(name)
                yield from _texts(item)
        case list() | tuple():
            for item in value:
                yield from _texts(item)
        case bool() | None:
            return
        case _:
            yield from _texts(str(value))
