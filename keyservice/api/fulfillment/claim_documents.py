"""What goes in and out where keys are claimed by reference."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from keyservice.api.answering import WHERE_THERE_IS_ONE, AnswerModel
from keyservice.api.asking import Instant, Name, StrictModel, UuidText
from keyservice.api.connect import values
from keyservice.api.key_document import KeyDocument
from keyservice.domain.purchase import UnitState

_LINES_MAX: Final = 10_000
_UNITS_MAX: Final = 10_000
# What fits into a path without being quoted, so that a reference is the same in every log and client.
_REFERENCE: Final = r"^[A-Za-z0-9][A-Za-z0-9._:~-]{0,99}$"

HoldSeconds = Annotated[int, Field(ge=1, le=2_592_000)]


class NewClaimLine(StrictModel):
    """One product and how many of it were ordered; the product's template says how many keys that is."""

    product_ref: Annotated[int, Field(ge=1, le=9_007_199_254_740_991)]
    quantity: Annotated[int, Field(ge=1, le=1_000_000)] = 1


class NewClaim(StrictModel):
    """The body that claims keys. The same reference with the same body again is the same claim, answered anew."""

    reference: Annotated[str, Field(pattern=_REFERENCE)]
    """The caller's own name for it, such as an order number; unique for each caller, for ever."""

    lines: Annotated[list[NewClaimLine], Field(min_length=1, max_length=_LINES_MAX)]
    email: values.Email | None = None
    """The shopper's address, under which the purchase history finds the keys."""

    hold_seconds: HoldSeconds | None = None
    """Keep the keys so long for a payment, without showing them; null sells them at once."""

    wait: bool = False
    """Serve what is there and put the rest into the queue, instead of refusing the whole claim."""

    paid_at: Instant | None = None
    """When it was paid, with a time zone: units that wait are served in this order. Null: now."""


class HoldExtension(StrictModel):
    """The body that extends a hold."""

    seconds: HoldSeconds
    """Counted from now, whatever was left."""


class UnitRevocation(StrictModel):
    """The body that revokes units."""

    reason: Name
    units: Annotated[list[UuidText] | None, Field(min_length=1, max_length=_UNITS_MAX)] = None
    """Which ones; null for all."""


class Reinstatement(StrictModel):
    """The body that reverses a cancellation. A repetition finds the units alive and changes nothing."""

    reason: Name
    units: Annotated[list[UuidText] | None, Field(min_length=1, max_length=_UNITS_MAX)] = None
    """Which ones; null for all that have ended."""


class KeyReplacement(StrictModel):
    """The body that replaces a key. Naming the claim makes a repetition harmless."""

    unit_id: UuidText
    claim_id: UuidText
    """Of the key that does not work, as the unit showed it."""

    reason: Name


class ClaimedUnit(AnswerModel):
    """One wanted key. It is shown while it is issued."""

    unit_id: UUID
    unit_number: int
    state: UnitState
    claim_id: UUID | None
    key: Annotated[KeyDocument | None, WHERE_THERE_IS_ONE] = None
    ended_at: Annotated[datetime | None, WHERE_THERE_IS_ONE] = None


class ClaimedLine(AnswerModel):
    """One product of a claim with its units."""

    line_number: int
    product_ref: int
    quantity: int
    units: list[ClaimedUnit]


class ClaimDocument(AnswerModel):
    """A claim as it stands now."""

    reference: str
    order_number: int
    """The service's own number, for people."""

    status: str
    """In the words of the reference's order statuses: COMPLETED, PAYMENT_PENDING while on hold, PARTIAL_COMPLETED or PENDING
    while units wait, PARTIAL_CANCELED, CANCELED, and ABORTED for a hold that came to nothing."""

    created_at: datetime
    held_until: datetime | None
    lines: list[ClaimedLine]
