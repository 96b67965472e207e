import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from keyservice.domain.batch import BatchState, BatchStock, Verdict
from keyservice.domain.errors import Conflict, NotFound, OutOfStock
from keyservice.fulfillment.discard_upload import discard_upload, purge_batch
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_batches import (
    BatchView,
    hold_batch,
    release_batch,
    set_priority,
    view_batch,
    view_batches,
    withdraw_batch,
)
from keyservice.fulfillment.manage_pools import PoolChange, change_pool, list_events
from keyservice.services import Services
from tests.fulfillment.uploads import announced, csv_of, receive, receive_cut, rows_of, verdicts
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)

Change = Callable[..., Awaitable[BatchView]]


async def upload(shop: Shop, keys: list[str], *, is_held: bool = False) -> UUID:
    return (await receive(shop, csv_of(keys), replace(announced(shop), is_held=is_held))).report.batch_id


async def change(shop: Shop, verb: Change, batch_id: UUID) -> BatchView:
    return await verb(shop.services.database, shop.publisher_id, batch_id, caller_id=shop.reseller.caller_id)


async def test_a_held_batch_is_sold_from_its_release_on(shop: Shop) -> None:
    batch_id = await upload(shop, ["HELD-1", "HELD-2"], is_held=True)
    assert (await view_batch(shop.services.database, shop.publisher_id, batch_id)).stock == BatchStock(2, held=2)
    view = await change(shop, release_batch, batch_id)
    assert (view.batch.state, view.stock) == (BatchState.RELEASED, BatchStock(2, for_sale=2))
    assert texts_of(await shop.buy("released", quantity=2)) == ["HELD-1", "HELD-2"]


