"""Withdrawing single keys: what is asked for, and what became of each that was named."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from keyservice.domain.errors import Invalid
from keyservice.domain.tape import Place

WITHDRAWN_AT_ONCE_MAX: Final = 1_000
PUBLISHER_KEY_ID_CHARACTERS_MAX: Final = 128
SAME_ID_MAX: Final = 10
"""More keys with one publisher's id than this are not told apart any further: the id is ambiguous."""


class Outcome(StrEnum):
    """What became of a key that somebody wants withdrawn."""

    WITHDRAWN = "withdrawn"
    """It was unsold and never will be sold."""

    ALREADY_WITHDRAWN = "already_withdrawn"
    """Withdrawn before, alone or with its batch, or taken off as damaged."""

    ISSUED = "issued"
    """Somebody has bought it or holds it; cancel the order to revoke it."""

    REVOKED = "revoked"
    """It was sold, and is dead since."""

    IN_UNFINISHED_UPLOAD = "in_unfinished_upload"
    """Finish that upload first, or discard it."""

    OTHER_POOL = "other_pool"
    """It lies in another of the publisher's pools."""

    AMBIGUOUS = "ambiguous"
    """Several living keys of the pool have this publisher's id; name them by their texts."""

    NOT_FOUND = "not_found"


class NamedBy(StrEnum):
    """How a key is named."""

    KEY = "key"
    PUBLISHER_KEY_ID = "publisher_key_id"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Keys by their text or by the publisher's own id, and why they go. Its repr shows none of them. Raises Invalid."""

    texts: Sequence[str]
    publisher_key_ids: Sequence[str]
    reason: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.texts) + len(self.publisher_key_ids) <= WITHDRAWN_AT_ONCE_MAX:
            raise Invalid(
                f"name 1 to {WITHDRAWN_AT_ONCE_MAX} keys, by their texts or by the publisher's ids", field="keys"
            )
        if any(text in self.reason for text in self.texts):
            raise Invalid("the reason contains one of the keys, and it would be stored as it is", field="reason")

    def __repr__(self) -> str:
        return f"Withdrawal({len(self.texts)} texts, {len(self.publisher_key_ids)} ids)"


class Fate(NamedTuple):
    """Where a key lies and what became of it so far. One that the cursor has passed and nobody has claimed came back."""

    place: Place
    is_passed: bool
    batch_id: UUID
    pool_id: UUID
    segment_state: str
    claim_id: UUID | None
    claim_state: str | None

    def outcome_in(self, pool_id: UUID) -> Outcome:
        """What withdrawing it from this pool comes to: `withdrawn` when it can be."""
        if self.pool_id != pool_id:
            return Outcome.OTHER_POOL
        match self.claim_state, self.segment_state:
            case (("held" | "issued"), _):
                return Outcome.ISSUED
            case (("revoked" | "replaced"), _):
                return Outcome.REVOKED
            case ("withdrawn", _) | (None, "withdrawn"):
                return Outcome.ALREADY_WITHDRAWN
            case None, "receiving":
                return Outcome.IN_UNFINISHED_UPLOAD
            case _:
                return Outcome.WITHDRAWN


class Choice(NamedTuple):
    """What a name comes to, and the key that it stands for where that is one key."""

    outcome: Outcome
    fate: Fate | None = None


def choose(fates: Sequence[Fate], pool_id: UUID) -> Choice:
    """The one key that a name stands for. Dead keys give way to a living one, which may have taken their place."""
    if not fates:
        return Choice(Outcome.NOT_FOUND)
    dead = (Outcome.ALREADY_WITHDRAWN, Outcome.REVOKED)
    own = [Choice(fate.outcome_in(pool_id), fate) for fate in fates if fate.pool_id == pool_id]
    living = [choice for choice in own if choice.outcome not in dead]
    if len(living) > 1 or len(fates) > SAME_ID_MAX:
        return Choice(Outcome.AMBIGUOUS)
    return next(iter([*living, *own]), Choice(Outcome.OTHER_POOL))
