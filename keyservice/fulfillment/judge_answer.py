"""What an attempt's result means for its request and its units, worked out behind the locks before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.connector import CallOutcome, CallResult, ConnectorOperation, DeliveredKey
from keyservice.domain.key_request import (
    Attempted,
    Backoff,
    Next,
    RequestState,
    has_given_up,
    is_worth_falling_back,
    next_step,
)
from keyservice.domain.order_state import ASKING, UnitStatus
from keyservice.fulfillment.connector_shelf import ShelvedConnector
from keyservice.fulfillment.stored_request import KeyRequest

ISSUING = frozenset({ConnectorOperation.CREATE, ConnectorOperation.RENEW, ConnectorOperation.UPGRADE})
"""What may bring a key."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One attempt, finished: the request as it was taken, what was called, and what that came to."""

    request: KeyRequest
    shelved: ShelvedConnector
    called: ConnectorOperation
    result: CallResult
    started_at: datetime
    is_decision: bool = False
    """A person's, who knows what the publisher has done; it needs no fence."""

    @property
    def attempted(self) -> Attempted:
        was_unknown = self.request.state in (RequestState.UNKNOWN, RequestState.HELD)
        return Attempted(self.request.operation, self.called, was_unknown)

    @property
    def document(self) -> ConnectorDocument:
        return self.shelved.connector.document


class UnitNow(NamedTuple):
    """A unit as the locked order has it."""

    status: UnitStatus
    claim_id: UUID | None


class KnownKey(NamedTuple):
    """A key that is on the tape already."""

    claim_id: UUID | None
    key_request_id: UUID | None


class Found(NamedTuple):
    """A key of an answer, with its fingerprint."""

    key: DeliveredKey
    fingerprint: bytes


@dataclass(slots=True)
class Verdict:
    """What is to be written."""

    state: RequestState
    next_at: datetime | None = None
    attached: list[tuple[UUID, Found]] = field(default_factory=list)
    surplus: list[Found] = field(default_factory=list)
    revived: dict[UUID, UUID] = field(default_factory=dict)
    """By unit, the dead claim that lives again."""

    takes_back: bool = False
    """What was done is not wanted any more: it is taken back."""

    statuses: dict[UUID, UnitStatus] = field(default_factory=dict)
    falls_back: bool = False
    starts_anew: bool = False
    is_stale: bool = False
    """Somebody else has gone on with the request: the attempt is on record, and changes nothing."""

    code: str | None = None
    """In the place of the result's own."""

    event: str | None = None
    needs_person: bool = False


