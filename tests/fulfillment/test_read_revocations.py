import asyncio
import json
from dataclasses import replace

import asyncpg
import pytest

from keyservice.domain.errors import Forbidden, Invalid
from keyservice.domain.revocation import FIRST_HASH, chain_hash, entry_texts
from keyservice.fulfillment.number_revocations import NUMBERED_AT_ONCE, number_next, number_revocations
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.read_revocations import FeedPage, read_revocations
from keyservice.fulfillment.short_transaction import LOCAL_SETTINGS
from keyservice.postgres.roles import TAKE_ON_PIPELINE
from keyservice.postgres.statements import statement
from tests.fulfillment.feeds import bought, cancelled, end, publisher_of, read_page, read_whole
from tests.fulfillment.test_upload_plans import plan_of
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop
from tests.lab.waiting import until


def numbers(page: FeedPage) -> list[int]:
    return [entry.numbered.sequence for entry in page.entries]


def demand_chained(pages: list[FeedPage]) -> None:
    """Each entry is chained to the one before, over the ends of pages too, from the first one on."""
    last = FIRST_HASH
    for page in pages:
        assert page.previous_hash == last
        for sequence, revocation, stored in (entry.numbered for entry in page.entries):
            last = chain_hash(last, entry_texts(sequence, revocation))
            assert stored == last
        assert page.last_hash == last


async def test_a_publisher_without_dead_keys_has_an_empty_feed(shop: Shop) -> None:
    page = await read_page(shop)
    assert (page.entries, page.last_sequence, page.is_last) == ((), 0, True)
    assert page.previous_hash == page.last_hash == FIRST_HASH


async def test_dead_keys_are_numbered_chained_and_known_by_their_rows(shop: Shop, database_urls: DatabaseUrls) -> None:
    await shop.load([f"DEAD-AND-KNOWN-{number}" for number in range(7)])
    await cancelled(shop, "first", quantity=2)
    await cancelled(shop, "second", quantity=3)
    pages = await read_whole(shop, limit=2)
    assert [numbers(page) for page in pages] == [[1, 2], [3, 4], [5]]
    entries = [entry for page in pages for entry in page.entries]
    assert [entry.numbered.revocation.row_number for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.key.text.tail for entry in entries if entry.key] == ["WN-0", "WN-1", "WN-2", "WN-3", "WN-4"]
    demand_chained(pages)
    assert await violations(database_urls.superuser) == {}


