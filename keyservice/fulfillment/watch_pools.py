"""Pool levels: exact stock, and the two alarms that are raised and lowered as events."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.domain.notice import NewNotice, NoticeOwner, NoticeSubject
from keyservice.domain.tape import Alarm, PoolTape, alarm_at
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.record_notices import record_notices
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement

_RANK: Final = {Alarm.NONE: 0, Alarm.WARNING: 1, Alarm.ALERT: 2}


@dataclass(frozen=True, slots=True)
class PoolLevel:
    """What lies in a pool at this moment, how much of it is promised to who has paid already, and how worrying that is."""

    pool_id: UUID
    left: int
    backordered: int
    is_sandbox: bool
    alarm: Alarm

    @property
    def free(self) -> int:
        """What new orders may take."""
        return max(self.left - self.backordered, 0)


async def read_levels(connection: Connection, publisher_id: int, pool_ids: Sequence[UUID]) -> dict[UUID, PoolLevel]:
    """Exact stock of a publisher's pools, O(open segments)."""
    rows = await connection.fetch(statement("tape.stock_of_pools"), publisher_id, list(pool_ids))
    return {row["pool_id"]: _level(row) for row in rows}


async def settle_alarm(connection: Connection, pool: PoolTape, *, now: datetime) -> None:
    """Raise or lower the pool's alarm, with its event, when its level has crossed one. The pool is locked.

    A closed pool keeps the alarm it has.
    """
    alarm = pool.alarm_now
    if alarm is pool.alarm or not pool.is_open:
        return
    facts = {"from": pool.alarm, "to": alarm, "left": pool.left, "backordered": pool.backordered}
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
    if _RANK[alarm] > _RANK[pool.alarm]:
        await record_notices(connection, [_threshold_reached(pool, alarm, now)])
    pool.alarm = alarm


def _threshold_reached(pool: PoolTape, alarm: Alarm, now: datetime) -> NewNotice:
    told = {"id": pool.pool_id, "alarm": alarm, "stock": {"available": max(pool.left - pool.backordered, 0)}}
    owner = NoticeOwner(publisher_id=pool.publisher_id)
    facts = {"licenseKeyPackage": told}
    return NewNotice(owner, NoticeSubject.PACKAGE, "thresholdReached", str(pool.pool_id), now, facts)


def _level(row: asyncpg.Record) -> PoolLevel:
    left, backordered = int(row["left_over"]), int(row["backordered"])
    levels = {"warning_level": row["warning_level"], "alert_level": row["alert_level"]}
    alarm = alarm_at(max(left - backordered, 0), **levels)
    return PoolLevel(row["pool_id"], left, backordered, row["is_sandbox"], alarm)
