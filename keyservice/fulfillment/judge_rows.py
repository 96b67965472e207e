"""Judging the rows of a chunk: which keys are new to their publisher, and what became of those that are not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import asyncpg

from keyservice.domain.batch import RefusedRow, Verdict
from keyservice.domain.key_file import KeyRow, MalformedRow
from keyservice.fulfillment.read_upload import Chunk
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


class Known(NamedTuple):
    """Why a key cannot enter again; the earlier row is told when it is in the same file."""

    verdict: Verdict
    earlier_row: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Which of a chunk's rows are accepted, as indexes in file order, and the others with their verdicts."""

    accepted: Sequence[int]
    refused: Sequence[RefusedRow]


async def judge_chunk(
    connection: Connection, publisher_id: int, batch_id: UUID, chunk: Chunk, *, is_dry_run: bool
) -> Judged:
    """Verdicts by what is committed now. A key that another upload stores meanwhile is the unique constraint's to tell."""
    # Sorted, so that neighbours in the index are asked for together.
    asked = sorted(chunk.fingerprints)
    found = await connection.fetch(statement("batches.known_fingerprints"), publisher_id, asked)
    known = await _fates(connection, publisher_id, batch_id, found) if found else {}
    if is_dry_run:
        seen = await connection.fetch(statement("batches.known_in_dry_run"), publisher_id, batch_id, chunk.fingerprints)
        in_file = {row["fingerprint"]: Known(Verdict.DUPLICATE_IN_FILE, row["row_number"]) for row in seen}
        known = in_file | known
    return judge(chunk.rows, chunk.fingerprints, chunk.malformed, known)


def judge(
    rows: Sequence[KeyRow],
    fingerprints: Sequence[bytes],
    malformed: Sequence[MalformedRow],
    known: Mapping[bytes, Known],
) -> Judged:
    """What is known outside the file decides before what stands earlier in it, wherever a chunk ends."""
    # Without its publisher's id: in a row that is malformed because its columns slipped, that may be the key.
    refused = [RefusedRow(row.row_number, Verdict.MALFORMED, _reason(row), None, None) for row in malformed]
    if not known and len(set(fingerprints)) == len(rows):
        return Judged(range(len(rows)), refused)
    accepted: list[int] = []
    first_rows: dict[bytes, int] = {}
    for index, (row, fingerprint) in enumerate(zip(rows, fingerprints, strict=True)):
        earlier = known.get(fingerprint)
        if earlier is None and fingerprint in first_rows:
            earlier = Known(Verdict.DUPLICATE_IN_FILE, first_rows[fingerprint])
        if earlier is None:
            first_rows[fingerprint] = row.row_number
            accepted.append(index)
        else:
            refused.append(RefusedRow(row.row_number, *_told(earlier), row.publisher_key_id))
    return Judged(accepted, refused)


def _told(known: Known) -> tuple[Verdict, None, int | None]:
    return known.verdict, None, known.earlier_row


def _reason(row: MalformedRow) -> str:
    return row.reason if row.detail is None else f"{row.reason}: {row.detail}"


async def _fates(
    connection: Connection, publisher_id: int, batch_id: UUID, found: Sequence[asyncpg.Record]
) -> dict[bytes, Known]:
    rows = await connection.fetch(
        statement("batches.fate_of_places"),
        publisher_id,
        [row["segment_id"] for row in found],
        [row["position"] for row in found],
    )
    fates = {(row["segment_id"], row["position"]): row for row in rows}
    return {
        row["fingerprint"]: _fate(fates[row["segment_id"], row["position"]], row["row_number"], batch_id)
        for row in found
    }


def _fate(place: asyncpg.Record, row_number: int, batch_id: UUID) -> Known:
    if place["batch_id"] == batch_id:
        return Known(Verdict.DUPLICATE_IN_FILE, row_number)
    match place["claim_state"], place["segment_state"]:
        case (("held" | "issued"), _):
            return Known(Verdict.ALREADY_ISSUED)
        case (("revoked" | "replaced"), _):
            return Known(Verdict.REVOKED)
        case ("withdrawn", _) | (None, "withdrawn"):
            return Known(Verdict.WITHDRAWN)
        case None, "receiving":
            return Known(Verdict.IN_UNFINISHED_UPLOAD)
        case _:
            return Known(Verdict.DUPLICATE_IN_STOCK)
