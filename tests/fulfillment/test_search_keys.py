from dataclasses import replace
from datetime import date

import asyncpg
import pytest

from keyservice.domain.caller import Caller, CallerKind
from keyservice.domain.errors import Invalid
from keyservice.domain.key_state import KeyState
from keyservice.fulfillment.find_keys import FoundKey, find_equal
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_pools import list_events
from keyservice.fulfillment.search_keys import (
    ACROSS_PUBLISHERS,
    FOUND_BY_ENDING_MAX,
    KeyInspector,
    search_own_keys,
    search_sold_keys,
)
from keyservice.postgres.roles import TAKE_ON_PIPELINE
from tests.fulfillment.feeds import cancelled
from tests.fulfillment.test_upload_plans import plan_of
from tests.fulfillment.uploads import csv_of, receive
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop

ADMIN = Caller(77, CallerKind.ADMIN, "head-office", None, frozenset())


async def own(shop: Shop, text: str) -> list[FoundKey]:
    return await search_own_keys(shop.services.database, shop.services.fingerprints, shop.publisher_id, text.encode())


def inspector(shop: Shop) -> KeyInspector:
    return KeyInspector(shop.services.database, shop.services.fingerprints, shop.services.opener)


async def searches(shop: Shop, publisher_id: int) -> list[dict[str, object]]:
    events = await list_events(shop.services.database, publisher_id, pool_id=None, after=None, limit=500)
    return [{**event.facts, "caller_id": event.caller_id} for event in events if event.name == "keys.searched"]


async def test_a_publisher_finds_its_key_in_each_state(shop: Shop) -> None:
    unique = f"STATES-{shop.publisher_id}"
    await shop.load([f"{unique}-dead"])
    await cancelled(shop, "cancelled")
    await shop.load([f"{unique}-issued", f"{unique}-left"])
    await shop.buy("kept")
    await shop.load([f"{unique}-off"], state="held")
    await shop.load([f"{unique}-old"], expires_on=date(2020, 1, 1))
    await shop.load([f"{unique}-gone"], state="withdrawn")
    states = {"dead": "revoked", "issued": "issued", "left": "for_sale", "off": "off_sale", "old": "expired"}
    for name, state in {**states, "gone": "withdrawn"}.items():
        (found,) = await own(shop, f"{unique}-{name}")
        assert found.state == state, name
        assert (found.claimed_at is None) == (name in ("left", "off", "old", "gone"))
        assert (found.ended_at is not None) == (name == "dead")
        assert (found.pool_id, found.row_number) == (shop.pool_id, found.place.position)


@pytest.mark.parametrize(
    "change", [str.lower, lambda text: text + " ", lambda text: text[:-1], lambda text: f"{text}\n"]
)
async def test_a_key_is_found_to_the_letter_or_not_at_all(shop: Shop, change: object) -> None:
    assert callable(change)
    text = f"LETTER-{shop.publisher_id}"
    await shop.load([text])
    assert len(await own(shop, text)) == 1
    assert await own(shop, change(text)) == []


async def test_another_publisher_s_key_is_not_there(shop: Shop) -> None:
    neighbour = await Shop.opened(shop.services)
    await neighbour.load([f"THEIRS-{shop.publisher_id}"])
    assert await own(shop, f"THEIRS-{shop.publisher_id}") == []


