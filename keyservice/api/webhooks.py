"""Webhooks: where a caller or a publisher is told of what changes, what was sent there, and having it sent again."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import LOCATION, NEXT_PAGE, AnswerModel, json_answer
from keyservice.api.asking import Instant, StrictModel, path_id, read_model, shown_as
from keyservice.api.operation import Answer, Operation
from keyservice.api.parameters import (
    PAGE_DEFAULT,
    Nothing,
    OfPublisher,
    Page,
    PageSize,
    Parameters,
    Uuid,
    read_parameters,
)
from keyservice.api.publisher.documents import behind
from keyservice.domain.caller import Caller, CallerKind, Scope
from keyservice.domain.errors import Forbidden
from keyservice.domain.notice import EndpointState, NoticeOwner, NoticeState
from keyservice.fulfillment.manage_webhooks import Endpoint, WebhookDesk
from keyservice.fulfillment.replay_notices import (
    list_deliveries,
    list_notices,
    replay_failed,
    replay_notice,
    send_test_notice,
)
from keyservice.services import SERVICES

OwnerOf = Callable[[web.Request, Caller], Awaitable[NoticeOwner]]
TypeName = Annotated[str, Field(min_length=1, max_length=64)]


class OwnPage(Parameters):
    """A page of a list: what comes behind the thing `after`."""

    after: Uuid | None = Field(None, description="What the page before gave as `after`; without it, the first page.")
    limit: PageSize = PAGE_DEFAULT


class NewWebhook(StrictModel):
    """The body that makes a webhook."""

    model_config = shown_as(url="https://shop.example.com/keyservice", types=[])

    url: Annotated[str, Field(min_length=1, max_length=2_048)]
    types: Annotated[list[TypeName], Field(max_length=50)] = Field(default_factory=list)
    """What it is told of; nothing here means everything that there is."""


class ChangedWebhook(StrictModel):
    """The body that changes a webhook: only what is to be different."""

    model_config = shown_as(state="disabled")

    url: Annotated[str, Field(min_length=1, max_length=2_048)] | None = None
    types: Annotated[list[TypeName], Field(max_length=50)] | None = None
    state: Literal["enabled", "disabled", "gone"] | None = None
    """`gone` ends it: it is forgotten after a while."""


class ReplaySince(StrictModel):
    """The body that has failed notices sent again."""

    model_config = shown_as(since="2026-11-22T15:19:21+00:00")

    since: Instant
    """All that have failed for good and were recorded since then."""


class WebhookDocument(AnswerModel):
    """Where notices are sent."""

    endpoint_id: UUID
    url: str
    types: list[str]
    state: EndpointState
    created_at: datetime
    failing_since: datetime | None
    """Since when nothing was taken there."""

    resumes_at: datetime | None
    """Its receiver asked not to be sent anything before."""

    previous_until: datetime | None
    """After a rotation, until when the secret before signs as well."""


class WebhookWithSecret(WebhookDocument):
    """A webhook with its new secret, which is shown this once."""

    secret: str
    """As the Standard Webhooks specification writes it; receivers verify `webhook-signature` with it."""


class WebhookPage(AnswerModel):
    """A page of webhooks, oldest first."""

    webhooks: list[WebhookDocument]
    after: Annotated[UUID | None, NEXT_PAGE]


class NoticeDocument(AnswerModel):
    """Something that one webhook is told."""

    notice_id: UUID
    subject: str
    type: str
    object_id: str
    occurred_at: datetime
    state: NoticeState
    attempts: int
    due_at: datetime
    delivered_at: datetime | None


class NoticePage(AnswerModel):
    """A page of notices, newest first."""

    notices: list[NoticeDocument]
    after: Annotated[UUID | None, NEXT_PAGE]


class DeliveryDocument(AnswerModel):
    """One attempt to deliver. It came to a status, or to an error of one word."""

    delivery_id: UUID
    notice_id: UUID
    attempt: int
    started_at: datetime
    http_status: int | None
    error: str | None
    seconds: float


class DeliveryPage(AnswerModel):
    """A page of attempts, newest first."""

    deliveries: list[DeliveryDocument]
    after: Annotated[UUID | None, NEXT_PAGE]


class Replayed(AnswerModel):
    """How many notices are sent again."""

    count: int


class TestNotice(AnswerModel):
    """A notice that says nothing, to try a receiver with."""

    notice_id: UUID


class _Handlers:
    """The same for whoever has webhooks; `owner_of` says whose they are."""

    def __init__(self, owner_of: OwnerOf, prefix: str, *, names_publisher: bool) -> None:
        self._owner_of = owner_of
        self._prefix = prefix
        self._query: type[Parameters] = OfPublisher if names_publisher else Nothing
        self._page: type[Page] | type[OwnPage] = Page if names_publisher else OwnPage

    def routes(self, suffix: str) -> list[web.RouteDef]:
        read, write, query, page = Scope.WEBHOOKS_READ, Scope.WEBHOOKS_WRITE, self._query, self._page

        def one(summary: str, name: str, answer: type[AnswerModel], **more: object) -> Operation:
            return Operation(summary, {200: answer}, operation_id=f"{name}_{suffix}", **{"query": query, **more})  # type: ignore[arg-type]

        created = Answer(WebhookWithSecret, "The new webhook, with its secret.", {"Location": LOCATION})
        path = "/webhooks/{endpoint_id}"
        return [
            route(
                "POST",
                "/webhooks",
                write,
                self.make,
                Operation(
                    "Make a webhook",
                    {201: created},
                    operation_id=f"create_{suffix}",
                    body=NewWebhook,
                    query=query,
                    refusals={409: "There are as many as there may be.", 422: "The URL is not one that may be asked."},
                ),
            ),
            route("GET", "/webhooks", read, self.show_all, one("List webhooks", "list_all", WebhookPage, query=page)),
            route("GET", path, read, self.show_one, one("Read a webhook", "read", WebhookDocument)),
            route(
                *("PATCH", path, write, self.change),
                one(
                    "Change a webhook, or end it",
                    "change",
                    WebhookDocument,
                    body=ChangedWebhook,
                    refusals={409: "There are as many as there may be.", 422: "The URL is not one that may be asked."},
                ),
            ),
            route(
                *("POST", f"{path}/secret", write, self.rotate),
                one("Give a webhook a new secret; the one before signs too for a day", "rotate", WebhookWithSecret),
            ),
            route(*("POST", f"{path}/test", write, self.test), one("Have a test notice sent", "test", TestNotice)),
            route(
                *("GET", f"{path}/notices", read, self.show_notices),
                one("List what a webhook is told", "list_notices_of", NoticePage, query=page),
            ),
            route(
                *("GET", f"{path}/deliveries", read, self.show_deliveries),
                one("List the attempts to deliver", "list_deliveries_of", DeliveryPage, query=page),
            ),
            route(
                *("POST", f"{path}/notices/{{notice_id}}/replay", write, self.replay_one),
                one("Have a notice sent again", "replay_one_of", Replayed),
            ),
            route(
                *("POST", f"{path}/replay", write, self.replay_since),
                one("Have all failed notices sent again", "replay_failed_of", Replayed, body=ReplaySince),
            ),
        ]

    async def make(self, request: web.Request, caller: Caller) -> web.Response:
        desk = await self._desk(request, caller)
        asked = await read_model(request, NewWebhook)
        endpoint, secret = await desk.create(asked.url, tuple(asked.types))
        location = f"{self._prefix}/webhooks/{endpoint.endpoint_id}"
        return json_answer(_with_secret(endpoint, secret), status=201, location=location)

    async def show_all(self, request: web.Request, caller: Caller) -> web.Response:
        asked = read_parameters(request, self._page)
        desk = await self._desk(request, caller, is_page=True)
        found = await desk.page(after=asked.after, limit=asked.limit)
        after = behind([one.endpoint_id for one in found], asked.limit)
        return json_answer(WebhookPage(webhooks=[_document(one) for one in found], after=after))

    async def show_one(self, request: web.Request, caller: Caller) -> web.Response:
        desk = await self._desk(request, caller)
        return json_answer(_document(await desk.read(_id(request))))

    async def change(self, request: web.Request, caller: Caller) -> web.Response:
        desk = await self._desk(request, caller)
        await desk.read(_id(request))
        asked = await read_model(request, ChangedWebhook)
        changed = await desk.change(
            _id(request),
            url=asked.url,
            types=None if asked.types is None else tuple(asked.types),
            state=None if asked.state is None else EndpointState(asked.state),
        )
        return json_answer(_document(changed))

    async def rotate(self, request: web.Request, caller: Caller) -> web.Response:
        desk = await self._desk(request, caller)
        endpoint, secret = await desk.rotate(_id(request))
        return json_answer(_with_secret(endpoint, secret))

    async def test(self, request: web.Request, caller: Caller) -> web.Response:
        desk = await self._desk(request, caller)
        return json_answer(TestNotice(notice_id=await send_test_notice(desk, _id(request))))

    async def show_notices(self, request: web.Request, caller: Caller) -> web.Response:
        asked = read_parameters(request, self._page)
        desk = await self._desk(request, caller, is_page=True)
        found = await list_notices(desk, _id(request), after=asked.after, limit=asked.limit)
        documents = [NoticeDocument.model_validate(one) for one in found]
        return json_answer(NoticePage(notices=documents, after=behind([one.notice_id for one in found], asked.limit)))

    async def show_deliveries(self, request: web.Request, caller: Caller) -> web.Response:
        asked = read_parameters(request, self._page)
        desk = await self._desk(request, caller, is_page=True)
        found = await list_deliveries(desk, _id(request), after=asked.after, limit=asked.limit)
        documents = [DeliveryDocument.model_validate(one) for one in found]
        after = behind([one.delivery_id for one in found], asked.limit)
        return json_answer(DeliveryPage(deliveries=documents, after=after))

    async def replay_one(self, request: web.Request, caller: Caller) -> web.Response:
        desk = await self._desk(request, caller)
        notice_id = path_id(request, "notice_id", thing="notice")
        return json_answer(Replayed(count=await replay_notice(desk, _id(request), notice_id)))

    async def replay_since(self, request: web.Request, caller: Caller) -> web.Response:
        desk = await self._desk(request, caller)
        await desk.read(_id(request))
        asked = await read_model(request, ReplaySince)
        return json_answer(Replayed(count=await replay_failed(desk, _id(request), since=asked.since)))

    async def _desk(self, request: web.Request, caller: Caller, *, is_page: bool = False) -> WebhookDesk:
        services = request.config_dict[SERVICES]
        if not is_page:
            read_parameters(request, self._query)
        owner = await self._owner_of(request, caller)
        return WebhookDesk.of(
            *(services.database, services.wrapper, services.egress, owner),
            endpoints_max=services.settings.webhooks_max,
        )


def publisher_routes() -> list[web.RouteDef]:
    """A publisher's webhooks: pools that run low, dead keys, batches that were imported."""
    return _Handlers(_publisher, "/publisher", names_publisher=True).routes("publisher_webhook")


def seller_routes() -> list[web.RouteDef]:
    """The webhooks of whoever sells: what becomes of its orders."""
    return _Handlers(_seller, "/fulfillment", names_publisher=False).routes("webhook")


async def _publisher(request: web.Request, caller: Caller) -> NoticeOwner:
    return NoticeOwner(publisher_id=await publisher_of(request, caller))


async def _seller(_: web.Request, caller: Caller) -> NoticeOwner:
    if caller.kind not in (CallerKind.RESELLER, CallerKind.PIPELINE):
        raise Forbidden("orders are told of to who has sold them; a publisher's webhooks are under /publisher")
    return NoticeOwner(caller_id=caller.caller_id)


def _id(request: web.Request) -> UUID:
    return path_id(request, "endpoint_id", thing="webhook")


def _document(endpoint: Endpoint) -> WebhookDocument:
    return WebhookDocument.model_validate(endpoint)


def _with_secret(endpoint: Endpoint, secret: str) -> WebhookWithSecret:
    return WebhookWithSecret(**_document(endpoint).model_dump(), secret=secret)
