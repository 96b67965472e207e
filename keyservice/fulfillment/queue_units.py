"""The queues of units that are paid for and wait: a unit stands in the queue of each pool of its source plan.

Each pool counts who waits for it. What a pool counts is kept from newcomers, so nobody overtakes at any of a plan's pools.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

import asyncpg

from keyservice.fulfillment.claim_keys import LockedTapes
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


class Queued(NamedTuple):
    """A unit's place in the queue of one pool: who has paid first comes first."""

    publisher_id: int
    pool_id: UUID
    unit_id: UUID
    order_id: UUID
    paid_at: datetime
    order_number: int
    line_number: int
    unit_number: int


async def join_queues(connection: Connection, tapes: LockedTapes, queued: Iterable[Queued]) -> None:
    """Put units into the queues of pools that are locked, and count them there."""
    for publisher_id, group in groupby(sorted(queued), key=lambda one: one.publisher_id):
        some = list(group)
        columns = [list(column) for column in zip(*some, strict=True)][1:]
        await connection.execute(statement("backorders.insert_backorders"), publisher_id, some[0].pool_id, *columns)
        await _count(connection, tapes, publisher_id, Counter(one.pool_id for one in some))


async def leave_queues(
    connection: Connection, tapes: LockedTapes, publisher_id: int, rows: Sequence[asyncpg.Record]
) -> None:
    """Take units out of all their queues: `rows` are all their places, and the pools are locked."""
    units = sorted({row["unit_id"] for row in rows})
    await connection.executemany(
        statement("backorders.delete_backorder"), [(publisher_id, unit_id) for unit_id in units]
    )
    gone = Counter(row["pool_id"] for row in rows)
    await _count(connection, tapes, publisher_id, Counter({pool_id: -count for pool_id, count in gone.items()}))


async def _count(connection: Connection, tapes: LockedTapes, publisher_id: int, changes: Counter[UUID]) -> None:
    await connection.executemany(
        statement("backorders.count_backordered"),
        [(publisher_id, pool_id, change) for pool_id, change in sorted(changes.items())],
    )
    for pool_id, change in changes.items():
        tapes.pools[pool_id].backordered += change
