import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from keyservice.domain.errors import NotFound, OutOfStock
from keyservice.fulfillment.manage_pools import PoolChange, change_pool, list_events
from keyservice.services import Services
from tests.fulfillment.holding import claim, release, texts
from tests.lab.auditor import audit_queries, violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of


async def test_keys_that_came_back_undisclosed_are_sold_first_and_once(shop: Shop) -> None:
    await shop.load([f"BACK-{number}" for number in range(6)])
    held = await claim(shop, 4, state="held")
    await release(shop, held[1:3])
    assert await shop.left() == 4
    assert texts(await claim(shop, 3)) == ["BACK-1", "BACK-2", "BACK-4"]
    assert await shop.left() == 1


async def test_a_key_returns_to_an_exhausted_segment_and_is_sold_again(shop: Shop) -> None:
    await shop.load(["LAST-ONE"])
    held = await claim(shop, 1, state="held")
    with pytest.raises(OutOfStock):
        await shop.buy("none left")
    await release(shop, held)
    assert texts_of(await shop.buy("back again")) == ["LAST-ONE"]


async def test_a_disclosed_key_can_never_be_released(shop: Shop) -> None:
    await shop.load(["SEEN"])
    (key,) = await claim(shop, 1)
    with pytest.raises(asyncpg.CheckViolationError, match="claims_disclosed_never_released"):
        await release(shop, [key])


async def test_expiring_first_sells_the_nearest_expiry_and_fifo_the_oldest_upload(services: Services) -> None:
    today = datetime.now(UTC).date()
    for policy, expected in (("expiring_first", ["SOON", "LATER", "NEVER"]), ("fifo", ["NEVER", "LATER", "SOON"])):
        shop = await Shop.opened(services, policy=policy)
        await shop.load(["NEVER"])
        await shop.load(["LATER"], expires_on=today + timedelta(days=60))
        await shop.load(["SOON"], expires_on=today + timedelta(days=30))
        assert texts_of(await shop.buy(policy, quantity=3)) == expected


async def test_an_expired_segment_is_neither_stock_nor_sold_but_its_last_day_is(shop: Shop) -> None:
    today = datetime.now(UTC).date()
    await shop.load(["GONE"], expires_on=today - timedelta(days=1))
    await shop.load(["LAST-DAY"], expires_on=today)
    assert await shop.left() == 1
    assert texts_of(await shop.buy("fresh")) == ["LAST-DAY"]
    with pytest.raises(OutOfStock):
        await shop.buy("stale")


async def test_a_key_closer_to_its_end_than_the_pool_sells_is_neither_stock_nor_sold(services: Services) -> None:
    today = datetime.now(UTC).date()
    shop = await Shop.opened(services, policy="expiring_first", days_left_min=30, warning_level=2, alert_level=1)
    await shop.load(["TOO-CLOSE"], expires_on=today + timedelta(days=29))
    assert await shop.left() == 0
    with pytest.raises(OutOfStock):
        await shop.buy("too close")
    await shop.load(["FAR-ENOUGH"], expires_on=today + timedelta(days=30))
    await shop.load(["FOR-EVER"])
    assert await shop.left() == 2
    assert texts_of(await shop.buy("far enough", quantity=2)) == ["FAR-ENOUGH", "FOR-EVER"]
    with pytest.raises(OutOfStock):
        await shop.buy("too close still")


async def test_the_days_that_must_be_left_change_the_stock_at_once_and_the_alarm_with_it(services: Services) -> None:
    today = datetime.now(UTC).date()
    shop = await Shop.opened(services, warning_level=1, alert_level=0)
    await shop.load(["SOON-1", "SOON-2"], expires_on=today + timedelta(days=7))
    levels = []
    for days_left_min in (7, 8, 0):
        change = PoolChange(days_left_min=days_left_min)
        pool = await change_pool(services.database, shop.publisher_id, shop.pool_id, change, caller_id=1)
        levels.append((pool.days_left_min, pool.left, pool.alarm))
    assert levels == [(7, 2, "none"), (8, 0, "alert"), (0, 2, "none")]
    events = await list_events(services.database, shop.publisher_id, pool_id=shop.pool_id, after=None, limit=100)
    alarms = [event.facts["to"] for event in events if event.name == "pool.alarm_changed"]
    assert alarms == ["alert", "none"]
    assert texts_of(await shop.buy("both", quantity=2)) == ["SOON-1", "SOON-2"]


@pytest.mark.parametrize("state", ["receiving", "held", "withdrawn"])
async def test_only_open_segments_are_sold(shop: Shop, state: str) -> None:
    await shop.load(["NOT-FOR-SALE"], state=state)
    assert await shop.left() == 0
    with pytest.raises(OutOfStock):
        await shop.buy("closed")


