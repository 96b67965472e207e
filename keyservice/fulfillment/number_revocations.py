"""Numbering a publisher's feed of dead keys: what is committed gets the next numbers, so nothing ever appears behind one."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from keyservice.domain.revocation import FIRST_HASH, NumberedRevocation, Revocation, RevocationKind, number
from keyservice.domain.tape import Place
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

NUMBERED_AT_ONCE: Final = 1_000
"""At least a page, so that a page that is not full is the feed's last one."""


async def number_revocations(database: Database, publisher_id: int) -> int:
    """Number the next entries that are committed and have no number yet, up to NUMBERED_AT_ONCE; how many there were."""
    own = database.of_publisher(publisher_id)
    async with own.reading() as connection:
        is_needed = await connection.fetchval(statement("revocations.is_unnumbered"), publisher_id)
    if not is_needed:
        return 0

    async def work(connection: Connection) -> int:
        return await number_next(connection, publisher_id)

    return await short_transaction(own, work)


async def number_next(connection: Connection, publisher_id: int) -> int:
    """The same in a transaction that is there; from here to its end nobody else numbers this publisher's entries."""
    await connection.execute(statement("revocations.open_feed"), publisher_id, FIRST_HASH)
    end = await connection.fetchrow(statement("revocations.lock_feed"), publisher_id)
    assert end is not None
    rows = await connection.fetch(statement("revocations.unnumbered"), publisher_id, NUMBERED_AT_ONCE)
    waiting = await read_entries(connection, publisher_id, rows)
    found = list(number(waiting, last_sequence=end["last_sequence"], last_hash=end["last_hash"]))
    if found:
        await _store(connection, publisher_id, found)
    return len(found)


async def read_entries(connection: Connection, publisher_id: int, rows: Sequence[asyncpg.Record]) -> list[Revocation]:
    """Rows of revocations with what their publisher knows their places by."""
    places = await connection.fetch(
        statement("revocations.places"),
        publisher_id,
        [row["segment_id"] for row in rows],
        [row["position"] for row in rows],
    )
    known = {Place(row["segment_id"], row["position"]): row for row in places}
    return [_revocation(row, known[Place(row["segment_id"], row["position"])]) for row in rows]


async def _store(connection: Connection, publisher_id: int, found: Sequence[NumberedRevocation]) -> None:
    await connection.executemany(
        statement("revocations.number_revocation"),
        [(publisher_id, one.revocation.revocation_id, one.sequence, one.chain_hash) for one in found],
    )
    last = found[-1]
    await connection.execute(statement("revocations.move_feed"), publisher_id, last.sequence, last.chain_hash)


def _revocation(row: asyncpg.Record, place: asyncpg.Record) -> Revocation:
    return Revocation(
        revocation_id=row["revocation_id"],
        place=Place(row["segment_id"], row["position"]),
        kind=RevocationKind(row["kind"]),
        reason=row["reason"],
        happened_at=row["happened_at"],
        batch_id=place["batch_id"],
        row_number=place["row_number"],
        publisher_key_id=place["publisher_key_id"],
    )
