import inspect
import json
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import AnyUrl, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core._pydantic_core import list_all_errors

from keyservice.api.problems import _QUOTING, PROBLEMS, Problem, Unexpected, is_unexpected, problem_response
from keyservice.api.reading import BodyRefused, RequestRefused
from keyservice.domain import errors
from keyservice.logs import REQUEST_ID

PLANTED = "XK7Q-94TM-PW2Z"
DOMAIN_ERRORS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.KeyserviceError)
]


@pytest.fixture(autouse=True)
def request_id() -> Iterator[str]:
    token = REQUEST_ID.set("req-7")
    yield "req-7"
    REQUEST_ID.reset(token)


def answer_to(error: Exception) -> tuple[web.Response, dict[str, Any]]:
    response = problem_response(error, make_mocked_request("GET", "/"))
    assert isinstance(response.body, bytes)
    assert response.content_type == "application/problem+json"
    body = json.loads(response.body)
    assert body["status"] == response.status
    assert body["instance"] == "req-7"
    return response, body


@pytest.mark.parametrize("kind", DOMAIN_ERRORS)
def test_every_error_of_the_domain_has_a_status(kind: type[errors.KeyserviceError]) -> None:
    assert kind in PROBLEMS


def test_every_type_of_problem_has_a_name_of_its_own() -> None:
    codes = [kind.code for kind in PROBLEMS]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.Invalid("quantity must be positive"), 422, "invalid"),
        (errors.NotFound("no such order"), 404, "not-found"),
        (errors.Conflict("the order is cancelled"), 409, "conflict"),
        (errors.Unauthenticated("send a token"), 401, "unauthenticated"),
        (errors.Forbidden("the token does not cover orders"), 403, "forbidden"),
        (errors.TooManyRequests(policies=("day",), retry_after_seconds=60), 429, "too-many-requests"),
        (errors.OutOfStock(line_number=1, wanted=3, left=1), 409, "out-of-stock"),
        (errors.ReferenceReused("send another order number"), 422, "reference-reused"),
        (errors.Overloaded("full"), 503, "overloaded"),
        (errors.OutcomeUnknown("unknown"), 503, "outcome-unknown"),
        (errors.Sealed("sealed"), 503, "sealed"),
        (errors.Tampered("row 7 of keys"), 500, "tampered"),
        (Unexpected(), 500, "unexpected"),
        (BodyRefused("too large", status=413), 413, "body-refused"),
        (RequestRefused("not HTTP"), 400, "malformed-request"),
    ],
)
def test_an_error_becomes_its_problem(error: errors.KeyserviceError, status: int, code: str) -> None:
    response, body = answer_to(error)
    assert (response.status, body["type"]) == (status, f"urn:keyservice:problem:{code}")
    assert body["title"]
    assert body["detail"]
    assert (body["detail"] == str(error)) is (status < 500)
    assert ("Retry-After" in response.headers) is (status in (429, 503))
    assert ("WWW-Authenticate" in response.headers) is (status == 401)
    assert is_unexpected(error) is (status == 500)


def test_an_error_of_another_module_takes_the_status_of_its_base_and_keeps_its_code() -> None:
    class Cancelled(errors.Conflict):
        """The order was cancelled before."""

        code = "cancelled"

    response, body = answer_to(Cancelled("the order is cancelled"))
    assert (response.status, body["type"]) == (409, "urn:keyservice:problem:cancelled")


def test_an_error_that_nobody_mapped_is_unexpected_and_keeps_its_text() -> None:
    class Novel(errors.KeyserviceError):
        """Nobody thought of it."""

    for error in (Novel(PLANTED), RuntimeError(PLANTED), KeyError(PLANTED)):
        response, body = answer_to(error)
        assert response.status == 500
        assert PLANTED not in json.dumps(body)
        assert is_unexpected(error)


def test_facts_are_members_and_cannot_displace_the_standard_ones() -> None:
    class Odd(errors.Conflict):
        """Its facts have the names of standard members."""

        @property
        def facts(self) -> dict[str, object]:
            return {"status": 200, "type": "x", "instance": "x", "line": 3}

    _, body = answer_to(Odd("no"))
    assert (body["status"], body["instance"], body["line"]) == (409, "req-7", 3)
    assert answer_to(errors.OutOfStock(line_number=4, wanted=3, left=1))[1]["line"] == 4


def test_an_invalid_field_is_pointed_at() -> None:
    _, body = answer_to(errors.Invalid("must be positive", field="lines.0.quantity"))
    assert body["errors"] == [{"pointer": "#/lines/0/quantity", "detail": "must be positive"}]
    assert "errors" not in answer_to(errors.Invalid("must be positive"))[1]


