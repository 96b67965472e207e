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
    Short,
    Wanted,
    draw,
    in_turn,
    put_back,
    soonest_expiry,
)
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.open_keys import KeyOpener, OpenedKey
from keyservice.fulfillment.read_segments import read_segments
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


class NewClaim(NamedTuple):
    """A claim as it is written: for which order, in which state, and when its key's text leaves the service."""

    order_id: UUID
    key: IssuedKey
    state: Literal["held", "issued"]
    disclosed_at: datetime | None


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
        first_days = {
            row["pool_id"]: soonest_expiry(now.date(), row["days_left_min"]) for row in rows if row["state"] == "open"
        }
        segments = await read_segments(connection, publisher_id, first_days, wanted)
        for row in rows:
            tapes.pools[row["pool_id"]] = PoolTape(
                publisher_id,
                row["pool_id"],
                row["warning_level"],
                row["alert_level"],
                Alarm(row["alarm"]),
                in_turn(Policy(row["policy"]), segments.get(row["pool_id"], [])),
                is_open=row["state"] == "open",
                is_sandbox=row["is_sandbox"],
                backordered=row["backordered"],
            )
    return tapes


async def draw_keys(
    connection: Connection, tapes: LockedTapes, requests: Sequence[Sequence[Wanted]], opener: KeyOpener
) -> list[list[IssuedKey] | Short]:
    """For each request, in order of arrival, an opened key per unit or the line that came up short. Nothing is written.

    When keys do not open, all requests are drawn anew as if these had never been there: nobody loses a turn by them.
    """
    drawn = [draw(tapes.pools, lines) for lines in requests]
    opened: dict[tuple[int, Place], OpenedKey] = {}
    while await _open_drawn(connection, tapes, drawn, opened, opener):
        for result in reversed(drawn):
            if isinstance(result, list):
                put_back(tapes.pools, [one for one in result if _name(tapes, one) in opened])
        drawn = [draw(tapes.pools, lines) for lines in requests]
    return [[_issued(tapes, one, opened) for one in result] if isinstance(result, list) else result for result in drawn]


def put_keys_back(tapes: LockedTapes, keys: Sequence[IssuedKey]) -> None:
    """Undo draws that nobody needs after all, before anything is recorded."""
    put_back(tapes.pools, [Drawn(key.unit_id, key.pool_id, key.place) for key in keys])


async def record_claims(connection: Connection, tapes: LockedTapes, claims: Iterable[NewClaim]) -> None:
    """Write the claims and those on damaged keys, move the cursors, settle the alarms."""
    rows: list[tuple[int, UUID, UUID, Place, UUID | None, UUID | None, str, datetime | None]] = [
        (one.publisher_id, one.pool_id, one.claim_id, one.place, one.unit_id, order_id, state, disclosed_at)
        for order_id, one, state, disclosed_at in claims
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
            (
                *(publisher, one.segment_id, one.next_position, one.returned_count),
                *(one.withdrawn_ahead, one.withdrawn_count, "open" if one.left else "exhausted"),
            )
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
        name = _name(tapes, one)
        if name not in opened:
            by_publisher.setdefault(name[0], []).append(one)
    has_damage = False
    for publisher_id, some in by_publisher.items():
        pool_of = {one.place: one.pool_id for one in some}
        for place, key in (await opener.open(connection, publisher_id, list(pool_of))).items():
            if isinstance(key, Tampered):
                tapes.damaged.append(Damaged(publisher_id, pool_of[place], place))
                tapes.pools[pool_of[place]].write_off(place)
                has_damage = True
            else:
                opened[publisher_id, place] = key
    return has_damage


def _issued(tapes: LockedTapes, one: Drawn, opened: dict[tuple[int, Place], OpenedKey]) -> IssuedKey:
    publisher_id, place = _name(tapes, one)
    return IssuedKey(new_id(), one.unit_id, publisher_id, one.pool_id, place, opened[publisher_id, place])


def _name(tapes: LockedTapes, one: Drawn) -> tuple[int, Place]:
    return tapes.pools[one.pool_id].publisher_id, one.place


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
