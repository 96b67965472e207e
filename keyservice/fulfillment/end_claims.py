"""Ending the claims of units: a key that somebody saw is dead for good, one that nobody saw goes back on its tape."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from keyservice.domain.revocation import DeadClaim, RevocationKind
from keyservice.domain.tape import Place, Wanted
from keyservice.fulfillment.claim_keys import lock_tapes
from keyservice.fulfillment.read_purchases import read_claims
from keyservice.fulfillment.record_revocations import record_revocations
from keyservice.fulfillment.watch_pools import settle_alarm
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement

LIVE = ("held", "issued")


class Ended(NamedTuple):
    """How many keys were revoked, how many went back, and the requests to publishers that had brought them."""

    revoked: int
    returned: int
    delivered_by: frozenset[UUID] = frozenset()


async def end_claims(connection: Connection, units: Sequence[asyncpg.Record], *, reason: str, now: datetime) -> Ended:
    """End the live claims of these units, whose orders are locked; publishers are told of every key that was seen."""
    claims = await read_claims(connection, units)
    live: dict[int, list[asyncpg.Record]] = {}
    for unit in units:
        claim = claims.get(unit["claim_id"])
        if claim is not None and claim["state"] in LIVE:
            live.setdefault(unit["publisher_id"], []).append(claim)
    revoked = returned = 0
    for publisher_id, some in sorted(live.items()):
        # Which ones go back is known before the pools are locked: disclosure never changes back, and the orders are ours.
        undisclosed = [claim for claim in some if _goes_back(claim)]
        if undisclosed:
            await give_back(connection, publisher_id, [_place(claim) for claim in undisclosed])
        ends = [(publisher_id, claim["claim_id"], _end_state(claim), now, reason) for claim in some]
        await connection.executemany(statement("tape.end_claim"), ends)
        dead = [dead_claim(claim) for claim in some if not _goes_back(claim)]
        await record_revocations(connection, publisher_id, dead, kind=RevocationKind.REVOKED, reason=reason, now=now)
        returned += len(undisclosed)
        revoked += len(some) - len(undisclosed)
    asked = {claim["key_request_id"] for some in live.values() for claim in some}
    return Ended(revoked, returned, frozenset(asked - {None}))


async def pools_of_keys(connection: Connection, units: Sequence[asyncpg.Record]) -> dict[int, set[UUID]]:
    """By publisher, the pools that the keys of these units come from."""
    publishers = {unit["claim_id"]: unit["publisher_id"] for unit in units}
    segments: dict[int, set[int]] = {}
    for claim_id, claim in (await read_claims(connection, units)).items():
        segments.setdefault(publishers[claim_id], set()).add(claim["segment_id"])
    return {
        publisher_id: set((await _pools_of_segments(connection, publisher_id, some)).values())
        for publisher_id, some in segments.items()
    }


async def give_back(connection: Connection, publisher_id: int, places: Sequence[Place]) -> None:
    """Put undisclosed keys back on their tape, behind the locks of their pools, and settle the pools' alarms."""
    pools = await _pools_of_segments(connection, publisher_id, {place.segment_id for place in places})
    every = Wanted(0, publisher_id, tuple(sorted(set(pools.values()))), ())
    await lock_tapes(connection, [every])
    await connection.executemany(statement("tape.put_returned"), [(publisher_id, *place) for place in places])
    counts: dict[int, int] = {}
    for place in places:
        counts[place.segment_id] = counts.get(place.segment_id, 0) + 1
    await connection.executemany(
        statement("tape.count_returned"),
        [(publisher_id, segment_id, count) for segment_id, count in sorted(counts.items())],
    )
    tapes = await lock_tapes(connection, [every])
    for pool in tapes.pools.values():
        await settle_alarm(connection, pool, now=tapes.now)


async def _pools_of_segments(
    connection: Connection, publisher_id: int, segment_ids: Collection[int]
) -> dict[int, UUID]:
    rows = await connection.fetch(statement("tape.pools_of_segments"), publisher_id, sorted(segment_ids))
    return {row["segment_id"]: row["pool_id"] for row in rows}


def dead_claim(claim: asyncpg.Record) -> DeadClaim:
    """What the publisher must know of a claim that ends."""
    return DeadClaim(claim["claim_id"], claim["segment_id"], claim["position"], claim["life"])


def _place(claim: asyncpg.Record) -> Place:
    return Place(claim["segment_id"], claim["position"])


def _goes_back(claim: asyncpg.Record) -> bool:
    """What nobody has seen, unless it was asked of its publisher for this buyer: that is cancelled there."""
    return claim["disclosed_at"] is None and claim["key_request_id"] is None


def _end_state(claim: asyncpg.Record) -> str:
    return "released" if _goes_back(claim) else "revoked"
