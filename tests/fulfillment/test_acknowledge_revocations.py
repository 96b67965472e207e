import asyncio
import json
from uuid import UUID, uuid4

import pytest

from keyservice.domain.errors import Invalid, NotFound
from keyservice.fulfillment import acknowledge_revocations
from keyservice.fulfillment.acknowledge_revocations import (
    Acknowledged,
    acknowledge_entries,
    acknowledge_revocation,
    acknowledge_up_to,
)
from tests.fulfillment.feeds import cancelled, read_page
from tests.lab.shop import Shop

ME = 4_711


async def fed(shop: Shop, keys: int) -> None:
    """A feed of so many entries, numbered."""
    await shop.load([f"ACK-{shop.publisher_id}-{number}" for number in range(keys)])
    await cancelled(shop, "gone", quantity=keys)
    assert (await read_page(shop)).last_sequence == keys


async def acknowledged(shop: Shop) -> list[int]:
    page = await read_page(shop)
    return [entry.numbered.sequence for entry in page.entries if entry.acknowledged_at is not None]


async def told(shop: Shop) -> list[tuple[int, list[int]]]:
    async with shop.services.database.reading() as connection:
        rows = await connection.fetch(
            "SELECT caller_id, facts FROM publisher_events"
            " WHERE publisher_id = $1 AND name = 'revocations.acknowledged' ORDER BY event_id",
            shop.publisher_id,
        )
    return [(row["caller_id"], json.loads(row["facts"])["sequences"]) for row in rows]


async def test_an_entry_is_acknowledged_once_and_whoever_repeats_it_is_told_the_same(shop: Shop) -> None:
    await fed(shop, 3)
    database, publisher_id = shop.services.database, shop.publisher_id
    assert await acknowledge_entries(database, publisher_id, [2], caller_id=ME) == Acknowledged(1, 1)
    first = (await read_page(shop)).entries[1].acknowledged_at
    assert await acknowledge_entries(database, publisher_id, [2], caller_id=ME + 1) == Acknowledged(1, 0)
    assert (await read_page(shop)).entries[1].acknowledged_at == first
    assert await acknowledged(shop) == [2]
    assert await told(shop) == [(ME, [2])]
    unseen = await read_page(shop, unacknowledged=True)
    assert [entry.numbered.sequence for entry in unseen.entries] == [1, 3]


async def test_all_of_several_entries_are_acknowledged_or_none(shop: Shop) -> None:
    await fed(shop, 3)
    database, publisher_id = shop.services.database, shop.publisher_id
    with pytest.raises(NotFound):
        await acknowledge_entries(database, publisher_id, [1, 4], caller_id=ME)
    assert await acknowledged(shop) == []
    assert await acknowledge_entries(database, publisher_id, [3, 1], caller_id=ME) == Acknowledged(2, 2)
    assert await acknowledged(shop) == [1, 3]


async def test_everything_up_to_a_number_is_acknowledged_in_steps(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledge_revocations, "ACKNOWLEDGED_AT_ONCE", 2)
    await fed(shop, 6)
    database, publisher_id = shop.services.database, shop.publisher_id
    await acknowledge_entries(database, publisher_id, [2], caller_id=ME)
    assert await acknowledge_up_to(database, publisher_id, 5, caller_id=ME) == Acknowledged(5, 4)
    assert await acknowledge_up_to(database, publisher_id, 5, caller_id=ME) == Acknowledged(5, 0)
    assert await acknowledged(shop) == [1, 2, 3, 4, 5]
    assert await told(shop) == [(ME, [2]), (ME, [1, 3]), (ME, [4, 5])]


async def test_nobody_acknowledges_what_nobody_has_seen(shop: Shop) -> None:
    await shop.load(["UNSEEN"])
    await cancelled(shop, "unseen")
    with pytest.raises(Invalid, match="ends at 0"):
        await acknowledge_up_to(shop.services.database, shop.publisher_id, 1, caller_id=ME)
    with pytest.raises(NotFound):
        await acknowledge_entries(shop.services.database, shop.publisher_id, [1], caller_id=ME)


async def test_an_entry_is_acknowledged_by_its_id_before_anyone_has_read_the_feed(shop: Shop) -> None:
    await shop.load(["BY-ID"])
    await cancelled(shop, "by-id")
    database = shop.services.database
    async with database.reading() as connection:
        facts = await connection.fetchval(
            "SELECT facts FROM publisher_events WHERE publisher_id = $1 AND name = 'key.revoked'", shop.publisher_id
        )
    revocation_id = UUID(json.loads(facts)["revocation_id"])
    neighbour = await Shop.opened(shop.services)
    for publisher_id, name in ((neighbour.publisher_id, revocation_id), (shop.publisher_id, uuid4())):
        with pytest.raises(NotFound, match="does not have this entry"):
            await acknowledge_revocation(database, publisher_id, name, caller_id=ME)
    assert await acknowledge_revocation(database, shop.publisher_id, revocation_id, caller_id=ME) == Acknowledged(1, 1)
    assert await acknowledged(shop) == [1]


async def test_two_who_acknowledge_the_same_at_once_both_succeed_and_one_is_written_down(shop: Shop) -> None:
    await fed(shop, 20)
    database, publisher_id = shop.services.database, shop.publisher_id
    found = await asyncio.gather(
        *(acknowledge_entries(database, publisher_id, list(range(1, 21)), caller_id=ME) for _ in range(4)),
        acknowledge_up_to(database, publisher_id, 20, caller_id=ME),
    )
    assert sorted(one.new for one in found) == [0, 0, 0, 0, 20]
    assert await told(shop) == [(ME, list(range(1, 21)))]
