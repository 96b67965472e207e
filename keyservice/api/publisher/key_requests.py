"""What was asked of a publisher's own API: every request with its attempts, what a person decides, and what is told by itself."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import NEXT_PAGE, AnswerModel, json_answer
from keyservice.api.asking import StrictModel, UuidText, path_id, read_model, shown_as
from keyservice.api.operation import Operation
from keyservice.api.parameters import OfPublisher, Page, read_parameters
from keyservice.api.publisher.given_keys import GivenKeys, delivered_keys
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.key_request import RequestState
from keyservice.fulfillment.decide_request import Decision, decide_request, hear_publisher
from keyservice.fulfillment.read_requests import list_requests, read_attempts, read_request
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.services import SERVICES


class RequestsQuery(Page):
    """A page of requests, the newest first."""

    state: RequestState | None = Field(None, description="Only those in this state; `held` waits for a person.")


class KeyRequestDocument(AnswerModel):
    """One thing that was asked of a publisher about one license."""

    key_request_id: UUID
    license_ref: UUID
    """The name under which the publisher knows it: that of the request which created the license."""

    connector_id: UUID
    connector_version: int
    operation: ConnectorOperation
    order_id: UUID
    line_number: int
    units: list[UUID]
    is_test: bool
    reason: str
    state: RequestState
    attempt: int
    """How often it was tried."""

    next_at: datetime | None
    """When somebody looks at it again; null when nobody has to."""

    give_up_at: datetime
    error_code: str | None
    error_message: str | None
    http_status: int | None
    publisher_license_id: str | None
    created_at: datetime
    updated_at: datetime
    settled_at: datetime | None


class AttemptDocument(AnswerModel):
    """One call, and what it came to. Nothing here holds a key or a secret."""

    operation: ConnectorOperation
    """What was called: also a look-up or a cancellation, to find out what became of it."""

    started_at: datetime
    ended_at: datetime
    outcome: str
    refusal: str | None
    error_code: str | None
    error_message: str | None
    http_status: int | None
    seconds: float


class KeyRequestWithAttempts(KeyRequestDocument):
    """A request with everything that is needed to decide about it."""

    attempts: list[AttemptDocument]


class KeyRequestPage(AnswerModel):
    """A page of requests, newest first."""

    key_requests: list[KeyRequestDocument]
    after: Annotated[UUID | None, NEXT_PAGE]


class NewDecision(StrictModel):
    """What a person knows of a request that nobody else can find out."""

    model_config = shown_as(decision="issued", keys=["KEY-AS-THE-PUBLISHER-SAYS-0001"])

    decision: Literal["issued", "not-issued", "refused", "acknowledged", "ask-again"]
    """`issued`: with these keys. `not-issued`: nothing was done, it is asked again. `refused`: nothing was done nor will be.
    `acknowledged`: a cancellation or the like was done. `ask-again`: what has ended without success is begun anew."""

    keys: GivenKeys = Field(default_factory=list)
    """As many as the request is for, when they were issued; otherwise none."""


class PushedKeys(StrictModel):
    """What a publisher tells of a request by itself."""

    model_config = shown_as(
        reference="01a214e1-79e7-7120-acec-110d7eb348ac", license_id="L-1", keys=["KEY-OF-THE-PUBLISHER-0001"]
    )

    reference: UuidText
    """Under which it was asked for."""

    license_id: Annotated[str, Field(max_length=200)] | None = None
    keys: Annotated[GivenKeys, Field(min_length=1)]


_LIST: Final = Operation(
    operation_id="list_key_requests",
    summary="List what was asked of a publisher's own API",
    query=RequestsQuery,
    answers={200: KeyRequestPage},
)
_READ: Final = Operation(
    operation_id="read_key_request",
    summary="Read one request with all its attempts",
    query=OfPublisher,
    answers={200: KeyRequestWithAttempts},
)
_DECIDE: Final = Operation(
    operation_id="decide_key_request",
    summary="Say what became of a request that nobody can find out",
    query=OfPublisher,
    body=NewDecision,
    answers={200: KeyRequestDocument},
    refusals={409: "The request is not in a state in which this can be said of it."},
)
_HEAR: Final = Operation(
    operation_id="tell_of_key_request",
    summary="Tell the keys of a request, as a publisher whose API answers later",
    description="Telling it again changes nothing. What nobody wants any more is taken back by the connector's own ways.",
    query=OfPublisher,
    body=PushedKeys,
    answers={200: KeyRequestDocument},
    refusals={
        404: "There is no request of this reference.",
        409: "Its connector does not say that its publisher tells by itself.",
    },
)


def routes() -> list[web.RouteDef]:
    return [
        route("GET", "/key-requests", Scope.KEY_REQUESTS_READ, show_page, _LIST),
        route("POST", "/key-answers", Scope.KEY_REQUESTS_DECIDE, hear, _HEAR),
        route("GET", "/key-requests/{key_request_id}", Scope.KEY_REQUESTS_READ, show_one, _READ),
        route("POST", "/key-requests/{key_request_id}/decision", Scope.KEY_REQUESTS_DECIDE, decide, _DECIDE),
    ]


async def show_page(request: web.Request, caller: Caller) -> web.Response:
    """Newest first."""
    asked = read_parameters(request, RequestsQuery)
    publisher_id = await publisher_of(request, caller)
    found = await list_requests(
        request.config_dict[SERVICES].database,
        publisher_id,
        states=None if asked.state is None else [asked.state],
        after=asked.after,
        limit=asked.limit,
    )
    after = found[-1].key_request_id if len(found) == asked.limit else None
    return json_answer(KeyRequestPage(key_requests=[_document(one) for one in found], after=after))


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    database = request.config_dict[SERVICES].database
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    found = await read_request(database, publisher_id, _id(request))
    attempts = await read_attempts(database, publisher_id, found.key_request_id)
    return json_answer(
        KeyRequestWithAttempts(
            **_document(found).model_dump(),
            attempts=[
                AttemptDocument(**{name: getattr(one, name) for name in AttemptDocument.model_fields})
                for one in attempts
            ],
        )
    )


async def decide(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    key_request_id = _id(request)
    await read_request(services.database, publisher_id, key_request_id)
    asked = await read_model(request, NewDecision)
    decided = await decide_request(
        *(services.database, services.connectors, services.asker, publisher_id, key_request_id),
        *(Decision(asked.decision), delivered_keys(asked.keys)),
        caller_id=caller.caller_id,
    )
    return json_answer(_document(decided))


async def hear(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    told = await read_model(request, PushedKeys)
    heard = await hear_publisher(
        *(services.database, services.connectors, services.asker, publisher_id, UUID(told.reference)),
        *(delivered_keys(told.keys), told.license_id),
    )
    return json_answer(_document(heard))


def _id(request: web.Request) -> UUID:
    return path_id(request, "key_request_id", thing="key request")


def _document(found: KeyRequest) -> KeyRequestDocument:
    values = {name: getattr(found, name) for name in KeyRequestDocument.model_fields if name != "units"}
    return KeyRequestDocument(**values, units=list(found.unit_ids))
