"""What an order pipeline asks for: keys for lines of an order that it keeps itself, at once, on hold, or when there are some."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from keyservice.domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class ClaimLine:
    """One product and its quantity; lines count from 1. The product's template says how many keys that is."""

    line_number: int
    product_ref: int
    quantity: int


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """Keys for a reference of the caller's own; the same reference again is the same request.

    With `hold_seconds` the keys are kept for a payment and not shown; with `may_wait` units that find no key are
    backordered in order of `paid_at`, and otherwise all are served or none.
    """

    reference: str
    lines: tuple[ClaimLine, ...]
    email: str | None = None
    hold_seconds: int | None = None
    may_wait: bool = False
    paid_at: datetime | None = None


class HoldExpired(Conflict):
    """The deadline is past: the keys are for sale again, or are about to be."""

    code: ClassVar[str] = "hold-expired"


class HoldEnded(Conflict):
    """The keys are not on hold: they were released, or the hold was committed and they are the shopper's."""

    code: ClassVar[str] = "hold-ended"


class NotIssued(Conflict):
    """The unit holds no key that could be revoked or replaced."""

    code: ClassVar[str] = "not-issued"