def judge(
    answer: Answer,
    row: KeyRequest,
    units: Mapping[UUID, UnitNow],
    found: list[Found],
    known: list[KnownKey | None],
    now: datetime,
) -> Verdict:
    """`row` is the locked request, `found` the answer's keys and `known` what is known of each of them."""
    step = next_step(answer.attempted, answer.result, answer.document.capabilities.for_resolving)
    proves = step is Next.BOOK and row.operation in ISSUING and bool(found)
    is_ours = row.fence == answer.request.fence or answer.is_decision
    is_settled = not row.is_open and row.state is not RequestState.HELD and not answer.is_decision
    if not proves and (not is_ours or is_settled):
        return Verdict(row.state, row.next_at, is_stale=True)
    judged = _Judgement(answer, row, units, now)
    match step:
        case Next.BOOK:
            return judged.proven(found, known)
        case Next.POLL:
            return judged.polled()
        case Next.RETRY:
            return judged.retried()
        case Next.RESOLVE:
            return judged.unresolved()
        case Next.HOLD:
            return judged.held()
        case Next.START_ANEW:
            return judged.voided()
        case Next.REFUSE | Next.GIVE_UP:
            return judged.refused(RequestState.REFUSED)
        case Next.UNSUPPORTED:
            return judged.refused(RequestState.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class _Judgement:
    answer: Answer
    row: KeyRequest
    units: Mapping[UUID, UnitNow]
    now: datetime

    @property
    def result(self) -> CallResult:
        return self.answer.result

    @property
    def wanting(self) -> list[UUID]:
        """The units that a key of this request would still serve."""
        return [unit for unit in self.row.unit_ids if unit in self.units and self._wants(self.units[unit])]

    def _wants(self, unit: UnitNow) -> bool:
        if self.row.replaces_claim_id is not None and not self.row.enables_again:
            return unit.status is UnitStatus.ISSUED and unit.claim_id == self.row.replaces_claim_id
        return unit.claim_id is None and (unit.status in ASKING or unit.status is UnitStatus.WAITING)

    @property
    def ending(self) -> dict[UUID, UnitStatus]:
        """Units that are cancelled, and only waited for what this request comes to."""
        revokes = self.row.operation is ConnectorOperation.CANCEL
        waiting = {UnitStatus.CANCELING, UnitStatus.CANCEL_FAILED} if revokes else {UnitStatus.CANCELING}
        return {
            unit: UnitStatus.ENDED
            for unit in self.row.unit_ids
            if unit in self.units and self.units[unit].status in waiting
        }

    def proven(self, found: list[Found], known: list[KnownKey | None]) -> Verdict:
        if self.row.enables_again:
            return self.enabled()
        return self.booked(found, known) if found else self.done()

    def booked(self, found: list[Found], known: list[KnownKey | None]) -> Verdict:
        own = {one.claim_id for one in self.units.values() if one.claim_id is not None}
        if found and all(one is not None and one.key_request_id == self.row.key_request_id for one in known):
            return Verdict(RequestState.ISSUED)
        if self.row.operation is not ConnectorOperation.CREATE and all(
            one is not None and one.claim_id in own for one in known
        ):
            # Renewed: the unit's own key lives on.
            return Verdict(RequestState.ACKNOWLEDGED, event="license.renewed")
        if any(one is not None for one in known) or len({one.fingerprint for one in found}) < len(found):
            # One of two answers was wrong, and nobody here can tell which: taking this license back might kill a key that its
            # buyer uses.
            return self.held(code="known-key")
        # What was asked for under this reference may have been voided since, and its key with it.
        wanting = [] if self.row.state is RequestState.ABANDONED else self.wanting
        served = list(zip(wanting, found, strict=False))
        surplus = found[len(served) :]
        verdict = Verdict(RequestState.ISSUED, attached=served, surplus=surplus, event="key.issued" if served else None)
        if self.answer.document.surplus != "void" or not surplus:
            verdict.statuses |= self.ending
        return verdict

    def done(self) -> Verdict:
        if self.row.operation is ConnectorOperation.CREATE:
            return self.held(code="no-key")
        return Verdict(
            RequestState.ACKNOWLEDGED, statuses=self.ending, event=f"license.{self.row.operation}.acknowledged"
        )

    def enabled(self) -> Verdict:
        """A dead license lives again, unless it was cancelled once more meanwhile: then it is taken back."""
        claim_id = self.row.replaces_claim_id
        assert claim_id is not None
        verdict = Verdict(RequestState.ACKNOWLEDGED, event="license.enabled")
        verdict.revived = dict.fromkeys(self.wanting, claim_id)
        verdict.takes_back = bool(self.ending)
        return verdict

    def polled(self) -> Verdict:
        if self.now >= self.row.give_up_at:
            return self.held(code="never-came")
        document = self.answer.document
        is_polled = ConnectorOperation.LOOK_UP in document.operations
        pause = document.poll_seconds if is_polled else document.retry.longest_seconds
        return Verdict(RequestState.ACCEPTED, min(self.now + timedelta(seconds=pause), self.row.give_up_at))

    def retried(self) -> Verdict:
        if not self.wanting and self.row.gives_key:
            return Verdict(RequestState.ABANDONED, statuses=self.ending, event="key_request.abandoned")
        at = self.now + self._pause()
        if self._falls_back(at):
            return Verdict(RequestState.FAILED, falls_back=True, event="key_request.fell_back")
        if self._has_given_up:
            return self.refused(RequestState.FAILED)
        verdict = Verdict(RequestState.PLANNED, at)
        if self.result.outcome is not CallOutcome.NOT_EXECUTED and self.row.operation is ConnectorOperation.CREATE:
            verdict.statuses = self._failing()
            verdict.event = "key_request.failed" if verdict.statuses else None
        return verdict

    def unresolved(self) -> Verdict:
        if self._has_given_up:
            if self.row.operation is ConnectorOperation.CANCEL:
                return self.refused(RequestState.FAILED)
            return self.held(code=self.result.code or "unresolved")
        verdict = Verdict(RequestState.UNKNOWN, self.now + self._pause())
        verdict.falls_back = self._lets_surplus_come(self.now + self._pause())
        verdict.event = "key_request.unknown" if self.row.state is not RequestState.UNKNOWN else None
        return verdict

    def held(self, *, code: str | None = None) -> Verdict:
        event = None if self.row.state is RequestState.HELD else "key_request.held"
        verdict = Verdict(RequestState.HELD, code=code, event=event, needs_person=True)
        verdict.falls_back = self._lets_surplus_come(datetime.max.replace(tzinfo=UTC))
        verdict.statuses = {} if verdict.falls_back else self._failing()
        return verdict

    def voided(self) -> Verdict:
        starts_anew = bool(self.wanting)
        event = "key_request.voided"
        return Verdict(RequestState.ABANDONED, starts_anew=starts_anew, statuses=self.ending, event=event)

    def refused(self, state: RequestState) -> Verdict:
        """Settled without a key, or without an acknowledgement."""
        verdict = Verdict(state, event=f"key_request.{state}", needs_person=state is not RequestState.UNSUPPORTED)
        match self.row.operation:
            case ConnectorOperation.CANCEL:
                ended = UnitStatus.ENDED if state is RequestState.UNSUPPORTED else UnitStatus.CANCEL_FAILED
                verdict.statuses = dict.fromkeys(self.ending, ended)
            case ConnectorOperation.CREATE:
                verdict.statuses = {**self._failing(), **self.ending}
            case ConnectorOperation.RESUME if self.row.enables_again:
                # The license stays dead, so that the unit gets another key.
                verdict.statuses, verdict.falls_back = self.ending, bool(self.wanting)
                verdict.needs_person = verdict.needs_person and not verdict.falls_back
            case _:
                pass
        return verdict

    def _failing(self) -> dict[UUID, UnitStatus]:
        if self.row.operation is not ConnectorOperation.CREATE:
            return {}
        return {unit: UnitStatus.FAILED for unit in self.wanting if self.units[unit].status is UnitStatus.REQUESTED}

    def _falls_back(self, retry_at: datetime) -> bool:
        at = self.row.fall_back_at
        return at is not None and is_worth_falling_back(self.result, is_late=retry_at >= at)

    def _lets_surplus_come(self, next_at: datetime) -> bool:
        """Whether the next source has its turn although this one may have issued a key."""
        at = self.row.fall_back_at
        return self.row.accepts_surplus and at is not None and next_at >= at and bool(self.wanting)

    @property
    def _has_given_up(self) -> bool:
        give_up_at = self.row.give_up_at
        return has_given_up(attempt=self.row.attempt, now=self.now, give_up_at=give_up_at, backoff=self._backoff)

    @property
    def _backoff(self) -> Backoff:
        retry = self.answer.document.retry
        return Backoff(retry.attempts_max, retry.first_seconds, retry.factor, retry.longest_seconds)

    def _pause(self) -> timedelta:
        return self._backoff.pause(self.row.attempt, at_least=self.result.retry_after_seconds or 0.0)
