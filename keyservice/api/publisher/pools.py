"""Pools with their exact levels, and the events of a publisher."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import LOCATION, NEXT_PAGE, AnswerModel, json_answer
from keyservice.api.asking import Name, StrictModel, path_id, read_model, shown_as
from keyservice.api.operation import Answer, Operation
from keyservice.api.parameters import OfPublisher, Page, Uuid, read_parameters
from keyservice.api.publisher.documents import PREFIX, PoolDocument, behind
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.tape import Policy
from keyservice.fulfillment.manage_pools import (
    PoolChange,
    change_pool,
    create_pool,
    list_events,
    list_pools,
    read_pool,
)
from keyservice.services import SERVICES

Level = Annotated[int, Field(ge=0, le=1_000_000_000_000)]
DaysLeft = Annotated[int, Field(ge=0, le=3_650)]
PolicyName = Literal["fifo", "expiring_first", "priority"]
_TAKEN: Final = "There is a pool of this name."


class NewPool(StrictModel):
    """The body that opens a pool."""

    model_config = shown_as(name="office-2027", policy="expiring_first", warning_level=100, alert_level=20)

    name: Name
    policy: PolicyName = "fifo"
    """Which keys are sold first: those that came first, those that expire first, or those of the batch with the highest
    priority; where that is equal, those that came first."""

    warning_level: Level = 0
    """A warning is raised when so many keys are left, or fewer."""

    alert_level: Level = 0
    """At the most the warning level."""

    days_left_min: DaysLeft = 0
    """A key that expires sooner than in so many days is not for sale; 0 sells it until its last day."""

    is_sandbox: bool = False
    """Its keys are for trying out: only test orders get them. What a pool is opened as it stays."""


class ChangedPool(StrictModel):
    """The body that changes a pool: only what is to be different."""

    model_config = shown_as(warning_level=200)

    name: Name | None = None
    policy: PolicyName | None = None
    warning_level: Level | None = None
    alert_level: Level | None = None
    days_left_min: DaysLeft | None = None
    is_open: bool | None = None
    """A closed pool sells nothing until it is open again."""


class PoolPage(AnswerModel):
    """A page of pools, oldest first."""

    pools: list[PoolDocument]
    after: Annotated[UUID | None, NEXT_PAGE]


class EventDocument(AnswerModel):
    """Something that happened to a pool, a batch or a key."""

    event_id: UUID
    name: str
    pool_id: UUID | None
    batch_id: UUID | None
    caller_id: int | None
    """Who did it; null for what nobody did."""

    facts: dict[str, Any]
    """What there is to know of it, by the event's name. Never a key."""

    created_at: datetime


class EventPage(AnswerModel):
    """A page of events, oldest first."""

    events: list[EventDocument]
    after: Annotated[UUID | None, NEXT_PAGE]


class EventQuery(Page):
    """Events of all pools, or of one."""

    pool_id: Uuid | None = Field(None, description="Only what happened to this pool.")


_OPEN: Final = Operation(
    operation_id="open_pool",
    summary="Open a pool",
    body=NewPool,
    query=OfPublisher,
    answers={201: Answer(PoolDocument, "The new pool, which is empty.", {"Location": LOCATION})},
    refusals={409: _TAKEN, 422: "The alert level lies above the warning level."},
)
_LIST: Final = Operation(
    operation_id="list_pools", summary="List pools with their levels", query=Page, answers={200: PoolPage}
)
_READ: Final = Operation(
    operation_id="read_pool", summary="Read a pool with its level", query=OfPublisher, answers={200: PoolDocument}
)
_CHANGE: Final = Operation(
    operation_id="change_pool",
    summary="Change a pool",
    description="Members that are absent or null stay as they are.",
    body=ChangedPool,
    query=OfPublisher,
    answers={200: PoolDocument},
    refusals={409: _TAKEN, 422: "The alert level would lie above the warning level."},
)
_EVENTS: Final = Operation(
    operation_id="list_publisher_events",
    summary="Read what happened to pools, batches and keys",
    query=EventQuery,
    answers={200: EventPage},
)


def routes() -> list[web.RouteDef]:
    return [
        route("POST", "/pools", Scope.POOLS_WRITE, open_one, _OPEN),
        route("GET", "/pools", Scope.POOLS_READ, show_all, _LIST),
        route("GET", "/pools/{pool_id}", Scope.POOLS_READ, show_one, _READ),
        route("PATCH", "/pools/{pool_id}", Scope.POOLS_WRITE, change_one, _CHANGE),
        route("GET", "/events", Scope.POOLS_READ, show_events, _EVENTS),
    ]


async def open_one(request: web.Request, caller: Caller) -> web.Response:
    """A new, empty pool."""
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    asked = await read_model(request, NewPool)
    pool = await create_pool(
        services.database,
        publisher_id,
        name=asked.name,
        policy=Policy(asked.policy),
        warning_level=asked.warning_level,
        alert_level=asked.alert_level,
        days_left_min=asked.days_left_min,
        is_sandbox=asked.is_sandbox,
        caller_id=caller.caller_id,
    )
    return json_answer(PoolDocument.model_validate(pool), status=201, location=f"{PREFIX}/pools/{pool.pool_id}")


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    """A page of the publisher's pools, oldest first."""
    services = request.config_dict[SERVICES]
    asked = read_parameters(request, Page)
    publisher_id = await publisher_of(request, caller)
    pools = await list_pools(services.database, publisher_id, after=asked.after, limit=asked.limit)
    documents = [PoolDocument.model_validate(pool) for pool in pools]
    return json_answer(PoolPage(pools=documents, after=behind([pool.pool_id for pool in pools], asked.limit)))


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    pool = await read_pool(services.database, publisher_id, path_id(request, "pool_id", thing="pool"))
    return json_answer(PoolDocument.model_validate(pool))


async def change_one(request: web.Request, caller: Caller) -> web.Response:
    """Members that are absent or null stay as they are."""
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    pool_id = path_id(request, "pool_id", thing="pool")
    asked = await read_model(request, ChangedPool)
    change = PoolChange(
        name=asked.name,
        policy=None if asked.policy is None else Policy(asked.policy),
        warning_level=asked.warning_level,
        alert_level=asked.alert_level,
        days_left_min=asked.days_left_min,
        is_open=asked.is_open,
    )
    pool = await change_pool(services.database, publisher_id, pool_id, change, caller_id=caller.caller_id)
    return json_answer(PoolDocument.model_validate(pool))


async def show_events(request: web.Request, caller: Caller) -> web.Response:
    """A page of what happened, oldest first, of all pools or of one."""
    services = request.config_dict[SERVICES]
    asked = read_parameters(request, EventQuery)
    publisher_id = await publisher_of(request, caller)
    events = await list_events(
        services.database, publisher_id, pool_id=asked.pool_id, after=asked.after, limit=asked.limit
    )
    documents = [EventDocument.model_validate(event) for event in events]
    return json_answer(EventPage(events=documents, after=behind([event.event_id for event in events], asked.limit)))
