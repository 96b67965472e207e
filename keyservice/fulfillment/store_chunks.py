"""Storing an upload chunk by chunk: each chunk's keys, refused rows and progress in one short transaction."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from pydantic_core import to_json

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.crypto.sealing import DataKey, notes_aad, seal_keys
from keyservice.domain.batch import BatchState, UploadConflict, Verdict
from keyservice.domain.key import KeyPlace, KeyText
from keyservice.domain.key_parts import telling_text
from keyservice.fulfillment.judge_rows import Judged, judge_chunk
from keyservice.fulfillment.read_batches import StoredBatch, lock_batch
from keyservice.fulfillment.read_upload import Chunk
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database, lost_race_on
from keyservice.postgres.statements import statement


class SealedKey(NamedTuple):
    """A key as its row holds it, less the publisher."""

    segment_id: int
    position: int
    row_number: int
    sealed: bytes
    fingerprint: bytes
    suffix_token: bytes
    publisher_key_id: str | None
    notes: bytes | None
    mime: str | None
    name: str | None


class SegmentEnd(NamedTuple):
    """Where a segment of the batch goes on."""

    segment_id: int
    loaded: int


class Mark(NamedTuple):
    """How far a batch is. Whoever believes in another mark than the stored one writes nothing."""

    rows_done: int
    bytes_done: int
    last_row_number: int

    @classmethod
    def of(cls, batch: StoredBatch) -> "Mark":
        return cls(batch.report.rows, batch.report.bytes_done, batch.last_row_number)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is committed of an upload."""

    mark: Mark
    counts: Counter[Verdict]
    ends: dict[date | None, SegmentEnd]


class UploadWriter:
    """The one writer of a batch, until another connection takes over. Without a data key it is a dry run."""

    def __init__(
        self,
        database: Database,
        fingerprints: Fingerprints,
        *,
        publisher_id: int,
        batch: StoredBatch,
        data_key: DataKey | None,
        ends: dict[date | None, SegmentEnd],
    ) -> None:
        self.publisher_id = publisher_id
        self.batch_id = batch.report.batch_id
        self.pool_id = batch.report.pool_id
        self.stored = Stored(Mark.of(batch), Counter(batch.report.counts), ends)
        self._database = database
        self._fingerprints = fingerprints
        self._data_key = data_key

    async def store(self, chunk: Chunk) -> None:
        """Raises UploadConflict when another connection has gone on with this upload, or ended it."""
        attempts = 0

        async def work(connection: Connection) -> Stored:
            nonlocal attempts
            attempts += 1
            return await self._store(connection, chunk, is_repeated=attempts > 1)

        self.stored = await short_transaction(self._database.of_publisher(self.publisher_id), work)

    async def _store(self, connection: Connection, chunk: Chunk, *, is_repeated: bool) -> Stored:
        batch = await lock_batch(connection, self.publisher_id, self.batch_id)
        mark = self._mark_after(chunk)
        if is_repeated and Mark.of(batch) == mark:
            # The connection broke during the COMMIT, and the COMMIT had reached the server.
            ends = await read_ends(connection, self.publisher_id, self.batch_id)
            return Stored(mark, Counter(batch.report.counts), ends)
        demand_mark(batch, self.stored.mark)
        judged = await judge_chunk(
            connection, self.publisher_id, self.batch_id, chunk, is_dry_run=self._data_key is None
        )
        if self._data_key is None:
            await self._remember(connection, chunk, judged)
            ends = {}
        else:
            ends = await self._lay_keys(connection, self._data_key, chunk, judged, batch.report.priority)
        await self._write_refused(connection, judged)
        counts = self.stored.counts + Counter(row.verdict for row in judged.refused)
        counts[Verdict.ACCEPTED] += len(judged.accepted)
        await self._advance(connection, chunk, mark, counts, batch.now)
        return Stored(mark, counts, ends)

    def _mark_after(self, chunk: Chunk) -> Mark:
        return Mark(self.stored.mark.rows_done + chunk.row_count, chunk.bytes_done, chunk.last_row_number)

    async def _lay_keys(
        self, connection: Connection, data_key: DataKey, chunk: Chunk, judged: Judged, priority: int
    ) -> dict[date | None, SegmentEnd]:
        """Positions in the order of the file, rows in the order of the index."""
        if not judged.accepted:
            return self.stored.ends
        expiries = dict.fromkeys(chunk.rows[index].expires_on for index in judged.accepted)
        ends = self.stored.ends | await self._open_segments(connection, expiries, priority)
        places = _next_places(self.publisher_id, chunk, judged.accepted, ends)
        sealed = await asyncio.to_thread(_sealed, self._fingerprints, data_key, chunk, judged.accepted, places)
        with lost_race_on("keys_enter_once"):
            await connection.execute(
                statement("batches.insert_keys"), self.publisher_id, self.batch_id, *_columns(sealed)
            )
        segment_ids, loaded = zip(*(ends[expires_on] for expires_on in expiries), strict=True)
        await connection.execute(statement("batches.load_segments"), self.publisher_id, segment_ids, loaded)
        return ends

    async def _open_segments(
        self, connection: Connection, expiries: dict[date | None, None], priority: int
    ) -> dict[date | None, SegmentEnd]:
        missing = [expires_on for expires_on in expiries if expires_on not in self.stored.ends]
        if not missing:
            return {}
        ids = await connection.fetch(statement("batches.next_segment_ids"), len(missing))
        opened = {expires_on: SegmentEnd(row["segment_id"], 0) for expires_on, row in zip(missing, ids, strict=True)}
        await connection.executemany(
            statement("batches.insert_segment"),
            [
                (self.publisher_id, end.segment_id, self.pool_id, self.batch_id, expires_on, priority)
                for expires_on, end in opened.items()
            ],
        )
        return opened

    async def _remember(self, connection: Connection, chunk: Chunk, judged: Judged) -> None:
        if not judged.accepted:
            return
        rows = [(chunk.fingerprints[index], chunk.rows[index].row_number) for index in judged.accepted]
        rows.sort()
        await connection.execute(
            statement("batches.insert_dry_run_fingerprints"), self.publisher_id, self.batch_id, *_columns(rows)
        )

    async def _write_refused(self, connection: Connection, judged: Judged) -> None:
        if not judged.refused:
            return
        records = [
            (row.row_number, row.verdict, row.reason, row.earlier_row, row.publisher_key_id) for row in judged.refused
        ]
        await connection.execute(
            statement("batches.insert_refused_rows"), self.publisher_id, self.batch_id, *_columns(records)
        )

    async def _advance(
        self, connection: Connection, chunk: Chunk, mark: Mark, counts: Counter[Verdict], now: datetime
    ) -> None:
        await connection.execute(
            statement("batches.advance_batch"),
            self.publisher_id,
            self.batch_id,
            mark.rows_done,
            mark.bytes_done,
            mark.last_row_number,
            chunk.sha256,
            to_json(counts).decode(),
            now,
        )


