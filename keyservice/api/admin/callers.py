"""Callers: who may call, with which rights and limits. A token is in the one answer that makes it."""

from datetime import datetime
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field

from keyservice.api.access import route
from keyservice.api.answering import LOCATION, NEXT_PAGE, AnswerModel, json_answer
from keyservice.api.asking import Name, StrictModel, read_model
from keyservice.api.operation import Answer, Operation
from keyservice.api.parameters import PAGE_DEFAULT, Nothing, PageSize, Parameters, WholeNumber, read_parameters
from keyservice.domain.caller import Caller, CallerKind, Scope
from keyservice.domain.errors import Forbidden, NotFound
from keyservice.domain.request_limits import RequestLimits
from keyservice.fulfillment.manage_callers import (
    PER_DAY_MAX,
    PER_SECOND_MAX,
    ListedCaller,
    add_caller,
    caller_of_token,
    list_callers,
    read_caller,
    revoke_caller_by_id,
    set_limits,
)
from keyservice.services import SERVICES

_CALLER_ID_MAX: Final = 2**31 - 1
_LIMITS: Final[dict[str, str]] = {
    "requests_per_second": "per_second",
    "requests_burst": "burst",
    "requests_per_day": "per_day",
}

PerSecond = Annotated[int, Field(ge=1, le=PER_SECOND_MAX)]
PerDay = Annotated[int, Field(ge=1, le=PER_DAY_MAX)]


class ChangedLimits(StrictModel):
    """The body that changes a caller's limits: only what is to be different; null takes a limit away."""

    requests_per_second: PerSecond | None = None
    requests_burst: PerSecond | None = None
    requests_per_day: PerDay | None = None


class NewCaller(ChangedLimits):
    """The body that adds a caller. Without `scopes` it gets all that its kind may have."""

    kind: Annotated[CallerKind, Field(strict=False)]
    name: Name
    publisher: Annotated[str, Field(max_length=63)] | None = None
    scopes: (
        Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1, max_length=len(Scope))] | None
    ) = None
    validation: Literal["strict", "priced", "lenient"] = "strict"
    cancel_period_days: Annotated[int, Field(ge=0, le=3_650)] = 14
    is_sandbox: bool = False


class CallerQuery(Parameters):
    """A page of callers."""

    after: WholeNumber = Field(0, description="What the page before gave as `after`; without it, the first page.")
    limit: PageSize = PAGE_DEFAULT


class CallerDocument(AnswerModel):
    """A caller. Limits that are null are those of the service's settings, if it has any."""

    caller_id: int
    kind: CallerKind
    name: str
    publisher: str | None
    """The handle of the publisher that the caller belongs to."""
    scopes: list[str]
    client_id: str
    """What the caller's token begins with, and its `client_id` for OAuth2."""
    validation: str
    cancel_period_days: int
    is_sandbox: bool
    requests_per_second: int | None
    requests_burst: int | None
    requests_per_day: int | None
    created_at: datetime
    revoked_at: datetime | None


class AddedCaller(CallerDocument):
    """The new caller with its token, which is shown this once."""

    token: str


class CallerPage(AnswerModel):
    """A page of callers in the order of their ids, revoked ones too."""

    callers: list[CallerDocument]
    after: Annotated[int | None, NEXT_PAGE]


_ADD: Final = Operation(
    operation_id="add_caller",
    summary="Add a caller",
    description="Its token is in this answer and nowhere else. An admin is given rights that you have yourself at the most.",
    body=NewCaller,
    query=Nothing,
    answers={201: Answer(AddedCaller, headers={"Location": LOCATION})},
    refusals={404: "There is no such publisher.", 409: "The name is taken."},
)
_LIST: Final = Operation(
    operation_id="list_callers", summary="List callers", query=CallerQuery, answers={200: CallerPage}
)
_READ: Final = Operation(
    operation_id="read_caller", summary="Read a caller", query=Nothing, answers={200: CallerDocument}
)
_CHANGE: Final = Operation(
    operation_id="change_callers_limits",
    summary="Change a caller's limits",
    body=ChangedLimits,
    query=Nothing,
    answers={200: CallerDocument},
)
_REVOKE: Final = Operation(
    operation_id="revoke_caller",
    summary="Revoke a caller's tokens for good",
    description="Short-lived tokens that it got die with it. Revoking once more changes nothing.",
    query=Nothing,
    answers={200: CallerDocument},
)


