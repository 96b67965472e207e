"""Cancelling: every key of the order is dead in the same transaction, whoever else asks at the same moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
from pydantic_core import to_json

from keyservice.crypto.sealing import aad
from keyservice.domain.caller import Caller, CallerKind
from keyservice.domain.errors import Conflict, NotFound
from keyservice.domain.tape import Place, Wanted
from keyservice.fulfillment.claim_keys import lock_tapes
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.read_purchases import read_claims
from keyservice.fulfillment.shopper_keys import ShopperKeys
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.watch_pools import settle_alarm
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
    revoked, returned = await _end_claims(connection, order_id, f"order canceled: {reason}", now)
    sealed = await _seal_comment(connection, shopper_keys, order, comment, now)
    await connection.execute(statement("orders.cancel_order"), order_id, now, reason, sealed)
    await connection.execute(statement("orders.cancel_line_item_data"), order_id, now)
    facts = to_json({"reason": reason, "revoked": revoked, "returned": returned}).decode()
    event = (order_id, new_id(), None, caller.caller_id, "order.canceled", "CANCELED", "connect", None, facts, now)
    await connection.execute(statement("orders.insert_event"), *event)


async def _end_claims(connection: Connection, order_id: UUID, reason: str, now: datetime) -> tuple[int, int]:
    units = await connection.fetch(statement("orders.units"), order_id)
    claims = await read_claims(connection, units)
    live: dict[int, list[asyncpg.Record]] = {}
    for unit in units:
        claim = claims.get(unit["claim_id"])
        if claim is not None and claim["state"] in ("held", "issued"):
            live.setdefault(unit["publisher_id"], []).append(claim)
    revoked = returned = 0
    for publisher_id, some in sorted(live.items()):
        # Which ones go back is known before the pools are locked: disclosure never changes back, and the order is ours.
        undisclosed = [claim for claim in some if claim["disclosed_at"] is None]
        if undisclosed:
            await give_back(connection, publisher_id, [_place(claim) for claim in undisclosed])
        ends = [(publisher_id, claim["claim_id"], _end_state(claim), now, reason) for claim in some]
        await connection.executemany(statement("tape.end_claim"), ends)
        await connection.executemany(
            statement("tape.insert_publisher_event"),
            [
                _revocation_event(publisher_id, claim, reason, now)
                for claim in some
                if claim["disclosed_at"] is not None
            ],
        )
        returned += len(undisclosed)
        revoked += len(some) - len(undisclosed)
    return revoked, returned


async def give_back(connection: Connection, publisher_id: int, places: Sequence[Place]) -> None:
    """Put undisclosed keys back on their tape, behind the locks of their pools, and settle the pools' alarms."""
    rows = await connection.fetch(
        statement("tape.pools_of_segments"), publisher_id, sorted({place.segment_id for place in places})
    )
    pools: Mapping[int, UUID] = {row["segment_id"]: row["pool_id"] for row in rows}
    every = Wanted(0, publisher_id, tuple(sorted(set(pools.values()))), ())
    await lock_tapes(connection, [every])
    await connection.executemany(statement("tape.put_returned"), [(publisher_id, *place) for place in places])
    counts: dict[int, int] = {}
    for place in places:
        counts[place.segment_id] = counts.get(place.segment_id, 0) + 1
    await connection.executemany(
        statement("tape.count_returned"),
        [(publisher_id, segment_id, count) for segment_id, count in sorted(counts.items())],
    )
    tapes = await lock_tapes(connection, [every])
    for pool in tapes.pools.values():
        await settle_alarm(connection, pool, now=tapes.now)


async def _seal_comment(
    connection: Connection, shopper_keys: ShopperKeys, order: asyncpg.Record, comment: str | None, now: datetime
) -> bytes | None:
    if not comment or order["shopper_ref"] is None:
        return None
    keys = await shopper_keys.ensure(connection, [order["shopper_ref"]], now)
    return keys[order["shopper_ref"]].seal(comment.encode(), aad("cancellation comment", order["order_id"].bytes))


def _place(claim: asyncpg.Record) -> Place:
    return Place(claim["segment_id"], claim["position"])


def _end_state(claim: asyncpg.Record) -> str:
    return "released" if claim["disclosed_at"] is None else "revoked"


def _revocation_event(publisher_id: int, claim: asyncpg.Record, reason: str, now: datetime) -> tuple[object, ...]:
    facts = {"claim_id": claim["claim_id"], "segment_id": claim["segment_id"], "position": claim["position"]}
    json_facts = to_json({**facts, "reason": reason}).decode()
    return (publisher_id, new_id(), None, None, None, "key.revoked", json_facts, now)
