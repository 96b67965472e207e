"""Admins look up keys for support: by the whole text, or by its last five characters. Each search is on record."""

from typing import Annotated, Final
from uuid import UUID

from aiohttp import web
from pydantic import Field

from keyservice.api.access import demand_overseer, route
from keyservice.api.answering import AnswerModel, json_answer
from keyservice.api.asking import Name, StrictModel, read_model
from keyservice.api.operation import Operation
from keyservice.api.parameters import PAGE_DEFAULT, Nothing, PageSize, Parameters, Uuid, read_parameters
from keyservice.api.publisher.documents import behind
from keyservice.api.publisher.pools import EventDocument, EventPage
from keyservice.api.sought_key import FoundKeyDocument, SoughtKey
from keyservice.crypto.fingerprints import SUFFIX_CHARACTERS
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.errors import NotFound
from keyservice.fulfillment.manage_pools import list_events
from keyservice.fulfillment.search_keys import (
    ACROSS_PUBLISHERS,
    FOUND_BY_ENDING_MAX,
    KeyInspector,
    OverseenKey,
    OverseenKeys,
)
from keyservice.services import SERVICES, Services

_ON_RECORD: Final = (
    "Who searched, what for and how much was found is written to the events, never what was searched for."
)


class InspectedKey(SoughtKey):
    """The key that is looked for, and what for."""

    purpose: Name
    """Such as a ticket's number; it is kept, so it must not repeat the key."""


class SoughtEnding(StrictModel):
    """How the key that is looked for ends, whose it is, and what it is looked for."""

    ending: Annotated[str, Field(min_length=SUFFIX_CHARACTERS, max_length=SUFFIX_CHARACTERS, repr=False)]
    """Its last five characters, to the letter."""

    publisher: Annotated[str, Field(max_length=63)]
    """The publisher's handle."""

    purpose: Name
    """Such as a ticket's number; it is kept, so it must not repeat the characters."""


class WholeSearch(Parameters):
    """Whose keys are searched."""

    publisher: str | None = Field(
        None, description="Only this publisher's keys, by its handle; without it, everyone's."
    )


class EventsQuery(Parameters):
    """A page of events."""

    after: Uuid | None = Field(None, description="What the page before gave as `after`; without it, the first page.")
    limit: PageSize = PAGE_DEFAULT


class KeysOrderDocument(AnswerModel):
    """The unit that a key was taken for."""

    order_id: UUID
    order_number: int
    partner_order_number: str
    caller_id: int
    caller: str | None
    """The name of the caller whose order it is."""

    line_number: int
    unit_id: UUID
    unit_number: int


class OverseenKeyDocument(FoundKeyDocument):
    """A stored key with its publisher and its order."""

    publisher: str
    key_ends_with: str | None
    """Its last characters, as far as a person may see them; null when the stored key is damaged."""

    order: KeysOrderDocument | None


class OverseenKeysDocument(AnswerModel):
    """What was found."""

    keys: list[OverseenKeyDocument]
    is_capped: bool
    """Whether there are more, which are not shown."""


_BY_KEY: Final = Operation(
    operation_id="search_all_keys",
    summary="Find a key of any publisher by its text",
    description=_ON_RECORD,
    body=InspectedKey,
    query=WholeSearch,
    answers={200: OverseenKeysDocument},
    refusals={404: "There is no such publisher.", 422: "The purpose repeats what is searched for."},
)
_BY_ENDING: Final = Operation(
    operation_id="search_keys_by_ending",
    summary="Find a publisher's keys by their last five characters",
    description=f"{_ON_RECORD} At the most {FOUND_BY_ENDING_MAX} are shown.",
    body=SoughtEnding,
    query=Nothing,
    answers={200: OverseenKeysDocument},
    refusals={404: "There is no such publisher.", 422: "The purpose repeats what is searched for."},
)
_EVENTS: Final = Operation(
    operation_id="list_events_across_publishers",
    summary="Read what was done over all publishers together",
    description="What concerns one publisher is among that publisher's events.",
    query=EventsQuery,
    answers={200: EventPage},
)


def routes() -> list[web.RouteDef]:
    return [
        route("POST", "/keys/search", Scope.KEYS_SEARCH, search_whole, _BY_KEY),
        route("POST", "/keys/search-by-ending", Scope.KEYS_SEARCH, search_ending, _BY_ENDING),
        route("GET", "/events", Scope.POOLS_READ, show_events, _EVENTS),
    ]


async def search_whole(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    demand_overseer(caller)
    query = read_parameters(request, WholeSearch)
    asked = await read_model(request, InspectedKey)
    inspector = _inspector(services)
    if query.publisher is None:
        return _answer(await inspector.search_everywhere(caller, asked.raw, purpose=asked.purpose))
    publisher_id = await _publisher(services, query.publisher)
    return _answer(
        await inspector.search_publisher(
            caller, asked.raw, publisher_id=publisher_id, publisher=query.publisher, purpose=asked.purpose
        )
    )


async def search_ending(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    demand_overseer(caller)
    read_parameters(request, Nothing)
    asked = await read_model(request, SoughtEnding)
    publisher_id = await _publisher(services, asked.publisher)
    return _answer(
        await _inspector(services).search_ending(
            caller, asked.ending, publisher_id=publisher_id, publisher=asked.publisher, purpose=asked.purpose
        )
    )


async def show_events(request: web.Request, caller: Caller) -> web.Response:
    """Searches over all publishers, oldest first."""
    services = request.config_dict[SERVICES]
    demand_overseer(caller)
    asked = read_parameters(request, EventsQuery)
    events = await list_events(services.database, ACROSS_PUBLISHERS, pool_id=None, after=asked.after, limit=asked.limit)
    documents = [EventDocument.model_validate(event) for event in events]
    return json_answer(EventPage(events=documents, after=behind([event.event_id for event in events], asked.limit)))


def _inspector(services: Services) -> KeyInspector:
    return KeyInspector(services.database, services.fingerprints, services.opener)


async def _publisher(services: Services, handle: str) -> int:
    found = await services.catalogue.publisher_id(handle)
    if found is None:
        raise NotFound("there is no such publisher")
    return found


def _answer(found: OverseenKeys) -> web.Response:
    return json_answer(OverseenKeysDocument(keys=[_document(key) for key in found.keys], is_capped=found.is_capped))


def _document(found: OverseenKey) -> OverseenKeyDocument:
    order = found.order
    return OverseenKeyDocument(
        **dict(FoundKeyDocument.model_validate(found.key)),
        publisher=found.publisher,
        key_ends_with=found.ends_with,
        order=order
        and KeysOrderDocument(
            order_id=order.order_id,
            order_number=order.order_number,
            partner_order_number=order.partner_order_number,
            caller_id=order.caller_id,
            caller=found.caller,
            line_number=order.line_number,
            unit_id=order.unit_id,
            unit_number=order.unit_number,
        ),
    )
