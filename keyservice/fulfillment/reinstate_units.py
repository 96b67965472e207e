"""Reversing a cancellation: units that have ended are wanted again.

A license that its publisher was asked for comes back to life where the publisher can enable it again; that is asked of it, and
the key is good when it says so. Every other key that somebody has seen is dead for good, because its publisher may have acted
on that: the unit gets another key, from wherever its product's keys come from today.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg

from keyservice.domain.caller import Caller, CallerKind
from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.errors import Conflict, NotFound, OutOfStock
from keyservice.domain.key_request import RequestState
from keyservice.domain.order_state import UnitStatus
from keyservice.domain.revocation import RevocationKind
from keyservice.domain.tape import Short, Wanted
from keyservice.fulfillment.claim_keys import NewClaim, draw_keys, lock_tapes, record_claims
from keyservice.fulfillment.connector_shelf import ConnectorShelf
from keyservice.fulfillment.end_requests import CANCEL_DAYS, insert_requests
from keyservice.fulfillment.fall_back import places_in_queues, plan_of_line
from keyservice.fulfillment.judge_answer import ISSUING
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.plan_requests import Asking, next_asking
from keyservice.fulfillment.queue_units import join_queues
from keyservice.fulfillment.read_purchases import read_claims
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_claim import Change, StoredClaim, UnitChange, change_units, lock_claim, write_event
from keyservice.fulfillment.stored_request import KeyRequest, new_request
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

BEFORE_THE_PLAN = -1
"""The step of a request to enable a license: when it comes to nothing, the plan is gone through from its beginning."""


class NotReinstatable(Conflict):
    """The order's units have not ended, or were never sold."""

    code = "not-reinstatable"


async def reinstate_units(
    database: Database,
    opener: KeyOpener,
    shelf: ConnectorShelf,
    caller: Caller,
    order_id: UUID,
    *,
    unit_ids: Collection[UUID] | None,
    reason: str,
) -> None:
    """Want these units again, or all that have ended. Units that live stay as they are, so a repetition changes nothing.

    Raises NotFound (somebody else's too), NotReinstatable while publishers have still to say what became of the
    cancellation, OutOfStock (nothing has changed then).
    """

    async def work(connection: Connection) -> Short | None:
        claim = await lock_claim(connection, order_id, None if caller.kind is CallerKind.ADMIN else caller)
        meant = _meant(claim, unit_ids)
        if any(UnitStatus(unit["fulfillment_status"]) is UnitStatus.CANCELING for unit in meant):
            raise NotReinstatable(
                "the cancellation is under way; repeat this when the publisher has answered and the order is cancelled"
            )
        ended = [unit for unit in meant if UnitStatus(unit["fulfillment_status"]) in _ENDED]
        if not ended:
            return None
        if claim.order["paid_at"] is None:
            raise NotReinstatable("this was on hold and never sold; claim it anew")
        return await _reinstate(connection, opener, shelf, claim, ended, reason, caller)

    short = await short_transaction(database, work)
    if short is not None:
        raise OutOfStock(line_number=short.line_number, wanted=short.wanted, left=short.left)


_ENDED = frozenset({UnitStatus.ENDED, UnitStatus.CANCEL_FAILED})


def _meant(claim: StoredClaim, unit_ids: Collection[UUID] | None) -> list[asyncpg.Record]:
    known = {unit["line_item_data_id"]: unit for unit in claim.units}
    if unit_ids is not None and not known.keys() >= set(unit_ids):
        raise NotFound("the claim has no such unit")
    return [known[unit_id] for unit_id in sorted(known if unit_ids is None else set(unit_ids))]


async def _reinstate(
    connection: Connection,
    opener: KeyOpener,
    shelf: ConnectorShelf,
    claim: StoredClaim,
    ended: Sequence[asyncpg.Record],
    reason: str,
    caller: Caller,
) -> Short | None:
    """Short, with the damaged keys on record that made it so, when there is no other key."""
    resumed = await _resumptions(connection, shelf, claim, ended, reason)
    resuming = {unit_id for request in resumed for unit_id in request.unit_ids}
    left = [unit for unit in ended if unit["line_item_data_id"] not in resuming]
    served = await _serve_anew(connection, opener, shelf, claim, left)
    if isinstance(served, Short):
        return served
    changes, requests = served
    # The claims stay on record as what they were; the units do not live on them any more.
    forgotten = [(claim.order_id, unit["line_item_data_id"]) for unit in ended]
    await connection.executemany(statement("orders.forget_claim"), forgotten)
    changes += [UnitChange(unit_id, UnitStatus.REQUESTED) for unit_id in sorted(resuming)]
    await insert_requests(connection, [*resumed, *requests])
    status = await change_units(connection, Change(claim, changes))
    facts = {"reason": reason, "units": len(ended), "to_be_enabled": len(resuming)}
    await write_event(connection, claim, "units.reinstated", status, facts, caller_id=caller.caller_id)
    return None


