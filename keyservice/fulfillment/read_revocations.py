"""Reading a publisher's feed of dead keys, page by page in the order of the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import structlog
from pydantic_core import to_json

from keyservice.domain.caller import Caller
from keyservice.domain.errors import Forbidden, Invalid, Tampered
from keyservice.domain.revocation import FIRST_HASH, NumberedRevocation
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.number_revocations import number_revocations, read_entries
from keyservice.fulfillment.open_keys import KeyOpener, OpenedKey
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

REVOCATIONS_PAGE_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One dead key. `key` is None when it does not open any more; the operator's log says so."""

    numbered: NumberedRevocation
    acknowledged_at: datetime | None
    key: OpenedKey | None


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Entries behind the number `behind`. `previous_hash` is the chain's hash there, where this page begins."""

    publisher: str
    behind: int
    entries: tuple[FeedEntry, ...]
    previous_hash: bytes
    made_at: datetime
    limit: int

    @property
    def last_sequence(self) -> int:
        return self.entries[-1].numbered.sequence if self.entries else self.behind

    @property
    def last_hash(self) -> bytes:
        return self.entries[-1].numbered.chain_hash if self.entries else self.previous_hash

    @property
    def is_last(self) -> bool:
        return len(self.entries) < self.limit


async def read_revocations(
    database: Database,
    opener: KeyOpener,
    publisher_id: int,
    caller: Caller,
    *,
    behind: int,
    limit: int,
    is_unacknowledged_only: bool,
    reveal: bool,
) -> FeedPage:
    """A page of the feed. With `reveal`, the event that says who got the keys to see commits before this returns.

    Raises Invalid for a number behind the feed's end, Forbidden for somebody else who asks for keys.
    """
    if reveal and caller.publisher_id != publisher_id:
        raise Forbidden("a revoked key's text is for its publisher only")
    size = min(limit, REVOCATIONS_PAGE_MAX)
    await number_revocations(database, publisher_id)

    async def work(connection: Connection) -> FeedPage:
        previous_hash = await _hash_at(connection, publisher_id, behind)
        name = "revocations.unacknowledged_entries" if is_unacknowledged_only else "revocations.entries"
        rows = await connection.fetch(statement(name), publisher_id, behind, size)
        entries = await _entries(connection, opener, publisher_id, rows)
        publisher = await connection.fetchrow(statement("revocations.publisher"), publisher_id)
        assert publisher is not None
        handle, now = publisher
        if reveal and entries:
            await _record_disclosure(connection, publisher_id, caller, entries, now)
        return FeedPage(handle, behind, entries, previous_hash, now, size)

    return await short_transaction(database.of_publisher(publisher_id), work)


async def _hash_at(connection: Connection, publisher_id: int, sequence: int) -> bytes:
    if sequence == 0:
        return FIRST_HASH
    found: bytes | None = await connection.fetchval(statement("revocations.hash_of_entry"), publisher_id, sequence)
    if found is None:
        end = await connection.fetchval(statement("revocations.feed_end"), publisher_id) or 0
        raise Invalid(f"this feed ends at {end}; read it again from 0 if you have seen more of it", field="after")
    return found


async def _entries(
    connection: Connection, opener: KeyOpener, publisher_id: int, rows: Sequence[asyncpg.Record]
) -> tuple[FeedEntry, ...]:
    found = await read_entries(connection, publisher_id, rows)
    opened = await opener.open(connection, publisher_id, [one.place for one in found])
    return tuple(
        FeedEntry(
            NumberedRevocation(row["sequence"], one, row["chain_hash"]),
            row["acknowledged_at"],
            _whole(opened[one.place]),
        )
        for row, one in zip(rows, found, strict=True)
    )


def _whole(key: OpenedKey | Tampered) -> OpenedKey | None:
    """A damaged key must not keep its publisher from hearing that it is dead."""
    if isinstance(key, Tampered):
        structlog.get_logger().error("key_damaged", exc_info=key)
        return None
    return key


async def _record_disclosure(
    connection: Connection, publisher_id: int, caller: Caller, entries: tuple[FeedEntry, ...], now: datetime
) -> None:
    shown = [entry.numbered.sequence for entry in entries if entry.key is not None]
    facts: dict[str, Any] = {"source": "revocation feed", "disclosed": len(shown), "sequences": shown}
    event = (publisher_id, new_id(), None, None, caller.caller_id, "keys.disclosed", to_json(facts).decode(), now)
    await connection.execute(statement("tape.insert_publisher_event"), *event)
