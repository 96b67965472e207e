"""Keys on hold for a payment: extended, committed, released, or expired; each hold ends exactly once."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import UUID

import asyncpg

from keyservice.domain.caller import Caller
from keyservice.domain.claim import HoldEnded, HoldExpired
from keyservice.domain.errors import KeyserviceError, OutcomeUnknown, Overloaded
from keyservice.domain.order_state import UnitStatus
from keyservice.domain.purchase import Purchase
from keyservice.fulfillment.end_claims import end_claims
from keyservice.fulfillment.read_purchases import PurchaseReader, read_claims, record_disclosure
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_claim import (
    Change,
    StoredClaim,
    UnitChange,
    change_units,
    event_row,
    lock_claim,
    lock_claims,
    write_changes,
    write_event,
)
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

_SOURCE = "fulfillment"


async def extend_hold(
    database: Database, purchases: PurchaseReader, caller: Caller, order_id: UUID, *, seconds: int
) -> Purchase:
    """Hold the keys until so many seconds from now. Raises NotFound, HoldExpired, HoldEnded."""

    async def work(connection: Connection, claim: StoredClaim) -> None:
        _demand_held(claim)
        until = claim.now + timedelta(seconds=seconds)
        status = await change_units(connection, Change(claim, (), held_until=until))
        await write_event(connection, claim, "hold.extended", status, {"seconds": seconds}, caller_id=caller.caller_id)

    return await _change(database, purchases, caller, order_id, work)


async def commit_hold(database: Database, purchases: PurchaseReader, caller: Caller, order_id: UUID) -> Purchase:
    """The held keys are sold and shown. One that was committed before is answered with the same keys.

    Raises NotFound, HoldExpired, HoldEnded.
    """

    async def work(connection: Connection, claim: StoredClaim) -> None:
        if claim.order["held_until"] is None and claim.units_in(UnitStatus.ISSUED):
            return
        _demand_held(claim)
        held = claim.units_in(UnitStatus.HELD)
        await connection.executemany(
            statement("tape.issue_claim"), [(unit["publisher_id"], unit["claim_id"], claim.now) for unit in held]
        )
        changes = [UnitChange(unit["line_item_data_id"], UnitStatus.ISSUED) for unit in held]
        status = await change_units(connection, Change(claim, changes, paid_at=claim.now))
        await write_event(
            connection, claim, "hold.committed", status, {"disclosed": len(held)}, caller_id=caller.caller_id
        )

    return await _change(database, purchases, caller, order_id, work)


async def release_hold(database: Database, purchases: PurchaseReader, caller: Caller, order_id: UUID) -> Purchase:
    """The held keys are for sale again. One that was released, or has expired, stays so. Raises NotFound, HoldEnded."""

    async def work(connection: Connection, claim: StoredClaim) -> None:
        if claim.units_in(UnitStatus.HELD):
            await _release(connection, [claim], "hold released", caller_id=caller.caller_id)
        elif not await _was_released(connection, claim):
            raise HoldEnded("these keys are not on hold; to end a sale, revoke it")

    return await _change(database, purchases, caller, order_id, work)


async def expire_holds(database: Database, *, holds_max: int = 100) -> int:
    """Release holds whose deadline is past, the oldest first; how many. Any number of processes may do it at once.

    One that cannot be released keeps no other from it. Raises why when there is nothing but such ones.
    """
    try:
        return await short_transaction(database, partial(_expire_some, holds_max))
    except OutcomeUnknown:
        raise
    except (asyncpg.PostgresError, KeyserviceError):
        expired = await _expire_one_by_one(database, holds_max)
        if not expired:
            raise
        return expired


async def _expire_some(holds_max: int, connection: Connection) -> int:
    if not await connection.fetchval(statement("orders.one_expirer_at_a_time")):
        return 0
    rows = await connection.fetch(statement("orders.expired_holds"), holds_max)
    return await _expire([row["order_id"] for row in rows], connection)


async def _expire_one_by_one(database: Database, holds_max: int) -> int:
    async with database.reading() as connection:
        rows = await connection.fetch(statement("orders.expired_holds"), holds_max)
    expired = 0
    for row in rows:
        with suppress(asyncpg.PostgresError, Overloaded):
            expired += await short_transaction(database, partial(_expire, [row["order_id"]]))
    return expired


async def _expire(order_ids: Sequence[UUID], connection: Connection) -> int:
    # Those that somebody commits, releases or extends at this moment are theirs, ...
    asked = [(order_id,) for order_id in sorted(order_ids)]
    idle = [row["order_id"] for row in await connection.fetchmany(statement("orders.lock_idle_order"), asked)]
    claims = await lock_claims(connection, idle)
    # ... and others were since they were found.
    expired = [one for one in claims.values() if one.order["held_until"] is not None and _is_late(one)]
    if expired:
        await _release(connection, expired, "hold expired", caller_id=None)
    return len(expired)


async def _release(
    connection: Connection, claims: Sequence[StoredClaim], reason: str, *, caller_id: int | None
) -> None:
    held = {claim.order_id: claim.units_in(UnitStatus.HELD) for claim in claims}
    now = claims[0].now
    await end_claims(connection, [unit for units in held.values() for unit in units], reason=reason, now=now)
    changes = [
        Change(claim, [UnitChange(unit["line_item_data_id"], UnitStatus.ENDED) for unit in held[claim.order_id]])
        for claim in claims
    ]
    await write_changes(connection, changes)
    name = reason.replace(" ", ".")
    events = [
        event_row(one.claim, name, one.order_state.status, {"returned": len(one.units)}, caller_id=caller_id)
        for one in changes
    ]
    await connection.executemany(statement("orders.insert_event"), events)


def _is_late(claim: StoredClaim) -> bool:
    return bool(claim.now > claim.order["held_until"])


async def _was_released(connection: Connection, claim: StoredClaim) -> bool:
    claims = await read_claims(connection, claim.units)
    return len(claims) == len(claim.units) and all(one["state"] == "released" for one in claims.values())


def _demand_held(claim: StoredClaim) -> None:
    until = claim.order["held_until"]
    if until is None:
        raise HoldEnded("these keys are not on hold: the hold was committed or released, or never was one")
    if _is_late(claim):
        raise HoldExpired("this hold has expired; claim its keys anew under another reference")


async def _change(
    database: Database,
    purchases: PurchaseReader,
    caller: Caller,
    order_id: UUID,
    change: Callable[[Connection, StoredClaim], Awaitable[None]],
) -> Purchase:
    async def work(connection: Connection) -> Purchase:
        await change(connection, await lock_claim(connection, order_id, caller))
        return await show_claim(connection, purchases, caller, order_id)

    return await short_transaction(database, work)


async def show_claim(connection: Connection, purchases: PurchaseReader, caller: Caller, order_id: UUID) -> Purchase:
    """The locked claim as it stands now, with its keys: who gets them to see is written down before they leave."""
    order = await connection.fetchrow(statement("orders.read_order"), order_id)
    assert order is not None
    purchase = await purchases.assemble(connection, order)
    await record_disclosure(connection, purchase, caller.caller_id, _SOURCE, order["now"])
    return purchase
