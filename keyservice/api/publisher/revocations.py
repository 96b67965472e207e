"""The feed of a publisher's dead keys: numbered, chained, signed, acknowledged entry by entry."""

import re
from typing import Annotated, Final, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field, model_validator

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import NEXT_PAGE, WHERE_THERE_IS_ONE, AnswerModel, json_answer
from keyservice.api.asking import StrictModel, path_id, read_model
from keyservice.api.key_document import KeyDocument, key_document
from keyservice.api.operation import Operation
from keyservice.api.parameters import NUMBER_MAX, NumberedPage, OfPublisher, Switch, read_parameters
from keyservice.api.publisher.signed import HexHash, Instant, SignatureDocument, signature_document
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.canonical import canonical_json
from keyservice.domain.key_parts import telling_text
from keyservice.domain.revocation import FEED_PAGE_PURPOSE, RevocationKind
from keyservice.fulfillment.acknowledge_revocations import (
    ACKNOWLEDGED_AT_ONCE,
    Acknowledged,
    acknowledge_entries,
    acknowledge_revocation,
    acknowledge_up_to,
)
from keyservice.fulfillment.read_revocations import FeedEntry, FeedPage, read_revocations
from keyservice.fulfillment.sign_document import sign_document
from keyservice.services import SERVICES

_NUMBER: Final = re.compile(r"[1-9]\d{0,17}", re.ASCII)

EntryNumber = Annotated[int, Field(ge=1, le=NUMBER_MAX)]


class FeedQuery(NumberedPage):
    """A page of the feed: what comes behind the number `after`."""

    unacknowledged: Switch = Field(
        False, description="Only what is not acknowledged yet. Such pages are signed and do not chain to each other."
    )
    reveal: Switch = Field(
        False, description="With the keys' texts, for the publisher itself; the service writes down who got them."
    )


class FeedEntryDocument(AnswerModel):
    """A key that is dead though somebody has seen it."""

    sequence: int
    """Its number in this publisher's feed: 1, 2, 3 … without a gap, in the order in which they became known."""

    revocation_id: UUID
    kind: RevocationKind
    reason: str
    happened_at: Instant
    batch_id: UUID | None
    """The batch and the row that the key came in."""

    row_number: int | None
    publisher_key_id: str | None
    """The publisher's own id of the key, where the file had one."""

    key_ends_with: str | None
    """Its last characters; null when the stored key is damaged."""

    chain_hash: HexHash
    """SHA-256 over the hash of the entry before and this entry."""

    acknowledged_at: Instant | None
    key: Annotated[KeyDocument | None, WHERE_THERE_IS_ONE] = None
    """The key itself, when it was asked for."""


class UnsignedFeedPage(AnswerModel):
    """What of a page is signed."""

    feed: Literal["revocations"] = "revocations"
    format: Literal[1] = 1
    publisher: str
    behind: int
    """The number behind which this page begins."""

    is_unacknowledged_only: bool
    previous_hash: HexHash | None
    """The chain's hash at `behind`; null on a page of what is not acknowledged."""

    entries: list[FeedEntryDocument]
    last_sequence: int
    """Where to go on when the feed has grown."""

    last_hash: HexHash | None
    made_at: Instant
    after: Annotated[int | None, NEXT_PAGE]


class FeedPageDocument(UnsignedFeedPage):
    """A page of the feed. Saved as it came, it can be verified offline, and that no page is missing between two."""

    signature: SignatureDocument


class Acknowledgement(StrictModel):
    """Which entries were seen: these, or all up to a number."""

    sequences: Annotated[list[EntryNumber] | None, Field(min_length=1, max_length=ACKNOWLEDGED_AT_ONCE)] = None
    up_to: EntryNumber | None = None

    @model_validator(mode="after")
    def _says_which(self) -> "Acknowledgement":
        if (self.sequences is None) is (self.up_to is None):
            raise ValueError("give sequences or up_to, one of the two")
        return self


class AcknowledgedDocument(AnswerModel):
    """How many of the named entries are acknowledged now: all of them."""

    entries: int
    new: int
    """How many of them were not acknowledged before."""


