"""What follows from an answer, over every combination: nothing is asked twice on a guess."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from keyservice.domain.connector import CallOutcome, CallResult, Capabilities, ConnectorOperation, Refusal
from keyservice.domain.key_request import (
    Attempted,
    Backoff,
    Next,
    Resolution,
    has_given_up,
    is_worth_falling_back,
    next_step,
    resolution_of,
)

CREATE, CANCEL, LOOK_UP = ConnectorOperation.CREATE, ConnectorOperation.CANCEL, ConnectorOperation.LOOK_UP
NOTHING = Capabilities()
EVERY_CAPABILITY = [Capabilities(*flags) for flags in product((False, True), repeat=3)]
EVERY_RESULT = [
    CallResult(outcome, refusal)
    for outcome in CallOutcome
    for refusal in ((None, *Refusal) if outcome is CallOutcome.REFUSED else (None,))
]
MAY_ISSUE_ANEW = {Next.RETRY, Next.START_ANEW}


@pytest.mark.parametrize("operation", [CREATE, ConnectorOperation.RENEW, ConnectorOperation.UPGRADE])
def test_without_a_declared_capability_an_unknown_outcome_is_never_asked_again(operation: ConnectorOperation) -> None:
    for result in EVERY_RESULT:
        step = next_step(Attempted(operation, operation, was_unknown=True), result, NOTHING)
        if result.outcome is CallOutcome.DONE:
            assert step is Next.BOOK
        elif result.outcome is CallOutcome.ACCEPTED:
            assert step is Next.POLL
        elif result.refusal is Refusal.UNSUPPORTED:
            assert step is Next.UNSUPPORTED
        else:
            assert step is Next.HOLD, result
    unknown = CallResult(CallOutcome.UNKNOWN)
    assert next_step(Attempted(operation, operation, was_unknown=False), unknown, NOTHING) is Next.HOLD


def test_only_proof_is_booked() -> None:
    for capabilities, result, was_unknown in product(EVERY_CAPABILITY, EVERY_RESULT, (False, True)):
        step = next_step(Attempted(CREATE, CREATE, was_unknown), result, capabilities)
        assert (step is Next.BOOK) == (result.outcome is CallOutcome.DONE)


def test_a_new_request_is_begun_only_when_the_old_one_is_known_to_be_void() -> None:
    for capabilities, result, called in product(EVERY_CAPABILITY, EVERY_RESULT, (CREATE, LOOK_UP, CANCEL)):
        step = next_step(Attempted(CREATE, called, was_unknown=True), result, capabilities)
        if step is Next.START_ANEW:
            assert called is CANCEL
            assert result.outcome is CallOutcome.DONE or result.refusal in (Refusal.ALREADY_DONE, Refusal.NOT_FOUND)
        if step is Next.RETRY and called is LOOK_UP:
            assert result.refusal in (Refusal.NOT_FOUND, Refusal.OUT_OF_STOCK)
        if step is Next.RETRY and called is CREATE:
            assert capabilities.repeat_is_idempotent


@pytest.mark.parametrize(
    ("capabilities", "resolution"),
    [
        (NOTHING, Resolution.NONE),
        (Capabilities(repeat_is_idempotent=True, can_look_up=True, can_void=True), Resolution.REPEAT),
        (Capabilities(can_look_up=True, can_void=True), Resolution.LOOK_UP),
        (Capabilities(can_void=True), Resolution.VOID),
    ],
)
def test_an_unknown_creation_is_resolved_by_what_is_promised(
    capabilities: Capabilities, resolution: Resolution
) -> None:
    assert resolution_of(capabilities, CREATE) is resolution


def test_that_a_license_is_there_does_not_tell_whether_it_was_renewed() -> None:
    looked_up = Capabilities(can_look_up=True, can_void=True)
    assert resolution_of(looked_up, ConnectorOperation.RENEW) is Resolution.NONE
    assert resolution_of(Capabilities(repeat_is_idempotent=True), ConnectorOperation.RENEW) is Resolution.REPEAT


def test_cancelling_again_is_always_allowed() -> None:
    for capabilities in EVERY_CAPABILITY:
        assert resolution_of(capabilities, CANCEL) is Resolution.REPEAT
    cancelled_before = CallResult(CallOutcome.REFUSED, Refusal.ALREADY_DONE)
    assert next_step(Attempted(CANCEL, CANCEL, was_unknown=True), cancelled_before, NOTHING) is Next.BOOK
    unknown = CallResult(CallOutcome.UNKNOWN)
    assert next_step(Attempted(CANCEL, CANCEL, was_unknown=False), unknown, NOTHING) is Next.RESOLVE


def test_a_refusal_of_the_first_attempt_is_one() -> None:
    first = Attempted(CREATE, CREATE, was_unknown=False)
    assert next_step(first, CallResult(CallOutcome.REFUSED, Refusal.PERMANENT), NOTHING) is Next.REFUSE
    assert next_step(first, CallResult(CallOutcome.REFUSED, Refusal.RETRYABLE), NOTHING) is Next.RETRY
    assert next_step(first, CallResult(CallOutcome.REFUSED, Refusal.OUT_OF_STOCK), NOTHING) is Next.RETRY
    assert next_step(first, CallResult(CallOutcome.NOT_EXECUTED), NOTHING) is Next.RETRY
    # It says that it has done so already: the key is still to be got hold of.
    assert next_step(first, CallResult(CallOutcome.REFUSED, Refusal.ALREADY_DONE), NOTHING) is Next.HOLD


def test_the_next_source_has_its_turn_when_nothing_was_done() -> None:
    assert is_worth_falling_back(CallResult(CallOutcome.REFUSED, Refusal.OUT_OF_STOCK), is_late=False)
    assert is_worth_falling_back(CallResult(CallOutcome.NOT_EXECUTED, code="breaker-open"), is_late=False)
    assert not is_worth_falling_back(CallResult(CallOutcome.NOT_EXECUTED, code="unreachable"), is_late=False)
    assert is_worth_falling_back(CallResult(CallOutcome.NOT_EXECUTED, code="unreachable"), is_late=True)


def test_pauses_grow_are_bounded_and_never_shorter_than_asked_for() -> None:
    backoff = Backoff(attempts_max=5, first_seconds=2, factor=2, longest_seconds=60)
    longest = [backoff.pause(attempt, luck=1.0).total_seconds() for attempt in range(1, 9)]
    assert longest == [2, 4, 8, 16, 32, 60, 60, 60]
    assert backoff.pause(1, luck=0.0).total_seconds() == pytest.approx(0.2)
    assert backoff.pause(1, luck=0.0, at_least=30).total_seconds() == 30
    assert backoff.pause(1, luck=0.0, at_least=86_400).total_seconds() == 60
    assert backoff.pause(10_000, luck=1.0).total_seconds() == 60


def test_there_is_an_end_to_trying() -> None:
    now = datetime(2027, 1, 1, tzinfo=UTC)
    later, backoff = now + timedelta(days=1), Backoff(attempts_max=3)
    assert not has_given_up(attempt=2, now=now, give_up_at=later, backoff=backoff)
    assert has_given_up(attempt=3, now=now, give_up_at=later, backoff=backoff)
    assert has_given_up(attempt=1, now=later, give_up_at=later, backoff=backoff)
