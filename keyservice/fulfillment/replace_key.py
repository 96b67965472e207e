"""Replacing a key that does not work: the new one first, the old one dead, both on record."""

from dataclasses import replace
from uuid import UUID

import asyncpg

from keyservice.domain.caller import Caller
from keyservice.domain.claim import NotIssued
from keyservice.domain.errors import NotFound, OutOfStock
from keyservice.domain.order_state import UnitStatus
from keyservice.domain.purchase import Purchase
from keyservice.domain.revocation import RevocationKind
from keyservice.domain.tape import Short, Wanted
from keyservice.fulfillment.claim_keys import NewClaim, draw_keys, lock_tapes, record_claims
from keyservice.fulfillment.connector_shelf import ConnectorShelf
from keyservice.fulfillment.end_requests import end_replaced, insert_requests
from keyservice.fulfillment.fall_back import plan_of_line
from keyservice.fulfillment.hold_keys import show_claim
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.plan_requests import Asking, next_asking
from keyservice.fulfillment.read_purchases import PurchaseReader
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_claim import Change, StoredClaim, UnitChange, change_units, lock_claim, write_event
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement


async def replace_key(
    database: Database,
    purchases: PurchaseReader,
    opener: KeyOpener,
    shelf: ConnectorShelf,
    caller: Caller,
    order_id: UUID,
    *,
    unit_id: UUID,
    claim_id: UUID,
    reason: str,
) -> Purchase:
    """Give the unit another key in the place of the one of this claim; a repetition finds it replaced and changes nothing.

    Where the publisher is asked for it, the unit keeps what it has until the new key is there.

    Raises NotFound, NotIssued, OutOfStock (the unit keeps the key that it has).
    """

    async def work(connection: Connection) -> Purchase | Short:
        claim = await lock_claim(connection, order_id, caller)
        unit = next((one for one in claim.units if one["line_item_data_id"] == unit_id), None)
        if unit is None:
            raise NotFound("the claim has no such unit")
        if unit["claim_id"] != claim_id:
            await _demand_replaced(connection, unit["publisher_id"], unit_id, claim_id)
        elif unit["fulfillment_status"] != UnitStatus.ISSUED:
            raise NotIssued("this unit holds no key that could be replaced")
        elif short := await _replace(connection, opener, shelf, claim, unit, reason, caller):
            return short
        return await show_claim(connection, purchases, caller, order_id)

    done = await short_transaction(database, work)
    if isinstance(done, Short):
        raise OutOfStock(line_number=done.line_number, wanted=done.wanted, left=done.left)
    return done


async def _replace(
    connection: Connection,
    opener: KeyOpener,
    shelf: ConnectorShelf,
    claim: StoredClaim,
    unit: asyncpg.Record,
    reason: str,
    caller: Caller,
) -> Short | None:
    """Short, with the damaged keys on record that made it so, when there is no other key."""
    unit_id, claim_id = unit["line_item_data_id"], unit["claim_id"]
    publisher_id, now = unit["publisher_id"], claim.now
    plan, is_sandbox = await plan_of_line(connection, claim, unit["line_number"]), bool(claim.order["is_test"])
    asking = await next_asking(shelf, plan, publisher_id, 0, is_sandbox=is_sandbox)
    if await _is_asked_for(connection, publisher_id, claim, claim_id):
        return None
    pool_ids = plan.pool_ids if asking is None else asking.pool_ids
    wanted = Wanted(unit["line_number"], publisher_id, pool_ids, (unit_id,), is_sandbox=is_sandbox)
    tapes = await lock_tapes(connection, [wanted])
    (drawn,) = await draw_keys(connection, tapes, [[wanted]], opener)
    if isinstance(drawn, Short):
        await record_claims(connection, tapes, [])
        if asking is None:
            return drawn
        await _ask(connection, asking, claim, unit, reason, caller)
        return None
    # The old one ends before the new one begins: a unit has one live claim.
    await end_replaced(connection, claim, unit_id, reason=reason, now=now)
    await record_claims(connection, tapes, [NewClaim(claim.order_id, drawn[0], "issued", now)])
    change = Change(claim, [UnitChange(unit_id, UnitStatus.ISSUED, drawn[0].claim_id)])
    status = await change_units(connection, change)
    facts = {"reason": reason, "replaced": claim_id, "by": drawn[0].claim_id, "disclosed": 1}
    await write_event(connection, claim, "key.replaced", status, facts, caller_id=caller.caller_id, unit_id=unit_id)
    return None


async def _is_asked_for(connection: Connection, publisher_id: int, claim: StoredClaim, claim_id: UUID) -> bool:
    """Whether the publisher is being asked for the key that takes this one's place."""
    rows = await connection.fetch(statement("key_requests.of_order"), publisher_id, claim.order_id)
    requests = (KeyRequest.of(row) for row in rows)
    return any(one.replaces_claim_id == claim_id and one.settled_at is None for one in requests)


async def _ask(
    connection: Connection, asking: Asking, claim: StoredClaim, unit: asyncpg.Record, reason: str, caller: Caller
) -> None:
    (request,) = asking.requests(
        unit["publisher_id"], claim.order_id, unit["line_number"], [unit["line_item_data_id"]], claim.now
    )
    asked = replace(request, reason=reason, replaces_claim_id=unit["claim_id"], fall_back_at=None)
    await insert_requests(connection, [asked])
    facts = {"reason": reason, "replaces": unit["claim_id"], "key_request_id": asked.key_request_id}
    name, status = "key.replacement_requested", claim.order["status"]
    unit_id = unit["line_item_data_id"]
    await write_event(connection, claim, name, status, facts, caller_id=caller.caller_id, unit_id=unit_id)


async def _demand_replaced(connection: Connection, publisher_id: int, unit_id: UUID, claim_id: UUID) -> None:
    rows = await connection.fetch(statement("tape.claims_of_units"), publisher_id, [claim_id])
    if not rows or rows[0]["unit_id"] != unit_id:
        raise NotFound("the unit was never served by this claim")
    if rows[0]["state"] != RevocationKind.REPLACED:
        raise NotIssued("this claim has ended otherwise; read the claim again")
