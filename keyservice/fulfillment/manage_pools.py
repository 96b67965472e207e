"""A publisher's pools: opening them, their levels, and the events that tell their history."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
from pydantic_core import to_json

from keyservice.domain.errors import Conflict, Invalid, NotFound
from keyservice.domain.tape import Alarm, Policy, alarm_at
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.settle_pool import lock_pool, settle_pool
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.watch_pools import read_levels
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

POOLS_PAGE_MAX: Final = 500
EVENTS_PAGE_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool with its exact level."""

    pool_id: UUID
    name: str
    policy: Policy
    warning_level: int
    alert_level: int
    days_left_min: int
    is_open: bool
    is_sandbox: bool
    left: int
    backordered: int
    alarm: Alarm
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PoolChange:
    """What is to be different; what is None stays."""

    name: str | None = None
    policy: Policy | None = None
    warning_level: int | None = None
    alert_level: int | None = None
    days_left_min: int | None = None
    is_open: bool | None = None


@dataclass(frozen=True, slots=True)
class PublisherEvent:
    """Something that happened to a publisher's pools, batches or keys."""

    event_id: UUID
    pool_id: UUID | None
    batch_id: UUID | None
    caller_id: int | None
    name: str
    facts: dict[str, object]
    created_at: datetime


async def create_pool(
    database: Database,
    publisher_id: int,
    *,
    name: str,
    policy: Policy,
    warning_level: int,
    alert_level: int,
    caller_id: int,
    days_left_min: int = 0,
    is_sandbox: bool = False,
) -> PoolView:
    """An empty pool. A sandbox stays one, so that no test key is ever sold.

    Raises Conflict for a name that is taken, Invalid for levels in the wrong order.
    """

    async def work(connection: Connection) -> PoolView:
        pool_id = await insert_pool(
            connection,
            publisher_id,
            name=name,
            policy=policy,
            warning_level=warning_level,
            alert_level=alert_level,
            caller_id=caller_id,
            days_left_min=days_left_min,
            is_sandbox=is_sandbox,
        )
        return await _view(connection, publisher_id, pool_id)

    return await short_transaction(database.of_publisher(publisher_id), work, is_repeatable=False)


async def insert_pool(
    connection: Connection,
    publisher_id: int,
    *,
    name: str,
    policy: Policy,
    warning_level: int,
    alert_level: int,
    caller_id: int,
    days_left_min: int = 0,
    is_sandbox: bool = False,
) -> UUID:
    """The same inside a transaction of the publisher's, for whoever stores more with it."""
    _demand_ordered(warning_level, alert_level)
    pool_id = new_id()
    alarm = alarm_at(0, warning_level=warning_level, alert_level=alert_level)
    values = (publisher_id, pool_id, name, policy, warning_level, alert_level, alarm, is_sandbox, days_left_min)
    try:
        now = await connection.fetchval(statement("pools.insert_pool"), *values)
    except asyncpg.UniqueViolationError as error:
        raise Conflict("there is a pool of this name; choose another") from error
    await write_pool_event(connection, publisher_id, pool_id, caller_id, "pool.created", {"name": name}, now)
    return pool_id


async def change_pool(
    database: Database, publisher_id: int, pool_id: UUID, change: PoolChange, *, caller_id: int
) -> PoolView:
    """Raises NotFound, Conflict for a name that is taken, Invalid for levels in the wrong order."""

    async def work(connection: Connection) -> PoolView:
        now = await lock_pool(connection, publisher_id, pool_id)
        await alter_pool(connection, publisher_id, pool_id, change, caller_id=caller_id, now=now)
        return await _view(connection, publisher_id, pool_id)

    return await short_transaction(database.of_publisher(publisher_id), work)


async def alter_pool(
    connection: Connection, publisher_id: int, pool_id: UUID, change: PoolChange, *, caller_id: int, now: datetime
) -> None:
    """The same inside a transaction of the publisher's that has locked the pool."""
    before = await _view(connection, publisher_id, pool_id)
    after = _changed(before, change)
    _demand_ordered(after.warning_level, after.alert_level)
    values = (
        after.name,
        after.policy,
        after.warning_level,
        after.alert_level,
        after.days_left_min,
        "open" if after.is_open else "closed",
    )
    try:
        await connection.execute(statement("pools.change_pool"), publisher_id, pool_id, *values)
    except asyncpg.UniqueViolationError as error:
        raise Conflict("there is a pool of this name; choose another") from error
    facts = {name: value for name, value in _terms(after).items() if _terms(before)[name] != value}
    if facts:
        await write_pool_event(connection, publisher_id, pool_id, caller_id, "pool.changed", facts, now)
    await settle_pool(connection, publisher_id, pool_id)


