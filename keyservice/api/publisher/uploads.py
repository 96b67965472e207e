"""Uploading a key file: the file itself is the body, everything else is in the query and the headers."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Final

from aiohttp import hdrs, web

from keyservice.api.access import GuardedHandler, publisher_of, route
from keyservice.api.asking import (
    date_in,
    declared_sha256,
    idempotency_key,
    path_id,
    read_query,
    switch_in,
)
from keyservice.api.publisher.documents import PREFIX, json_answer, report_document
from keyservice.api.reading import PAYLOAD_ERRORS, BodyRefused
from keyservice.domain.batch import BatchReport, BatchState, Refusal, UploadRefused
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.errors import Invalid, Overloaded
from keyservice.domain.key_file import ColumnMapping, KeyFileFormat, KeyFileLimits, KeyFileRefused, guess_format
from keyservice.fulfillment.receive_batch import Upload, UploadLimits, receive_batch
from keyservice.services import SERVICES, Services

_QUERY: Final = (
    *("format", "file_name", "key_column", "expires_column", "id_column", "notes_column", "header", "delimiter"),
    *("expires_on", "hold", "dry_run"),
)
_FILE_NAME_CHARACTERS_MAX: Final = 255
_COLUMN_CHARACTERS_MAX: Final = 200
_PIECE_BYTES_MIN: Final = 65_536
# A piece may take this many idle times, so that a byte now and then does not hold a place for ever.
_IDLES_PER_PIECE: Final = 4
_HEADER: Final = {None: None, "present": True, "absent": False}


class UploadPlaces:
    """How many uploads this process receives at once."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()

    @contextmanager
    def one(self, publisher_id: int, *, at_most: int) -> Iterator[None]:
        """Raises Overloaded when all are taken, or half of them by this publisher: nobody keeps the others out."""
        own_at_most = max(1, at_most // 2)
        if self._taken.total() >= at_most or self._taken[publisher_id] >= own_at_most:
            raise Overloaded("this process receives as many uploads as it may; try again when one is done")
        self._taken[publisher_id] += 1
        try:
            yield
        finally:
            self._taken[publisher_id] -= 1
            self._taken += Counter()  # drops who has none


def routes() -> list[web.RouteDef]:
    return [route("POST", "/pools/{pool_id}/batches", Scope.BATCHES_WRITE, _receiver(UploadPlaces()))]


def _receiver(places: UploadPlaces) -> GuardedHandler:
    async def receive(request: web.Request, caller: Caller) -> web.Response:
        """The report: 201 for a new batch, 200 for a repeated upload, a dry run, and a file without one new key."""
        services = request.config_dict[SERVICES]
        publisher_id = await publisher_of(request, caller)
        upload = _announced(request, services, caller, publisher_id)
        with places.one(publisher_id, at_most=services.settings.uploads_at_once):
            idle_seconds = services.settings.upload_idle_seconds
            async with aclosing(body_pieces(request, idle_seconds=idle_seconds)) as pieces:
                received = await receive_batch(
                    services.database,
                    services.wrapper,
                    services.fingerprints,
                    upload,
                    pieces,
                    limits=_limits(services),
                )
        return _answer(received.report, is_replay=received.is_replay)

    return receive


async def body_pieces(request: web.Request, *, idle_seconds: float) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises BodyRefused when it stops coming, trickles or breaks off: what is cut is never the end."""
    loop = asyncio.get_running_loop()
    gathered = bytearray()
    piece_deadline = loop.time() + _IDLES_PER_PIECE * idle_seconds
    while True:
        piece = await _next_piece(request, min(idle_seconds, piece_deadline - loop.time()))
        gathered += piece
        if piece and len(gathered) < _PIECE_BYTES_MIN:
            continue
        if gathered:
            yield bytes(gathered)
        if not piece:
            return
        gathered.clear()
        piece_deadline = loop.time() + _IDLES_PER_PIECE * idle_seconds


async def _next_piece(request: web.Request, seconds_max: float) -> bytes:
    try:
        async with asyncio.timeout(seconds_max):
            return await request.content.readany()
    except TimeoutError:
        raise BodyRefused(
            "the file stopped coming; send it again under the same Idempotency-Key, it goes on where it stopped",
            status=408,
            closes=True,
        ) from None
    except (OSError, *PAYLOAD_ERRORS):
        raise _broken_off() from None
    except RuntimeError:
        if request.protocol.connected:
            raise
        raise _broken_off() from None


def _broken_off() -> BodyRefused:
    return BodyRefused(
        "the file broke off; send it again under the same Idempotency-Key, it goes on where it stopped", closes=True
    )


def _announced(request: web.Request, services: Services, caller: Caller, publisher_id: int) -> Upload:
    query = read_query(request, _QUERY)
    if hdrs.CONTENT_RANGE in request.headers:
        # RFC 9110, section 14.5: a part of a file must not be taken for the whole of it.
        raise BodyRefused("send the whole file; what was stored of it before is passed over", status=400, closes=True)
    declared_bytes = request.content_length
    if declared_bytes is not None and declared_bytes > services.settings.upload_bytes_max:
        raise BodyRefused(
            f"the file is larger than {services.settings.upload_bytes_max} bytes; split it", status=413, closes=True
        )
    return Upload(
        publisher_id=publisher_id,
        pool_id=path_id(request, "pool_id", thing="pool"),
        caller_id=caller.caller_id,
        batch_id=idempotency_key(request),
        file_format=_format(request, query),
        mapping=_mapping(query),
        expires_on=date_in(query, "expires_on"),
        file_name=_file_name(query),
        is_held=switch_in(query, "hold"),
        is_dry_run=switch_in(query, "dry_run"),
        declared_sha256=declared_sha256(request),
        declared_bytes=declared_bytes,
    )


def _format(request: web.Request, query: Mapping[str, str]) -> KeyFileFormat:
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise BodyRefused("send the file without a content encoding", status=415, closes=True)
    content_type = request.headers.get(hdrs.CONTENT_TYPE)
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type.startswith("multipart/") or media_type == "application/json":
        raise BodyRefused(
            "send the file itself as the body, as text/csv, text/tab-separated-values or text/plain",
            status=415,
            closes=True,
        )
    named = query.get("format")
    if named is not None and named not in tuple(KeyFileFormat):
        raise Invalid(f"must be one of {', '.join(KeyFileFormat)}", field="format")
    try:
        return guess_format(query.get("file_name", "") if named is None else f"file.{named}", content_type)
    except KeyFileRefused as error:
        raise UploadRefused(Refusal(error.reason, str(error)), batch_id=None) from error


def _mapping(query: Mapping[str, str]) -> ColumnMapping:
    header = query.get("header")
    if header not in _HEADER:
        raise Invalid("must be present or absent", field="header")
    delimiter = query.get("delimiter")
    return ColumnMapping(
        key=_column(query, "key_column"),
        expires_on=_column(query, "expires_column"),
        publisher_key_id=_column(query, "id_column"),
        notes=_column(query, "notes_column"),
        has_header=_HEADER[header],
        delimiter="\t" if delimiter == "tab" else delimiter,
    )


def _column(query: Mapping[str, str], name: str) -> str | int | None:
    """A number counts columns from 1; anything else is a name in the header."""
    text = query.get(name)
    if text is None:
        return None
    if len(text) > _COLUMN_CHARACTERS_MAX or not text.isprintable():
        raise Invalid("must be the name or the number of a column", field=name)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else text


def _file_name(query: Mapping[str, str]) -> str | None:
    """What a person called the file: shown, never opened."""
    name = query.get("file_name")
    if name is not None and (not name or len(name) > _FILE_NAME_CHARACTERS_MAX or not name.isprintable()):
        raise Invalid(f"must have 1 to {_FILE_NAME_CHARACTERS_MAX} printable characters", field="file_name")
    return name


def _limits(services: Services) -> UploadLimits:
    settings = services.settings
    file = KeyFileLimits(
        bytes_max=settings.upload_bytes_max,
        rows_max=settings.upload_rows_max,
        expiry_dates_max=settings.expiry_dates_max,
    )
    return UploadLimits(file=file, chunk_rows=settings.upload_chunk_rows)


def _answer(report: BatchReport, *, is_replay: bool) -> web.Response:
    is_new = not is_replay and report.state in (BatchState.RELEASED, BatchState.HELD)
    location = f"{PREFIX}/batches/{report.batch_id}"
    return json_answer(report_document(report), status=201 if is_new else 200, location=location if is_new else None)
