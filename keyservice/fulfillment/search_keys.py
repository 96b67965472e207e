"""Searching for a key: publishers among their own, pipelines among what they sold, admins everywhere and on record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pydantic_core import to_json

from keyservice.crypto.fingerprints import SUFFIX_CHARACTERS, Fingerprints
from keyservice.domain.caller import Caller
from keyservice.domain.errors import Invalid, Tampered
from keyservice.domain.key_parts import telling_text
from keyservice.fulfillment.find_keys import (
    PUBLISHERS_PROBED_AT_ONCE,
    FoundKey,
    KeysOrder,
    find_ending,
    find_equal,
    read_orders,
)
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

FOUND_BY_ENDING_MAX: Final = 20
ACROSS_PUBLISHERS: Final = 0
"""No publisher has this id: events of what was done over all of them are kept under it."""


class SoldKey(NamedTuple):
    """A key that the asking caller got, and its order."""

    key: FoundKey
    order: KeysOrder


@dataclass(frozen=True, slots=True)
class OverseenKey:
    """A key as an admin sees it; the order's caller by name."""

    publisher: str
    key: FoundKey
    order: KeysOrder | None
    caller: str | None
    ends_with: str | None


@dataclass(frozen=True, slots=True)
class OverseenKeys:
    """What an admin's search found. When it is capped, there are more, and more characters are needed."""

    keys: tuple[OverseenKey, ...]
    is_capped: bool


async def search_own_keys(
    database: Database, fingerprints: Fingerprints, publisher_id: int, raw: bytes
) -> list[FoundKey]:
    """The publisher's key of these bytes: one or none."""

    async def work(connection: Connection) -> list[FoundKey]:
        return await find_equal(connection, fingerprints, [publisher_id], raw)

    return await short_transaction(database.of_publisher(publisher_id), work)


async def search_sold_keys(database: Database, fingerprints: Fingerprints, caller: Caller, raw: bytes) -> list[SoldKey]:
    """Keys of these bytes that were taken for this caller's own orders; what others have does not exist."""

    async def work(connection: Connection) -> list[SoldKey]:
        found: list[FoundKey] = []
        for publishers in await _all_publishers(connection):
            found += await find_equal(connection, fingerprints, list(publishers), raw)
        orders = await read_orders(connection, found)
        return [
            SoldKey(key, orders[key.unit_id])
            for key in found
            if key.unit_id in orders and orders[key.unit_id].caller_id == caller.caller_id
        ]

    return await short_transaction(database, work)