async def read_pool(database: Database, publisher_id: int, pool_id: UUID) -> PoolView:
    """Raises NotFound."""
    async with database.of_publisher(publisher_id).reading() as connection:
        return await _view(connection, publisher_id, pool_id)


async def list_pools(
    database: Database, publisher_id: int, *, after: UUID | None = None, limit: int = POOLS_PAGE_MAX
) -> list[PoolView]:
    """The publisher's pools in the order of their creation, each with its exact level."""
    async with database.of_publisher(publisher_id).reading() as connection:
        page = min(limit, POOLS_PAGE_MAX)
        rows = await connection.fetch(statement("pools.pools"), publisher_id, after, page)
        return await _views(connection, publisher_id, rows)


async def list_events(
    database: Database, publisher_id: int, *, pool_id: UUID | None, after: UUID | None, limit: int
) -> list[PublisherEvent]:
    """Oldest first, behind the event `after`."""
    page = min(limit, EVENTS_PAGE_MAX)
    async with database.of_publisher(publisher_id).reading() as connection:
        rows = await connection.fetch(statement("pools.events"), publisher_id, after, pool_id, page)
    return [
        PublisherEvent(
            row["event_id"],
            row["pool_id"],
            row["batch_id"],
            row["caller_id"],
            row["name"],
            json.loads(row["facts"]),
            row["created_at"],
        )
        for row in rows
    ]


async def _view(connection: Connection, publisher_id: int, pool_id: UUID) -> PoolView:
    row = await connection.fetchrow(statement("pools.pool"), publisher_id, pool_id)
    if row is None:
        raise NotFound("there is no such pool")
    return (await _views(connection, publisher_id, [row]))[0]


async def _views(connection: Connection, publisher_id: int, rows: Sequence[asyncpg.Record]) -> list[PoolView]:
    levels = await read_levels(connection, publisher_id, [row["pool_id"] for row in rows])
    return [
        PoolView(
            pool_id=row["pool_id"],
            name=row["name"],
            policy=Policy(row["policy"]),
            warning_level=row["warning_level"],
            alert_level=row["alert_level"],
            days_left_min=row["days_left_min"],
            is_open=row["state"] == "open",
            is_sandbox=row["is_sandbox"],
            left=levels[row["pool_id"]].left,
            backordered=levels[row["pool_id"]].backordered,
            alarm=levels[row["pool_id"]].alarm,
            created_at=row["created_at"],
        )
        for row in rows
    ]


def _changed(before: PoolView, change: PoolChange) -> PoolView:
    return replace(
        before,
        name=before.name if change.name is None else change.name,
        policy=before.policy if change.policy is None else change.policy,
        warning_level=before.warning_level if change.warning_level is None else change.warning_level,
        alert_level=before.alert_level if change.alert_level is None else change.alert_level,
        days_left_min=before.days_left_min if change.days_left_min is None else change.days_left_min,
        is_open=before.is_open if change.is_open is None else change.is_open,
    )


def _terms(pool: PoolView) -> dict[str, object]:
    return {
        "name": pool.name,
        "policy": pool.policy,
        "warning_level": pool.warning_level,
        "alert_level": pool.alert_level,
        "days_left_min": pool.days_left_min,
        "is_open": pool.is_open,
    }


def _demand_ordered(warning_level: int, alert_level: int) -> None:
    if not 0 <= alert_level <= warning_level:
        raise Invalid("the alert level lies between 0 and the warning level", field="alert_level")


async def write_pool_event(
    connection: Connection,
    publisher_id: int,
    pool_id: UUID,
    caller_id: int,
    name: str,
    facts: dict[str, object],
    now: datetime,
) -> None:
    event = (publisher_id, new_id(), pool_id, None, caller_id, name, to_json(facts).decode(), now)
    await connection.execute(statement("tape.insert_publisher_event"), *event)
