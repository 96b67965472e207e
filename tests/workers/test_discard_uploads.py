import asyncio
from datetime import timedelta
from functools import partial

from keyservice.domain.batch import BatchState
from keyservice.fulfillment.discard_upload import close_batch, discard_upload
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.read_batches import lock_batch
from keyservice.workers.discard_uploads import discard_stale_uploads
from keyservice.workers.repeating import repeating
from tests.fulfillment.uploads import csv_of, receive, receive_cut, rows_of, stored
from tests.lab.shop import Shop

DATA = csv_of([f"STALE-{number:05}" for number in range(6_000)])
DAY = timedelta(hours=24)


async def grow_old(shop: Shop) -> None:
    async with shop.services.database.transaction() as connection:
        await connection.execute(
            "UPDATE batches SET progressed_at = progressed_at - interval '25 hours' WHERE publisher_id = $1",
            shop.publisher_id,
        )


async def test_an_upload_that_nobody_came_back_for_is_discarded_and_a_fresh_one_is_not(shop: Shop) -> None:
    old, fresh = new_id(), new_id()
    await receive_cut(shop, DATA, old)
    await grow_old(shop)
    await receive_cut(shop, DATA.replace(b"STALE", b"FRESH"), fresh)
    assert await discard_stale_uploads(shop.services.database, DAY) == 1
    assert (await stored(shop, old)).state is BatchState.DISCARDED
    assert (await stored(shop, fresh)).state is BatchState.RECEIVING
    assert await rows_of(shop, "keys") == (await stored(shop, fresh)).report.accepted


async def test_an_upload_that_goes_on_at_the_last_moment_is_not_discarded(shop: Shop) -> None:
    batch_id = new_id()
    await receive_cut(shop, DATA, batch_id)
    database = shop.services.database
    report = await discard_upload(database, shop.publisher_id, batch_id, caller_id=None, older_than=DAY)
    assert report.state is BatchState.RECEIVING
    await grow_old(shop)
    report = await discard_upload(database, shop.publisher_id, batch_id, caller_id=None, older_than=DAY)
    assert report.state is BatchState.DISCARDED


async def test_a_finished_batch_is_left_alone_however_old(shop: Shop) -> None:
    await receive(shop, DATA)
    await grow_old(shop)
    assert await discard_stale_uploads(shop.services.database, DAY) == 0
    assert await shop.left() == 6_000


async def test_what_a_dying_process_left_half_discarded_is_finished(shop: Shop) -> None:
    batch_id = new_id()
    await receive_cut(shop, DATA, batch_id)
    async with shop.services.database.transaction() as connection:
        batch = await lock_batch(connection, shop.publisher_id, batch_id)
        await close_batch(connection, shop.publisher_id, batch, BatchState.DISCARDED, refusal=None, caller_id=None)
    assert await rows_of(shop, "keys") > 0
    assert await discard_stale_uploads(shop.services.database, DAY) == 0
    assert await rows_of(shop, "keys") == await rows_of(shop, "segments") == 0


async def test_the_worker_keeps_looking_until_it_is_left(shop: Shop) -> None:
    discarding = partial(discard_stale_uploads, shop.services.database, DAY)
    async with repeating("discard_stale_uploads", discarding, pause_seconds=0.01):
        batch_id = new_id()
        await receive_cut(shop, DATA, batch_id)
        await grow_old(shop)
        async with asyncio.timeout(10):
            while (await stored(shop, batch_id)).state is not BatchState.DISCARDED:
                await asyncio.sleep(0.01)
