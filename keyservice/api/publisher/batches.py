"""Batches and their imports: what became of each row, and what the publisher says over the rest."""

import csv
import io
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final
from uuid import UUID

from aiohttp import web

from keyservice.api.access import GuardedHandler, publisher_of, route
from keyservice.api.asking import page_size, path_id, read_query, uuid_in
from keyservice.api.publisher import uploads
from keyservice.api.publisher.documents import (
    batch_document,
    json_answer,
    page,
    progress_document,
    report_document,
)
from keyservice.domain.batch import RefusedRow
from keyservice.domain.caller import Caller, Scope
from keyservice.fulfillment.discard_upload import discard_upload
from keyservice.fulfillment.manage_batches import (
    BatchView,
    hold_batch,
    release_batch,
    view_batch,
    view_batches,
    withdraw_batch,
)
from keyservice.fulfillment.read_batches import refused_rows
from keyservice.postgres.connection import Database
from keyservice.services import SERVICES

_COLUMNS: Final = ("row", "verdict", "reason", "earlier_row", "publisher_key_id")
# What a spreadsheet takes for a formula, also behind spaces and line breaks, and in full width.
_FORMULA: Final = re.compile(r"(?:^|[\r\n])\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")

Change = Callable[..., Awaitable[BatchView]]


def routes() -> list[web.RouteDef]:
    return [
        *uploads.routes(),
        route("GET", "/pools/{pool_id}/batches", Scope.POOLS_READ, show_all),
        route("GET", "/batches/{batch_id}", Scope.POOLS_READ, show_one),
        route("POST", "/batches/{batch_id}/release", Scope.BATCHES_WRITE, _changing(release_batch)),
        route("POST", "/batches/{batch_id}/hold", Scope.BATCHES_WRITE, _changing(hold_batch)),
        route("POST", "/batches/{batch_id}/withdraw", Scope.BATCHES_WRITE, _changing(withdraw_batch)),
        route("GET", "/imports/{batch_id}", Scope.POOLS_READ, show_import),
        route("GET", "/imports/{batch_id}/refused-rows", Scope.POOLS_READ, show_refused_rows),
        route("DELETE", "/imports/{batch_id}", Scope.BATCHES_WRITE, discard_import),
    ]


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    """A page of a pool's batches, newest first."""
    services = request.config_dict[SERVICES]
    query = read_query(request, ("after", "limit"))
    publisher_id = await publisher_of(request, caller)
    pool_id = path_id(request, "pool_id", thing="pool")
    after, limit = uuid_in(query, "after"), page_size(query)
    views = await view_batches(services.database, publisher_id, pool_id, after=after, limit=limit)
    return json_answer(page("batches", [batch_document(view) for view in views], key="batch_id", limit=limit))


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    database, publisher_id, batch_id = await _asked(request, caller)
    return json_answer(batch_document(await view_batch(database, publisher_id, batch_id)))


def _changing(change: Change) -> GuardedHandler:
    async def change_one(request: web.Request, caller: Caller) -> web.Response:
        database, publisher_id, batch_id = await _asked(request, caller)
        view = await change(database, publisher_id, batch_id, caller_id=caller.caller_id)
        return json_answer(batch_document(view))

    return change_one


async def show_import(request: web.Request, caller: Caller) -> web.Response:
    """How far an upload is, or what it came to."""
    database, publisher_id, batch_id = await _asked(request, caller)
    view = await view_batch(database, publisher_id, batch_id)
    return json_answer(progress_document(view.batch.progress))


async def show_refused_rows(request: web.Request, caller: Caller) -> web.StreamResponse:
    """CSV for a spreadsheet, streamed. A key's text is not in it."""
    database, publisher_id, batch_id = await _asked(request, caller)
    await view_batch(database, publisher_id, batch_id)
    response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="refused-{batch_id}.csv"'})
    response.content_type, response.charset = "text/csv", "utf-8"
    await response.prepare(request)
    await response.write(_csv([_COLUMNS]))
    async with aclosing(refused_rows(database, publisher_id, batch_id)) as pages:
        async for rows in pages:
            await response.write(_csv([_cells(row) for row in rows]))
    await response.write_eof()
    return response


async def discard_import(request: web.Request, caller: Caller) -> web.Response:
    """Give an unfinished upload up."""
    database, publisher_id, batch_id = await _asked(request, caller)
    report = await discard_upload(database, publisher_id, batch_id, caller_id=caller.caller_id)
    return json_answer(report_document(report))


async def _asked(request: web.Request, caller: Caller) -> tuple[Database, int, UUID]:
    read_query(request, ())
    publisher_id = await publisher_of(request, caller)
    return request.config_dict[SERVICES].database, publisher_id, path_id(request, "batch_id", thing="batch")


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cells(row: RefusedRow) -> tuple[object, ...]:
    return (row.row_number, row.verdict, row.reason, row.earlier_row, _inert(row.publisher_key_id))


def _inert(text: str | None) -> str | None:
    if text is None or _FORMULA.search(text) is None:
        return text
    return f"'{text}"