_READ: Final = Operation(
    operation_id="read_revocations",
    summary="Read which keys are dead",
    description="Whoever goes by the numbers misses nothing, however late something was stored. Each page is signed.",
    query=FeedQuery,
    answers={200: FeedPageDocument},
    refusals={403: "Only the publisher itself gets the keys' texts.", 422: "`after` lies behind the feed's end."},
)
_ACKNOWLEDGE_ONE: Final = Operation(
    operation_id="acknowledge_revocation",
    summary="Say that an entry was seen",
    description="The entry is named by its number or by its `revocation_id`. Saying it again changes nothing.",
    query=OfPublisher,
    answers={200: AcknowledgedDocument},
)
_ACKNOWLEDGE: Final = Operation(
    operation_id="acknowledge_revocations",
    summary="Say that entries were seen",
    description="All of the named ones or none. Saying it again changes nothing.",
    body=Acknowledgement,
    query=OfPublisher,
    answers={200: AcknowledgedDocument},
    refusals={404: "The feed does not have one of these numbers.", 422: "`up_to` lies behind the feed's end."},
)


def routes() -> list[web.RouteDef]:
    return [
        route("GET", "/revocations", Scope.REVOCATIONS_READ, show_page, _READ),
        route("POST", "/revocations/acknowledge", Scope.REVOCATIONS_ACKNOWLEDGE, acknowledge_some, _ACKNOWLEDGE),
        route(
            "POST",
            "/revocations/{revocation}/acknowledge",
            Scope.REVOCATIONS_ACKNOWLEDGE,
            acknowledge_one,
            _ACKNOWLEDGE_ONE,
        ),
    ]


async def show_page(request: web.Request, caller: Caller) -> web.Response:
    """A page of the feed, in the order of its numbers."""
    services = request.config_dict[SERVICES]
    asked = read_parameters(request, FeedQuery)
    publisher_id = await publisher_of(request, caller)
    page = await read_revocations(
        services.database,
        services.opener,
        publisher_id,
        caller,
        behind=asked.after,
        limit=asked.limit,
        is_unacknowledged_only=asked.unacknowledged,
        reveal=asked.reveal,
    )
    unsigned = _page_document(page, is_chained=not asked.unacknowledged, reveal=asked.reveal)
    content = canonical_json(unsigned.model_dump(mode="json"))
    signature = await sign_document(services.statement_keys, FEED_PAGE_PURPOSE, content)
    return json_answer(FeedPageDocument(**dict(unsigned), signature=signature_document(signature)))


async def acknowledge_some(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    asked = await read_model(request, Acknowledgement)
    if asked.up_to is not None:
        return _acknowledged(
            await acknowledge_up_to(services.database, publisher_id, asked.up_to, caller_id=caller.caller_id)
        )
    sequences = sorted(set(asked.sequences or ()))
    return _acknowledged(
        await acknowledge_entries(services.database, publisher_id, sequences, caller_id=caller.caller_id)
    )


async def acknowledge_one(request: web.Request, caller: Caller) -> web.Response:
    """By the entry's number, or by the id that the event names too."""
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    named = request.match_info["revocation"]
    if _NUMBER.fullmatch(named):
        return _acknowledged(
            await acknowledge_entries(services.database, publisher_id, [int(named)], caller_id=caller.caller_id)
        )
    revocation_id = path_id(request, "revocation", thing="entry")
    return _acknowledged(
        await acknowledge_revocation(services.database, publisher_id, revocation_id, caller_id=caller.caller_id)
    )


def _acknowledged(acknowledged: Acknowledged) -> web.Response:
    return json_answer(AcknowledgedDocument.model_validate(acknowledged))


def _page_document(page: FeedPage, *, is_chained: bool, reveal: bool) -> UnsignedFeedPage:
    return UnsignedFeedPage(
        publisher=page.publisher,
        behind=page.behind,
        is_unacknowledged_only=not is_chained,
        previous_hash=page.previous_hash.hex() if is_chained else None,
        entries=[_entry_document(entry, reveal=reveal) for entry in page.entries],
        last_sequence=page.last_sequence,
        last_hash=page.last_hash.hex() if is_chained else None,
        made_at=page.made_at,
        after=None if page.is_last else page.last_sequence,
    )


def _entry_document(entry: FeedEntry, *, reveal: bool) -> FeedEntryDocument:
    sequence, revocation, chain_hash = entry.numbered
    key = entry.key
    return FeedEntryDocument(
        sequence=sequence,
        revocation_id=revocation.revocation_id,
        kind=revocation.kind,
        reason=revocation.reason,
        happened_at=revocation.happened_at,
        batch_id=revocation.batch_id,
        row_number=revocation.row_number,
        publisher_key_id=revocation.publisher_key_id,
        key_ends_with=None if key is None else telling_text(key.text, key.mime).tail,
        chain_hash=chain_hash.hex(),
        acknowledged_at=entry.acknowledged_at,
        key=key_document(key.text, key.mime, key.name) if reveal and key is not None else None,
    )
