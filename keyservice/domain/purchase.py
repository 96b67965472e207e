"""What one shopper holds: an order as its answer and the purchase history show it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from keyservice.domain.key import KeyText


class UnitState(StrEnum):
    """What became of one wanted key, as everyone but the publisher sees it."""

    HELD = "held"
    """A key is kept for it until the hold is committed, released, or expires."""

    ISSUED = "issued"
    DAMAGED = "damaged"
    """It is sold, but what is stored of its key does not open any more; it can be replaced."""

    REVOKED = "revoked"
    REPLACED = "replaced"
    PENDING = "pending"
    """It waits for a key."""

    RELEASED = "released"
    """Nobody has seen its key, which is for sale again; or nobody waits for one any more."""


@dataclass(frozen=True, slots=True)
class PurchasedUnit:
    """One unit. The key's text is there only while the unit is issued and the reader may see it."""

    unit_id: UUID
    unit_number: int
    state: UnitState
    key: KeyText | None
    mime: str | None
    name: str | None
    ended_at: datetime | None = None
    claim_id: UUID | None = None
    is_disclosed: bool = True
    """Whether the key's text has left the service before."""


@dataclass(frozen=True, slots=True)
class PurchasedLine:
    """One order line with its units in order."""

    line_number: int
    product_ref: int
    quantity: int
    units: tuple[PurchasedUnit, ...]
    publisher_id: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order as stored; the answer to its submission, to a repetition of it and to a later reading are this."""

    order_id: UUID
    order_number: int
    caller_id: int
    partner_order_number: str
    shopper_ref: UUID | None
    status: str
    currency: str | None
    ordered_at: datetime
    created_at: datetime
    canceled_at: datetime | None
    lines: tuple[PurchasedLine, ...]
    held_until: datetime | None = None
