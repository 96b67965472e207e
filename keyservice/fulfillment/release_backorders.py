"""Serving units that are paid for and wait, in order of payment, in chunks between which new orders have their turn."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.domain.order_state import UnitStatus
from keyservice.domain.tape import Wanted
from keyservice.fulfillment.claim_keys import IssuedKey, NewClaim, draw_keys, lock_tapes, record_claims
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.queue_units import leave_queues
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_claim import (
    Change,
    StoredClaim,
    UnitChange,
    event_row,
    lock_claims,
    write_changes,
)
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

UNITS_AT_ONCE: Final = 20
"""A chunk holds its pool's row as long as it takes, and whoever orders from the pool waits for that."""

# Whoever is locked is asked again in the next round; the other pools are not kept waiting.
_PATIENCE: Final = "SET LOCAL lock_timeout = '1s'"


async def pools_to_serve(database: Database) -> list[tuple[int, UUID]]:
    """Publishers' pools that have something for sale and are waited for."""
    async with database.reading() as connection:
        publishers = await connection.fetch(statement("backorders.publishers_with_backlog"))
        found = []
        for row in publishers:
            pools = await connection.fetch(statement("backorders.pools_that_are_waited_for"), row["publisher_id"])
            found += [(row["publisher_id"], pool["pool_id"]) for pool in pools]
    return found


async def release_backorders(
    database: Database, opener: KeyOpener, publisher_id: int, pool_id: UUID, *, units_max: int = UNITS_AT_ONCE
) -> int:
    """Serve the next units that wait for this pool; how many. None while somebody else is at it, or when it is empty.

    Raises Overloaded when an order or a pool is locked for longer than a moment.
    """

    async def work(connection: Connection) -> int:
        await connection.execute(_PATIENCE)
        if not await connection.fetchval(statement("backorders.one_filler_at_a_time"), publisher_id, pool_id):
            return 0
        found = await connection.fetch(statement("backorders.waiting_in_turn"), publisher_id, pool_id, units_max)
        # Orders before pools: whoever revokes a unit that waits holds its order and takes it out of the queue.
        orders = await lock_claims(connection, [row["order_id"] for row in found])
        unit_ids = [row["unit_id"] for row in found]
        places = await connection.fetch(statement("backorders.still_waiting"), publisher_id, unit_ids)
        return await _serve(connection, opener, publisher_id, pool_id, places, orders) if places else 0

    return await short_transaction(database, work, patience_seconds=0.5)


async def _serve(
    connection: Connection,
    opener: KeyOpener,
    publisher_id: int,
    pool_id: UUID,
    places: Sequence[asyncpg.Record],
    orders: Mapping[UUID, StoredClaim],
) -> int:
    """`places` are all places of the units whose turn it is, in the queues of all pools that they wait for."""
    in_turn = sorted((row for row in places if row["pool_id"] == pool_id), key=_turn)
    order_of = {row["unit_id"]: row["order_id"] for row in in_turn}
    wanted = Wanted(
        *(0, publisher_id, (pool_id,), tuple(order_of)),
        is_sandbox=orders[in_turn[0]["order_id"]].order["is_test"],
        may_wait=True,
        has_waited=True,
    )
    others = Wanted(0, publisher_id, tuple({row["pool_id"] for row in places} - {pool_id}), ())
    tapes = await lock_tapes(connection, [wanted, others])
    (drawn,) = await draw_keys(connection, tapes, [[wanted]], opener)
    assert isinstance(drawn, list), "a line that may wait is never short of a pool that is waited for"
    served = {key.unit_id for key in drawn}
    await leave_queues(connection, tapes, publisher_id, [row for row in places if row["unit_id"] in served])
    # Nobody has seen them yet: they are disclosed when they are read. Damaged keys are recorded even when no other is there.
    await record_claims(connection, tapes, [NewClaim(order_of[key.unit_id], key, "issued", None) for key in drawn])
    await _complete(connection, orders, order_of, drawn)
    return len(drawn)


async def _complete(
    connection: Connection,
    orders: Mapping[UUID, StoredClaim],
    order_of: Mapping[UUID, UUID],
    drawn: Sequence[IssuedKey],
) -> None:
    by_order: dict[UUID, list[UnitChange]] = {}
    for key in drawn:
        change = UnitChange(key.unit_id, UnitStatus.ISSUED, key.claim_id)
        by_order.setdefault(order_of[key.unit_id], []).append(change)
    changes = [Change(orders[order_id], units) for order_id, units in by_order.items()]
    await write_changes(connection, changes)
    events = [
        event_row(one.claim, "backorder.served", one.order_state.status, {"served": len(one.units)}, caller_id=None)
        for one in changes
    ]
    await connection.executemany(statement("orders.insert_event"), events)


def _turn(row: asyncpg.Record) -> tuple[object, ...]:
    return (row["paid_at"], row["order_number"], row["line_number"], row["unit_number"])
