"""A group of answers as it is judged, and the rows that it becomes."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.key_request import OPEN, RequestState
from keyservice.domain.order_state import UnitStatus
from keyservice.domain.tape import Place
from keyservice.fulfillment.end_requests import cancellation
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.judge_answer import Answer, KnownKey, UnitNow, Verdict
from keyservice.fulfillment.lay_keys import Delivery
from keyservice.fulfillment.stored_claim import StoredClaim, UnitChange, event_row
from keyservice.fulfillment.stored_request import KeyRequest, new_request

Row = tuple[object, ...]
_SURPLUS_STATES: Final = {"void": "voiding", "pool": "pooled", "hold": "open"}


@dataclass(slots=True)
class Judged:
    """An answer with its verdict, and where its keys go."""

    answer: Answer
    row: KeyRequest
    verdict: Verdict
    claim_ids: dict[UUID, UUID] = field(default_factory=dict)
    """By unit, the claim that it is served by."""

    surplus: list[Delivery] = field(default_factory=list)

    @property
    def document(self) -> ConnectorDocument:
        return self.answer.document

    @property
    def surplus_goes(self) -> Literal["void", "pool", "hold"]:
        """A license of which some keys are in use is not taken back; of a connector that cannot take back, nothing is."""
        document = self.document
        can_void = ConnectorOperation.CANCEL in document.operations and not self.verdict.attached
        return "hold" if document.surplus == "void" and not can_void else document.surplus


@dataclass(slots=True)
class BookingGroup:
    """What this transaction holds, and how it stands after the verdicts so far."""

    now: datetime
    claims: dict[UUID, StoredClaim]
    rows: dict[tuple[int, UUID], KeyRequest]
    known: dict[tuple[int, bytes], KnownKey]
    units: dict[UUID, dict[UUID, UnitNow]]
    changes: dict[UUID, dict[UUID, UnitChange]] = field(default_factory=lambda: defaultdict(dict))

    def change(self, order_id: UUID, change: UnitChange) -> None:
        self.changes[order_id][change.unit_id] = change
        before = self.units[order_id][change.unit_id]
        self.units[order_id][change.unit_id] = UnitNow(change.status, change.claim_id or before.claim_id)


def surplus_row(one: Judged, delivery: Delivery, places: dict[UUID, Place], now: datetime) -> Row:
    state = _SURPLUS_STATES[one.surplus_goes]
    reason = "came when nobody wanted it any more"
    at = (one.row.publisher_id, new_id(), one.row.key_request_id, *places[delivery.claim_id])
    return (*at, state, reason, now, now if state == "pooled" else None)


def follow_ups(group: BookingGroup, one: Judged) -> list[KeyRequest]:
    row = one.row
    if one.verdict.starts_anew:
        return [
            new_request(
                publisher_id=row.publisher_id,
                connector_id=row.connector_id,
                connector_version=one.answer.shelved.current_version,
                operation=ConnectorOperation.CREATE,
                order_id=row.order_id,
                line_number=row.line_number,
                unit_ids=row.unit_ids,
                state=RequestState.PLANNED,
                now=group.now,
                give_up_at=max(row.give_up_at, group.now + timedelta(minutes=1)),
                next_at=group.now,
                plan_step=row.plan_step,
                is_test=row.is_test,
                reason=row.reason,
                accepts_surplus=row.accepts_surplus,
                replaces_claim_id=row.replaces_claim_id,
                fall_back_at=row.fall_back_at,
            )
        ]
    if one.verdict.takes_back or (one.surplus and one.surplus_goes == "void"):
        canceling = [
            unit_id
            for unit_id in row.unit_ids
            if unit_id in group.units[row.order_id]
            and group.units[row.order_id][unit_id].status is UnitStatus.CANCELING
        ]
        reason = "cancelled again" if one.verdict.takes_back else "surplus"
        return [cancellation(row, canceling, reason=reason, now=group.now)]
    return []


def surplus_after(state: RequestState) -> str:
    return "voided" if state is RequestState.ACKNOWLEDGED else "open"


def answer_event(group: BookingGroup, statuses: Mapping[UUID, str], one: Judged) -> Row:
    row, verdict = one.row, one.verdict
    claim = group.claims[row.order_id]
    status = statuses.get(row.order_id) or claim.order["status"]
    facts = {
        "key_request_id": row.key_request_id,
        "operation": row.operation,
        "attempt": row.attempt,
        "units": len(row.unit_ids),
        "issued": len(verdict.attached),
        "surplus": len(one.surplus),
        "code": verdict.code or one.answer.result.code,
    }
    unit_id = row.unit_ids[0] if len(row.unit_ids) == 1 else None
    assert verdict.event is not None
    return event_row(claim, verdict.event, status, facts, caller_id=None, unit_id=unit_id)


def attempt_row(group: BookingGroup, one: Judged) -> Row:
    result, answer = one.answer.result, one.answer
    fence = (
        group.rows[one.row.publisher_id, one.row.key_request_id].fence if answer.is_decision else answer.request.fence
    )
    return (
        *(one.row.publisher_id, one.row.key_request_id, fence, answer.called, answer.started_at, group.now),
        *(result.outcome, result.refusal, result.code or None, result.message or None, result.http_status),
        result.seconds,
    )


def settled_row(group: BookingGroup, one: Judged) -> Row:
    row, verdict, result = one.row, one.verdict, one.answer.result
    is_settled = verdict.state not in OPEN and verdict.state is not RequestState.HELD
    is_over = is_settled and verdict.next_at is None
    creates = one.answer.called is not ConnectorOperation.CANCEL
    return (
        *(row.publisher_id, row.key_request_id, verdict.state, verdict.next_at, group.now if is_over else None),
        *(result.request_sha256 if one.answer.called is row.operation else None, result.refusal),
        *(verdict.code or result.code or None, result.message or None, result.http_status),
        *(result.license_id if creates else None, group.rows[row.publisher_id, row.key_request_id].fence),
        *(row.attempt, group.now, None if verdict.falls_back else row.fall_back_at),
    )


def alarm_event(group: BookingGroup, one: Judged) -> Row:
    """A person has to see to it: the publisher's own events say so."""
    row = one.row
    facts = {
        "key_request_id": str(row.key_request_id),
        "order_id": str(row.order_id),
        "operation": row.operation,
        "state": one.verdict.state,
        "code": one.verdict.code or one.answer.result.code,
    }
    name = f"key_request.{one.verdict.state}"
    return (row.publisher_id, new_id(), None, None, None, name, json.dumps(facts), group.now)
