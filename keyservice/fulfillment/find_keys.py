"""Finding stored keys without reading them: equality by the fingerprint, the last five characters by their token."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.domain.key_state import KeyState, Shelf, key_state
from keyservice.domain.tape import Place
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement

PUBLISHERS_PROBED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A stored key: where it lies, what has become of it, and the unit that it was taken for."""

    publisher_id: int
    place: Place
    pool_id: UUID
    pool_name: str
    batch_id: UUID
    row_number: int
    publisher_key_id: str | None
    expires_on: date | None
    uploaded_at: datetime
    state: KeyState
    claimed_at: datetime | None
    disclosed_at: datetime | None
    ended_at: datetime | None
    order_id: UUID | None
    unit_id: UUID | None


@dataclass(frozen=True, slots=True)
class KeysOrder:
    """The unit that a key was taken for, and whose order that is. Nothing in it is about the buyer."""

    order_id: UUID
    order_number: int
    caller_id: int
    partner_order_number: str
    unit_id: UUID
    line_number: int
    unit_number: int


async def find_equal(
    connection: Connection, fingerprints: Fingerprints, publisher_ids: Sequence[int], raw: bytes
) -> list[FoundKey]:
    """The key of these bytes, which each of these publishers has once or not at all."""
    # One fingerprint a publisher, and one probe each: no statement goes beyond one publisher's rows.
    probes = [(publisher_id, fingerprints.key(publisher_id, raw)) for publisher_id in publisher_ids]
    rows = await connection.fetchmany(statement("search.key_of_fingerprint"), probes)
    found: list[FoundKey] = []
    for publisher_id, segment_id, position in rows:
        found += await read_found(connection, publisher_id, [Place(segment_id, position)])
    return found


async def find_ending(
    connection: Connection, fingerprints: Fingerprints, publisher_id: int, ending: bytes, *, at_most: int
) -> list[FoundKey]:
    """Keys of the publisher that end like this, in no order."""
    token = fingerprints.suffix(publisher_id, ending)
    rows = await connection.fetch(statement("search.keys_of_suffix"), publisher_id, token, at_most)
    return await read_found(connection, publisher_id, [Place(*row) for row in rows])


async def read_found(connection: Connection, publisher_id: int, places: Sequence[Place]) -> list[FoundKey]:
    segment_ids, positions = [at.segment_id for at in places], [at.position for at in places]
    rows = await connection.fetch(statement("search.key_details"), publisher_id, segment_ids, positions)
    return [_found(publisher_id, row) for row in rows]


async def read_orders(connection: Connection, keys: Sequence[FoundKey]) -> dict[UUID, KeysOrder]:
    """The orders of those keys that were taken for one, by unit."""
    asked = [(key.order_id, key.unit_id) for key in keys if key.order_id is not None and key.unit_id is not None]
    rows = await connection.fetchmany(statement("search.order_of_unit"), asked)
    return {row["unit_id"]: KeysOrder(**row) for row in rows}


def _found(publisher_id: int, row: asyncpg.Record) -> FoundKey:
    shelf = Shelf(row["segment_state"], row["expires_on"], row["pool_state"] == "open", row["days_left_min"])
    return FoundKey(
        publisher_id=publisher_id,
        place=Place(row["segment_id"], row["position"]),
        pool_id=row["pool_id"],
        pool_name=row["pool_name"],
        batch_id=row["batch_id"],
        row_number=row["row_number"],
        publisher_key_id=row["publisher_key_id"],
        expires_on=row["expires_on"],
        uploaded_at=row["uploaded_at"],
        state=key_state(row["claim_state"], shelf, row["today"]),
        claimed_at=row["claimed_at"],
        disclosed_at=row["disclosed_at"],
        ended_at=row["ended_at"],
        order_id=row["order_id"],
        unit_id=row["unit_id"],
    )
