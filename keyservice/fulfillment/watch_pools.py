"""Pool levels: exact stock, and the two alarms that are raised and lowered as events."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from keyservice.domain.tape import Alarm, PoolTape, alarm_at
from keyservice.fulfillment.ids import new_id
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


@dataclass(frozen=True, slots=True)
class PoolLevel:
    """What is for sale in a pool at this moment, and how worrying that is."""

    pool_id: UUID
    left: int
    alarm: Alarm


async def read_levels(connection: Connection, publisher_id: int, pool_ids: Sequence[UUID]) -> dict[UUID, PoolLevel]:
    """Exact stock of a publisher's pools, O(open segments)."""
    rows = await connection.fetch(statement("tape.stock_of_pools"), publisher_id, list(pool_ids))
    return {
        row["pool_id"]: PoolLevel(
            row["pool_id"],
            int(row["left_over"]),
            alarm_at(int(row["left_over"]), warning_level=row["warning_level"], alert_level=row["alert_level"]),
        )
        for row in rows
    }


async def settle_alarm(connection: Connection, pool: PoolTape, *, now: datetime) -> None:
    """Raise or lower the pool's alarm, with its event, when its level has crossed one. The pool is locked."""
    alarm = pool.alarm_now
    if alarm is pool.alarm:
        return
    facts = {"from": pool.alarm, "to": alarm, "left": pool.left}
    await connection.execute(statement("tape.set_alarm"), pool.publisher_id, pool.pool_id, alarm)
    await connection.execute(
        statement("tape.insert_publisher_event"),
        pool.publisher_id,
        new_id(),
        pool.pool_id,
        None,
        None,
        "pool.alarm_changed",
        json.dumps(facts),
        now,
    )
    pool.alarm = alarm
