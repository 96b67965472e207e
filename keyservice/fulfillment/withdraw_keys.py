"""Withdrawing single keys: claims without a unit, written behind the pool's lock, so that no sale can come between."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic_core import to_json

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.domain.tape import Place
from keyservice.domain.withdrawal import SAME_ID_MAX, Choice, Fate, NamedBy, Outcome, Withdrawal, choose
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.settle_pool import lock_pool, settle_pool
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one entry of the request, by its index among those that name a key in the same way."""

    named_by: NamedBy
    index: int
    outcome: Outcome


async def withdraw_keys(
    database: Database,
    fingerprints: Fingerprints,
    publisher_id: int,
    pool_id: UUID,
    asked: Withdrawal,
    *,
    caller_id: int,
) -> list[Answered]:
    """Take unsold keys of this pool off sale for ever; an answer to each entry, texts first, in the order asked.

    Whatever was withdrawn before stays so, and no entry keeps another from being withdrawn. Raises NotFound.
    """
    known_by = fingerprints.keys(publisher_id, [text.encode() for text in asked.texts])
    # The same for every attempt: a claim that a lost COMMIT has made after all is told as ours.
    claim_ids: dict[Place, UUID] = {}

    async def work(connection: Connection) -> list[Answered]:
        now = await lock_pool(connection, publisher_id, pool_id)
        choices = await _choices(connection, publisher_id, pool_id, known_by, asked.publisher_key_ids)
        named = [*_named(NamedBy.KEY, known_by), *_named(NamedBy.PUBLISHER_KEY_ID, asked.publisher_key_ids)]
        answers, fates = _decide(named, choices, claim_ids)
        if fates:
            await _withdraw(connection, publisher_id, pool_id, fates, claim_ids, reason=asked.reason, now=now)
            await _tell(connection, publisher_id, pool_id, fates, caller_id=caller_id, now=now)
            await settle_pool(connection, publisher_id, pool_id)
        return answers

    return await short_transaction(database.of_publisher(publisher_id), work)


def _named(named_by: NamedBy, entries: Sequence[object]) -> list[tuple[NamedBy, int]]:
    return [(named_by, index) for index in range(len(entries))]


def _decide(
    named: Iterable[tuple[NamedBy, int]], choices: Iterable[Choice], claim_ids: Mapping[Place, UUID]
) -> tuple[list[Answered], list[Fate]]:
    """The answers, and the keys that are to be withdrawn; one that is named again is withdrawn already."""
    answers: list[Answered] = []
    ours: dict[Place, Fate] = {}
    for (named_by, index), (outcome, fate) in zip(named, choices, strict=True):
        told = outcome
        if fate is not None and (outcome is Outcome.WITHDRAWN or _is_among(fate, claim_ids)):
            told = Outcome.ALREADY_WITHDRAWN if fate.place in ours else Outcome.WITHDRAWN
            ours[fate.place] = fate
        answers.append(Answered(named_by, index, told))
    return answers, [fate for fate in ours.values() if fate.claim_id is None]


def _is_among(fate: Fate, claim_ids: Mapping[Place, UUID]) -> bool:
    return fate.claim_id is not None and fate.claim_id == claim_ids.get(fate.place)


async def _choices(
    connection: Connection,
    publisher_id: int,
    pool_id: UUID,
    known_by: Sequence[bytes],
    publisher_key_ids: Sequence[str],
) -> list[Choice]:
    """What each entry stands for now, by fingerprint and by the publisher's own id."""
    by_text = await connection.fetch(statement("batches.known_fingerprints"), publisher_id, sorted(set(known_by)))
    by_id = await connection.fetch(
        statement("batches.places_of_publisher_key_ids"), publisher_id, sorted(set(publisher_key_ids)), SAME_ID_MAX + 1
    )
    rows = [*by_text, *by_id]
    places = sorted({Place(row["segment_id"], row["position"]) for row in rows})
    fates = await _fates(connection, publisher_id, places)
    found: dict[object, list[Fate]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(fates[Place(row["segment_id"], row["position"])])
    return [choose(found.get(name, []), pool_id) for name in (*known_by, *publisher_key_ids)]


async def _fates(connection: Connection, publisher_id: int, places: Sequence[Place]) -> dict[Place, Fate]:
    rows = await connection.fetch(
        statement("batches.fate_of_places"),
        publisher_id,
        [place.segment_id for place in places],
        [place.position for place in places],
    )
    fates = (
        Fate(
            Place(row["segment_id"], row["position"]),
            *(row["is_passed"], row["batch_id"], row["pool_id"], row["segment_state"], row["claim_id"]),
            row["claim_state"],
        )
        for row in rows
    )
    return {fate.place: fate for fate in fates}


async def _withdraw(
    connection: Connection,
    publisher_id: int,
    pool_id: UUID,
    fates: Sequence[Fate],
    claim_ids: dict[Place, UUID],
    *,
    reason: str,
    now: datetime,
) -> None:
    places = [fate.place for fate in fates]
    await connection.execute(
        statement("tape.insert_withdrawals"),
        publisher_id,
        pool_id,
        [claim_ids.setdefault(place, new_id()) for place in places],
        [place.segment_id for place in places],
        [place.position for place in places],
        now,
        reason,
    )
    came_back = [fate.place for fate in fates if fate.is_passed]
    await connection.executemany(statement("tape.take_returned"), [(publisher_id, *place) for place in came_back])
    back = Counter(place.segment_id for place in came_back)
    ahead = Counter(fate.place.segment_id for fate in fates if not fate.is_passed)
    await connection.executemany(
        statement("tape.count_withdrawn"),
        [(publisher_id, segment_id, ahead[segment_id], back[segment_id]) for segment_id in sorted(back | ahead)],
    )


async def _tell(
    connection: Connection,
    publisher_id: int,
    pool_id: UUID,
    fates: Sequence[Fate],
    *,
    caller_id: int,
    now: datetime,
) -> None:
    batches = Counter(str(fate.batch_id) for fate in fates)
    facts = to_json({"withdrawn": len(fates), "batches": dict(sorted(batches.items()))}).decode()
    event = (publisher_id, new_id(), pool_id, None, caller_id, "keys.withdrawn", facts, now)
    await connection.execute(statement("tape.insert_publisher_event"), *event)
