"""What an order's units say of their line and of the order: states are derived, never set by hand (documents 002 and 004)."""

from collections.abc import Collection, Set
from enum import StrEnum
from typing import NamedTuple


class UnitStatus(StrEnum):
    """How far the fulfillment of one unit is, in document 004's words; what is still to be done counts most for its line."""

    HELD = "INITIALIZED"
    """A key is kept for it until it is paid."""

    FAILED = "CREATION_FAILURE"
    """Its publisher was asked and gave no key; it is asked again, or a person has to see to it."""

    REQUESTED = "CREATION_PENDING"
    """Its publisher is being asked for a key."""

    WAITING = "CREATION_SCHEDULED"
    """It is paid, and waits for a key."""

    CANCEL_FAILED = "CANCEL_FAILURE"
    """Its key is dead here, and its publisher did not take it back."""

    CANCELING = "CANCEL_PENDING"
    """Its key is dead here, and its publisher has still to say so."""

    ISSUED = "CREATION_ACCEPTED"
    ENDED = "CANCEL_ACCEPTED"
    """Its key was revoked or went back, or nobody waits for one any more."""


ASKING = frozenset({UnitStatus.FAILED, UnitStatus.REQUESTED})
"""A key from its publisher is still wanted."""

DEAD = frozenset({UnitStatus.CANCEL_FAILED, UnitStatus.CANCELING, UnitStatus.ENDED})
"""Whatever key it had, nobody may use it any more."""


class OrderState(NamedTuple):
    """Document 002's status and document 004's life-cycle status."""

    status: str
    life_cycle_status: str


COMPLETED = OrderState("COMPLETED", "COMPLETED")


def line_status(units: Collection[UnitStatus]) -> UnitStatus:
    """The status of a line of several units: what is still to be done counts most."""
    return next(status for status in UnitStatus if status in units)


def order_state(units: Set[UnitStatus], *, was_sold: bool = True) -> OrderState:
    """`was_sold` tells an order that was cancelled from a hold that came to nothing, when every unit has ended."""
    if UnitStatus.HELD in units:
        return OrderState("PAYMENT_PENDING", "PAYMENT_PENDING")
    if units & {UnitStatus.FAILED, UnitStatus.REQUESTED, UnitStatus.WAITING}:
        return OrderState(_waiting_status(units), "FULFILLMENT_PENDING")
    if UnitStatus.ISSUED in units:
        return OrderState("PARTIAL_CANCELED", "COMPLETED") if units & DEAD else COMPLETED
    if UnitStatus.CANCELING in units:
        return OrderState("CANCEL_PENDING", "CANCEL_PENDING")
    if UnitStatus.CANCEL_FAILED in units:
        return OrderState("CANCELED_WITH_ERROR", "CANCELED_WITH_ERROR")
    return OrderState("CANCELED" if was_sold else "ABORTED", "CANCELED")


def _waiting_status(units: Set[UnitStatus]) -> str:
    if UnitStatus.ISSUED in units:
        return "PARTIAL_COMPLETED"
    return "PENDING_WITH_ERROR" if UnitStatus.FAILED in units else "PENDING"