async def test_what_commits_late_comes_behind_what_was_read_however_early_it_happened(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    await shop.load([f"LATE-{number}" for number in range(6)])
    claims = await bought(shop, "six", quantity=6)
    early, late = [await asyncpg.connect(database_urls.service) for _ in range(2)]
    transactions = [connection.transaction() for connection in (early, late)]
    try:
        for connection, transaction, claim, reason in zip(
            (early, late), transactions, claims[:2], ("early", "late"), strict=True
        ):
            await transaction.start()
            await connection.execute(TAKE_ON_PIPELINE)
            await end(connection, shop, [claim], reason=reason)
        async with shop.services.database.transaction() as quick:
            await end(quick, shop, claims[2:4], reason="between")
        first = await read_page(shop)
        assert [entry.numbered.revocation.reason for entry in first.entries] == ["between", "between"]
        await transactions[1].commit()
        second = await read_page(shop, behind=first.last_sequence)
        assert [entry.numbered.revocation.reason for entry in second.entries] == ["late"]
        await transactions[0].commit()
        third = await read_page(shop, behind=second.last_sequence)
        assert [entry.numbered.revocation.reason for entry in third.entries] == ["early"]
    finally:
        await early.close()
        await late.close()
    happened = [page.entries[0].numbered.revocation.happened_at for page in (first, second, third)]
    assert sorted(happened) == [happened[2], happened[1], happened[0]], "each happened before what was read already"
    demand_chained([first, second, third])
    assert numbers(await read_page(shop)) == [1, 2, 3, 4]


async def test_who_numbers_waits_for_who_is_numbering_already(shop: Shop, database_urls: DatabaseUrls) -> None:
    """Else both would give the same numbers to different entries."""
    await shop.load([f"WAIT-{number}" for number in range(4)])
    await cancelled(shop, "before")
    assert (await read_page(shop)).last_sequence == 1
    await cancelled(shop, "after", quantity=3)
    database, publisher_id = shop.services.database, shop.publisher_id
    superuser = await asyncpg.connect(database_urls.superuser)
    try:
        async with database.of_publisher(publisher_id).transaction(settings=LOCAL_SETTINGS) as numbering:
            await numbering.fetchrow(statement("revocations.lock_feed"), publisher_id)
            waiting = asyncio.create_task(number_revocations(database, publisher_id))
            await until(lambda: _is_waited_for(superuser), seconds=20, what="the second one waits for the first")
            assert await number_next(numbering, publisher_id) == 3
        assert await waiting == 0
    finally:
        await superuser.close()
    page = await read_page(shop)
    assert numbers(page) == [1, 2, 3, 4]
    demand_chained([page])


async def _is_waited_for(superuser: asyncpg.Connection) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(await superuser.fetchval(query))


async def test_readers_of_many_revocations_at_once_all_see_one_order_without_a_gap(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    await shop.load([f"RUSH-{number}" for number in range(120)])
    claims = [await bought(shop, f"rush-{number}", quantity=4) for number in range(30)]

    async def die(mine: int) -> None:
        async with shop.services.database.transaction() as connection:
            for claim in claims[mine]:
                await end(connection, shop, [claim], reason=str(mine))

    async def read() -> list[FeedPage]:
        pages = [await read_page(shop, limit=7)]
        while pages[-1].last_sequence < 120:
            pages.append(await read_page(shop, behind=pages[-1].last_sequence, limit=7))
        return pages

    dying = [asyncio.create_task(die(mine)) for mine in range(30)]
    readers = await asyncio.gather(read(), read(), read())
    await asyncio.gather(*dying)
    for pages in readers:
        assert [number for page in pages for number in numbers(page)] == list(range(1, 121))
        demand_chained(pages)
    assert not [rule for rule in await violations(database_urls.superuser) if "feed" in rule]


async def test_more_than_is_numbered_at_once_is_numbered_page_by_page(shop: Shop, database_urls: DatabaseUrls) -> None:
    superuser = await asyncpg.connect(database_urls.superuser)
    count = NUMBERED_AT_ONCE + 3
    try:
        await superuser.execute(
            "INSERT INTO revocations (publisher_id, revocation_id, claim_id, segment_id, position, kind, reason, happened_at)"
            " SELECT $1, gen_random_uuid(), gen_random_uuid(), 1, n, 'revoked', '', now() FROM generate_series(1, $2) n",
            *(shop.publisher_id, count),
        )
        assert await number_revocations(shop.services.database, shop.publisher_id) == NUMBERED_AT_ONCE
        pages = await read_whole(shop)
        assert [number for page in pages for number in numbers(page)] == list(range(1, count + 1))
        demand_chained(pages)
    finally:
        await superuser.execute("DELETE FROM revocations WHERE publisher_id = $1", shop.publisher_id)
        await superuser.execute("DELETE FROM revocation_feeds WHERE publisher_id = $1", shop.publisher_id)
        await superuser.close()


async def test_a_reader_who_has_seen_more_than_there_is_is_told_so(shop: Shop) -> None:
    """After a restore from a backup, silence would look like a feed without news."""
    await shop.load(["ONE"])
    await cancelled(shop, "one")
    assert numbers(await read_page(shop)) == [1]
    assert (await read_page(shop, behind=1)).entries == ()
    with pytest.raises(Invalid, match="this feed ends at 1"):
        await read_page(shop, behind=2)


async def test_a_damaged_key_does_not_keep_its_publisher_from_hearing_that_it_is_dead(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    segment_id = await shop.load(["WHOLE-KEY", "DAMAGED-KEY"])
    await cancelled(shop, "two", quantity=2)
    superuser = await asyncpg.connect(database_urls.superuser)
    try:
        await superuser.execute(
            "UPDATE keys SET sealed = overlay(sealed placing '\\x00' from 30) WHERE segment_id = $1 AND position = 2",
            segment_id,
        )
    finally:
        await superuser.close()
    page = await read_page(shop, reveal=True)
    assert [entry.key is None for entry in page.entries] == [False, True]


async def test_who_gets_the_keys_is_written_down_before_they_leave(shop: Shop) -> None:
    await shop.load(["SEEN-AGAIN-1", "SEEN-AGAIN-2"])
    await cancelled(shop, "two", quantity=2)
    await read_page(shop)
    page = await read_page(shop, reveal=True)
    assert [entry.key.text.reveal() for entry in page.entries if entry.key] == ["SEEN-AGAIN-1", "SEEN-AGAIN-2"]
    async with shop.services.database.reading() as connection:
        (event,) = await connection.fetch(
            "SELECT caller_id, facts FROM publisher_events WHERE publisher_id = $1 AND name = 'keys.disclosed'",
            shop.publisher_id,
        )
    facts = {"source": "revocation feed", "disclosed": 2, "sequences": [1, 2]}
    assert (event["caller_id"], json.loads(event["facts"])) == (publisher_of(shop).caller_id, facts)


async def test_nobody_else_gets_the_keys(shop: Shop) -> None:
    services = shop.services
    for stranger in (shop.reseller, replace(publisher_of(shop), publisher_id=shop.publisher_id + 1)):
        with pytest.raises(Forbidden):
            await read_revocations(
                services.database,
                KeyOpener(services.wrapper),
                shop.publisher_id,
                stranger,
                behind=0,
                limit=1,
                is_unacknowledged_only=False,
                reveal=True,
            )


@pytest.mark.parametrize(
    ("name", "values", "index"),
    [
        ("unnumbered", (1_000_000, 1_000), "revocations_unnumbered"),
        ("is_unnumbered", (1_000_000,), "revocations_unnumbered"),
        ("entries", (1_000_000, 5, 100), "revocations_numbered_once"),
        ("unacknowledged_entries", (1_000_000, 5, 100), "revocations_unacknowledged"),
        ("lock_unacknowledged_entries", (1_000_000, 5, 100), "revocations_unacknowledged"),
        ("lock_entries", (1_000_000, [5, 7]), "revocations_numbered_once"),
        ("places", (1_000_000, [1], [1]), "keys_pkey"),
    ],
)
async def test_the_feed_is_read_by_its_indexes(
    database_urls: DatabaseUrls, name: str, values: tuple[object, ...], index: str
) -> None:
    plan = await plan_of(database_urls.service, f"revocations.{name}", *values)
    assert index in plan, plan
    assert "Seq Scan" not in plan, plan
    assert "Sort" not in plan, plan
