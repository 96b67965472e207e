"""Receiving a batch: bytes in, a verdict for every row out. What was interrupted goes on where it stopped."""

import hashlib
from collections.abc import AsyncIterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.crypto.sealing import DataKey
from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.batch import NOTHING_ACCEPTED, BatchReport, BatchState, UploadConflict, UploadRefused
from keyservice.domain.key import check_key_text
from keyservice.domain.key_columns import check_mapping
from keyservice.domain.key_file import KeyFileLimits, KeyFileReader, KeyFileRefused
from keyservice.domain.row_law import RowLaw
from keyservice.fulfillment.begin_upload import Upload, begin_upload, receiving_day
from keyservice.fulfillment.finish_upload import finish_upload, refuse_upload
from keyservice.fulfillment.read_batches import StoredBatch
from keyservice.fulfillment.read_container import ContainerReading
from keyservice.fulfillment.read_upload import Arrival, Checkpoint, Chunker, UploadReading, one_ahead
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.store_chunks import UploadWriter, read_ends
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement
from keyservice.unpacking.process import Unpacker

_PACKED_SHARE: Final = 8
_CHUNK_BYTES_MAX: Final = 4 * 1024 * 1024

__all__ = ["Received", "Upload", "UploadLimits", "receive_batch"]


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """How much a file may hold, and how many of its rows share a transaction."""

    file: KeyFileLimits = field(default_factory=KeyFileLimits)
    chunk_rows: int = 2_000


@dataclass(frozen=True, slots=True)
class Received:
    """The report, and whether this call brought the upload to its end or only repeated one that was."""

    report: BatchReport
    is_replay: bool


async def receive_batch(
    database: Database,
    wrapper: KeyWrapper,
    fingerprints: Fingerprints,
    upload: Upload,
    pieces: AsyncIterable[bytes],
    *,
    limits: UploadLimits,
    unpacker: Unpacker,
) -> Received:
    """Store the file's new keys as one batch, for sale at once or on hold; a dry run stores none.

    Raises UploadRefused (the whole file, nothing stays), UploadConflict, UploadIncomplete, NotFound, Conflict, Invalid.
    Whatever else ends it, what is stored waits for the same file under the same id.
    """
    today = await receiving_day(database, upload)
    law = RowLaw(limits=limits.file, default_expires_on=upload.expires_on, today=today, key_check=check_key_text)
    check_mapping(upload.mapping, upload.file_format)
    batch, data_key = await begin_upload(database, wrapper, upload)
    if batch.state is not BatchState.RECEIVING:
        return Received(await _replay(database, upload, batch, pieces), is_replay=True)
    writer = await _open_writer(database, fingerprints, upload, batch, data_key)
    reading = _reading(fingerprints, unpacker, upload, batch, law, limits)
    try:
        async with aclosing(one_ahead(reading.chunks(pieces))) as chunks:
            async for chunk in chunks:
                await writer.store(chunk)
    except KeyFileRefused as error:
        refusal = await refuse_upload(database, upload, writer, error)
        raise UploadRefused(refusal, batch_id=writer.batch_id) from error
    return Received(await finish_upload(database, upload, writer, reading.totals), is_replay=False)


def _reading(
    fingerprints: Fingerprints,
    unpacker: Unpacker,
    upload: Upload,
    batch: StoredBatch,
    law: RowLaw,
    limits: UploadLimits,
) -> UploadReading | ContainerReading:
    report = batch.report
    checkpoint = Checkpoint(report.bytes_done, report.sha256, batch.last_row_number)
    arrival = Arrival(report.batch_id, checkpoint, upload.declared_bytes, upload.declared_sha256)
    chunker = Chunker(
        fingerprints,
        publisher_id=upload.publisher_id,
        last_row_number=batch.last_row_number,
        rows_max=limits.chunk_rows,
        bytes_max=_CHUNK_BYTES_MAX,
    )
    file_format, mapping = upload.file_format, upload.mapping
    if file_format.is_container:
        return ContainerReading(unpacker, file_format, mapping, law, chunker, arrival, limits=limits.file)
    reader = KeyFileReader(file_format, mapping, law=law, limits=limits.file, is_gzip=upload.is_gzip)
    # What is packed becomes many rows, which are all in memory until they are stored.
    piece_bytes = limits.file.block_bytes // (_PACKED_SHARE if upload.is_gzip else 1)
    return UploadReading(reader, chunker, arrival, piece_bytes=piece_bytes)


async def _open_writer(
    database: Database, fingerprints: Fingerprints, upload: Upload, batch: StoredBatch, data_key: DataKey | None
) -> UploadWriter:
    async with database.of_publisher(upload.publisher_id).reading() as connection:
        ends = await read_ends(connection, upload.publisher_id, batch.report.batch_id)
    return UploadWriter(
        database, fingerprints, publisher_id=upload.publisher_id, batch=batch, data_key=data_key, ends=ends
    )


async def _replay(database: Database, upload: Upload, batch: StoredBatch, pieces: AsyncIterable[bytes]) -> BatchReport:
    report = batch.report
    if report.state is BatchState.DISCARDED:
        raise _conflict("this upload was discarded; use a new id", "discarded", report)
    if report.refusal is not None and report.refusal.reason != NOTHING_ACCEPTED:
        raise UploadRefused(report.refusal, batch_id=report.batch_id)
    digest, size = hashlib.sha256(), 0
    async for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if size > report.bytes_done:
            break
    if size != report.bytes_done or digest.digest() != report.sha256:
        raise _conflict("this id was used for another file; use a new id for this one", "another-file", report)

    async def work(connection: Connection) -> None:
        # A replay writes before it answers: only a commit proves that the first answer survived a failover.
        await connection.execute(statement("batches.touch_batch"), upload.publisher_id, report.batch_id)

    await short_transaction(database.of_publisher(upload.publisher_id), work)
    return report


def _conflict(message: str, reason: str, report: BatchReport) -> UploadConflict:
    return UploadConflict(message, reason=reason, batch_id=report.batch_id)
