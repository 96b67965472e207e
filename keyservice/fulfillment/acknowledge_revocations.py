"""A publisher says that it has seen dead keys of its feed, and who of it says so is written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pydantic_core import to_json

from keyservice.domain.errors import Invalid, NotFound
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.number_revocations import NUMBERED_AT_ONCE, number_revocations
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

ACKNOWLEDGED_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """How many entries are acknowledged now of those that were named, and how many of them were not before."""

    entries: int
    new: int


async def acknowledge_entries(
    database: Database, publisher_id: int, sequences: Sequence[int], *, caller_id: int
) -> Acknowledged:
    """All of these or none. Raises NotFound when the feed does not have one of them."""

    async def work(connection: Connection) -> Acknowledged:
        rows = await connection.fetch(statement("revocations.lock_entries"), publisher_id, list(sequences))
        if len(rows) < len(set(sequences)):
            raise NotFound("the feed does not have an entry of this number; nothing was acknowledged")
        fresh = [row["sequence"] for row in rows if row["acknowledged_at"] is None]
        await _acknowledge(connection, publisher_id, sequences, fresh, caller_id)
        return Acknowledged(len(rows), len(fresh))

    return await short_transaction(database.of_publisher(publisher_id), work)


async def acknowledge_up_to(database: Database, publisher_id: int, sequence: int, *, caller_id: int) -> Acknowledged:
    """Everything up to this number, in steps that each commit; repeating it goes on where it broke off.

    Raises Invalid for a number behind the feed's end: nobody acknowledges what nobody has seen.
    """
    own = database.of_publisher(publisher_id)
    async with own.reading() as connection:
        end = await connection.fetchval(statement("revocations.feed_end"), publisher_id) or 0
    if sequence > end:
        raise Invalid(f"this feed ends at {end}", field="up_to")

    async def work(connection: Connection) -> int:
        rows = await connection.fetch(
            statement("revocations.lock_unacknowledged_entries"), publisher_id, sequence, ACKNOWLEDGED_AT_ONCE
        )
        fresh = [row["sequence"] for row in rows]
        # The last entry is written even when all are acknowledged: a repetition's answer is as durable as the first one.
        await _acknowledge(connection, publisher_id, fresh or [sequence], fresh, caller_id)
        return len(fresh)

    new = 0
    while (step := await short_transaction(own, work)) > 0:
        new += step
    return Acknowledged(sequence, new)


async def acknowledge_revocation(
    database: Database, publisher_id: int, revocation_id: UUID, *, caller_id: int
) -> Acknowledged:
    """By the id that the publisher's event names. Raises NotFound, for another publisher's too."""
    while await number_revocations(database, publisher_id) == NUMBERED_AT_ONCE:
        pass
    async with database.of_publisher(publisher_id).reading() as connection:
        sequence = await connection.fetchval(statement("revocations.entry_of_revocation"), publisher_id, revocation_id)
    if sequence is None:
        raise NotFound("the feed does not have this entry")
    return await acknowledge_entries(database, publisher_id, [sequence], caller_id=caller_id)


async def _acknowledge(
    connection: Connection, publisher_id: int, sequences: Sequence[int], fresh: Sequence[int], caller_id: int
) -> None:
    publisher = await connection.fetchrow(statement("revocations.publisher"), publisher_id)
    assert publisher is not None
    now = publisher["now"]
    await connection.execute(statement("revocations.acknowledge"), publisher_id, list(sequences), now, caller_id)
    if fresh:
        facts = to_json({"acknowledged": len(fresh), "sequences": fresh}).decode()
        event = (publisher_id, new_id(), None, None, caller_id, "revocations.acknowledged", facts, now)
        await connection.execute(statement("tape.insert_publisher_event"), *event)
