"""Batches and their imports: what became of each row, and what the publisher says over the rest."""

import csv
import io
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Annotated, Final
from uuid import UUID

from aiohttp import web
from pydantic import Field

from keyservice.api.access import GuardedHandler, publisher_of, route
from keyservice.api.answering import NEXT_PAGE, AnswerModel, json_answer
from keyservice.api.asking import StrictModel, path_id, read_model
from keyservice.api.operation import Answer, Content, Operation
from keyservice.api.parameters import OfPublisher, Page, read_parameters
from keyservice.api.publisher import uploads, withdrawals
from keyservice.api.publisher.documents import (
    BatchDocument,
    ImportDocument,
    UploadReport,
    batch_document,
    behind,
    import_document,
    report_document,
)
from keyservice.domain.batch import PRIORITY_MAX, RefusedRow
from keyservice.domain.caller import Caller, Scope
from keyservice.fulfillment.discard_upload import discard_upload
from keyservice.fulfillment.manage_batches import (
    BatchView,
    hold_batch,
    release_batch,
    set_priority,
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


class ChangedBatch(StrictModel):
    """The body that changes a batch."""

    priority: Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX)]
    """In a pool of that policy, batches with a higher one are sold first; where it is equal, those that came first."""


class BatchPage(AnswerModel):
    """A page of a pool's batches, newest first."""

    batches: list[BatchDocument]
    after: Annotated[UUID | None, NEXT_PAGE]


def _change(operation_id: str, summary: str, description: str) -> Operation:
    return Operation(
        operation_id=operation_id,
        summary=summary,
        description=f"{description} What is so already stays so.",
        query=OfPublisher,
        answers={200: BatchDocument},
        refusals={409: "The batch is in a state that does not allow this, or its upload is not finished."},
    )


_LIST: Final = Operation(
    operation_id="list_batches", summary="List the batches of a pool", query=Page, answers={200: BatchPage}
)
_READ: Final = Operation(
    operation_id="read_batch", summary="Read a batch", query=OfPublisher, answers={200: BatchDocument}
)
_RELEASE: Final = _change("release_batch", "Put a held batch on sale", "Its keys are sold from now on.")
_HOLD: Final = _change("hold_batch", "Take a batch off sale", "What is unsold waits until it is released.")
_WITHDRAW: Final = _change("withdraw_batch", "Withdraw a batch", "What is unsold is never sold.")
_CHANGE: Final = Operation(
    operation_id="change_batch",
    summary="Give a batch its priority",
    body=ChangedBatch,
    query=OfPublisher,
    answers={200: BatchDocument},
    refusals={409: "The batch is withdrawn, refused or discarded, or was only a dry run."},
)
_READ_IMPORT: Final = Operation(
    operation_id="read_import", summary="See how far an upload is", query=OfPublisher, answers={200: ImportDocument}
)
_REFUSED_ROWS: Final = Operation(
    operation_id="read_refused_rows",
    summary="Read which rows of a file did not become keys",
    description="Row, verdict, reason, the earlier row with the same key, and the publisher's own id. Never a key's text.",
    query=OfPublisher,
    answers={200: Answer(Content(("text/csv",), "The rows, in their order.", is_binary=False))},
)
_DISCARD: Final = Operation(
    operation_id="discard_import",
    summary="Give an unfinished upload up",
    description="What was stored of it is deleted. An upload that is discarded already stays so.",
    query=OfPublisher,
    answers={200: UploadReport},
    refusals={409: "The upload is finished; withdraw the batch instead."},
)


def routes() -> list[web.RouteDef]:
    return [
        *uploads.routes(),
        *withdrawals.routes(),
        route("GET", "/pools/{pool_id}/batches", Scope.POOLS_READ, show_all, _LIST),
        route("GET", "/batches/{batch_id}", Scope.POOLS_READ, show_one, _READ),
        route("PATCH", "/batches/{batch_id}", Scope.BATCHES_WRITE, change_one, _CHANGE),
        route("POST", "/batches/{batch_id}/release", Scope.BATCHES_WRITE, _changing(release_batch), _RELEASE),
        route("POST", "/batches/{batch_id}/hold", Scope.BATCHES_WRITE, _changing(hold_batch), _HOLD),
        route("POST", "/batches/{batch_id}/withdraw", Scope.BATCHES_WRITE, _changing(withdraw_batch), _WITHDRAW),
        route("GET", "/imports/{batch_id}", Scope.POOLS_READ, show_import, _READ_IMPORT),
        route("GET", "/imports/{batch_id}/refused-rows", Scope.POOLS_READ, show_refused_rows, _REFUSED_ROWS),
        route("DELETE", "/imports/{batch_id}", Scope.BATCHES_WRITE, discard_import, _DISCARD),
    ]


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    """A page of a pool's batches, newest first."""
    services = request.config_dict[SERVICES]
    asked = read_parameters(request, Page)
    publisher_id = await publisher_of(request, caller)
    pool_id = path_id(request, "pool_id", thing="pool")
    views = await view_batches(services.database, publisher_id, pool_id, after=asked.after, limit=asked.limit)
    documents = [batch_document(view) for view in views]
    after = behind([document.batch_id for document in documents], asked.limit)
    return json_answer(BatchPage(batches=documents, after=after))


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    database, publisher_id, batch_id = await _asked(request, caller)
    return json_answer(batch_document(await view_batch(database, publisher_id, batch_id)))


async def change_one(request: web.Request, caller: Caller) -> web.Response:
    database, publisher_id, batch_id = await _asked(request, caller)
    asked = await read_model(request, ChangedBatch)
    view = await set_priority(database, publisher_id, batch_id, asked.priority, caller_id=caller.caller_id)
    return json_answer(batch_document(view))


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
    return json_answer(import_document(view.batch.progress))


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
    read_parameters(request, OfPublisher)
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
