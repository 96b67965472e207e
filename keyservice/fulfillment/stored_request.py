"""A key request as it is stored, and the row that one becomes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Self
from uuid import UUID

import asyncpg

from keyservice.domain.connector import ConnectorOperation, Refusal
from keyservice.domain.key_request import OPEN, RequestState
from keyservice.fulfillment.ids import new_id


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """One thing that is asked of a publisher. `license_ref` is the publisher's name for what it is about."""

    publisher_id: int
    key_request_id: UUID
    license_ref: UUID
    connector_id: UUID
    connector_version: int
    operation: ConnectorOperation
    order_id: UUID
    line_number: int
    unit_ids: tuple[UUID, ...]
    plan_step: int
    is_test: bool
    reason: str
    accepts_surplus: bool
    replaces_claim_id: UUID | None
    state: RequestState
    attempt: int
    fence: int
    next_at: datetime | None
    """Of one that somebody is at: when its lease ends."""

    give_up_at: datetime
    fall_back_at: datetime | None
    request_sha256: bytes | None
    refusal: Refusal | None
    error_code: str | None
    error_message: str | None
    http_status: int | None
    publisher_license_id: str | None
    created_at: datetime
    updated_at: datetime
    settled_at: datetime | None

    @classmethod
    def of(cls, row: asyncpg.Record) -> Self:
        values = {field.name: row[field.name] for field in fields(cls)}
        values["operation"] = ConnectorOperation(values["operation"])
        values["state"] = RequestState(values["state"])
        values["refusal"] = None if values["refusal"] is None else Refusal(values["refusal"])
        values["unit_ids"] = tuple(values["unit_ids"])
        return cls(**values)

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def enables_again(self) -> bool:
        """Whether it is to bring a dead key back to life, and not a license that was paused."""
        return self.operation is ConnectorOperation.RESUME and self.replaces_claim_id is not None

    @property
    def gives_key(self) -> bool:
        """Whether units without a key wait for what it comes to."""
        return self.operation is ConnectorOperation.CREATE or self.enables_again


def new_request(
    *,
    publisher_id: int,
    connector_id: UUID,
    connector_version: int,
    operation: ConnectorOperation,
    order_id: UUID,
    line_number: int,
    unit_ids: Sequence[UUID],
    state: RequestState,
    now: datetime,
    give_up_at: datetime,
    next_at: datetime | None,
    license_ref: UUID | None = None,
    plan_step: int = 0,
    is_test: bool = False,
    reason: str = "",
    accepts_surplus: bool = False,
    replaces_claim_id: UUID | None = None,
    fall_back_at: datetime | None = None,
) -> KeyRequest:
    """A request as it is first stored; one that is sent at once is on its first attempt. A creation names itself."""
    key_request_id = new_id()
    attempt = 1 if state is RequestState.SENDING else 0
    return KeyRequest(
        publisher_id,
        key_request_id,
        license_ref or key_request_id,
        connector_id,
        connector_version,
        operation,
        order_id,
        line_number,
        tuple(unit_ids),
        plan_step,
        is_test,
        reason,
        accepts_surplus,
        replaces_claim_id,
        state,
        attempt,
        fence=attempt,
        next_at=next_at,
        give_up_at=give_up_at,
        fall_back_at=fall_back_at,
        request_sha256=None,
        refusal=None,
        error_code=None,
        error_message=None,
        http_status=None,
        publisher_license_id=None,
        created_at=now,
        updated_at=now,
        settled_at=now if next_at is None else None,
    )


def intent_row(request: KeyRequest) -> tuple[object, ...]:
    """Parameters of key_requests.insert_key_request."""
    return (
        *(request.publisher_id, request.key_request_id, request.license_ref, request.connector_id),
        *(request.connector_version, request.operation, request.order_id, request.line_number, request.unit_ids),
        *(request.plan_step, request.is_test, request.reason, request.accepts_surplus, request.replaces_claim_id),
        *(request.state, request.attempt, request.next_at, request.give_up_at, request.fall_back_at),
        *(request.created_at, request.settled_at),
    )
