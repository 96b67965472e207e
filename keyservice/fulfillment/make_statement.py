"""Making a signed statement: everything in it is of one moment, written to a file of its own while memory stays small."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, BinaryIO, Final
from uuid import UUID

import asyncpg

from keyservice.crypto.signing import ALGORITHM, sign, written
from keyservice.domain.batch import BatchState
from keyservice.domain.canonical import canonical_json, instant_text
from keyservice.domain.errors import Conflict, NotFound
from keyservice.domain.key_state import Shelf, key_state
from keyservice.domain.statement import (
    STATEMENT_FORMAT,
    STATEMENT_PURPOSE,
    Month,
    RunningHash,
    Tally,
    written_line,
)
from keyservice.fulfillment.read_batches import StoredBatch, read_batch
from keyservice.fulfillment.short_transaction import LOCAL_SETTINGS
from keyservice.fulfillment.signing_keys import SigningKey, SigningKeys
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

_ROWS_AT_ONCE: Final = 500
_FIRST_ID: Final = UUID(int=0)
# A month's statement goes through all claims of its publisher, and finds the first few of it after most of them.
_SETTINGS: Final = f"{LOCAL_SETTINGS}; SET LOCAL statement_timeout = '15min'"

Members = Mapping[str, Any]
Lines = AsyncGenerator[Sequence[Members], None]


async def state_batch(database: Database, keys: SigningKeys, publisher_id: int, batch_id: UUID, into: BinaryIO) -> None:
    """What became of each key of a batch. Raises NotFound, Conflict while its upload is not finished."""
    signing = await keys.signing()
    async with database.of_publisher(publisher_id).snapshot(settings=_SETTINGS) as connection:
        batch = await read_batch(connection, publisher_id, batch_id)
        if batch.state is BatchState.RECEIVING:
            raise Conflict("this upload is not finished; send the rest of the file, or discard it")
        head = await _head(connection, publisher_id)
        about = {"of": "batch", "batch": _batch_members(batch)}
        statement_file = _StatementFile(into, head.members | about, Tally(None))
        await statement_file.write(_keys_of_batch(connection, publisher_id, batch, head.today))
    await statement_file.sign(signing)


async def state_month(database: Database, keys: SigningKeys, publisher_id: int, month: Month, into: BinaryIO) -> None:
    """Which batches came in that month, and each key that was taken, seen or ended in it. Raises NotFound for the future."""
    signing = await keys.signing()
    async with database.of_publisher(publisher_id).snapshot(settings=_SETTINGS) as connection:
        head = await _head(connection, publisher_id)
        if month.begins > head.made_at:
            raise NotFound("this month has not begun")
        about = {"of": "month", "month": month.name, "is_over": month.ends <= head.made_at}
        tally = Tally((instant_text(month.begins), instant_text(month.ends)))
        statement_file = _StatementFile(into, head.members | about, tally)
        await statement_file.write(_batches_of_month(connection, publisher_id, month))
        await statement_file.write(_keys_of_month(connection, publisher_id, month))
    await statement_file.sign(signing)


@dataclass(frozen=True, slots=True)
class _Head:
    members: dict[str, Any]
    made_at: datetime
    today: date


class _StatementFile:
    """Lines are encoded, hashed and written away from the event loop, which others are waiting for."""

    def __init__(self, into: BinaryIO, head: Members, tally: Tally) -> None:
        self._into = into
        self._running = RunningHash()
        self._tally = tally
        self._into.write(written_line(self._running, head))

    async def write(self, lines: Lines) -> None:
        async with aclosing(lines) as parts:
            async for part in parts:
                await asyncio.to_thread(self._write, part)

    async def sign(self, key: SigningKey) -> None:
        await asyncio.to_thread(self._sign, key)

    def _write(self, part: Sequence[Members]) -> None:
        for members in part:
            if members["kind"] == "key":
                self._tally.add(members)
        self._into.write(b"".join(written_line(self._running, members) for members in part))

    def _sign(self, key: SigningKey) -> None:
        self._write([self._tally.members()])
        value = sign(key.private, STATEMENT_PURPOSE, key.key_id, self._running.signed_content)
        signature = {"algorithm": ALGORITHM, "key_id": key.key_id, "value": written(value)}
        last = {"lines": self._running.lines, "sha256": self._running.hex, "signature": signature}
        self._into.write(canonical_json(last) + b"\n")


async def _head(connection: Connection, publisher_id: int) -> _Head:
    row = await connection.fetchrow(statement("signed_statements.publisher"), publisher_id)
    feed = await connection.fetchrow(statement("revocations.feed_end"), publisher_id)
    assert row is not None, "every caller names a publisher that there is"
    members = {
        "kind": "statement",
        "format": STATEMENT_FORMAT,
        "publisher": row["handle"],
        "publisher_name": row["name"],
        "made_at": instant_text(row["now"]),
        "feed": None
        if feed is None
        else {"last_sequence": feed["last_sequence"], "last_hash": feed["last_hash"].hex()},
    }
    return _Head(members, row["now"], row["today"])


async def _keys_of_batch(connection: Connection, publisher_id: int, batch: StoredBatch, today: date) -> Lines:
    """By expiry date, and in the order of the file within one."""
    pool = await connection.fetchrow(statement("signed_statements.pool"), publisher_id, batch.report.pool_id)
    segments = await connection.fetch(
        statement("signed_statements.segments_in_order"), publisher_id, batch.report.batch_id
    )
    assert pool is not None
    for segment in segments:
        shelf = Shelf(segment["state"], segment["expires_on"], pool["state"] == "open", pool["days_left_min"])
        position = 0
        while rows := await connection.fetch(
            statement("signed_statements.keys_of_segment"), publisher_id, segment["segment_id"], position, _ROWS_AT_ONCE
        ):
            position = rows[-1]["position"]
            yield [
                {
                    **_key_members(row, key_state(row["claim_state"], shelf, today)),
                    "row": row["row_number"],
                    "publisher_key_id": row["publisher_key_id"],
                    "expires_on": None if shelf.expires_on is None else shelf.expires_on.isoformat(),
                }
                for row in rows
            ]


async def _batches_of_month(connection: Connection, publisher_id: int, month: Month) -> Lines:
    last = _FIRST_ID
    while rows := await connection.fetch(
        statement("signed_statements.batches_of_period"), publisher_id, last, month.begins, month.ends, _ROWS_AT_ONCE
    ):
        last = rows[-1]["batch_id"]
        batches = [await read_batch(connection, publisher_id, row["batch_id"]) for row in rows]
        yield [{"kind": "batch", **_batch_members(batch)} for batch in batches]


async def _keys_of_month(connection: Connection, publisher_id: int, month: Month) -> Lines:
    """In the order in which they were taken."""
    last = _FIRST_ID
    while rows := await connection.fetch(
        statement("signed_statements.claims_of_period"), publisher_id, last, month.begins, month.ends, _ROWS_AT_ONCE
    ):
        last = rows[-1]["claim_id"]
        places = await connection.fetch(
            statement("revocations.places"),
            publisher_id,
            [row["segment_id"] for row in rows],
            [row["position"] for row in rows],
        )
        known = {(place["segment_id"], place["position"]): place for place in places}
        yield [_key_of_month(row, known[row["segment_id"], row["position"]]) for row in rows]


def _key_of_month(row: asyncpg.Record, place: asyncpg.Record) -> Members:
    return {
        **_key_members(row, row["state"]),
        "batch_id": None if place["batch_id"] is None else str(place["batch_id"]),
        "row": place["row_number"],
        "publisher_key_id": place["publisher_key_id"],
    }


def _key_members(row: asyncpg.Record, state: str) -> dict[str, Any]:
    return {
        "kind": "key",
        "state": str(state),
        "claimed_at": _instant(row["claimed_at"]),
        "disclosed_at": _instant(row["disclosed_at"]),
        "ended_at": _instant(row["ended_at"]),
        "end_reason": row["end_reason"],
    }


def _batch_members(batch: StoredBatch) -> dict[str, Any]:
    report = batch.report
    return {
        "batch_id": str(report.batch_id),
        "pool_id": str(report.pool_id),
        "state": str(report.state),
        "file_name": report.file_name,
        "format": report.file_format,
        "bytes": report.bytes_done,
        "sha256": None if report.sha256 is None else report.sha256.hex(),
        "rows": report.rows,
        "accepted": report.accepted,
        "verdicts": {str(verdict): count for verdict, count in report.counts.items()},
        "created_at": instant_text(report.created_at),
        "finished_at": _instant(report.finished_at),
    }


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)
