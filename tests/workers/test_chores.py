"""What a worker does again and again: one thing that fails keeps nothing else from being done."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from keyservice.fulfillment.hold_keys import expire_holds
from keyservice.fulfillment.manage_pools import read_pool
from keyservice.services import Services
from keyservice.workers.repeating import repeating
from keyservice.workers.serve_backorders import serve_backorders
from tests.fulfillment.pipeline import Pipeline, states_of
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of


@pytest.fixture
async def superuser(database_urls: DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_urls.superuser)
    yield opened
    await opened.close()


async def test_a_hold_that_cannot_be_released_keeps_no_other_from_it(
    services: Services, superuser: asyncpg.Connection
) -> None:
    stuck, fine = [await Pipeline.opened(await Shop.opened(services)) for _ in range(2)]
    await stuck.shop.load(["STUCK"])
    await fine.shop.load(["FINE-1", "FINE-2"])
    for pipeline, reference in ((stuck, "stuck"), (fine, "one"), (fine, "two")):
        await pipeline.claim(reference, hold_seconds=60)
        await pipeline.let_expire(reference)
    planted = "FROM claims WHERE publisher_id = $1"
    await superuser.execute(
        f"INSERT INTO returned SELECT publisher_id, segment_id, position {planted}", stuck.shop.publisher_id
    )
    assert await expire_holds(services.database) == 2
    assert await fine.shop.left() == 2
    with pytest.raises(asyncpg.UniqueViolationError):
        await expire_holds(services.database)
    assert states_of(await stuck.read("stuck")) == ["held"]
    await superuser.execute("DELETE FROM returned WHERE publisher_id = $1", stuck.shop.publisher_id)
    assert await expire_holds(services.database) == 1


async def test_a_pool_that_cannot_be_served_keeps_no_other_from_its_turn(
    services: Services, superuser: asyncpg.Connection
) -> None:
    stuck, fine = [await Pipeline.opened(await Shop.opened(services)) for _ in range(2)]
    for pipeline in (stuck, fine):
        await pipeline.claim("waits", may_wait=True)
    await stuck.shop.load(["STUCK"])
    await superuser.execute(
        "INSERT INTO claims (publisher_id, claim_id, segment_id, position, state, claimed_at)"
        " SELECT publisher_id, gen_random_uuid(), segment_id, 1, 'withdrawn', now() FROM segments WHERE publisher_id = $1",
        stuck.shop.publisher_id,
    )
    with pytest.raises(asyncpg.UniqueViolationError):
        await serve_backorders(services.database, services.opener)
    await fine.shop.load(["FINE"])
    assert await serve_backorders(services.database, services.opener) == 1
    assert texts_of(await fine.read("waits")) == ["FINE"]
    await superuser.execute("DELETE FROM claims WHERE publisher_id = $1", stuck.shop.publisher_id)
    assert await serve_backorders(services.database, services.opener) == 1


async def test_a_hold_that_somebody_is_at_is_left_for_the_next_time(
    services: Services, superuser: asyncpg.Connection
) -> None:
    pipeline = await Pipeline.opened(await Shop.opened(services))
    await pipeline.shop.load(["BUSY", "FREE"])
    for reference in ("busy", "free"):
        await pipeline.claim(reference, hold_seconds=60)
        await pipeline.let_expire(reference)
    async with superuser.transaction(), asyncio.timeout(4):
        await superuser.execute("SELECT FROM orders WHERE order_id = $1 FOR UPDATE", pipeline.order_id("busy"))
        assert await expire_holds(services.database) == 1
    assert states_of(await pipeline.read("free")) == ["released"]
    assert await expire_holds(services.database) == 1


async def test_a_pool_that_somebody_keeps_locked_holds_the_others_up_for_a_moment_only(
    services: Services, superuser: asyncpg.Connection
) -> None:
    locked, fine = [await Pipeline.opened(await Shop.opened(services)) for _ in range(2)]
    for pipeline in (locked, fine):
        await pipeline.claim("waits", may_wait=True)
        await pipeline.shop.load([f"KEY-OF-{pipeline.shop.publisher_id}"])
    async with superuser.transaction(), asyncio.timeout(10):
        await superuser.execute("SELECT FROM pools WHERE pool_id = $1 FOR UPDATE", locked.shop.pool_id)
        assert await serve_backorders(services.database, services.opener) == 1
    assert len(texts_of(await fine.read("waits"))) == 1
    assert await serve_backorders(services.database, services.opener) == 1


async def test_a_long_queue_and_a_short_one_have_their_turns_by_turns(
    services: Services, superuser: asyncpg.Connection
) -> None:
    long, short = [await Pipeline.opened(await Shop.opened(services)) for _ in range(2)]
    await long.claim("long", 230, may_wait=True)
    await short.claim("short", may_wait=True)
    await long.shop.load([f"LONG-{number:03}" for number in range(230)])
    await short.shop.load(["SHORT"])
    assert await serve_backorders(services.database, services.opener) == 231
    last = "SELECT max(claimed_at) FROM claims WHERE publisher_id = $1"
    served = [await superuser.fetchval(last, one.shop.publisher_id) for one in (long, short)]
    assert served[1] < served[0]
    view = await read_pool(services.database, long.shop.publisher_id, long.shop.pool_id)
    assert (view.left, view.backordered) == (0, 0)


async def test_a_chore_goes_on_whatever_its_work_raises() -> None:
    errors = iter([KeyError("one"), asyncpg.PostgresError("two"), AssertionError("three")])
    survived = asyncio.Event()

    async def work() -> int:
        for error in errors:
            raise error
        survived.set()
        return 0

    async with repeating("fail", work, pause_seconds=0.001), asyncio.timeout(10):
        await survived.wait()