class KeyInspector:
    """Searches of an admin. Each is an event before it is an answer, also when nothing was found."""

    def __init__(self, database: Database, fingerprints: Fingerprints, opener: KeyOpener) -> None:
        self._database = database
        self._fingerprints = fingerprints
        self._opener = opener

    async def search_everywhere(self, caller: Caller, raw: bytes, *, purpose: str) -> OverseenKeys:
        """Written down for all publishers together, and for each that has the key."""
        _demand_silent(purpose, raw)

        async def work(connection: Connection) -> OverseenKeys:
            found: list[FoundKey] = []
            handles: dict[int, str] = {}
            for publishers in await _all_publishers(connection):
                handles |= publishers
                found += await find_equal(connection, self._fingerprints, list(publishers), raw)
            for publisher_id in (ACROSS_PUBLISHERS, *sorted({key.publisher_id for key in found})):
                hits = [key for key in found if publisher_id in (ACROSS_PUBLISHERS, key.publisher_id)]
                await _write_down(connection, publisher_id, caller, "key", purpose, len(hits))
            return OverseenKeys(await self._overseen(connection, found, handles), is_capped=False)

        return await short_transaction(self._database, work)

    async def search_publisher(
        self, caller: Caller, raw: bytes, *, publisher_id: int, publisher: str, purpose: str
    ) -> OverseenKeys:
        _demand_silent(purpose, raw)

        async def work(connection: Connection) -> OverseenKeys:
            found = await find_equal(connection, self._fingerprints, [publisher_id], raw)
            await _write_down(connection, publisher_id, caller, "key", purpose, len(found))
            return OverseenKeys(await self._overseen(connection, found, {publisher_id: publisher}), is_capped=False)

        return await short_transaction(self._database, work)

    async def search_ending(
        self, caller: Caller, ending: str, *, publisher_id: int, publisher: str, purpose: str
    ) -> OverseenKeys:
        """At the most FOUND_BY_ENDING_MAX keys that end in these five characters."""
        if len(ending) != SUFFIX_CHARACTERS:
            raise Invalid(f"give the last {SUFFIX_CHARACTERS} characters of the key", field="ending")
        _demand_silent(purpose, ending.encode())

        async def work(connection: Connection) -> OverseenKeys:
            found = await find_ending(
                connection, self._fingerprints, publisher_id, ending.encode(), at_most=FOUND_BY_ENDING_MAX + 1
            )
            shown = found[:FOUND_BY_ENDING_MAX]
            is_capped = len(shown) < len(found)
            await _write_down(connection, publisher_id, caller, "ending", purpose, len(shown), is_capped=is_capped)
            return OverseenKeys(await self._overseen(connection, shown, {publisher_id: publisher}), is_capped)

        return await short_transaction(self._database, work)

    async def _overseen(
        self, connection: Connection, found: Sequence[FoundKey], handles: dict[int, str]
    ) -> tuple[OverseenKey, ...]:
        orders = await read_orders(connection, found)
        caller_ids = sorted({order.caller_id for order in orders.values()})
        names = await connection.fetch(statement("search.caller_names"), caller_ids)
        callers = {row["caller_id"]: row["name"] for row in names}
        endings = await self._endings(connection, found)
        overseen = []
        for key in found:
            order = None if key.unit_id is None else orders.get(key.unit_id)
            caller = None if order is None else callers.get(order.caller_id)
            overseen.append(OverseenKey(handles[key.publisher_id], key, order, caller, endings[key]))
        return tuple(overseen)

    async def _endings(self, connection: Connection, found: Sequence[FoundKey]) -> dict[FoundKey, str | None]:
        """What a person may see of each; None for a key that does not open."""
        endings: dict[FoundKey, str | None] = {}
        for key in found:
            opened = (await self._opener.open(connection, key.publisher_id, [key.place]))[key.place]
            endings[key] = None if isinstance(opened, Tampered) else telling_text(opened.text, opened.mime).tail
        return endings


async def _all_publishers(connection: Connection) -> list[dict[int, str]]:
    """Ids with handles, in parts of PUBLISHERS_PROBED_AT_ONCE."""
    parts: list[dict[int, str]] = []
    after = 0
    while True:
        rows = await connection.fetch(statement("pools.publishers"), after, PUBLISHERS_PROBED_AT_ONCE)
        if not rows:
            return parts
        parts.append({row["publisher_id"]: row["handle"] for row in rows})
        after = rows[-1]["publisher_id"]


def _demand_silent(purpose: str, raw: bytes) -> None:
    """The purpose is kept for ever, so it must not say what was looked for."""
    if raw and raw.decode("utf-8", "replace").casefold() in purpose.casefold():
        raise Invalid("say what the search is for without repeating what is searched for", field="purpose")


async def _write_down(
    connection: Connection,
    publisher_id: int,
    caller: Caller,
    by: str,
    purpose: str,
    found: int,
    *,
    is_capped: bool = False,
) -> None:
    row = await connection.fetchrow(statement("search.now"))
    assert row is not None
    facts = to_json({"by": by, "purpose": purpose, "found": found, "is_capped": is_capped}).decode()
    event = (publisher_id, new_id(), None, None, caller.caller_id, "keys.searched", facts, row["now"])
    await connection.execute(statement("tape.insert_publisher_event"), *event)
