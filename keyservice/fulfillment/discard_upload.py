"""Discarding an upload: first it is closed, in one short transaction, then its rows go, in steps that anyone may finish."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from keyservice.domain.batch import BatchReport, BatchState, Refusal
from keyservice.domain.errors import Conflict
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.read_batches import StoredBatch, lock_batch, read_batch, write_refusal
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

_STEP_ROWS: Final = 10_000
_CLOSED: Final = (BatchState.REFUSED, BatchState.DISCARDED)


async def discard_upload(
    database: Database,
    publisher_id: int,
    batch_id: UUID,
    *,
    caller_id: int | None,
    older_than: timedelta | None = None,
) -> BatchReport:
    """Give an unfinished upload up, with its rows; one that progressed within `older_than` is left alone.

    Raises NotFound, and Conflict for an upload that is finished.
    """

    async def work(connection: Connection) -> BatchReport:
        batch = await lock_batch(connection, publisher_id, batch_id)
        if batch.state is BatchState.DISCARDED or _is_fresh(batch, older_than):
            return batch.report
        if batch.state is not BatchState.RECEIVING:
            raise Conflict(
                f"this upload is finished and its batch is {batch.state}; only an unfinished one is discarded"
            )
        await close_batch(connection, publisher_id, batch, BatchState.DISCARDED, refusal=None, caller_id=caller_id)
        return (await read_batch(connection, publisher_id, batch_id)).report

    report = await short_transaction(database.of_publisher(publisher_id), work)
    if report.state is BatchState.DISCARDED:
        await purge_batch(database, publisher_id, batch_id)
    return report


async def close_batch(
    connection: Connection,
    publisher_id: int,
    batch: StoredBatch,
    state: BatchState,
    *,
    refusal: Refusal | None,
    caller_id: int | None,
) -> None:
    """From here on no chunk of the locked batch can be stored."""
    report = batch.report
    reason = None if refusal is None else write_refusal(refusal)
    await connection.execute(statement("batches.close_batch"), publisher_id, report.batch_id, state, reason, batch.now)
    if not report.is_dry_run:
        event = (report.pool_id, report.batch_id, caller_id, f"batch.{state}", reason or "{}", batch.now)
        await connection.execute(statement("tape.insert_publisher_event"), publisher_id, new_id(), *event)


async def purge_batch(database: Database, publisher_id: int, batch_id: UUID) -> None:
    """Delete what a closed batch or a finished dry run left behind. Harmless when repeated, or done twice at once."""
    async with database.of_publisher(publisher_id).reading() as connection:
        batch = await read_batch(connection, publisher_id, batch_id)
        segments = await connection.fetch(statement("batches.segments_of_batch"), publisher_id, batch_id)
    rows = batch.last_row_number
    if batch.report.is_dry_run and batch.state is not BatchState.RECEIVING:
        await _purge(database, "batches.purge_dry_run", (publisher_id, batch_id), _fingerprint_ranges(rows))
    if batch.state not in _CLOSED:
        return
    for segment_id, _, loaded in segments:
        await _purge(database, "batches.purge_keys", (publisher_id, segment_id), _row_ranges(loaded))
        await _purge(database, "batches.purge_segment", (publisher_id, segment_id), [()])
    if not batch.report.counts:
        await _purge(database, "batches.purge_refused_rows", (publisher_id, batch_id), _row_ranges(rows))


def _row_ranges(rows: int) -> list[tuple[int, int]]:
    return [(first, first + _STEP_ROWS - 1) for first in range(1, rows + 1, _STEP_ROWS)]


def _fingerprint_ranges(rows: int) -> list[tuple[bytes, bytes | None]]:
    """Fingerprints are spread evenly, so equal ranges of the first byte hold about the same number of rows."""
    count = min(rows // _STEP_ROWS + 1, 256)
    bounds = [bytes([256 * number // count]) for number in range(count)]
    return list(zip(bounds, [*bounds[1:], None], strict=True))


async def _purge(
    database: Database, name: str, owner: tuple[int, object], ranges: Sequence[tuple[object, ...]]
) -> None:
    for one in ranges:
        await short_transaction(database.of_publisher(owner[0]), _executing(name, *owner, *one))


def _executing(name: str, *values: object) -> Callable[[Connection], Awaitable[str]]:
    async def work(connection: Connection) -> str:
        return await connection.execute(statement(name), *values)

    return work


def _is_fresh(batch: StoredBatch, older_than: timedelta | None) -> bool:
    return older_than is not None and batch.now - batch.report.progressed_at < older_than