async def test_what_is_held_back_is_not_sold_and_what_was_sold_stays_sold(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    batch_id = await upload(shop, ["BACK-1", "BACK-2", "BACK-3"])
    await shop.buy("before")
    view = await change(shop, hold_batch, batch_id)
    assert view.stock == BatchStock(3, held=2, taken=1)
    with pytest.raises(OutOfStock):
        await shop.buy("while held")
    await change(shop, release_batch, batch_id)
    assert texts_of(await shop.buy("after", quantity=2)) == ["BACK-2", "BACK-3"]
    assert await violations(database_urls.superuser) == {}


async def test_what_is_withdrawn_is_never_sold_and_never_enters_again(shop: Shop) -> None:
    batch_id = await upload(shop, ["DRAWN-1", "DRAWN-2", "DRAWN-3"])
    await shop.buy("before")
    view = await change(shop, withdraw_batch, batch_id)
    assert (view.batch.state, view.stock) == (BatchState.WITHDRAWN, BatchStock(3, withdrawn=2, taken=1))
    assert await shop.left() == 0
    with pytest.raises(Conflict):
        await change(shop, release_batch, batch_id)
    report = (await receive(shop, csv_of(["DRAWN-1", "DRAWN-2"]))).report
    assert await verdicts(shop, report.batch_id) == {2: Verdict.ALREADY_ISSUED, 3: Verdict.WITHDRAWN}


async def test_a_sold_out_batch_that_was_held_back_and_released_has_nothing_left(shop: Shop) -> None:
    batch_id = await upload(shop, ["OUT-1"])
    await shop.buy("all")
    await change(shop, hold_batch, batch_id)
    view = await change(shop, release_batch, batch_id)
    assert view.stock == BatchStock(1, taken=1)
    assert await shop.left() == 0


@pytest.mark.parametrize("verb", [release_batch, hold_batch, withdraw_batch])
async def test_asking_twice_changes_nothing_more_and_leaves_one_event(shop: Shop, verb: Change) -> None:
    batch_id = await upload(shop, ["TWICE-1"], is_held=verb is release_batch)
    views = [await change(shop, verb, batch_id) for _ in range(2)]
    assert views[0].stock == views[1].stock
    events = await list_events(shop.services.database, shop.publisher_id, pool_id=None, after=None, limit=100)
    told = [event for event in events if event.name == f"batch.{views[0].batch.state}"]
    assert len(told) == 1
    assert (told[0].batch_id, told[0].caller_id) == (batch_id, shop.reseller.caller_id)


async def test_an_unfinished_upload_is_neither_released_nor_withdrawn(shop: Shop) -> None:
    batch_id = new_id()
    await receive_cut(shop, csv_of([f"UNFINISHED-{number:05}" for number in range(6_000)]), batch_id)
    for verb in (release_batch, hold_batch, withdraw_batch):
        with pytest.raises(Conflict):
            await change(shop, verb, batch_id)
    assert await shop.left() == 0


async def test_a_batch_of_another_publisher_does_not_exist(shop: Shop) -> None:
    batch_id = await upload(shop, ["FOREIGN"])
    neighbour = await Shop.opened(shop.services)
    for verb in (release_batch, hold_batch, withdraw_batch, discard_upload):
        for publisher_id, asked in ((neighbour.publisher_id, batch_id), (shop.publisher_id, new_id())):
            with pytest.raises(NotFound):
                await verb(shop.services.database, publisher_id, asked, caller_id=1)
    with pytest.raises(NotFound):
        await view_batch(shop.services.database, neighbour.publisher_id, batch_id)
    assert await shop.left() == 1


async def test_holding_back_raises_the_pool_s_alarm_and_releasing_lowers_it(shop: Shop) -> None:
    database = shop.services.database
    batch_id = await upload(shop, [f"ALARM-{number}" for number in range(5)])
    levels = PoolChange(warning_level=4, alert_level=2)
    await change_pool(database, shop.publisher_id, shop.pool_id, levels, caller_id=1)
    await change(shop, hold_batch, batch_id)
    await change(shop, release_batch, batch_id)
    events = await list_events(database, shop.publisher_id, pool_id=shop.pool_id, after=None, limit=100)
    alarms = [(event.facts["from"], event.facts["to"]) for event in events if event.name == "pool.alarm_changed"]
    assert alarms == [("none", "alert"), ("alert", "none")]


async def test_a_batch_s_stock_adds_up_whatever_became_of_its_keys(shop: Shop) -> None:
    lines = [
        "key,expires_on",
        *(f"STOCK-{number},2099-01-01" for number in range(4)),
        "STOCK-OLD,2098-01-01",
        "STOCK-X,",
    ]
    batch_id = (await receive(shop, "\n".join(lines).encode())).report.batch_id
    async with shop.services.database.transaction() as connection:
        await connection.execute(
            "UPDATE segments SET expires_on = $2 WHERE publisher_id = $1 AND expires_on = '2098-01-01'",
            *(shop.publisher_id, YESTERDAY),
        )
    await shop.buy("two", quantity=2)
    stock = (await view_batch(shop.services.database, shop.publisher_id, batch_id)).stock
    assert stock == BatchStock(accepted=6, for_sale=3, expired=1, taken=2)
    assert await shop.left() == 3


async def test_what_expires_sooner_than_the_pool_sells_is_told_apart_from_what_has_expired(shop: Shop) -> None:
    soon = datetime.now(UTC).date() + timedelta(days=10)
    file = f"key,expires_on\nNEAR-1,{soon}\nNEAR-2,{soon}\nNEAR-3,2099-01-01\n"
    batch_id = (await receive(shop, file.encode())).report.batch_id
    database = shop.services.database
    change = PoolChange(days_left_min=11)
    await change_pool(database, shop.publisher_id, shop.pool_id, change, caller_id=1)
    view = await view_batch(database, shop.publisher_id, batch_id)
    assert view.stock == BatchStock(accepted=3, for_sale=1, near_expiry=2)
    assert texts_of(await shop.buy("the far one")) == ["NEAR-3"]
    view = await hold_batch(database, shop.publisher_id, batch_id, caller_id=1)
    assert view.stock == BatchStock(accepted=3, held=2, taken=1)


async def by_priority(shop: Shop, batch_id: UUID, priority: int) -> BatchView:
    return await set_priority(shop.services.database, shop.publisher_id, batch_id, priority, caller_id=1)


async def test_batches_are_sold_by_their_priority_and_the_older_first_where_it_is_equal(services: Services) -> None:
    shop = await Shop.opened(services, policy="priority")
    ids = {}
    for name, priority in (("OLD", 0), ("NEW", 0), ("LAST", -1), ("FIRST", 7)):
        upload = replace(announced(shop), priority=priority)
        report = (await receive(shop, csv_of([f"{name}-{number}" for number in range(2)]), upload)).report
        assert report.priority == priority
        ids[name] = report.batch_id
    assert texts_of(await shop.buy("by priority", quantity=3)) == ["FIRST-0", "FIRST-1", "OLD-0"]
    view = await by_priority(shop, ids["LAST"], 1)
    assert view.batch.report.priority == 1
    await by_priority(shop, ids["LAST"], 1)
    assert texts_of(await shop.buy("turned round", quantity=4)) == ["LAST-0", "LAST-1", "OLD-1", "NEW-0"]
    events = await list_events(services.database, shop.publisher_id, pool_id=shop.pool_id, after=None, limit=100)
    changes = [(event.batch_id, event.facts) for event in events if event.name == "batch.priority_changed"]
    assert changes == [(ids["LAST"], {"from": -1, "to": 1})]


async def test_a_priority_given_during_the_upload_holds_for_what_is_still_to_come(services: Services) -> None:
    shop = await Shop.opened(services, policy="priority")
    batch_id = new_id()
    rows = [f"UPLOAD-{number},{2090 + number // 3_000}-01-01" for number in range(6_000)]
    file = "\n".join(["key,expires_on", *rows]).encode()
    cut = await receive_cut(shop, file[: len(file) // 2], batch_id, chunk_rows=1_000)
    assert 0 < cut.report.rows < 3_000
    await by_priority(shop, batch_id, 3)
    await receive(shop, file, replace(announced(shop), batch_id=batch_id), chunk_rows=1_000)
    await shop.load(["BEHIND"])
    async with services.database.transaction() as connection:
        segments = await connection.fetch(
            "SELECT priority, expires_on IS NULL AS is_behind FROM segments WHERE publisher_id = $1"
            " ORDER BY segment_id",
            shop.publisher_id,
        )
    assert [tuple(row) for row in segments] == [(3, False), (3, False), (0, True)]


async def test_a_batch_that_sells_nothing_any_more_has_no_priority(shop: Shop) -> None:
    withdrawn = await upload(shop, ["GONE-1"])
    await change(shop, withdraw_batch, withdrawn)
    dry_run = (await receive(shop, csv_of(["DRY-1"]), replace(announced(shop), is_dry_run=True))).report.batch_id
    for batch_id in (withdrawn, dry_run):
        with pytest.raises(Conflict):
            await by_priority(shop, batch_id, 1)
    with pytest.raises(NotFound):
        await by_priority(await Shop.opened(shop.services), withdrawn, 1)


async def test_the_batches_of_a_pool_are_listed_newest_first_page_by_page(shop: Shop) -> None:
    batch_ids = [await upload(shop, [f"LISTED-{number}"]) for number in range(5)]
    database = shop.services.database
    seen: list[UUID] = []
    after: UUID | None = None
    while page := await view_batches(database, shop.publisher_id, shop.pool_id, after=after, limit=2):
        assert len(page) <= 2
        seen += [view.batch.report.batch_id for view in page]
        after = seen[-1]
    assert seen == batch_ids[::-1]
    with pytest.raises(NotFound):
        await view_batches(database, shop.publisher_id, new_id(), after=None, limit=2)


async def test_a_discarded_upload_leaves_nothing_and_its_keys_may_come_again(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    keys = [f"DISCARD-{number:05}" for number in range(6_000)]
    batch_id = new_id()
    await receive_cut(shop, csv_of([*keys[:3_000], "bad\x01", *keys[3_000:]]), batch_id, chunk_rows=100)
    assert await rows_of(shop, "keys") > 0
    for _ in range(2):
        report = await discard_upload(shop.services.database, shop.publisher_id, batch_id, caller_id=1)
        assert (report.state, report.rows) == (BatchState.DISCARDED, 0)
    for table in ("keys", "segments", "refused_rows"):
        assert await rows_of(shop, table) == 0
    assert await violations(database_urls.superuser) == {}
    assert (await receive(shop, csv_of(keys))).report.accepted == 6_000


async def test_a_finished_batch_is_not_discarded(shop: Shop) -> None:
    batch_id = await upload(shop, ["KEPT"])
    with pytest.raises(Conflict):
        await discard_upload(shop.services.database, shop.publisher_id, batch_id, caller_id=1)
    await purge_batch(shop.services.database, shop.publisher_id, batch_id)
    assert await shop.left() == 1


async def test_holding_back_while_keys_are_sold_loses_and_doubles_none(shop: Shop, database_urls: DatabaseUrls) -> None:
    batch_id = await upload(shop, [f"BUSY-{number:03}" for number in range(120)])

    async def hold_and_release() -> None:
        for _ in range(10):
            assert (await change(shop, hold_batch, batch_id)).stock.for_sale == 0
            assert await shop.left() == 0
            await change(shop, release_batch, batch_id)

    async def buy(number: int) -> list[str]:
        while True:
            try:
                return texts_of(await shop.buy(f"busy-{number}"))
            except OutOfStock:
                await asyncio.sleep(0.001)

    bought, _ = await asyncio.gather(asyncio.gather(*(buy(number) for number in range(120))), hold_and_release())
    # Whoever waits for the pool first never meets a deadlock, which PostgreSQL resolves after one second.
    async with shop.services.database.transaction() as connection:
        deadlocks = await connection.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
    assert deadlocks == 0
    assert len({text for texts in bought for text in texts}) == 120
    assert await shop.left() == 0
    assert await violations(database_urls.superuser) == {}
