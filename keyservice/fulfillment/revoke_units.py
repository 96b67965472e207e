"""Revoking units of a claim: keys that were seen are dead, keys that were not go back, units that wait stop waiting."""

from collections.abc import Collection, Sequence
from uuid import UUID

import asyncpg

from keyservice.domain.caller import Caller
from keyservice.domain.errors import NotFound
from keyservice.domain.order_state import DEAD, UnitStatus
from keyservice.domain.purchase import Purchase
from keyservice.domain.tape import Wanted
from keyservice.fulfillment.claim_keys import lock_tapes
from keyservice.fulfillment.end_claims import end_claims, pools_of_keys
from keyservice.fulfillment.end_requests import end_requests
from keyservice.fulfillment.hold_keys import show_claim
from keyservice.fulfillment.queue_units import leave_queues
from keyservice.fulfillment.read_purchases import PurchaseReader
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_claim import Change, UnitChange, change_units, lock_claim, write_event
from keyservice.fulfillment.watch_pools import settle_alarm
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement


async def revoke_units(
    database: Database,
    purchases: PurchaseReader,
    caller: Caller,
    order_id: UUID,
    *,
    unit_ids: Collection[UUID] | None,
    reason: str,
) -> Purchase:
    """End these units, or all; those that have ended stay as they are. Raises NotFound for a claim or a unit of it."""

    async def work(connection: Connection) -> Purchase:
        claim = await lock_claim(connection, order_id, caller)
        known = {unit["line_item_data_id"]: unit for unit in claim.units}
        if unit_ids is not None and not known.keys() >= set(unit_ids):
            raise NotFound("the claim has no such unit")
        meant = [known[unit_id] for unit_id in sorted(known if unit_ids is None else set(unit_ids))]
        living = [unit for unit in meant if UnitStatus(unit["fulfillment_status"]) not in DEAD]
        if living:
            stopped = await stop_waiting(connection, living)
            ended = await end_claims(connection, living, reason=reason, now=claim.now)
            asked = await end_requests(connection, claim, living, ended.delivered_by, reason=reason, now=claim.now)
            unit_ids_ended = [unit["line_item_data_id"] for unit in living]
            change = Change(claim, [UnitChange(one, asked.get(one, UnitStatus.ENDED)) for one in unit_ids_ended])
            status = await change_units(connection, change)
            facts = {"reason": reason, "revoked": ended.revoked, "returned": ended.returned, "stopped_waiting": stopped}
            await write_event(connection, claim, "units.revoked", status, facts, caller_id=caller.caller_id)
        return await show_claim(connection, purchases, caller, order_id)

    return await short_transaction(database, work)


async def stop_waiting(connection: Connection, units: Sequence[asyncpg.Record]) -> int:
    """Take those of these units that wait out of their queues; how many. Their order is locked.

    The pools that their keys go back to are locked with those of the queues, so that all are locked in ascending order.
    """
    waiting: dict[int, list[UUID]] = {}
    for unit in units:
        if unit["fulfillment_status"] == UnitStatus.WAITING:
            waiting.setdefault(unit["publisher_id"], []).append(unit["line_item_data_id"])
    if not waiting:
        return 0
    places = {
        publisher_id: await connection.fetch(statement("backorders.still_waiting"), publisher_id, unit_ids)
        for publisher_id, unit_ids in sorted(waiting.items())
    }
    pools = await pools_of_keys(connection, units)
    for publisher_id, rows in places.items():
        pools.setdefault(publisher_id, set()).update(row["pool_id"] for row in rows)
    tapes = await lock_tapes(connection, [Wanted(0, one, tuple(pool_ids), ()) for one, pool_ids in pools.items()])
    for publisher_id, rows in places.items():
        await leave_queues(connection, tapes, publisher_id, rows)
    for pool in tapes.pools.values():
        await settle_alarm(connection, pool, now=tapes.now)
    return sum(len(unit_ids) for unit_ids in waiting.values())