async def test_a_caller_finds_what_it_sold_whichever_publisher_it_is_of_and_nothing_else(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = await Shop.opened(shop.services)
    text = f"BOTH-{shop.publisher_id}"
    await shop.load([text])
    await neighbour.load([text])
    await shop.buy("mine")
    await replace(neighbour, reseller=shop.reseller).buy("mine-too")
    services = shop.services

    async def sold(caller: Caller) -> list[tuple[str, str]]:
        found = await search_sold_keys(services.database, services.fingerprints, caller, text.encode())
        return sorted((one.order.partner_order_number, one.key.state) for one in found)

    both = [("mine", "issued"), ("mine-too", "issued")]
    assert await sold(shop.reseller) == both
    assert await sold(neighbour.reseller) == []
    monkeypatch.setattr("keyservice.fulfillment.search_keys.PUBLISHERS_PROBED_AT_ONCE", 1)
    assert await sold(shop.reseller) == both


async def test_a_key_for_sale_is_not_there_for_who_might_sell_it(shop: Shop) -> None:
    await shop.load([f"UNSOLD-{shop.publisher_id}"])
    services = shop.services
    raw = f"UNSOLD-{shop.publisher_id}".encode()
    assert await search_sold_keys(services.database, services.fingerprints, shop.reseller, raw) == []


async def test_an_admin_finds_keys_of_all_publishers_with_their_orders_and_callers(shop: Shop) -> None:
    neighbour = await Shop.opened(shop.services)
    text = f"OVERSEEN-{shop.publisher_id}"
    await shop.load([text])
    await neighbour.load([text])
    await shop.buy("seen")
    found = await inspector(shop).search_everywhere(ADMIN, text.encode(), purpose="ticket 9")
    sold, unsold = sorted(found.keys, key=lambda one: one.key.publisher_id)
    assert (sold.publisher, sold.key.state, sold.caller) == (shop.publisher, "issued", shop.reseller.name)
    assert sold.order is not None
    assert (sold.order.partner_order_number, sold.ends_with) == ("seen", text[-len(sold.ends_with or "") :])
    assert (unsold.publisher, unsold.key.state, unsold.order) == (neighbour.publisher, "for_sale", None)
    facts = {"by": "key", "purpose": "ticket 9", "is_capped": False, "caller_id": ADMIN.caller_id}
    assert await searches(shop, shop.publisher_id) == [{**facts, "found": 1}]
    assert await searches(shop, neighbour.publisher_id) == [{**facts, "found": 1}]
    assert {**facts, "found": 2} in await searches(shop, ACROSS_PUBLISHERS)


async def test_a_search_that_finds_nothing_is_on_record_too(shop: Shop) -> None:
    purpose = f"nothing for {shop.publisher}"
    one = {"publisher_id": shop.publisher_id, "publisher": shop.publisher, "purpose": purpose}
    await inspector(shop).search_everywhere(ADMIN, b"NOT-THERE", purpose=purpose)
    await inspector(shop).search_publisher(ADMIN, b"NOT-THERE", **one)  # type: ignore[arg-type]
    await inspector(shop).search_ending(ADMIN, "THERE", **one)  # type: ignore[arg-type]
    assert [(facts["by"], facts["found"]) for facts in await searches(shop, shop.publisher_id)] == [
        ("key", 0),
        ("ending", 0),
    ]
    everywhere = [one for one in await searches(shop, ACROSS_PUBLISHERS) if one["purpose"] == purpose]
    assert [facts["found"] for facts in everywhere] == [0]


async def test_keys_are_found_by_their_last_five_characters_masked_and_capped(shop: Shop) -> None:
    await shop.load([f"{number:06}-LONG-ENOUGH-TO-SHOW-ENDIN" for number in range(FOUND_BY_ENDING_MAX + 1)])
    await shop.load(["SHORT-ENDIN", "OTHER-ENDED"])
    one = {"publisher_id": shop.publisher_id, "publisher": shop.publisher, "purpose": "ticket 10"}
    found = await inspector(shop).search_ending(ADMIN, "ENDIN", **one)  # type: ignore[arg-type]
    assert (len(found.keys), found.is_capped) == (FOUND_BY_ENDING_MAX, True)
    assert {key.ends_with for key in found.keys} <= {"NDIN", "IN"}
    (ended,) = (await inspector(shop).search_ending(ADMIN, "ENDED", **one)).keys  # type: ignore[arg-type]
    assert (ended.key.state, ended.ends_with) == (KeyState.FOR_SALE, "ED")
    recorded = await searches(shop, shop.publisher_id)
    assert [(facts["found"], facts["is_capped"]) for facts in recorded] == [(FOUND_BY_ENDING_MAX, True), (1, False)]
    assert not any("ENDIN" in str(facts) or "ENDED" in str(facts) for facts in recorded)


@pytest.mark.parametrize("purpose", ["customer reads SECRT", "SECRT", "ticket secrt 4"])
async def test_a_purpose_that_repeats_what_is_searched_for_is_refused_and_not_kept(shop: Shop, purpose: str) -> None:
    one = {"publisher_id": shop.publisher_id, "publisher": shop.publisher, "purpose": purpose}
    with pytest.raises(Invalid, match="without repeating"):
        await inspector(shop).search_ending(ADMIN, "SECRT", **one)  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="without repeating"):
        await inspector(shop).search_publisher(ADMIN, b"SECRT", **one)  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="without repeating"):
        await inspector(shop).search_everywhere(ADMIN, b"SECRT", purpose=purpose)
    assert await searches(shop, shop.publisher_id) == []


