"""What is done about a key request after a call: a pure table over what is known and what its publisher can promise."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from keyservice.domain.connector import CallOutcome, CallResult, Capabilities, ConnectorOperation, Refusal


class RequestState(StrEnum):
    """How far a key request is. Those behind HELD are settled."""

    PLANNED = "planned"
    """It will be sent: nothing that was sent before could have done anything."""

    SENDING = "sending"
    """Somebody is at it, until its lease ends; bytes may have left."""

    ACCEPTED = "accepted"
    """The publisher will do so later."""

    UNKNOWN = "unknown"
    """It may have been done. It is resolved by what the publisher can promise, and by nothing else."""

    HELD = "held"
    """Nobody can tell what the publisher has done: a person decides."""

    ISSUED = "issued"
    ACKNOWLEDGED = "acknowledged"
    """The publisher has done what was asked, other than issuing a key."""

    REFUSED = "refused"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"
    """It was not done, for as long as anybody tried."""

    ABANDONED = "abandoned"
    """Nobody wants it any more, and nothing came of it that is not on record."""


OPEN: Final = frozenset({RequestState.PLANNED, RequestState.SENDING, RequestState.ACCEPTED, RequestState.UNKNOWN})


class Resolution(StrEnum):
    """How an outcome that nobody knows is found out, in this order."""

    REPEAT = "repeat"
    LOOK_UP = "look-up"
    VOID = "void"
    NONE = "none"


def resolution_of(capabilities: Capabilities, operation: ConnectorOperation) -> Resolution:
    """What is done next about an outcome that is not known. Cancelling again never does more than cancelling."""
    if operation in (ConnectorOperation.CANCEL, ConnectorOperation.PAUSE, ConnectorOperation.RESUME):
        return Resolution.REPEAT
    if capabilities.repeat_is_idempotent:
        return Resolution.REPEAT
    if operation is not ConnectorOperation.CREATE:
        # That a license is there does not tell whether it was renewed.
        return Resolution.NONE
    if capabilities.can_look_up:
        return Resolution.LOOK_UP
    if capabilities.can_void:
        return Resolution.VOID
    return Resolution.NONE


class Next(StrEnum):
    """What becomes of a request."""

    BOOK = "book"
    """The answer proves that it was done: the keys are recorded."""

    POLL = "poll"
    RETRY = "retry"
    RESOLVE = "resolve"
    HOLD = "hold"
    REFUSE = "refuse"
    UNSUPPORTED = "unsupported"
    GIVE_UP = "give-up"
    START_ANEW = "start-anew"
    """What was sent under this reference is void: ask again under another."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt on a request: what was called, and in which state the request was."""

    operation: ConnectorOperation
    """Of the request."""

    called: ConnectorOperation
    """What was called: another one when an unknown outcome is looked up or voided."""

    was_unknown: bool
    """Whether an earlier attempt may have done it."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between attempts, and when to stop."""

    attempts_max: int = 30
    first_seconds: float = 2.0
    factor: float = 2.0
    longest_seconds: float = 3_600.0

    def pause(self, attempt: int, *, luck: float | None = None, at_least: float = 0.0) -> timedelta:
        """Exponential with full jitter (`luck` in 0 … 1), never shorter than the publisher asks for."""
        exponent = min(attempt - 1, 64)
        longest = min(self.longest_seconds, self.first_seconds * self.factor**exponent)
        share = random.random() if luck is None else luck  # noqa: S311 - jitter, not a secret
        return timedelta(seconds=max(longest * (0.1 + 0.9 * share), min(at_least, self.longest_seconds)))


def next_step(attempted: Attempted, result: CallResult, capabilities: Capabilities) -> Next:
    """What follows from a call, apart from time: an unknown outcome is never tried again without a declared capability."""
    if attempted.called is not attempted.operation:
        return _after_inquiry(attempted, result, capabilities)
    match result.outcome:
        case CallOutcome.DONE:
            return Next.BOOK
        case CallOutcome.ACCEPTED:
            return Next.POLL
        case CallOutcome.UNKNOWN:
            return _unknown(capabilities, attempted.operation)
        case CallOutcome.NOT_EXECUTED:
            # This attempt did nothing; an earlier one may have.
            return _unknown(capabilities, attempted.operation) if attempted.was_unknown else Next.RETRY
        case CallOutcome.REFUSED:
            return _refused(attempted, result, capabilities)


def _refused(attempted: Attempted, result: CallResult, capabilities: Capabilities) -> Next:
    revokes = attempted.operation is ConnectorOperation.CANCEL
    if result.refusal is Refusal.UNSUPPORTED:
        return Next.UNSUPPORTED
    if result.refusal is Refusal.ALREADY_DONE:
        # A key that was issued before under this reference is still to be got hold of.
        return _unknown(capabilities, attempted.operation) if not revokes else Next.BOOK
    if attempted.was_unknown and not revokes:
        return _refused_repetition(attempted, result, capabilities)
    match result.refusal:
        case Refusal.RETRYABLE | Refusal.OUT_OF_STOCK | None:
            return Next.RETRY
        case _:
            return Next.REFUSE


def _refused_repetition(attempted: Attempted, result: CallResult, capabilities: Capabilities) -> Next:
    """An idempotent publisher that refuses a repetition for good has not done it before either."""
    if capabilities.repeat_is_idempotent and result.refusal in (Refusal.PERMANENT, Refusal.OUT_OF_STOCK):
        return Next.REFUSE if result.refusal is Refusal.PERMANENT else Next.RETRY
    return _unknown(capabilities, attempted.operation)


def _after_inquiry(attempted: Attempted, result: CallResult, capabilities: Capabilities) -> Next:
    """A look-up, or a void."""
    if attempted.called is ConnectorOperation.LOOK_UP:
        if result.outcome is CallOutcome.DONE:
            return Next.BOOK
        if result.outcome is CallOutcome.ACCEPTED:
            return Next.POLL
        if result.outcome is CallOutcome.REFUSED and result.refusal is Refusal.NOT_FOUND:
            return Next.RETRY
        if result.outcome is CallOutcome.REFUSED and result.refusal in (Refusal.PERMANENT, Refusal.OUT_OF_STOCK):
            return Next.REFUSE if result.refusal is Refusal.PERMANENT else Next.RETRY
        return Next.RESOLVE
    is_void = result.outcome is CallOutcome.DONE or (
        result.outcome is CallOutcome.REFUSED and result.refusal in (Refusal.ALREADY_DONE, Refusal.NOT_FOUND)
    )
    return Next.START_ANEW if is_void else Next.RESOLVE


def _unknown(capabilities: Capabilities, operation: ConnectorOperation) -> Next:
    return Next.HOLD if resolution_of(capabilities, operation) is Resolution.NONE else Next.RESOLVE


def is_worth_falling_back(result: CallResult, *, is_late: bool) -> bool:
    """Whether the next source has its turn, of a request that has done nothing: out of stock, not to be reached, too late."""
    if result.refusal is Refusal.OUT_OF_STOCK:
        return True
    return is_late or (result.outcome is CallOutcome.NOT_EXECUTED and result.code == "breaker-open")


def has_given_up(*, attempt: int, now: datetime, give_up_at: datetime, backoff: Backoff) -> bool:
    """Whether another attempt would be one too many, or too late."""
    return attempt >= backoff.attempts_max or now >= give_up_at
