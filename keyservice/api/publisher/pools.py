"""Pools with their exact levels, and the events of a publisher."""

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from keyservice.api.access import publisher_of, route
from keyservice.api.asking import Name, StrictModel, page_size, path_id, read_model, read_query, uuid_in
from keyservice.api.publisher.documents import PREFIX, Document, json_answer, page, pool_document
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.tape import Policy
from keyservice.fulfillment.manage_pools import (
    PoolChange,
    PublisherEvent,
    change_pool,
    create_pool,
    list_events,
    list_pools,
    read_pool,
)
from keyservice.services import SERVICES

Level = Annotated[int, Field(ge=0, le=1_000_000_000_000)]
PolicyName = Literal["fifo", "expiring_first"]


class NewPool(StrictModel):
    """The body that opens a pool."""

    name: Name
    policy: PolicyName = "fifo"
    warning_level: Level = 0
    alert_level: Level = 0


class ChangedPool(StrictModel):
    """The body that changes a pool: only what is to be different."""

    name: Name | None = None
    policy: PolicyName | None = None
    warning_level: Level | None = None
    alert_level: Level | None = None
    is_open: bool | None = None


def routes() -> list[web.RouteDef]:
    return [
        route("POST", "/pools", Scope.POOLS_WRITE, open_one),
        route("GET", "/pools", Scope.POOLS_READ, show_all),
        route("GET", "/pools/{pool_id}", Scope.POOLS_READ, show_one),
        route("PATCH", "/pools/{pool_id}", Scope.POOLS_WRITE, change_one),
        route("GET", "/events", Scope.POOLS_READ, show_events),
    ]


async def open_one(request: web.Request, caller: Caller) -> web.Response:
    """A new, empty pool."""
    services = request.config_dict[SERVICES]
    read_query(request, ())
    publisher_id = await publisher_of(request, caller)
    asked = await read_model(request, NewPool)
    pool = await create_pool(
        services.database,
        publisher_id,
        name=asked.name,
        policy=Policy(asked.policy),
        warning_level=asked.warning_level,
        alert_level=asked.alert_level,
        caller_id=caller.caller_id,
    )
    return json_answer(pool_document(pool), status=201, location=f"{PREFIX}/pools/{pool.pool_id}")


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    """A page of the publisher's pools, oldest first."""
    services = request.config_dict[SERVICES]
    query = read_query(request, ("after", "limit"))
    publisher_id = await publisher_of(request, caller)
    after, limit = uuid_in(query, "after"), page_size(query)
    pools = await list_pools(services.database, publisher_id, after=after, limit=limit)
    return json_answer(page("pools", [pool_document(pool) for pool in pools], key="pool_id", limit=limit))


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_query(request, ())
    publisher_id = await publisher_of(request, caller)
    pool = await read_pool(services.database, publisher_id, path_id(request, "pool_id", thing="pool"))
    return json_answer(pool_document(pool))


async def change_one(request: web.Request, caller: Caller) -> web.Response:
    """Members that are absent or null stay as they are."""
    services = request.config_dict[SERVICES]
    read_query(request, ())
    publisher_id = await publisher_of(request, caller)
    pool_id = path_id(request, "pool_id", thing="pool")
    asked = await read_model(request, ChangedPool)
    change = PoolChange(
        name=asked.name,
        policy=None if asked.policy is None else Policy(asked.policy),
        warning_level=asked.warning_level,
        alert_level=asked.alert_level,
        is_open=asked.is_open,
    )
    pool = await change_pool(services.database, publisher_id, pool_id, change, caller_id=caller.caller_id)
    return json_answer(pool_document(pool))


async def show_events(request: web.Request, caller: Caller) -> web.Response:
    """A page of what happened, oldest first, of all pools or of one."""
    services = request.config_dict[SERVICES]
    query = read_query(request, ("pool_id", "after", "limit"))
    publisher_id = await publisher_of(request, caller)
    limit = page_size(query)
    events = await list_events(
        services.database,
        publisher_id,
        pool_id=uuid_in(query, "pool_id"),
        after=uuid_in(query, "after"),
        limit=limit,
    )
    return json_answer(page("events", [_event_document(event) for event in events], key="event_id", limit=limit))


def _event_document(event: PublisherEvent) -> Document:
    return {
        "event_id": event.event_id,
        "name": event.name,
        "pool_id": event.pool_id,
        "batch_id": event.batch_id,
        "caller_id": event.caller_id,
        "facts": event.facts,
        "created_at": event.created_at,
    }
