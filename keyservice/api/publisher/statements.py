"""Signed statements of a batch or a month as files, and the public keys that verify them offline."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import BinaryIO, Final, Literal

from aiohttp import web

from keyservice.api.access import GuardedHandler, publisher_of, route
from keyservice.api.answering import AnswerModel, json_answer
from keyservice.api.asking import path_id
from keyservice.api.operation import Answer, Content, Operation
from keyservice.api.parameters import OfPublisher, read_parameters
from keyservice.crypto.signing import ALGORITHM, written
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.errors import Overloaded
from keyservice.domain.statement import Month
from keyservice.fulfillment.make_statement import state_batch, state_month
from keyservice.services import SERVICES, Services

JSON_LINES: Final = "application/jsonl"
_PIECE_BYTES: Final = 262_144

Make = Callable[[web.Request, Services, int, BinaryIO], Awaitable[str]]
"""Writes a statement into the file; the name that it is to have."""


class StatementKeyDocument(AnswerModel):
    """A public key. Put it aside before anything is in dispute."""

    key_id: str
    algorithm: Literal["Ed25519"] = ALGORITHM
    public_key: str
    """32 bytes in base64."""

    signs_from: datetime
    signs_until: datetime
    """Then the next one signs; what this one signed stays valid."""


class StatementKeysDocument(AnswerModel):
    """The keys that sign statements and pages of the feed, the newest first."""

    keys: list[StatementKeyDocument]


def _statement(operation_id: str, summary: str, description: str, refusals: dict[int, str]) -> Operation:
    lines = Content((JSON_LINES,), "One JSON object a line; the last one is the signature.", is_binary=False)
    return Operation(
        operation_id=operation_id,
        summary=summary,
        description=f"{description} Never a key's text. `keyservice statements verify` checks the file offline.",
        query=OfPublisher,
        answers={200: Answer(lines, headers={"Content-Disposition": "A name for the file."})},
        refusals={**refusals, 503: "The service makes as many statements as it may at once."},
    )


_OF_BATCH: Final = _statement(
    "read_batch_statement",
    "Get a signed statement of a batch",
    "The hash of its file, what became of its rows, and of each key where it stands and since when.",
    {409: "The upload is not finished."},
)
_OF_MONTH: Final = _statement(
    "read_month_statement",
    "Get a signed statement of a month",
    "The batches that came in it, and each key that was taken, seen or ended in it. Months are those of UTC.",
    {},
)
_KEYS: Final = Operation(
    operation_id="list_statement_keys",
    summary="Get the public keys that verify statements and pages of the feed",
    query=OfPublisher,
    answers={200: StatementKeysDocument},
)


class StatementPlaces:
    """How many statements this process makes and sends at once."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()

    @contextmanager
    def one(self, publisher_id: int, *, at_most: int) -> Iterator[None]:
        """Raises Overloaded when all are taken, or one by this publisher: nobody keeps the others out."""
        if self._taken.total() >= at_most or self._taken[publisher_id]:
            raise Overloaded("as many statements are being made as may be; ask again when one is done")
        self._taken[publisher_id] += 1
        try:
            yield
        finally:
            del self._taken[publisher_id]


def routes() -> list[web.RouteDef]:
    places = StatementPlaces()
    return [
        route("GET", "/statements/batches/{batch_id}", Scope.STATEMENTS_READ, _sending(places, _of_batch), _OF_BATCH),
        route("GET", "/statements/months/{month}", Scope.STATEMENTS_READ, _sending(places, _of_month), _OF_MONTH),
        route("GET", "/statement-keys", Scope.STATEMENTS_READ, show_keys, _KEYS),
    ]


async def show_keys(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    await publisher_of(request, caller)
    keys = [
        StatementKeyDocument(
            key_id=key.key_id,
            public_key=written(key.public.public_bytes_raw()),
            signs_from=key.signs_from,
            signs_until=key.signs_until,
        )
        for key in await services.statement_keys.published()
    ]
    return json_answer(StatementKeysDocument(keys=keys))


async def _of_batch(request: web.Request, services: Services, publisher_id: int, into: BinaryIO) -> str:
    batch_id = path_id(request, "batch_id", thing="batch")
    await state_batch(services.database, services.statement_keys, publisher_id, batch_id, into)
    return f"statement-batch-{batch_id}.jsonl"


async def _of_month(request: web.Request, services: Services, publisher_id: int, into: BinaryIO) -> str:
    month = Month.named(request.match_info["month"])
    await state_month(services.database, services.statement_keys, publisher_id, month, into)
    return f"statement-month-{month.name}.jsonl"


def _sending(places: StatementPlaces, make: Make) -> GuardedHandler:
    async def send(request: web.Request, caller: Caller) -> web.StreamResponse:
        """Made in full before the first byte leaves: a statement that cannot be finished is refused, not cut off."""
        services = request.config_dict[SERVICES]
        settings = services.settings
        read_parameters(request, OfPublisher)
        publisher_id = await publisher_of(request, caller)
        with places.one(publisher_id, at_most=settings.statements_at_once), tempfile.TemporaryFile() as file:
            name = await make(request, services, publisher_id, file)
            return await _send(request, file, name, seconds=settings.body_seconds)

    return send


async def _send(request: web.Request, file: BinaryIO, name: str, *, seconds: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="{name}"'})
    response.content_type = JSON_LINES
    response.content_length = file.tell()
    file.seek(0)
    await response.prepare(request)
    try:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            async with asyncio.timeout(seconds):  # for each piece: whoever stops reading gives the place back
                await response.write(piece)
        await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    return response
