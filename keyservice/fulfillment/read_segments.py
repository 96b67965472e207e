"""Reading the segments of locked pools that are for sale, with as many of their positions as may be taken."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final
from uuid import UUID

from keyservice.domain.tape import Segment
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement

# Positions that are read beyond those that are wanted: some may hold damaged keys.
_SPARE: Final = 64
_WITHDRAWN_PAGE_MAX: Final = 10_000


async def read_segments(
    connection: Connection, publisher_id: int, first_days: Mapping[UUID, date], wanted: int
) -> dict[UUID, list[Segment]]:
    """By pool, the open segments that do not expire before the pool's first day."""
    if not first_days:
        return {}
    found = await connection.fetch(
        statement("tape.segments_for_sale"), publisher_id, list(first_days), min(first_days.values())
    )
    rows = [row for row in found if (row["expires_on"] or date.max) >= first_days[row["pool_id"]]]
    known = wanted + _SPARE if wanted else 0
    returned = await _returned_positions(
        connection, publisher_id, [row["segment_id"] for row in rows if known and row["returned_count"]], known
    )
    segments: dict[UUID, list[Segment]] = {}
    for row in rows:
        segment = Segment(
            row["segment_id"],
            row["expires_on"],
            row["loaded"],
            row["next_position"],
            row["returned_count"],
            sorted(returned.get(row["segment_id"], [])),
            priority=row["priority"],
            withdrawn_count=row["withdrawn_count"],
            withdrawn_ahead=row["withdrawn_ahead"],
        )
        segments.setdefault(row["pool_id"], []).append(segment)
    await _learn_withdrawn(connection, publisher_id, [one for some in segments.values() for one in some], known)
    return segments


async def _returned_positions(
    connection: Connection, publisher_id: int, segment_ids: Sequence[int], limit: int
) -> dict[int, list[int]]:
    returned: dict[int, list[int]] = {}
    if segment_ids:
        found = await connection.fetch(statement("tape.returned_positions"), publisher_id, segment_ids, limit)
        for segment_id, position in found:
            returned.setdefault(segment_id, []).append(position)
    return returned


async def _learn_withdrawn(connection: Connection, publisher_id: int, segments: Sequence[Segment], wanted: int) -> None:
    """Read which positions ahead were withdrawn, as far as the cursors may come; a long row of them is read once."""
    limit = wanted
    while ignorant := [one for one in segments if one.must_learn(wanted)]:
        ids, first = [one.segment_id for one in ignorant], [one.known_until + 1 for one in ignorant]
        positions: dict[int, list[int]] = {}
        found = await connection.fetch(statement("tape.withdrawn_positions"), publisher_id, ids, first, limit)
        for segment_id, position in found:
            positions.setdefault(segment_id, []).append(position)
        for one in ignorant:
            if one.segment_id not in positions:
                raise AssertionError("fewer withdrawn positions lie ahead than the segment counts")
            one.learn(positions[one.segment_id])
        limit = min(4 * limit, _WITHDRAWN_PAGE_MAX)
