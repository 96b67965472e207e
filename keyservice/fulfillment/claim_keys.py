"""Taking keys off the tape: lock, draw in memory, open, record. Everything that claims a key goes through here."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Literal, NamedTuple
from uuid import UUID

from keyservice.domain.errors import Tampered
from keyservice.domain.tape import (
    Alarm,
    Drawn,
    Place,
    Policy,
    PoolTape,
    Segment,
    Short,
    Wanted,
    draw,
    in_turn,
    put_back,
)
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.open_keys import KeyOpener, OpenedKey
from keyservice.fulfillment.watch_pools import settle_alarm
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


class IssuedKey(NamedTuple):
    """A claim that is about to be recorded, with its opened key."""

    claim_id: UUID
    unit_id: UUID
    publisher_id: int
    pool_id: UUID
    place: Place
    key: OpenedKey


class Damaged(NamedTuple):
    """A key that did not open: it is taken off the tape for ever and reported."""

    publisher_id: int
    pool_id: UUID
    place: Place


@dataclass(slots=True)
class LockedTapes:
    """The tapes of the pools that this transaction holds."""

    now: datetime
    pools: dict[UUID, PoolTape] = field(default_factory=dict)
    damaged: list[Damaged] = field(default_factory=list)


async def lock_tapes(connection: Connection, lines: Iterable[Wanted]) -> LockedTapes:
    """Lock the pools that these lines may draw from, in ascending (publisher, pool), and read what is for sale."""
    pools: dict[int, set[UUID]] = {}
    wanted = 0
    for line in lines:
        pools.setdefault(line.publisher_id, set()).update(line.pool_ids)
        wanted += len(line.unit_ids)
    locked = {
        publisher_id: await connection.fetch(statement("tape.lock_pools"), publisher_id, sorted(pool_ids))
        for publisher_id, pool_ids in sorted(pools.items())
    }
    rows = [row for some in locked.values() for row in some]
    now = rows[-1]["now"] if rows else await connection.fetchval("SELECT clock_timestamp()")
    tapes = LockedTapes(now)
    for publisher_id, rows in locked.items():
        open_pools = [row for row in rows if row["state"] == "open"]
        segments = await _segments_for_sale(
            connection, publisher_id, [row["pool_id"] for row in open_pools], now, wanted
        )
        for row in open_pools:
            tapes.pools[row["pool_id"]] = PoolTape(
                publisher_id,
                row["pool_id"],
                row["warning_level"],
                row["alert_level"],
                Alarm(row["alarm"]),
                in_turn(Policy(row["policy"]), segments.get(row["pool_id"], [])),
            )
    return tapes


async def draw_keys(
    connection: Connection, tapes: LockedTapes, requests: Sequence[Sequence[Wanted]], opener: KeyOpener
) -> list[list[IssuedKey] | Short]:
    """For each request, in order of arrival, an opened key per unit or the line that came up short. Nothing is written."""
    drawn = [draw(tapes.pools, lines) for lines in requests]
    opened: dict[tuple[int, Place], OpenedKey] = {}
    while await _open_drawn(connection, tapes, drawn, opened, opener):
        drawn = [
            _redraw(tapes, lines, result, opened) if isinstance(result, list) else result
            for lines, result in zip(requests, drawn, strict=True)
        ]
    return [[_issued(tapes, one, opened) for one in result] if isinstance(result, list) else result for result in drawn]


def put_keys_back(tapes: LockedTapes, keys: Sequence[IssuedKey]) -> None:
    """Undo draws that nobody needs after all, before anything is recorded."""
    put_back(tapes.pools, [Drawn(key.unit_id, key.pool_id, key.place) for key in keys])


async def record_claims(
    connection: Connection,
    tapes: LockedTapes,
    issued: Iterable[tuple[UUID, IssuedKey]],
    *,
    state: Literal["held", "issued"],
) -> None:
    """Write the claims (each with its order's id), move the cursors, settle the alarms. `issued` is disclosed at once."""
    disclosed_at = tapes.now if state == "issued" else None
    rows: list[tuple[int, UUID, UUID, Place, UUID | None, UUID | None, str, datetime | None]] = [
        (one.publisher_id, one.pool_id, one.claim_id, one.place, one.unit_id, order_id, state, disclosed_at)
        for order_id, one in issued
    ]
    rows += [
        (one.publisher_id, one.pool_id, new_id(), one.place, None, None, "withdrawn", None) for one in tapes.damaged
    ]
    rows.sort(key=lambda row: row[0])
    for publisher_id, group in groupby(rows, key=lambda row: row[0]):
        _, pool_ids, claim_ids, places, unit_ids, order_ids, states, disclosures = zip(*group, strict=True)
        await connection.execute(
            statement("tape.insert_claims"),
            publisher_id,
            pool_ids[0],
            claim_ids,
            [place.segment_id for place in places],
            [place.position for place in places],
            unit_ids,
            order_ids,
            tapes.now,
            states,
            disclosures,
        )
    await move_cursors(connection, tapes)
    await _report_damage(connection, tapes)


async def move_cursors(connection: Connection, tapes: LockedTapes) -> None:
    """Write what was taken from and given back to each segment, then each pool's alarm."""
    touched = [
        (pool.publisher_id, segment)
        for pool in sorted(tapes.pools.values(), key=lambda pool: (pool.publisher_id, pool.pool_id))
        for segment in pool.segments
        if segment.is_touched
    ]
    await connection.executemany(
        statement("tape.move_cursor"),
        [
            (publisher, one.segment_id, one.next_position, one.returned_count, "open" if one.left else "exhausted")
            for publisher, one in touched
        ],
    )
    taken = [(publisher, one.segment_id, at) for publisher, one in touched for at in one.taken_from_returned]
    back = [(publisher, one.segment_id, at) for publisher, one in touched for at in one.given_back]
    if taken:
        await connection.executemany(statement("tape.take_returned"), taken)
    if back:
        await connection.executemany(statement("tape.put_returned"), back)
    for pool in tapes.pools.values():
        await settle_alarm(connection, pool, now=tapes.now)


async def _segments_for_sale(
    connection: Connection, publisher_id: int, pool_ids: Sequence[UUID], now: datetime, wanted: int
) -> dict[UUID, list[Segment]]:
    rows = await connection.fetch(statement("tape.segments_for_sale"), publisher_id, pool_ids, now.date())
    with_returned = [row["segment_id"] for row in rows if row["returned_count"]]
    returned: dict[int, list[int]] = {}
    if with_returned:
        found = await connection.fetch(statement("tape.returned_positions"), publisher_id, with_returned, wanted)
        for segment_id, position in found:
            returned.setdefault(segment_id, []).append(position)
    segments: dict[UUID, list[Segment]] = {}
    for pool_id, segment_id, expires_on, loaded, next_position, returned_count in rows:
        segment = Segment(
            segment_id, expires_on, loaded, next_position, returned_count, sorted(returned.get(segment_id, []))
        )
        segments.setdefault(pool_id, []).append(segment)
    return segments


async def _open_drawn(
    connection: Connection,
    tapes: LockedTapes,
    drawn: Sequence[list[Drawn] | Short],
    opened: dict[tuple[int, Place], OpenedKey],
    opener: KeyOpener,
) -> bool:
    """Open what is drawn and not open yet; True when some did not open and must be drawn again."""
    by_publisher: dict[int, list[Drawn]] = {}
    for one in (one for result in drawn if isinstance(result, list) for one in result):
        publisher_id = tapes.pools[one.pool_id].publisher_id
        if (publisher_id, one.place) not in opened:
            by_publisher.setdefault(publisher_id, []).append(one)
    has_damage = False
    for publisher_id, some in by_publisher.items():
        pool_of = {one.place: one.pool_id for one in some}
        for place, key in (await opener.open(connection, publisher_id, list(pool_of))).items():
            if isinstance(key, Tampered):
                tapes.damaged.append(Damaged(publisher_id, pool_of[place], place))
                has_damage = True
            else:
                opened[publisher_id, place] = key
    return has_damage


def _redraw(
    tapes: LockedTapes, lines: Sequence[Wanted], result: list[Drawn], opened: dict[tuple[int, Place], OpenedKey]
) -> list[Drawn] | Short:
    good = [one for one in result if (tapes.pools[one.pool_id].publisher_id, one.place) in opened]
    if len(good) == len(result):
        return result
    served = {one.unit_id for one in good}
    missing = [
        Wanted(line.line_number, line.publisher_id, line.pool_ids, units)
        for line in lines
        if (units := tuple(unit for unit in line.unit_ids if unit not in served))
    ]
    again = draw(tapes.pools, missing)
    if isinstance(again, Short):
        put_back(tapes.pools, good)
        return again
    return good + again


def _issued(tapes: LockedTapes, one: Drawn, opened: dict[tuple[int, Place], OpenedKey]) -> IssuedKey:
    publisher_id = tapes.pools[one.pool_id].publisher_id
    return IssuedKey(new_id(), one.unit_id, publisher_id, one.pool_id, one.place, opened[publisher_id, one.place])


async def _report_damage(connection: Connection, tapes: LockedTapes) -> None:
    if tapes.damaged:
        await connection.executemany(
            statement("tape.insert_publisher_event"),
            [
                (
                    one.publisher_id,
                    new_id(),
                    one.pool_id,
                    None,
                    None,
                    "key.damaged",
                    json.dumps(one.place._asdict()),
                    tapes.now,
                )
                for one in tapes.damaged
            ],
        )
