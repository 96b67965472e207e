"""The next source of a plan has its turn: pools, another connector, or a place in the queues."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from keyservice.domain.catalogue import SourcePlan
from keyservice.domain.order_state import UnitStatus
from keyservice.domain.tape import Wanted
from keyservice.fulfillment.catalogue import read_source_plan
from keyservice.fulfillment.claim_keys import LockedTapes, NewClaim, draw_keys, lock_tapes, record_claims
from keyservice.fulfillment.connector_shelf import ConnectorShelf
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.plan_requests import Asking, next_asking
from keyservice.fulfillment.queue_units import Queued, join_queues
from keyservice.fulfillment.stored_claim import StoredClaim, UnitChange
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


@dataclass(slots=True)
class FellBack:
    """What became of units whose publisher had nothing for them."""

    changes: list[UnitChange] = field(default_factory=list)
    requests: list[KeyRequest] = field(default_factory=list)


async def fall_back(
    connection: Connection,
    opener: KeyOpener,
    shelf: ConnectorShelf,
    claim: StoredClaim,
    row: KeyRequest,
    unit_ids: Sequence[UUID],
    now: datetime,
) -> FellBack:
    """Serve these units of a locked order from what stands behind the request's step. Nothing is asked twice at once."""
    plan = await plan_of_line(connection, claim, row.line_number)
    is_sandbox = bool(claim.order["is_test"])
    asking = await next_asking(shelf, plan, row.publisher_id, row.plan_step + 1, is_sandbox=is_sandbox)
    end = len(plan.steps) if asking is None else asking.plan_step
    pools = plan.pools_before(end, after=row.plan_step + 1)
    wanted = Wanted(row.line_number, row.publisher_id, pools, tuple(unit_ids), is_sandbox=is_sandbox, is_requested=True)
    tapes = await lock_tapes(connection, [wanted, replace(wanted, pool_ids=plan.pool_ids, unit_ids=())])
    (drawn,) = await draw_keys(connection, tapes, [[wanted]], opener)
    assert isinstance(drawn, list), "what may be asked elsewhere is never short"
    # Nobody has seen them yet: they are disclosed when they are read.
    await record_claims(connection, tapes, [NewClaim(claim.order_id, key, "issued", None) for key in drawn])
    fell = FellBack([UnitChange(key.unit_id, UnitStatus.ISSUED, key.claim_id) for key in drawn])
    served = {key.unit_id for key in drawn}
    left = [unit_id for unit_id in unit_ids if unit_id not in served]
    if left:
        await _see_to(connection, tapes, shelf, claim, row, plan, asking, left, fell, now)
    return fell


async def _see_to(
    connection: Connection,
    tapes: LockedTapes,
    shelf: ConnectorShelf,
    claim: StoredClaim,
    row: KeyRequest,
    plan: SourcePlan,
    asking: Asking | None,
    left: Sequence[UUID],
    fell: FellBack,
    now: datetime,
) -> None:
    """Units that found no key in a pool: another publisher's turn, a place in the queues, or the same publisher again."""
    queued = (
        []
        if asking is not None or not plan.may_wait
        else places_in_queues(tapes, claim, row.publisher_id, row.line_number, plan, left)
    )
    if queued:
        await join_queues(connection, tapes, queued)
        fell.changes += [UnitChange(unit_id, UnitStatus.WAITING) for unit_id in left]
        return
    if asking is None:
        asking = await next_asking(
            shelf, plan, row.publisher_id, max(row.plan_step, 0), is_sandbox=bool(claim.order["is_test"])
        )
    if asking is None:
        fell.changes += [UnitChange(unit_id, UnitStatus.FAILED) for unit_id in left]
        return
    requests = asking.requests(row.publisher_id, claim.order_id, row.line_number, left, now)
    if asking.plan_step == row.plan_step:
        # Everything else was tried: from now on it is only waited for.
        requests = [replace(one, fall_back_at=None) for one in requests]
    fell.requests += requests
    fell.changes += [UnitChange(unit_id, UnitStatus.REQUESTED) for unit_id in left]


def places_in_queues(
    tapes: LockedTapes,
    claim: StoredClaim,
    publisher_id: int,
    line_number: int,
    plan: SourcePlan,
    left: Sequence[UUID],
) -> list[Queued]:
    """Of units of a line, a place for each in the queue of every pool of its plan that is locked and of its kind."""
    numbers = {unit["line_item_data_id"]: unit["unit_number"] for unit in claim.units}
    paid_at = claim.order["paid_at"] or claim.order["created_at"]
    return [
        Queued(
            *(publisher_id, pool_id, unit_id, claim.order_id),
            *(paid_at, claim.order["order_number"], line_number, numbers[unit_id]),
        )
        for pool_id in plan.pool_ids
        if pool_id in tapes.pools and tapes.pools[pool_id].is_sandbox is bool(claim.order["is_test"])
        for unit_id in left
    ]


async def plan_of_line(connection: Connection, claim: StoredClaim, line_number: int) -> SourcePlan:
    """Where the line's keys come from today."""
    template_id = await connection.fetchval(statement("orders.template_of_line"), claim.order_id, line_number)
    return read_source_plan(await connection.fetchval(statement("callers.source_plan"), template_id))
