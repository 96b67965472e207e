"""Reading batches: the stored row, its report, its stock, its refused rows."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.domain.batch import (
    BatchReport,
    BatchState,
    BatchStock,
    ImportProgress,
    Refusal,
    RefusedRow,
    Verdict,
)
from keyservice.domain.errors import NotFound
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

BATCHES_PAGE_MAX: Final = 500
_REFUSED_ROWS_PAGE: Final = 2_000


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch's row: its report and what a repeated upload is compared with."""

    report: BatchReport
    is_held_on_arrival: bool
    options: Mapping[str, object]
    declared_sha256: bytes | None
    declared_bytes: int | None
    last_row_number: int
    data_key_id: int
    now: datetime

    @property
    def state(self) -> BatchState:
        return self.report.state

    @property
    def progress(self) -> ImportProgress:
        return ImportProgress(self.report, self.declared_bytes)


async def find_batch(connection: Connection, publisher_id: int, batch_id: UUID) -> StoredBatch | None:
    row = await connection.fetchrow(statement("batches.batch"), publisher_id, batch_id)
    return None if row is None else _stored(row)


async def read_batch(connection: Connection, publisher_id: int, batch_id: UUID) -> StoredBatch:
    """Raises NotFound."""
    found = await find_batch(connection, publisher_id, batch_id)
    if found is None:
        raise NotFound("there is no such batch")
    return found


async def lock_batch(connection: Connection, publisher_id: int, batch_id: UUID) -> StoredBatch:
    """The batch's row, held until the transaction ends. Raises NotFound."""
    row = await connection.fetchrow(statement("batches.lock_batch"), publisher_id, batch_id)
    if row is None:
        raise NotFound("there is no such batch")
    return _stored(row)


async def list_batches(
    connection: Connection, publisher_id: int, pool_id: UUID, *, after: UUID | None, limit: int
) -> list[StoredBatch]:
    """A pool's batches, newest first. Raises NotFound for a pool that the publisher does not have."""
    if await connection.fetchrow(statement("batches.pool_to_receive"), publisher_id, pool_id) is None:
        raise NotFound("there is no such pool")
    page = min(limit, BATCHES_PAGE_MAX)
    rows = await connection.fetch(statement("batches.batches_of_pool"), publisher_id, pool_id, after, page)
    return [_stored(row) for row in rows]


async def read_stock(connection: Connection, publisher_id: int, batch_ids: Sequence[UUID]) -> dict[UUID, BatchStock]:
    """Where the keys of these batches are now, exact, from their segments."""
    rows = await connection.fetch(statement("batches.stock_of_batches"), publisher_id, list(batch_ids))
    found = dict.fromkeys(batch_ids, BatchStock())
    for row in rows:
        found[row["batch_id"]] = BatchStock(
            accepted=int(row["accepted"]),
            for_sale=int(row["for_sale"] or 0),
            held=int(row["held"] or 0),
            near_expiry=int(row["near_expiry"] or 0),
            expired=int(row["expired"] or 0),
            withdrawn=int(row["withdrawn"] or 0),
            taken=int(row["taken"]),
        )
    return found


async def refused_rows(database: Database, publisher_id: int, batch_id: UUID) -> AsyncGenerator[list[RefusedRow], None]:
    """All refused rows, page after page; no connection is held between pages."""
    last = 0
    while True:
        async with database.of_publisher(publisher_id).reading() as connection:
            rows = await connection.fetch(
                statement("batches.refused_rows"), publisher_id, batch_id, last, _REFUSED_ROWS_PAGE
            )
        if not rows:
            return
        last = rows[-1]["row_number"]
        yield [
            RefusedRow(
                row["row_number"], Verdict(row["verdict"]), row["reason"], row["earlier_row"], row["publisher_key_id"]
            )
            for row in rows
        ]


def write_refusal(refusal: Refusal) -> str:
    return json.dumps(
        {
            "reason": refusal.reason,
            "message": refusal.message,
            "line": refusal.line,
            "byte_offset": refusal.byte_offset,
        }
    )


def _stored(row: asyncpg.Record) -> StoredBatch:
    counts = {Verdict(name): count for name, count in json.loads(row["verdict_counts"]).items()}
    report = BatchReport(
        batch_id=row["batch_id"],
        pool_id=row["pool_id"],
        state=BatchState(row["state"]),
        is_dry_run=row["is_dry_run"],
        priority=row["priority"],
        file_name=row["file_name"],
        file_format=row["file_format"],
        bytes_done=row["bytes_done"],
        sha256=row["sha256"],
        counts=counts,
        refusal=None if row["refusal"] is None else Refusal(**json.loads(row["refusal"])),
        created_at=row["created_at"],
        progressed_at=row["progressed_at"],
        finished_at=row["finished_at"],
    )
    return StoredBatch(
        report=report,
        is_held_on_arrival=row["held_on_arrival"],
        options=json.loads(row["file_options"]),
        declared_sha256=row["declared_sha256"],
        declared_bytes=row["declared_bytes"],
        last_row_number=row["last_row_number"],
        data_key_id=row["data_key_id"],
        now=row["now"],
    )
