"""Uploading a key file: the file itself is the body, everything else is in the query and the headers."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from typing import Final

from aiohttp import hdrs, web

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import json_answer
from keyservice.api.asking import path_id
from keyservice.api.operation import Answer, Content, Operation
from keyservice.api.parameters import read_headers, read_parameters
from keyservice.api.publisher.documents import PREFIX, UploadReport, report_document
from keyservice.api.publisher.upload_parameters import UploadHeaders, UploadQuery
from keyservice.api.reading import PAYLOAD_ERRORS, BodyRefused
from keyservice.domain.batch import BatchReport, BatchState, Refusal, UploadRefused
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.errors import Overloaded
from keyservice.domain.key_file import KeyFileLimits, KeyFileRefused, guess_format
from keyservice.domain.key_format import GZIP_MEDIA_TYPES, MEDIA_TYPES, FileKind
from keyservice.fulfillment.receive_batch import Upload, UploadLimits, receive_batch
from keyservice.services import SERVICES, Services

_GZIP_CODINGS: Final = ("gzip", "x-gzip")  # RFC 9110, section 8.4.1.3: they are the same
_PIECE_BYTES_MIN: Final = 65_536
# A piece may take this many idle times, so that a byte now and then does not hold a place for ever.
_IDLES_PER_PIECE: Final = 4

_UPLOAD: Final = Operation(
    operation_id="upload_key_file",
    summary="Upload a key file into a pool",
    description=(
        "The body is the file itself; whatever else there is to say is in the query and the headers. The answer comes when"
        " every row has its verdict, and the keys are for sale then. An upload that broke off goes on where it stopped when"
        " the same file is sent under the same `Idempotency-Key`; a finished one is answered with its report."
    ),
    body=Content(
        (*MEDIA_TYPES, *GZIP_MEDIA_TYPES, "application/octet-stream"),
        "A table (CSV, TSV, or a sheet of an XLSX workbook), JSON Lines with an object for each key, text with one key a"
        " line, or a ZIP archive in which each file is a key. Text is UTF-8, and may be packed with gzip: by"
        " `Content-Encoding: gzip`, or as a file whose name ends in .gz.",
        example="R4T7K-2MNP9-XW3QH-6VJBD-C8GFY\nR4T7K-9HXC2-LL4WD-TQ7ME-4ZRUA\n",
    ),
    query=UploadQuery,
    headers=UploadHeaders,
    answers={
        201: Answer(UploadReport, "A new batch, with a verdict on each row.", {"Location": "Where the new batch is."}),
        200: Answer(UploadReport, "Nothing new: a dry run, a repeated upload, or a file without one new key."),
    },
    refusals={
        409: "The pool is closed, or the id was used for something else; `reason` says for what.",
        422: "The file is refused as a whole and nothing of it is stored; `reason` and `line` say why.",
    },
)


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


# All doors through which key files come into this process share its places.
UPLOAD_PLACES: Final = web.AppKey("UPLOAD_PLACES", UploadPlaces)


def routes() -> list[web.RouteDef]:
    return [route("POST", "/pools/{pool_id}/batches", Scope.BATCHES_WRITE, receive, _UPLOAD)]


async def receive(request: web.Request, caller: Caller) -> web.Response:
    """The report: 201 for a new batch, 200 for a repeated upload, a dry run, and a file without one new key."""
    services = request.config_dict[SERVICES]
    publisher_id = await publisher_of(request, caller)
    upload = _announced(request, services, caller, publisher_id)
    with place_for(request, publisher_id):
        idle_seconds = services.settings.upload_idle_seconds
        async with aclosing(body_pieces(request, idle_seconds=idle_seconds)) as pieces:
            return await stored(services, upload, pieces)


def place_for(request: web.Request, publisher_id: int) -> AbstractContextManager[None]:
    """One of this process's places for uploads, until it is left. Raises Overloaded when entered and there is none."""
    at_most = request.config_dict[SERVICES].settings.uploads_at_once
    return request.config_dict[UPLOAD_PLACES].one(publisher_id, at_most=at_most)


async def stored(services: Services, upload: Upload, pieces: AsyncIterable[bytes]) -> web.Response:
    """Receive the file and answer with its report."""
    received = await receive_batch(
        services.database,
        services.wrapper,
        services.fingerprints,
        upload,
        pieces,
        limits=_limits(services),
        unpacker=services.unpacker,
    )
    return _answer(received.report, is_replay=received.is_replay)


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
    query, headers = read_parameters(request, UploadQuery), read_headers(request, UploadHeaders)
    if hdrs.CONTENT_RANGE in request.headers:
        # RFC 9110, section 14.5: a part of a file must not be taken for the whole of it.
        raise BodyRefused("send the whole file; what was stored of it before is passed over", status=400, closes=True)
    declared_bytes = request.content_length
    kind = _kind(request, query)
    settings = services.settings
    bytes_max = settings.upload_packed_bytes_max if kind.file_format.is_container else settings.upload_bytes_max
    if declared_bytes is not None and declared_bytes > bytes_max:
        raise BodyRefused(f"the file is larger than {bytes_max} bytes; split it", status=413, closes=True)
    return Upload(
        publisher_id=publisher_id,
        pool_id=path_id(request, "pool_id", thing="pool"),
        caller_id=caller.caller_id,
        batch_id=headers.idempotency_key,
        file_format=kind.file_format,
        is_gzip=kind.is_gzip,
        mapping=query.mapping,
        expires_on=query.expires_on,
        file_name=query.file_name,
        is_held=query.hold,
        is_dry_run=query.dry_run,
        priority=query.priority,
        declared_sha256=headers.repr_digest,
        declared_bytes=declared_bytes,
    )


def _kind(request: web.Request, query: UploadQuery) -> FileKind:
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding not in ("", "identity", *_GZIP_CODINGS):
        raise BodyRefused("send the file as it is, or with Content-Encoding: gzip", status=415, closes=True)
    content_type = request.headers.get(hdrs.CONTENT_TYPE)
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type.startswith("multipart/") or media_type == "application/json":
        raise BodyRefused(
            "send the file itself as the body, and its own type; JSON is read as application/jsonl",
            status=415,
            closes=True,
        )
    is_gzip = encoding in _GZIP_CODINGS
    try:
        return guess_format(query.file_name or "", content_type, named=query.format, is_gzip=is_gzip)
    except KeyFileRefused as error:
        raise UploadRefused(Refusal(error.reason, str(error)), batch_id=None) from error


def _limits(services: Services) -> UploadLimits:
    settings = services.settings
    file = KeyFileLimits(
        bytes_max=settings.upload_bytes_max,
        rows_max=settings.upload_rows_max,
        expiry_dates_max=settings.expiry_dates_max,
        packed_bytes_max=settings.upload_packed_bytes_max,
        entries_max=settings.upload_entries_max,
        entry_bytes_max=settings.upload_entry_bytes_max,
    )
    return UploadLimits(file=file, chunk_rows=settings.upload_chunk_rows)


def _answer(report: BatchReport, *, is_replay: bool) -> web.Response:
    is_new = not is_replay and report.state in (BatchState.RELEASED, BatchState.HELD)
    location = f"{PREFIX}/batches/{report.batch_id}"
    return json_answer(report_document(report), status=201 if is_new else 200, location=location if is_new else None)