async def test_a_damaged_key_is_taken_off_the_tape_and_the_next_one_is_sold(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    segment_id = await shop.load(["WHOLE-1", "DAMAGED", "WHOLE-2", "WHOLE-3"])
    await damage(database_urls, shop, segment_id, position=2)
    assert texts_of(await shop.buy("around the damage", quantity=2)) == ["WHOLE-1", "WHOLE-2"]
    async with shop.services.database.transaction() as connection:
        events = await connection.fetch(
            "SELECT facts FROM publisher_events WHERE publisher_id = $1 AND name = 'key.damaged'", shop.publisher_id
        )
    assert len(events) == 1
    assert await shop.left() == 1


async def test_an_order_that_only_damage_makes_short_is_refused_and_gives_its_good_keys_back(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    segment_id = await shop.load(["GOOD-1", "BAD", "GOOD-2"])
    await damage(database_urls, shop, segment_id, position=2)
    with pytest.raises(OutOfStock):
        await shop.buy("too many", quantity=3)
    assert await shop.left() == 2
    assert sorted(texts_of(await shop.buy("enough", quantity=2))) == ["GOOD-1", "GOOD-2"]


async def test_a_key_moved_to_another_place_in_the_database_is_not_sold(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    segment_id = await shop.load(["HERE", "THERE", "ELSEWHERE"])
    connection = await asyncpg.connect(database_urls.superuser)
    await connection.execute(
        "UPDATE keys a SET sealed = b.sealed FROM keys b WHERE a.publisher_id = $1 AND a.segment_id = $2 AND a.position = 1"
        " AND b.publisher_id = $1 AND b.segment_id = $2 AND b.position = 3",
        *(shop.publisher_id, segment_id),
    )
    await connection.close()
    assert texts_of(await shop.buy("first")) == ["THERE"]


async def test_alarms_are_raised_and_lowered_once_per_crossing(services: Services) -> None:
    shop = await Shop.opened(services, warning_level=3, alert_level=1)
    await shop.load([f"ALARM-{number}" for number in range(5)])
    kept = []
    for number in range(5):
        kept.append(await claim(shop, 1, state="held"))
        assert await shop.left() == 4 - number
    await release(shop, [key for keys in kept[1:] for key in keys])
    async with services.database.transaction() as connection:
        rows = await connection.fetch(
            "SELECT facts ->> 'from' AS before, facts ->> 'to' AS after FROM publisher_events"
            " WHERE publisher_id = $1 AND name = 'pool.alarm_changed' ORDER BY created_at, event_id",
            shop.publisher_id,
        )
    assert [(row["before"], row["after"]) for row in rows] == [
        ("none", "warning"),
        ("warning", "alert"),
        ("alert", "none"),
    ]


async def test_an_order_over_several_publishers_with_one_empty_is_refused_whole(services: Services) -> None:
    shops = [await Shop.opened(services) for _ in range(3)]
    await shops[0].load(["P1-A", "P1-B"])
    await shops[2].load(["P3-A"])
    order = shops[0].with_lines(shops[0].order("three publishers"), *((shop.product_ref, 1) for shop in shops))
    with pytest.raises(OutOfStock) as refusal:
        await shops[0].submit(order)
    assert refusal.value.line_number == 2
    assert [await shop.left() for shop in shops] == [2, 0, 1]
    order_id = services.fingerprints.order_id(shops[0].reseller.caller_id, "connect", "three publishers")
    with pytest.raises(NotFound):
        await services.purchases.read(order_id, shops[0].reseller, source="test", reveal=False)
    await shops[1].load(["P2-A"])
    assert texts_of(await shops[0].submit(order)) == ["P1-A", "P2-A", "P3-A"]


async def test_groups_that_lock_many_pools_in_any_order_never_deadlock(services: Services) -> None:
    shops = [await Shop.opened(services) for _ in range(4)]
    for shop in shops:
        await shop.load([f"MANY-{shop.publisher_id}-{number}" for number in range(60)])
    orders = []
    for number in range(60):
        turned = shops[number % 4 :] + shops[: number % 4]
        lines = [(shop.product_ref, 1) for shop in turned]
        orders.append(shops[0].with_lines(shops[0].order(f"turned-{number}"), *lines))
    answers = await asyncio.gather(*(shops[0].submit(order) for order in orders))
    assert len({text for answer in answers for text in texts_of(answer)}) == 240
    assert [await shop.left() for shop in shops] == [0, 0, 0, 0]


async def test_a_request_with_more_units_than_a_group_takes_has_its_own_transaction(shop: Shop) -> None:
    await shop.load([f"BULK-{number:04}" for number in range(250)])
    assert len(set(texts_of(await shop.buy("bulk", quantity=250)))) == 250


async def test_the_auditor_is_silent_after_all_of_this(shop: Shop, database_urls: DatabaseUrls) -> None:
    await shop.load(["AUDIT-1", "AUDIT-2"])
    await shop.buy("audited")
    # What other tests planted by hand stays theirs: claims without orders, and damage.
    known = {"an_issued_claim_has_no_unit", "an_issued_key_has_no_disclosure_event"}
    assert (await violations(database_urls.superuser)).keys() <= known


async def test_the_auditor_finds_a_key_that_was_sold_twice(shop: Shop, database_urls: DatabaseUrls) -> None:
    segment_id = await shop.load(["TWICE-1", "TWICE-2"])
    await shop.buy("first")
    connection = await asyncpg.connect(database_urls.superuser)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("DROP INDEX claims_position_taken")
    await connection.execute(
        "INSERT INTO claims (publisher_id, claim_id, segment_id, position, unit_id, state, claimed_at)"
        " VALUES ($1, $2, $3, 1, $2, 'issued', now())",
        *(shop.publisher_id, UUID(int=1), segment_id),
    )
    rows = await connection.fetch(audit_queries()["a_position_is_claimed_twice"])
    await transaction.rollback()
    await connection.close()
    assert [row["position"] for row in rows] == [1]


async def damage(database_urls: DatabaseUrls, shop: Shop, segment_id: int, *, position: int) -> None:
    connection = await asyncpg.connect(database_urls.superuser)
    await connection.execute(
        "UPDATE keys SET sealed = set_byte(sealed, 40, (get_byte(sealed, 40) + 1) % 256)"
        " WHERE publisher_id = $1 AND segment_id = $2 AND position = $3",
        *(shop.publisher_id, segment_id, position),
    )
    await connection.close()
