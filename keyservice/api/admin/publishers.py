"""Publishers, and the pools of all of them."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from aiohttp import web
from pydantic import Field

from keyservice.api.access import demand_overseer, route
from keyservice.api.answering import NEXT_PAGE, AnswerModel, json_answer
from keyservice.api.asking import Name, StrictModel, read_model, shown_as
from keyservice.api.operation import Operation
from keyservice.api.parameters import PAGE_DEFAULT, Nothing, PageSize, Parameters, WholeNumber, read_parameters
from keyservice.api.publisher.documents import PoolDocument, behind
from keyservice.domain.caller import Caller, Scope
from keyservice.fulfillment.manage_catalogue import Publisher, add_publisher, list_publishers
from keyservice.fulfillment.manage_pools import PoolView, list_pools
from keyservice.services import SERVICES, Services

_PUBLISHER_ID_MAX: Final = 2**31 - 1

Handle = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=63)]


class NewPublisher(StrictModel):
    """The body that adds a publisher. The handle is its name in URLs and for admins."""

    model_config = shown_as(handle="acme", name="Acme Software")

    handle: Handle
    name: Name


class PublisherQuery(Parameters):
    """A page of publishers."""

    after: WholeNumber = Field(0, description="What the page before gave as `after`; without it, the first page.")
    limit: PageSize = PAGE_DEFAULT


class PublisherDocument(AnswerModel):
    """A publisher."""

    publisher_id: int
    handle: str
    name: str
    created_at: datetime


class PublisherPage(AnswerModel):
    """A page of publishers, oldest first."""

    publishers: list[PublisherDocument]
    after: Annotated[int | None, NEXT_PAGE]


class PublishersPool(PoolDocument):
    """A pool, and whose it is."""

    publisher: str
    """The publisher's handle."""


class PublishersPoolPage(AnswerModel):
    """All pools of a page of publishers."""

    pools: list[PublishersPool]
    after: Annotated[int | None, NEXT_PAGE]


_ADD: Final = Operation(
    operation_id="add_publisher",
    summary="Add a publisher",
    body=NewPublisher,
    query=Nothing,
    answers={201: PublisherDocument},
    refusals={409: "The handle is taken."},
)
_LIST: Final = Operation(
    operation_id="list_publishers", summary="List publishers", query=PublisherQuery, answers={200: PublisherPage}
)
_LIST_POOLS: Final = Operation(
    operation_id="list_all_pools",
    summary="List the pools of all publishers with their levels",
    description="`after` and `limit` count publishers, not pools.",
    query=PublisherQuery,
    answers={200: PublishersPoolPage},
)


def routes() -> list[web.RouteDef]:
    return [
        route("POST", "/publishers", Scope.PUBLISHERS_WRITE, add_one, _ADD),
        route("GET", "/publishers", Scope.POOLS_READ, show_all, _LIST),
        route("GET", "/pools", Scope.POOLS_READ, show_pools, _LIST_POOLS),
    ]


async def add_one(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    demand_overseer(caller)
    read_parameters(request, Nothing)
    asked = await read_model(request, NewPublisher)
    publisher = await add_publisher(services.database, handle=asked.handle, name=asked.name)
    return json_answer(PublisherDocument.model_validate(publisher), status=201)


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    publishers, after = await _page(request, caller)
    documents = [PublisherDocument.model_validate(publisher) for publisher in publishers]
    return json_answer(PublisherPage(publishers=documents, after=after))


async def show_pools(request: web.Request, caller: Caller) -> web.Response:
    """The pools of a page of publishers, each with its exact level; `after` and `limit` count publishers."""
    publishers, after = await _page(request, caller)
    documents: list[PublishersPool] = []
    for publisher in publishers:
        async for pool in _pools(request.config_dict[SERVICES], publisher):
            document = PoolDocument.model_validate(pool)
            documents.append(PublishersPool(publisher=publisher.handle, **dict(document)))
    return json_answer(PublishersPoolPage(pools=documents, after=after))


async def _page(request: web.Request, caller: Caller) -> tuple[list[Publisher], int | None]:
    """A page of publishers, and what to ask for behind it."""
    demand_overseer(caller)
    asked = read_parameters(request, PublisherQuery)
    after = min(asked.after, _PUBLISHER_ID_MAX)
    publishers = await list_publishers(request.config_dict[SERVICES].database, after=after, limit=asked.limit)
    return publishers, behind([publisher.publisher_id for publisher in publishers], asked.limit)


async def _pools(services: Services, publisher: Publisher) -> AsyncIterator[PoolView]:
    after: UUID | None = None
    while pools := await list_pools(services.database, publisher.publisher_id, after=after):
        for pool in pools:
            yield pool
        after = pools[-1].pool_id
