"""Ending what publishers were asked for: what was never sent is dropped, what was issued is cancelled upstream."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.key_request import RequestState
from keyservice.domain.order_state import ASKING, DEAD, UnitStatus
from keyservice.domain.revocation import RevocationKind
from keyservice.fulfillment.end_claims import dead_claim
from keyservice.fulfillment.read_purchases import read_claims
from keyservice.fulfillment.record_revocations import record_revocations
from keyservice.fulfillment.stored_claim import StoredClaim
from keyservice.fulfillment.stored_request import KeyRequest, intent_row, new_request
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement

CANCEL_DAYS: Final = 14
"""How long a cancellation is tried: a publisher that is away for a weekend has still to be told."""

_IN_DOUBT: Final = frozenset({RequestState.SENDING, RequestState.ACCEPTED, RequestState.UNKNOWN, RequestState.HELD})


async def end_requests(
    connection: Connection,
    claim: StoredClaim,
    units: Sequence[asyncpg.Record],
    delivered_by: Collection[UUID],
    *,
    reason: str,
    now: datetime,
) -> dict[UUID, UnitStatus]:
    """What becomes of those of these units of a locked order that publishers were asked for; the others end at once.

    `delivered_by` are the requests that brought the keys which have just died.
    """
    if not delivered_by and not any(UnitStatus(unit["fulfillment_status"]) in ASKING for unit in units):
        return {}
    ended = {unit["line_item_data_id"] for unit in units}
    statuses: dict[UUID, UnitStatus] = {}
    for publisher_id in sorted({unit["publisher_id"] for unit in units}):
        rows = await connection.fetch(statement("key_requests.lock_of_order"), publisher_id, claim.order_id)
        requests = [KeyRequest.of(row) for row in rows]
        for request in requests:
            mine = ended & set(request.unit_ids)
            if mine:
                statuses |= await _end(connection, claim, request, mine, ended, delivered_by, reason, now)
    return statuses


async def _end(
    connection: Connection,
    claim: StoredClaim,
    request: KeyRequest,
    mine: set[UUID],
    ended: set[UUID],
    delivered_by: Collection[UUID],
    reason: str,
    now: datetime,
) -> dict[UUID, UnitStatus]:
    is_whole = not _living(claim, request, ended)
    if request.key_request_id in delivered_by:
        planned = cancellation(request, mine if is_whole else (), reason=reason, now=now)
        if is_whole:
            await insert_requests(connection, [planned])
            return dict.fromkeys(mine, UnitStatus.CANCELING)
        # Other keys of the same license are in use: the publisher could only take all of them back.
        await insert_requests(connection, [_never_sent(planned, now)])
        return {}
    if not request.gives_key or not is_whole:
        return {}
    if request.state is RequestState.PLANNED:
        await abandon(connection, request, now)
        return {}
    return dict.fromkeys(mine, UnitStatus.CANCELING) if request.state in _IN_DOUBT else {}


def cancellation(request: KeyRequest, unit_ids: Iterable[UUID], *, reason: str, now: datetime) -> KeyRequest:
    """That what this request created is taken back."""
    return new_request(
        publisher_id=request.publisher_id,
        connector_id=request.connector_id,
        connector_version=request.connector_version,
        operation=ConnectorOperation.CANCEL,
        order_id=request.order_id,
        line_number=request.line_number,
        unit_ids=sorted(unit_ids),
        state=RequestState.PLANNED,
        now=now,
        give_up_at=now + timedelta(days=CANCEL_DAYS),
        next_at=now,
        license_ref=request.license_ref,
        is_test=request.is_test,
        reason=reason,
    )


async def insert_requests(connection: Connection, requests: Iterable[KeyRequest]) -> None:
    """Store intents."""
    await connection.executemany(
        statement("key_requests.insert_key_request"), [intent_row(request) for request in requests]
    )


async def abandon(connection: Connection, request: KeyRequest, now: datetime) -> None:
    """Nobody wants it any more, and nothing of it has been sent that could have done anything."""
    await connection.execute(statement("key_requests.abandon"), request.publisher_id, request.key_request_id, now)


def _never_sent(planned: KeyRequest, now: datetime) -> KeyRequest:
    """On record, so that nobody takes the key for taken back."""
    return replace(planned, state=RequestState.UNSUPPORTED, next_at=None, settled_at=now)


def _living(claim: StoredClaim, request: KeyRequest, ended: set[UUID]) -> set[UUID]:
    """Units of the request that go on."""
    return {
        unit["line_item_data_id"]
        for unit in claim.units
        if unit["line_item_data_id"] in request.unit_ids
        and unit["line_item_data_id"] not in ended
        and UnitStatus(unit["fulfillment_status"]) not in DEAD
    }


async def end_replaced(
    connection: Connection,
    claim: StoredClaim,
    unit_id: UUID,
    *,
    reason: str,
    now: datetime,
    takes_back: bool = True,
) -> None:
    """End the claim that a unit lives on, because another key takes its place. The order is locked.

    Of a license that was renewed nothing is taken back: it goes on with its new key.
    """
    unit = next(one for one in claim.units if one["line_item_data_id"] == unit_id)
    publisher_id = unit["publisher_id"]
    old = (await read_claims(connection, [unit]))[unit["claim_id"]]
    end = (publisher_id, old["claim_id"], RevocationKind.REPLACED, now, reason)
    await connection.execute(statement("tape.end_claim"), *end)
    await record_revocations(
        connection, publisher_id, [dead_claim(old)], kind=RevocationKind.REPLACED, reason=reason, now=now
    )
    if takes_back and old["key_request_id"] is not None:
        # The unit goes on with its new key, so it does not wait for what comes of this.
        await end_requests(connection, claim, [unit], {old["key_request_id"]}, reason=reason, now=now)