def demand_mark(batch: StoredBatch, mark: Mark) -> None:
    """Raise UploadConflict unless the locked batch is still being received and stands where the writer left it."""
    if batch.state is BatchState.RECEIVING and Mark.of(batch) == mark:
        return
    raise UploadConflict(
        "another connection has gone on with this upload or ended it; nothing of this step was stored",
        reason="written-elsewhere",
        batch_id=batch.report.batch_id,
    )


async def read_ends(connection: Connection, publisher_id: int, batch_id: UUID) -> dict[date | None, SegmentEnd]:
    rows = await connection.fetch(statement("batches.segments_of_batch"), publisher_id, batch_id)
    return {row["expires_on"]: SegmentEnd(row["segment_id"], row["loaded"]) for row in rows}


def _next_places(
    publisher_id: int, chunk: Chunk, accepted: Sequence[int], ends: dict[date | None, SegmentEnd]
) -> list[KeyPlace]:
    """The next place of each accepted row's segment; the ends move along."""
    places = []
    for index in accepted:
        expires_on = chunk.rows[index].expires_on
        segment_id, loaded = ends[expires_on]
        places.append(KeyPlace(publisher_id, segment_id, loaded + 1))
        ends[expires_on] = SegmentEnd(segment_id, loaded + 1)
    return places


def _sealed(
    fingerprints: Fingerprints, data_key: DataKey, chunk: Chunk, accepted: Sequence[int], places: Sequence[KeyPlace]
) -> list[SealedKey]:
    texts = [chunk.texts[index] for index in accepted]
    sealed = seal_keys(data_key, list(zip(places, texts, strict=True)))
    records: list[SealedKey] = []
    for index, place, text, sealed_text in zip(accepted, places, texts, sealed, strict=True):
        row = chunk.rows[index]
        told_by = text if row.mime is None else telling_text(KeyText(text), row.mime).raw
        token = fingerprints.suffix(place.publisher_id, told_by)
        fingerprint = chunk.fingerprints[index]
        # Sealed like the key: in a file whose columns slipped, the notes may be one.
        notes = None if row.notes is None else data_key.seal(row.notes.encode(), notes_aad(place))
        records.append(
            SealedKey(
                place.segment_id,
                place.position,
                row.row_number,
                sealed_text,
                fingerprint,
                token,
                row.publisher_key_id,
                notes,
                row.mime,
                row.name,
            )
        )
    records.sort(key=attrgetter("fingerprint"))
    return records


def _columns(rows: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Row-level security forbids COPY; arrays, one for each column, come next in speed."""
    return list(zip(*rows, strict=True))