def test_only_refusals_that_may_leave_bytes_behind_close_the_connection() -> None:
    assert answer_to(BodyRefused("late", status=408, closes=True))[0].keep_alive is False
    assert answer_to(BodyRefused("not JSON"))[0].keep_alive is None
    assert answer_to(errors.NotFound("no"))[0].keep_alive is None


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (web.HTTPMethodNotAllowed("GET", ["POST"], text=PLANTED), ("Allow", "POST")),
        (web.HTTPNotFound(text=PLANTED, reason=PLANTED), None),
        (web.HTTPExpectationFailed(text=PLANTED), None),
        (web.HTTPRequestEntityTooLarge(1, 2), None),
        (web.HTTPServiceUnavailable(headers={"Retry-After": "7"}, text=PLANTED), ("Retry-After", "7")),
        (web.HTTPUnavailableForLegalReasons(link=None, text=PLANTED), None),
    ],
)
def test_an_http_error_becomes_a_problem_without_its_text(
    error: web.HTTPException, header: tuple[str, str] | None
) -> None:
    response, body = answer_to(error)
    assert response.status == error.status
    assert PLANTED not in json.dumps(body) + str(response.headers) + response.reason
    if header:
        assert response.headers[header[0]] == header[1]
    assert not is_unexpected(error)


class Currency(StrEnum):
    EUR = "EUR"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Form(BaseModel):
    """One member for each kind of value that a client sends."""

    model_config = ConfigDict(extra="forbid")

    uuid: UUID | None = None
    day: date | None = None
    at: AwareDatetime | datetime | None = None
    clock: time | None = None
    period: timedelta | None = None
    amount: Annotated[Decimal, Field(max_digits=4, gt=0)] | None = None
    count: Annotated[int, Field(strict=True, le=5)] | None = None
    url: AnyUrl | None = None
    currency: Currency | None = None
    code: Annotated[str, Field(pattern="^[A-Z]$", max_length=3)] | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    counts: dict[str, int] | None = None
    flag: bool | None = None
    own: str | None = None
    custom: str | None = None
    plain: str | None = None

    @field_validator("own")
    @classmethod
    def _own(cls, value: str) -> str:
        raise ValueError(f"do not send {value}")

    @field_validator("custom")
    @classmethod
    def _custom(cls, value: str) -> str:
        raise PydanticCustomError("custom", "do not send {it}", {"it": value})

    @field_validator("plain")
    @classmethod
    def _plain(cls, _value: str) -> str:
        raise ValueError("choose another one")


def refused_by(form: type[BaseModel], value: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        form.model_validate(value)
    return caught.value


@pytest.mark.parametrize("name", list(Form.model_fields))
@pytest.mark.parametrize(
    "wrap", [lambda text: text, lambda text: [text], lambda text: {text: text}, lambda text: {"kind": text}]
)
def test_no_refusal_of_a_value_quotes_it(name: str, wrap: Any) -> None:
    response, body = answer_to(refused_by(Form, {name: wrap(PLANTED)}))
    assert response.status == 422
    assert PLANTED not in json.dumps(body)
    assert all(error["pointer"].startswith(f"#/{name}") for error in body["errors"])


def test_the_messages_that_pydantic_fills_from_the_input_are_all_replaced() -> None:
    from_input = ("{error}", "{tag}", "{tz_actual}", "{encoding_error}")
    filled = {
        one["type"] for one in list_all_errors() if any(name in one["message_template_python"] for name in from_input)
    }
    assert filled - {"value_error", "assertion_error"} <= _QUOTING.keys()


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"count": 7}, {"pointer": "#/count", "detail": "Input should be less than or equal to 5"}),
        ({"currency": "usd"}, {"pointer": "#/currency", "detail": "Input should be 'EUR'"}),
        ({"uuid": "x"}, {"pointer": "#/uuid", "detail": "Input should be a valid UUID"}),
        ({"plain": PLANTED}, {"pointer": "#/plain", "detail": "choose another one"}),
        ({"own": PLANTED}, {"pointer": "#/own", "detail": "The value is not allowed"}),
        (
            {"counts": {"a/b~c": "x"}},
            {
                "pointer": "#/counts/?",
                "detail": "Input should be a valid integer, unable to parse string as an integer",
            },
        ),
        ({"currencyCode": 1}, {"pointer": "#/currencyCode", "detail": "Extra inputs are not permitted"}),
        ({PLANTED: 1}, {"pointer": "#/?", "detail": "Extra inputs are not permitted"}),
        ({PLANTED.replace("-", ""): 1}, {"pointer": "#/?", "detail": "Extra inputs are not permitted"}),
    ],
)
def test_a_refused_member_is_pointed_at_and_told_why(value: object, error: dict[str, str]) -> None:
    assert answer_to(refused_by(Form, value))[1]["errors"] == [error]


class Lines(BaseModel):
    """A list, as an order has."""

    lines: list[Form]


def test_a_member_of_a_list_is_pointed_at_by_its_number() -> None:
    _, body = answer_to(refused_by(Lines, {"lines": [{}, {"count": 9}]}))
    assert [error["pointer"] for error in body["errors"]] == ["#/lines/1/count"]


def test_the_list_of_refused_members_has_an_end() -> None:
    _, body = answer_to(refused_by(Lines, {"lines": [{"count": 9}] * 1000}))
    assert len(body["errors"]) == 50
    assert body["detail"].startswith("1000 ")


def test_the_table_says_only_what_http_knows() -> None:
    assert all(isinstance(problem, Problem) and 400 <= problem.status < 600 for problem in PROBLEMS.values())
