"""Publishers, and the pools of all of them."""

from collections.abc import AsyncIterator
from typing import Annotated, Final
from uuid import UUID

from aiohttp import web
from pydantic import Field

from keyservice.api.access import route
from keyservice.api.asking import Name, StrictModel, number_in, page_size, read_model, read_query
from keyservice.api.publisher.documents import Document, json_answer, page, pool_document
from keyservice.domain.caller import Caller, CallerKind, Scope
from keyservice.domain.errors import Forbidden
from keyservice.fulfillment.manage_catalogue import Publisher, add_publisher, list_publishers
from keyservice.fulfillment.manage_pools import PoolView, list_pools
from keyservice.services import SERVICES, Services

_PUBLISHER_ID_MAX: Final = 2**31 - 1

Handle = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=63)]


class NewPublisher(StrictModel):
    """The body that adds a publisher. The handle is its name in URLs and for admins."""

    handle: Handle
    name: Name


def routes() -> list[web.RouteDef]:
    return [
        route("POST", "/publishers", Scope.PUBLISHERS_WRITE, add_one),
        route("GET", "/publishers", Scope.POOLS_READ, show_all),
        route("GET", "/pools", Scope.POOLS_READ, show_pools),
    ]


async def add_one(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    _demand_admin(caller)
    read_query(request, ())
    asked = await read_model(request, NewPublisher)
    publisher = await add_publisher(services.database, handle=asked.handle, name=asked.name)
    return json_answer(_document(publisher), status=201)


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    _demand_admin(caller)
    query = read_query(request, ("after", "limit"))
    after, limit = min(number_in(query, "after", default=0), _PUBLISHER_ID_MAX), page_size(query)
    publishers = await list_publishers(services.database, after=after, limit=limit)
    return json_answer(
        page("publishers", [_document(publisher) for publisher in publishers], key="publisher_id", limit=limit)
    )


async def show_pools(request: web.Request, caller: Caller) -> web.Response:
    """The pools of a page of publishers, each with its exact level; `after` and `limit` count publishers."""
    services = request.config_dict[SERVICES]
    _demand_admin(caller)
    query = read_query(request, ("after", "limit"))
    after, limit = min(number_in(query, "after", default=0), _PUBLISHER_ID_MAX), page_size(query)
    publishers = await list_publishers(services.database, after=after, limit=limit)
    documents: list[Document] = []
    for publisher in publishers:
        documents += [
            {"publisher": publisher.handle, **pool_document(pool)} async for pool in _pools(services, publisher)
        ]
    behind = publishers[-1].publisher_id if len(publishers) == limit else None
    return json_answer({"pools": documents, "after": behind})


async def _pools(services: Services, publisher: Publisher) -> AsyncIterator[PoolView]:
    after: UUID | None = None
    while pools := await list_pools(services.database, publisher.publisher_id, after=after):
        for pool in pools:
            yield pool
        after = pools[-1].pool_id


def _demand_admin(caller: Caller) -> None:
    if caller.kind is not CallerKind.ADMIN:
        raise Forbidden("this is for admins")


def _document(publisher: Publisher) -> Document:
    return {
        "publisher_id": publisher.publisher_id,
        "handle": publisher.handle,
        "name": publisher.name,
        "created_at": publisher.created_at,
    }
