"""What has become of a key, from its upload to its end."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final


class KeyState(StrEnum):
    """Where one key stands."""

    FOR_SALE = "for_sale"
    OFF_SALE = "off_sale"
    """Its batch is held back or not released yet, or its pool is closed."""

    NEAR_EXPIRY = "near_expiry"
    """Closer to its last day than its pool sells."""

    EXPIRED = "expired"
    """Nobody bought it in time."""

    HELD = "held"
    """Taken for an order that is not paid for yet."""

    ISSUED = "issued"
    REVOKED = "revoked"
    REPLACED = "replaced"
    WITHDRAWN = "withdrawn"
    """Taken off for good without having been sold."""


TAKEN: Final = frozenset({KeyState.HELD, KeyState.ISSUED, KeyState.REVOKED, KeyState.REPLACED})
"""Somebody has or had it."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """What decides over a key that nobody has taken: its segment, and the pool that the segment is in."""

    segment_state: str
    expires_on: date | None
    is_pool_open: bool
    days_left_min: int


def key_state(claim_state: str | None, shelf: Shelf, today: date) -> KeyState:
    """By the claim that has not been released, where there is one; else by where the key lies today."""
    if claim_state is not None:
        return KeyState(claim_state)
    if shelf.segment_state == "withdrawn":
        return KeyState.WITHDRAWN
    if shelf.segment_state not in ("open", "exhausted") or not shelf.is_pool_open:
        return KeyState.OFF_SALE
    if shelf.expires_on is not None and shelf.expires_on < today:
        return KeyState.EXPIRED
    if shelf.expires_on is not None and shelf.expires_on < today + timedelta(days=shelf.days_left_min):
        return KeyState.NEAR_EXPIRY
    return KeyState.FOR_SALE
