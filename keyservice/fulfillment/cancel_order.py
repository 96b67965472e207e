"""Cancelling: every key of the order is dead in the same transaction, whoever else asks at the same moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
from pydantic_core import to_json

from keyservice.crypto.sealing import aad
from keyservice.domain.caller import Caller, CallerKind
from keyservice.domain.errors import Conflict, NotFound
from keyservice.domain.notice import ToldUnit
from keyservice.domain.order_state import UnitStatus
from keyservice.fulfillment.end_claims import Ended, end_claims
from keyservice.fulfillment.end_requests import end_requests
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.record_notices import ChangedOrder, tell_of_orders
from keyservice.fulfillment.revoke_units import stop_waiting
from keyservice.fulfillment.shopper_keys import ShopperKeys
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_claim import Change, StoredClaim, UnitChange, change_units, lock_claims
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

FRAUD_OR_CHARGEBACK: Final = 16
"""Document 000's reason for money that was taken back: it comes weeks later, so no cancel period applies."""


class AlreadyCanceled(Conflict):
    """The order was cancelled before; its keys are dead already."""

    code = "already-canceled"


class CancelPeriodExpired(Conflict):
    """The reseller's time for cancelling orders is over."""

    code = "cancel-period-expired"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """An order that is cancelled."""

    order_id: UUID
    order_number: int


async def cancel_order(
    database: Database,
    shopper_keys: ShopperKeys,
    caller: Caller,
    order_id: UUID,
    *,
    reason: int,
    comment: str | None,
) -> Cancellation:
    """Cancel the order. A disclosed key is revoked for good, an undisclosed one goes back on its tape.

    Raises NotFound (somebody else's too), AlreadyCanceled, CancelPeriodExpired.
    """
    attempts = 0

    async def work(connection: Connection) -> Cancellation:
        nonlocal attempts
        attempts += 1
        # The order first, then the pools: every verb takes its locks in this order.
        order = await connection.fetchrow(statement("orders.lock_order"), order_id)
        if order is None or (caller.kind is not CallerKind.ADMIN and caller.caller_id != order["caller_id"]):
            raise NotFound("there is no such order")
        if order["canceled_at"] is not None:
            if attempts > 1:  # the connection broke during the COMMIT, and the COMMIT had reached the server
                return Cancellation(order_id, order["order_number"])
            raise AlreadyCanceled("this order is cancelled already")
        _demand_in_time(caller, order, reason)
        await _cancel(connection, shopper_keys, caller, order, reason, comment)
        return Cancellation(order_id, order["order_number"])

    return await short_transaction(database, work)


def _demand_in_time(caller: Caller, order: asyncpg.Record, reason: int) -> None:
    ends = order["created_at"] + timedelta(days=caller.cancel_period_days)
    if reason != FRAUD_OR_CHARGEBACK and order["now"] > ends:
        raise CancelPeriodExpired(f"orders can be cancelled for {caller.cancel_period_days} days")


async def _cancel(
    connection: Connection,
    shopper_keys: ShopperKeys,
    caller: Caller,
    order: asyncpg.Record,
    reason: int,
    comment: str | None,
) -> None:
    order_id, now = order["order_id"], order["now"]
    units = await connection.fetch(statement("orders.units"), order_id)
    stopped = await stop_waiting(connection, units)
    why = f"order canceled: {reason}"
    ended = await end_claims(connection, units, reason=why, now=now)
    sealed = await _seal_comment(connection, shopper_keys, order, comment, now)
    await connection.execute(statement("orders.cancel_order"), order_id, now, reason, sealed)
    await connection.execute(statement("orders.cancel_line_item_data"), order_id, now)
    status = await _end_requests(connection, order, units, ended, why, now)
    told = {"reason": reason, "revoked": ended.revoked, "returned": ended.returned}
    facts = to_json({**told, "stopped_waiting": stopped} if stopped else told).decode()
    event = (order_id, new_id(), None, caller.caller_id, "order.canceled", status, "connect", None, facts, now)
    await connection.execute(statement("orders.insert_event"), *event)
    lines: dict[int, list[ToldUnit]] = {}
    for unit in units:
        lines.setdefault(unit["line_number"], []).append(ToldUnit(unit["line_item_data_id"], UnitStatus.ENDED))
    if status == "CANCELED":
        await tell_of_orders(connection, [ChangedOrder(order, status, lines)])


async def _end_requests(
    connection: Connection,
    order: asyncpg.Record,
    units: Sequence[asyncpg.Record],
    ended: Ended,
    reason: str,
    now: datetime,
) -> str:
    """The order's status: its publishers may have still to say that they have taken their keys back."""
    claim = StoredClaim(order, tuple(units))
    statuses = await end_requests(connection, claim, units, ended.delivered_by, reason=reason, now=now)
    canceling = [UnitChange(unit_id, status) for unit_id, status in statuses.items()]
    if not canceling:
        return "CANCELED"
    (stored,) = (await lock_claims(connection, [order["order_id"]])).values()
    return await change_units(connection, Change(StoredClaim(order, stored.rows), canceling))


async def _seal_comment(
    connection: Connection, shopper_keys: ShopperKeys, order: asyncpg.Record, comment: str | None, now: datetime
) -> bytes | None:
    if not comment or order["shopper_ref"] is None:
        return None
    keys = await shopper_keys.ensure(connection, [order["shopper_ref"]], now)
    return keys[order["shopper_ref"]].seal(comment.encode(), aad("cancellation comment", order["order_id"].bytes))
