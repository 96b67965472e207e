"""Units that wait for several pools: who has paid first comes first at each of them, and no pool keeps what nobody waits for."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from keyservice.domain.errors import OutOfStock
from keyservice.domain.purchase import Purchase
from keyservice.fulfillment.accept_order import OrderGroups, prepare
from keyservice.fulfillment.manage_pools import list_events, read_pool
from keyservice.postgres.connection import pipeline_transaction
from keyservice.postgres.statements import statement
from keyservice.services import Services
from tests.fulfillment.pipeline import Pipeline, states_of, units_of
from tests.fulfillment.test_claim_keys import damage
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of
from tests.lab.waiting import until


@pytest.fixture
async def pipeline(services: Services) -> Pipeline:
    return await Pipeline.opened(await Shop.opened(services, warning_level=1, alert_level=0))


async def waiting_at(shop: Shop, *pool_ids: UUID) -> list[int]:
    views = [await read_pool(shop.services.database, shop.publisher_id, pool_id) for pool_id in pool_ids]
    return [view.backordered for view in views]


async def test_nobody_who_comes_later_overtakes_at_the_second_pool_of_a_plan(pipeline: Pipeline) -> None:
    shop = pipeline.shop
    second = await shop.second_pool()
    await pipeline.claim("paid first", may_wait=True)
    assert await waiting_at(shop, shop.pool_id, second) == [1, 1]
    await shop.load(["KEPT"], pool_id=second)
    with pytest.raises(OutOfStock):
        await shop.buy("later")
    assert states_of(await pipeline.claim("waits behind", may_wait=True)) == ["pending"]
    assert await pipeline.serve_waiting() == 1
    assert texts_of(await pipeline.read("paid first")) == ["KEPT"]
    assert await waiting_at(shop, shop.pool_id, second) == [1, 1]
    await pipeline.revoke("waits behind")
    assert await waiting_at(shop, shop.pool_id, second) == [0, 0]


async def test_both_pools_of_a_plan_serve_one_queue_in_order_of_payment(pipeline: Pipeline) -> None:
    shop = pipeline.shop
    second = await shop.second_pool()
    now = datetime.now(UTC)
    for number in (3, 1, 2, 0):
        await pipeline.claim(f"turn-{number}", 2, may_wait=True, paid_at=now - timedelta(hours=10 - number))
    await shop.load(["A-1", "A-2", "A-3"])
    await shop.load(["B-1", "B-2"], pool_id=second)
    filled = [asyncio.create_task(pipeline.serve_waiting()) for _ in range(3)]
    assert sum(await asyncio.gather(*filled)) + await pipeline.serve_waiting() == 5
    served = [states_of(await pipeline.read(f"turn-{number}")).count("issued") for number in range(4)]
    assert served == [2, 2, 1, 0]
    assert await waiting_at(shop, shop.pool_id, second) == [3, 3]


async def test_who_waits_for_another_pool_holds_nobody_up(pipeline: Pipeline) -> None:
    shop = pipeline.shop
    first = shop.product_ref
    other_pool = await shop.second_pool()
    other = await shop.another_product(other_pool)
    only_first = await shop.another_product(shop.pool_id)
    await pipeline.claim("early", lines=[(only_first, 60)], may_wait=True)
    await pipeline.claim("late", lines=[(other, 2)], may_wait=True)
    await shop.load(["OTHER-1", "OTHER-2"], pool_id=other_pool)
    assert await pipeline.serve_waiting() == 2
    assert texts_of(await pipeline.read("late")) == ["OTHER-1", "OTHER-2"]
    assert await waiting_at(shop, shop.pool_id, other_pool) == [60, 0]
    assert first not in (other, only_first)


async def test_a_repetition_in_the_group_never_makes_a_claim_wait_for_a_key_that_is_there(pipeline: Pipeline) -> None:
    shop = pipeline.shop
    await shop.load(["OLD-1", "OLD-2"])
    await pipeline.claim("old", 2)
    for number in range(12):
        await shop.load([f"NEW-{number}-{at}" for at in range(2)])
        # Whoever comes first: the repetition would draw keys that it does not need.
        _, fresh = await asyncio.gather(pipeline.claim("old", 2), pipeline.claim(f"new-{number}", 2, may_wait=True))
        assert states_of(fresh) == ["issued", "issued"]
    waiting = await pipeline.claim("waiting", 2, may_wait=True)
    assert states_of(waiting) == ["pending", "pending"]
    answers = await asyncio.gather(*(pipeline.claim("waiting", 2, may_wait=True) for _ in range(5)))
    assert [states_of(one) for one in answers] == [["pending", "pending"]] * 5
    assert await waiting_at(shop, shop.pool_id) == [2]


async def test_a_damaged_key_that_is_waited_for_is_told_and_no_longer_stock(
    pipeline: Pipeline, database_urls: DatabaseUrls
) -> None:
    shop = pipeline.shop
    await pipeline.claim("unlucky", 2, may_wait=True)
    segment_id = await shop.load(["DAMAGED"])
    await damage(database_urls, shop, segment_id, position=1)
    assert await pipeline.serve_waiting() == 0
    assert await shop.left() == 0
    database = shop.services.database
    events = await list_events(database, shop.publisher_id, pool_id=shop.pool_id, after=None, limit=100)
    assert [event.name for event in events].count("key.damaged") == 1


async def test_who_has_paid_first_does_not_lose_a_turn_to_a_damaged_key(
    pipeline: Pipeline, database_urls: DatabaseUrls
) -> None:
    shop = pipeline.shop
    for reference in ("first", "second", "third"):
        await pipeline.claim(reference, may_wait=True)
    segment_id = await shop.load(["BAD", "GOOD-1", "BAD-AGAIN", "GOOD-2"])
    for position in (1, 3):
        await damage(database_urls, shop, segment_id, position=position)
    assert await pipeline.serve_waiting() == 2
    texts = [texts_of(await pipeline.read(reference)) for reference in ("first", "second", "third")]
    assert texts == [["GOOD-1"], ["GOOD-2"], []]
    await shop.load(["GOOD-3", "GOOD-4"])
    assert texts_of(await shop.buy("newcomer")) == ["GOOD-3"]
    assert await pipeline.serve_waiting() == 1
    assert texts_of(await pipeline.read("third")) == ["GOOD-4"]


async def test_an_order_that_damage_makes_short_leaves_its_keys_to_the_next_of_the_group(
    pipeline: Pipeline, database_urls: DatabaseUrls
) -> None:
    shop = pipeline.shop
    segment_id = await shop.load(["GOOD-1", "BAD", "GOOD-2"])
    await damage(database_urls, shop, segment_id, position=2)
    services = shop.services
    products = await services.catalogue.products({shop.product_ref})
    drafts = [
        prepare(services.fingerprints, shop.reseller, shop.order(number, quantity=quantity), products, {})
        for number, quantity in (("big", 3), ("small", 2))
    ]
    # In one group for certain: which of two requests comes to a lane first is chance.
    groups = OrderGroups(services.opener, services.shopper_keys)
    async with pipeline_transaction(database_urls.service) as connection:
        big, small = await groups.serve(connection, drafts)
    assert isinstance(big, OutOfStock)
    assert (big.wanted, big.left) == (3, 2)
    assert isinstance(small, Purchase)
    assert texts_of(small) == ["GOOD-1", "GOOD-2"]


async def test_a_damaged_key_in_place_of_a_replacement_is_told_although_there_is_no_other(
    pipeline: Pipeline, database_urls: DatabaseUrls
) -> None:
    shop = pipeline.shop
    segment_id = await shop.load(["SOLD", "DAMAGED"])
    (unit,) = units_of(await pipeline.claim("sold"))
    await damage(database_urls, shop, segment_id, position=2)
    with pytest.raises(OutOfStock):
        await pipeline.replace("sold", unit)
    assert await shop.left() == 0
    assert texts_of(await pipeline.read("sold")) == ["SOLD"]


async def test_revoking_what_waits_and_what_came_locks_the_pools_in_their_order(
    pipeline: Pipeline, database_urls: DatabaseUrls
) -> None:
    shop = pipeline.shop
    low = shop.pool_id
    high = await shop.second_pool()
    products = [await shop.another_product(pool_id) for pool_id in (low, high)]
    assert low < high
    await pipeline.claim("both", lines=[(ref, 1) for ref in products], may_wait=True)
    await shop.load(["UNSEEN"])
    assert await pipeline.serve_waiting() == 1
    somebody, watcher = [await asyncpg.connect(database_urls.superuser) for _ in range(2)]
    lock = "SELECT FROM pools WHERE pool_id = $1 FOR NO KEY UPDATE NOWAIT"
    try:
        async with somebody.transaction():
            await somebody.execute(lock, low)
            revoking = asyncio.create_task(pipeline.revoke("both"))
            blocked = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
            await until(lambda: watcher.fetchval(blocked), seconds=10, what="the revocation waits for a pool")
            await somebody.execute(lock, high)
        assert states_of(await revoking) == ["released", "released"]
    finally:
        await somebody.close()
        await watcher.close()
    assert await waiting_at(shop, low, high) == [0, 0]


async def test_the_auditor_is_silent_after_all_of_this(pipeline: Pipeline, database_urls: DatabaseUrls) -> None:
    second = await pipeline.shop.second_pool()
    await pipeline.claim("waits", 3, may_wait=True)
    await pipeline.shop.load(["ONE"], pool_id=second)
    await pipeline.serve_waiting()
    assert await violations(database_urls.superuser) == {}


async def test_the_auditor_finds_a_pool_that_miscounts_who_waits(
    pipeline: Pipeline, database_urls: DatabaseUrls
) -> None:
    await pipeline.claim("waits", may_wait=True)
    superuser = await asyncpg.connect(database_urls.superuser)
    try:
        await superuser.execute("UPDATE pools SET backordered = 2 WHERE pool_id = $1", pipeline.shop.pool_id)
        assert await violations(database_urls.superuser) == {"a_pool_miscounts_who_waits": 1}
        await superuser.execute(
            statement("backorders.count_backordered"), pipeline.shop.publisher_id, pipeline.shop.pool_id, -1
        )
    finally:
        await superuser.close()