def routes() -> list[web.RouteDef]:
    return [
        route("POST", "/callers", Scope.CALLERS_WRITE, add_one, _ADD),
        route("GET", "/callers", Scope.CALLERS_READ, show_all, _LIST),
        route("GET", "/callers/{caller_id}", Scope.CALLERS_READ, show_one, _READ),
        route("PATCH", "/callers/{caller_id}", Scope.CALLERS_WRITE, change_one, _CHANGE),
        route("POST", "/callers/{caller_id}/revoke", Scope.CALLERS_WRITE, revoke_one, _REVOKE),
    ]


async def add_one(request: web.Request, caller: Caller) -> web.Response:
    read_parameters(request, Nothing)
    asked = await read_model(request, NewCaller)
    async with request.config_dict[SERVICES].database.transaction() as connection:
        token = await add_caller(
            connection,
            kind=asked.kind,
            name=asked.name,
            publisher=asked.publisher,
            scopes=_scopes_for(asked, caller),
            validation_profile=asked.validation,
            cancel_period_days=asked.cancel_period_days,
            is_sandbox=asked.is_sandbox,
            limits=RequestLimits(asked.requests_per_second, asked.requests_burst, asked.requests_per_day),
        )
        added = await caller_of_token(connection, token)
    answer = AddedCaller(**_document(added).model_dump(), token=token)
    return json_answer(answer, status=201, location=f"/admin/callers/{added.caller_id}")


async def show_all(request: web.Request, _: Caller) -> web.Response:
    asked = read_parameters(request, CallerQuery)
    async with request.config_dict[SERVICES].database.transaction() as connection:
        callers = await list_callers(connection, after=min(asked.after, _CALLER_ID_MAX), limit=asked.limit)
    after = callers[-1].caller_id if len(callers) == asked.limit else None
    return json_answer(CallerPage(callers=[_document(one) for one in callers], after=after))


async def show_one(request: web.Request, _: Caller) -> web.Response:
    read_parameters(request, Nothing)
    async with request.config_dict[SERVICES].database.transaction() as connection:
        return json_answer(_document(await read_caller(connection, _caller_id(request))))


async def change_one(request: web.Request, _: Caller) -> web.Response:
    read_parameters(request, Nothing)
    caller_id = _caller_id(request)
    asked = await read_model(request, ChangedLimits)
    changes = {_LIMITS[name]: getattr(asked, name) for name in asked.model_fields_set}
    async with request.config_dict[SERVICES].database.transaction() as connection:
        await set_limits(connection, caller_id, changes)
        return json_answer(_document(await read_caller(connection, caller_id)))


async def revoke_one(request: web.Request, _: Caller) -> web.Response:
    read_parameters(request, Nothing)
    async with request.config_dict[SERVICES].database.transaction() as connection:
        return json_answer(_document(await revoke_caller_by_id(connection, _caller_id(request))))


def _scopes_for(asked: NewCaller, caller: Caller) -> frozenset[Scope]:
    """No admin makes an admin with more rights than its own; by default it gets the same ones. Raises Forbidden."""
    scopes = frozenset(asked.scopes or ())
    if asked.kind is not CallerKind.ADMIN:
        return scopes
    if not scopes <= caller.scopes:
        raise Forbidden("an admin can only be given rights that you have yourself")
    return scopes or caller.scopes


def _caller_id(request: web.Request) -> int:
    text = request.match_info["caller_id"]
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _CALLER_ID_MAX):
        raise NotFound("there is no such caller")
    return int(text)


def _document(caller: ListedCaller) -> CallerDocument:
    return CallerDocument(
        caller_id=caller.caller_id,
        kind=caller.kind,
        name=caller.name,
        publisher=caller.publisher,
        scopes=list(caller.scopes),
        client_id=f"ks_{caller.token_id}",
        validation=caller.validation_profile,
        cancel_period_days=caller.cancel_period_days,
        is_sandbox=caller.is_sandbox,
        requests_per_second=caller.limits.per_second,
        requests_burst=caller.limits.burst,
        requests_per_day=caller.limits.per_day,
        created_at=caller.created_at,
        revoked_at=caller.revoked_at,
    )