async def _resumptions(
    connection: Connection, shelf: ConnectorShelf, claim: StoredClaim, ended: Sequence[asyncpg.Record], reason: str
) -> list[KeyRequest]:
    """For each license of one unit whose publisher can enable it again, the request that it does so."""
    claims = await read_claims(connection, ended)
    found = []
    for unit in ended:
        dead = claims.get(unit["claim_id"])
        if dead is None or dead["key_request_id"] is None or dead["state"] != RevocationKind.REVOKED:
            continue
        row = await connection.fetchrow(
            statement("key_requests.key_request"), unit["publisher_id"], dead["key_request_id"]
        )
        created = None if row is None else KeyRequest.of(row)
        if created is None or created.operation not in ISSUING or len(created.unit_ids) != 1:
            # Of a license of several keys, others may be in use or dead for another reason.
            continue
        shelved = await shelf.take(created.publisher_id, created.connector_id, created.connector_version)
        if ConnectorOperation.RESUME in shelved.connector.document.operations:
            found.append(_resumption(created, unit, claim, reason))
    return found


def _resumption(created: KeyRequest, unit: asyncpg.Record, claim: StoredClaim, reason: str) -> KeyRequest:
    return new_request(
        publisher_id=created.publisher_id,
        connector_id=created.connector_id,
        connector_version=created.connector_version,
        operation=ConnectorOperation.RESUME,
        order_id=claim.order_id,
        line_number=created.line_number,
        unit_ids=created.unit_ids,
        state=RequestState.PLANNED,
        now=claim.now,
        give_up_at=claim.now + timedelta(days=CANCEL_DAYS),
        next_at=claim.now,
        license_ref=created.license_ref,
        plan_step=BEFORE_THE_PLAN,
        is_test=created.is_test,
        reason=reason,
        replaces_claim_id=unit["claim_id"],
    )


async def _serve_anew(
    connection: Connection,
    opener: KeyOpener,
    shelf: ConnectorShelf,
    claim: StoredClaim,
    units: Sequence[asyncpg.Record],
) -> tuple[list[UnitChange], list[KeyRequest]] | Short:
    """As a new order's units: from pools, from a publisher, or from a place in the queues where the plan has one."""
    lines: dict[int, list[asyncpg.Record]] = {}
    for unit in units:
        lines.setdefault(unit["line_number"], []).append(unit)
    is_sandbox = bool(claim.order["is_test"])
    plans = {number: await plan_of_line(connection, claim, number) for number in sorted(lines)}
    askings: dict[int, Asking | None] = {
        number: await next_asking(shelf, plan, lines[number][0]["publisher_id"], 0, is_sandbox=is_sandbox)
        for number, plan in plans.items()
    }
    wanted = [
        Wanted(
            *(number, some[0]["publisher_id"]),
            plans[number].pool_ids if (asking := askings[number]) is None else asking.pool_ids,
            tuple(unit["line_item_data_id"] for unit in some),
            is_sandbox=is_sandbox,
            is_requested=asking is not None,
            may_wait=asking is None and plans[number].may_wait,
        )
        for number, some in sorted(lines.items())
    ]
    if not wanted:
        return [], []
    tapes = await lock_tapes(connection, wanted)
    (drawn,) = await draw_keys(connection, tapes, [wanted], opener)
    if isinstance(drawn, Short):
        await record_claims(connection, tapes, [])
        return drawn
    # Nobody has seen them yet: they are disclosed when they are read.
    await record_claims(connection, tapes, [NewClaim(claim.order_id, key, "issued", None) for key in drawn])
    changes = [UnitChange(key.unit_id, UnitStatus.ISSUED, key.claim_id) for key in drawn]
    served, requests = {key.unit_id for key in drawn}, []
    for line in wanted:
        left = [unit_id for unit_id in line.unit_ids if unit_id not in served]
        if not left:
            continue
        asking = askings[line.line_number]
        if asking is not None:
            requests += asking.requests(line.publisher_id, claim.order_id, line.line_number, left, claim.now)
        else:
            plan = plans[line.line_number]
            queued = places_in_queues(tapes, claim, line.publisher_id, line.line_number, plan, left)
            await join_queues(connection, tapes, queued)
        status = UnitStatus.WAITING if asking is None else UnitStatus.REQUESTED
        changes += [UnitChange(unit_id, status) for unit_id in left]
    return changes, requests
