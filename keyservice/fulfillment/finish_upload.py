"""The end of an upload: its keys go on sale, or on hold, or the file is refused as a whole."""

from collections import Counter
from datetime import datetime
from typing import Final

from pydantic_core import to_json

from keyservice.domain.batch import NOTHING_ACCEPTED, BatchReport, BatchState, Refusal, Verdict
from keyservice.domain.key_file import KeyFileRefused
from keyservice.domain.notice import NewNotice, NoticeOwner, NoticeSubject
from keyservice.fulfillment.begin_upload import Upload
from keyservice.fulfillment.discard_upload import close_batch, purge_batch
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.read_batches import lock_batch, read_batch, write_refusal
from keyservice.fulfillment.read_upload import Totals
from keyservice.fulfillment.record_notices import record_notices
from keyservice.fulfillment.settle_pool import lock_pool, settle_pool
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.store_chunks import UploadWriter, demand_mark
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

_NOTHING_ACCEPTED: Final = Refusal(
    NOTHING_ACCEPTED, "no row of this file became a key; the refused rows say why for each of them"
)


async def finish_upload(database: Database, upload: Upload, writer: UploadWriter, totals: Totals) -> BatchReport:
    """Put the batch where it belongs, in one transaction with its event and its pool's alarm."""
    counts = writer.stored.counts + Counter({Verdict.BLANK: totals.blank_rows, Verdict.HEADER: totals.header_rows})
    if counts.total() != totals.rows:
        raise AssertionError(f"{totals.rows} rows were read and {counts.total()} have a verdict")
    state = _state_of(upload, counts)
    attempts = 0

    async def work(connection: Connection) -> BatchReport:
        nonlocal attempts
        attempts += 1
        now = await lock_pool(connection, writer.publisher_id, writer.pool_id)
        batch = await lock_batch(connection, writer.publisher_id, writer.batch_id)
        if attempts > 1 and batch.state is state and batch.report.counts == counts:
            return batch.report
        demand_mark(batch, writer.stored.mark)
        await _write_end(connection, upload, writer, totals, counts, state, now)
        return (await read_batch(connection, writer.publisher_id, writer.batch_id)).report

    report = await short_transaction(database.of_publisher(writer.publisher_id), work)
    if upload.is_dry_run:
        await purge_batch(database, writer.publisher_id, writer.batch_id)
    return report


async def refuse_upload(database: Database, upload: Upload, writer: UploadWriter, error: KeyFileRefused) -> Refusal:
    """Discard what is stored of the file and keep the reason."""
    refusal = Refusal(error.reason, str(error), error.line, error.byte_offset)
    mark = writer.stored.mark

    async def work(connection: Connection) -> None:
        batch = await lock_batch(connection, writer.publisher_id, writer.batch_id)
        if batch.state is BatchState.REFUSED and batch.report.refusal == refusal:
            return
        demand_mark(batch, mark)
        await close_batch(
            connection, writer.publisher_id, batch, BatchState.REFUSED, refusal=refusal, caller_id=upload.caller_id
        )

    await short_transaction(database.of_publisher(writer.publisher_id), work)
    await purge_batch(database, writer.publisher_id, writer.batch_id)
    return refusal


def _state_of(upload: Upload, counts: Counter[Verdict]) -> BatchState:
    if upload.is_dry_run:
        return BatchState.CHECKED
    if counts[Verdict.ACCEPTED] == 0:
        return BatchState.REFUSED
    return BatchState.HELD if upload.is_held else BatchState.RELEASED


async def _write_end(
    connection: Connection,
    upload: Upload,
    writer: UploadWriter,
    totals: Totals,
    counts: Counter[Verdict],
    state: BatchState,
    now: datetime,
) -> None:
    place = (writer.publisher_id, writer.batch_id)
    if state is BatchState.RELEASED:
        await connection.execute(statement("batches.put_segments_on_sale"), *place)
    elif state is BatchState.HELD:
        await connection.execute(statement("batches.take_segments_off_sale"), *place, "held")
    refusal = write_refusal(_NOTHING_ACCEPTED) if state is BatchState.REFUSED else None
    verdicts = to_json(counts).decode()
    values = (totals.rows, totals.size, totals.sha256, verdicts, refusal, now)
    await connection.execute(statement("batches.finish_batch"), *place, state, *values)
    if not upload.is_dry_run:
        event = (writer.pool_id, writer.batch_id, upload.caller_id, f"batch.{state}", verdicts, now)
        await connection.execute(statement("tape.insert_publisher_event"), writer.publisher_id, new_id(), *event)
    if state in (BatchState.RELEASED, BatchState.HELD):
        await record_notices(connection, [_imported(writer, state, counts, now)])
    if state is BatchState.RELEASED:
        await settle_pool(connection, writer.publisher_id, writer.pool_id)


def _imported(writer: UploadWriter, state: BatchState, counts: Counter[Verdict], now: datetime) -> NewNotice:
    facts = {"batch": {"id": writer.batch_id, "poolId": writer.pool_id, "state": state, "rows": counts}}
    owner = NoticeOwner(publisher_id=writer.publisher_id)
    return NewNotice(owner, NoticeSubject.BATCH, "imported", str(writer.batch_id), now, facts)
