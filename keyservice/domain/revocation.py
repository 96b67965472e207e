"""What a publisher must know of keys that died after somebody had seen them: a feed of numbered, chained entries."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from keyservice.domain.canonical import framed, framed_texts, instant_text
from keyservice.domain.tape import Place

FIRST_HASH: Final = bytes(32)
"""What the first entry of every feed is chained to."""


class RevocationKind(StrEnum):
    """Why the key is dead, or that it is not any more; the value is also the state of a dead key's claim."""

    REVOKED = "revoked"
    REPLACED = "replaced"
    """The buyer got another key in its place."""

    REINSTATED = "reinstated"
    """The cancellation was reversed, and the publisher has enabled the license again: the key lives."""


class DeadClaim(NamedTuple):
    """A claim that has ended though its key was disclosed, and the key's place on the tape."""

    claim_id: UUID
    segment_id: int
    position: int
    life: int = 0
    """How often it had come back to life before."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """A dead key as its publisher knows it. The batch and the row are None when the key's own row is lost."""

    revocation_id: UUID
    place: Place
    kind: RevocationKind
    reason: str
    happened_at: datetime
    batch_id: UUID | None
    row_number: int | None
    publisher_key_id: str | None


class NumberedRevocation(NamedTuple):
    """An entry of the feed. The hash covers this entry and, through the hash before it, all earlier ones."""

    sequence: int
    revocation: Revocation
    chain_hash: bytes


def number(revocations: Iterable[Revocation], *, last_sequence: int, last_hash: bytes) -> Iterator[NumberedRevocation]:
    """Number and chain the next entries of a feed that ends here."""
    for sequence, one in enumerate(revocations, start=last_sequence + 1):
        last_hash = chain_hash(last_hash, entry_texts(sequence, one))
        yield NumberedRevocation(sequence, one, last_hash)


def entry_texts(sequence: int, one: Revocation) -> tuple[str | None, ...]:
    """What of an entry never changes, in the order in which it is hashed."""
    return (
        str(sequence),
        str(one.revocation_id),
        one.kind,
        one.reason,
        instant_text(one.happened_at),
        None if one.batch_id is None else str(one.batch_id),
        None if one.row_number is None else str(one.row_number),
        one.publisher_key_id,
    )


def chain_hash(previous: bytes, texts: Iterable[str | None]) -> bytes:
    """SHA-256 over the hash before and the entry, each framed."""
    return hashlib.sha256(framed(previous, framed_texts(texts))).digest()


FEED_PAGE_PURPOSE: Final = "keyservice feed page 1"
"""What a signature under a page of the feed is for; its number goes up with the form."""