@pytest.mark.parametrize("ending", ["", "1234", "123456"])
async def test_only_five_characters_are_an_ending(shop: Shop, ending: str) -> None:
    one = {"publisher_id": shop.publisher_id, "publisher": shop.publisher, "purpose": "ticket"}
    with pytest.raises(Invalid, match="last 5 characters"):
        await inspector(shop).search_ending(ADMIN, ending, **one)  # type: ignore[arg-type]


@pytest.mark.parametrize("are_statistics_fresh", [False, True])
async def test_searches_go_by_whole_index_keys_for_a_publisher_that_statistics_do_not_know(
    shop: Shop, database_urls: DatabaseUrls, are_statistics_fresh: bool
) -> None:
    await receive(shop, csv_of([f"SEARCH-{new_id()}" for _ in range(20_000)]))
    await shop.buy("some", quantity=100)
    superuser = await asyncpg.connect(database_urls.superuser)
    try:
        # Cheaper to enter than the right indexes are.
        for table in ("keys", "claims"):
            await superuser.execute(f"CREATE INDEX IF NOT EXISTS tempting_{table} ON {table} (publisher_id)")
        if are_statistics_fresh:
            await superuser.execute("ANALYZE")
    finally:
        await superuser.close()
    unknown, url = 1_000_000, database_urls.service
    plan = await plan_of(url, "search.key_of_fingerprint", unknown, b"x" * 32)
    assert "using keys_enter_once" in plan
    assert "(publisher_id = 1000000) AND (fingerprint >= " in plan
    plan = await plan_of(url, "search.keys_of_suffix", unknown, b"x" * 8, 21)
    assert "using keys_by_suffix" in plan
    assert "(publisher_id = 1000000) AND (suffix_token >= " in plan
    plan = await plan_of(url, "search.key_details", unknown, [1], [1])
    assert "using claims_position_taken" in plan
    assert "using keys_pkey" in plan
    assert "Seq Scan" not in plan


async def test_a_search_across_publishers_probes_each_of_them_once_and_reads_no_other_key(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    """The probes are counted by the index itself."""
    text = f"PROBED-{shop.publisher_id}"
    await shop.load([text, *(f"{text}-{number}" for number in range(500))])
    superuser = await asyncpg.connect(database_urls.superuser)
    service = await asyncpg.connect(database_urls.service)

    async def probes() -> tuple[int, int]:
        await superuser.execute("SELECT pg_stat_clear_snapshot()")
        row = await superuser.fetchrow(
            "SELECT idx_scan, idx_tup_fetch FROM pg_stat_user_indexes WHERE indexrelname = 'keys_enter_once'"
        )
        assert row is not None
        return row["idx_scan"], row["idx_tup_fetch"]

    try:
        publishers = [row["publisher_id"] for row in await superuser.fetch("SELECT publisher_id FROM publishers")]
        before = await probes()
        async with service.transaction():
            await service.execute(f"{TAKE_ON_PIPELINE}; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            (found,) = await find_equal(service, shop.services.fingerprints, publishers, text.encode())
        await service.execute("SELECT pg_stat_force_next_flush()")
        await service.fetchval("SELECT 1")
        after = await probes()
    finally:
        await service.close()
        await superuser.close()
    assert found.publisher_id == shop.publisher_id
    assert (after[0] - before[0], after[1] - before[1]) == (len(publishers), 1)
    assert len(publishers) > 5
