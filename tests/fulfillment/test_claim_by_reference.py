import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from keyservice.domain.errors import Invalid, NotFound, OutOfStock, ReferenceReused
from keyservice.services import Services
from tests.fulfillment.pipeline import Pipeline, states_of
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of


@pytest.fixture
async def pipeline(shop: Shop) -> Pipeline:
    return await Pipeline.opened(shop)


async def test_a_claim_is_answered_with_its_keys_and_again_with_the_same(pipeline: Pipeline) -> None:
    await pipeline.shop.load(["LEAN-1", "LEAN-2", "LEAN-3"])
    first = await pipeline.claim("A-1", 2)
    assert texts_of(first) == ["LEAN-1", "LEAN-2"]
    assert first.status == "COMPLETED"
    answers = await asyncio.gather(*(pipeline.claim("A-1", 2) for _ in range(20)))
    assert {tuple(texts_of(one)) for one in answers} == {("LEAN-1", "LEAN-2")}
    assert await pipeline.shop.left() == 1


async def test_the_same_reference_with_another_body_is_refused(pipeline: Pipeline) -> None:
    await pipeline.shop.load(["REUSED-1", "REUSED-2", "REUSED-3"])
    await pipeline.claim("B-1")
    for other in ({"quantity": 2}, {"hold_seconds": 60}, {"may_wait": True}, {"email": "ada@example.com"}):
        with pytest.raises(ReferenceReused):
            await pipeline.claim("B-1", **other)
    assert await pipeline.shop.left() == 2


async def test_the_same_reference_of_another_caller_is_another_claim(pipeline: Pipeline) -> None:
    await pipeline.shop.load(["MINE", "YOURS"])
    other = await Pipeline.opened(pipeline.shop)
    assert texts_of(await pipeline.claim("C-1")) == ["MINE"]
    assert texts_of(await other.claim("C-1")) == ["YOURS"]
    with pytest.raises(NotFound):
        await other.read("C-2")


async def test_all_units_are_served_or_none(pipeline: Pipeline) -> None:
    await pipeline.shop.load(["ONLY"])
    with pytest.raises(OutOfStock):
        await pipeline.claim("D-1", 2)
    assert await pipeline.shop.left() == 1
    with pytest.raises(NotFound):
        await pipeline.read("D-1")
    assert texts_of(await pipeline.claim("D-1", 1)) == ["ONLY"]


async def test_a_product_that_is_not_sold_is_told_by_its_line(pipeline: Pipeline) -> None:
    await pipeline.shop.load(["KNOWN"])
    with pytest.raises(Invalid) as refusal:
        await pipeline.claim("E-1", lines=[(pipeline.shop.product_ref, 1), (1, 1)])
    assert refusal.value.field == "lines.1.product_ref"
    assert await pipeline.shop.left() == 1


@pytest.mark.parametrize(("mode", "block", "count"), [("quantity", 1, 3), ("one", 1, 1), ("block", 2, 6)])
async def test_the_templates_mode_says_how_many_keys_a_quantity_is(
    pipeline: Pipeline, mode: str, block: int, count: int
) -> None:
    shop = pipeline.shop
    await shop.load([f"MODE-{number}" for number in range(10)])
    async with shop.services.database.transaction() as connection:
        await connection.execute(
            "UPDATE fulfillment_templates SET quantity_mode = $2, block_size = $3 WHERE publisher_id = $1",
            *(shop.publisher_id, mode, block),
        )
    assert len(texts_of(await pipeline.claim("F-1", 3))) == count


async def test_the_purchase_history_finds_what_was_claimed_for_an_address(pipeline: Pipeline) -> None:
    services = pipeline.shop.services
    await pipeline.shop.load(["HISTORY"])
    claimed = await pipeline.claim("G-1", email="history@example.com")
    shopper = services.fingerprints.shopper("history@example.com")
    rows = await services.purchases.list_of_shopper(shopper, pipeline.caller, before=None, size=10)
    assert [row["order_id"] for row in rows] == [claimed.order_id]


async def test_a_partial_claim_takes_what_is_there_and_waits_for_the_rest(pipeline: Pipeline) -> None:
    shop = pipeline.shop
    await shop.load(["PART-1", "PART-2"])
    partly = await pipeline.claim("H-1", 4, may_wait=True)
    assert (partly.status, states_of(partly)) == ("PARTIAL_COMPLETED", ["issued", "issued", "pending", "pending"])
    none = await pipeline.claim("H-2", 1, may_wait=True)
    assert (none.status, states_of(none)) == ("PENDING", ["pending"])
    assert texts_of(await pipeline.claim("H-1", 4, may_wait=True)) == ["PART-1", "PART-2"]
    await shop.load(["PART-3", "PART-4", "PART-5", "PART-6"])
    assert await pipeline.serve_waiting() == 3
    assert texts_of(await pipeline.read("H-1")) == ["PART-1", "PART-2", "PART-3", "PART-4"]
    whole = await pipeline.read("H-2")
    assert (whole.status, texts_of(whole)) == ("COMPLETED", ["PART-5"])
    assert await shop.left() == 1


async def test_units_that_wait_are_served_in_order_of_payment(pipeline: Pipeline) -> None:
    now = datetime.now(UTC)
    paid = {"late": now - timedelta(hours=1), "early": now - timedelta(hours=3), "between": now - timedelta(hours=2)}
    for reference, paid_at in paid.items():
        await pipeline.claim(reference, 2, may_wait=True, paid_at=paid_at)
    await pipeline.claim("from the future", may_wait=True, paid_at=now + timedelta(days=400))
    await pipeline.claim("now", may_wait=True)
    await pipeline.shop.load([f"TURN-{number}" for number in range(8)])
    assert await pipeline.serve_waiting() == 8
    served = {reference: texts_of(await pipeline.read(reference)) for reference in (*paid, "from the future", "now")}
    assert served == {
        "early": ["TURN-0", "TURN-1"],
        "between": ["TURN-2", "TURN-3"],
        "late": ["TURN-4", "TURN-5"],
        "from the future": ["TURN-6"],
        "now": ["TURN-7"],
    }


async def test_what_is_kept_for_those_who_wait_is_not_sold_to_newcomers(pipeline: Pipeline) -> None:
    shop = pipeline.shop
    await pipeline.claim("first", 3, may_wait=True)
    await shop.load(["KEPT-1", "KEPT-2", "KEPT-3", "FREE-4"])
    with pytest.raises(OutOfStock):
        await shop.buy("newcomer", quantity=2)
    assert texts_of(await shop.buy("modest newcomer")) == ["KEPT-1"]
    assert await pipeline.serve_waiting() == 3
    assert texts_of(await pipeline.read("first")) == ["KEPT-2", "KEPT-3", "FREE-4"]


async def test_a_key_that_a_waiting_unit_got_and_nobody_saw_goes_back_when_it_is_revoked(pipeline: Pipeline) -> None:
    shop = pipeline.shop
    await pipeline.claim("unseen", 1, may_wait=True)
    await pipeline.claim("seen", 1, may_wait=True)
    await shop.load(["UNSEEN", "SEEN"])
    assert await pipeline.serve_waiting() == 2
    assert texts_of(await pipeline.read("seen")) == ["SEEN"]
    assert states_of(await pipeline.revoke("unseen")) == ["released"]
    assert states_of(await pipeline.revoke("seen")) == ["revoked"]
    assert texts_of(await shop.buy("next")) == ["UNSEEN"]
    assert await shop.left() == 0


async def test_who_is_revoked_while_waiting_leaves_the_queue(pipeline: Pipeline) -> None:
    shop = pipeline.shop
    waiting = await pipeline.claim("gone", 3, may_wait=True)
    await pipeline.claim("stays", 1, may_wait=True)
    partly = await pipeline.revoke("gone", [waiting.lines[0].units[0].unit_id])
    assert (partly.status, states_of(partly)) == ("PENDING", ["released", "pending", "pending"])
    assert (await pipeline.revoke("gone")).status == "CANCELED"
    await shop.load(["STAYS", "FREE"])
    assert await pipeline.serve_waiting() == 1
    assert texts_of(await pipeline.read("stays")) == ["STAYS"]
    assert texts_of(await shop.buy("newcomer")) == ["FREE"]


async def test_a_test_order_only_ever_touches_sandbox_keys_and_no_other_order_does(services: Services) -> None:
    shop = await Shop.opened(services)
    live, sandbox = await Pipeline.opened(shop), await Pipeline.opened(shop, is_sandbox=True)
    await shop.load(["LIVE"])
    with pytest.raises(OutOfStock):
        await sandbox.claim("S-1")
    with pytest.raises(OutOfStock):
        await sandbox.claim("S-1", may_wait=True)  # no pool could ever serve it
    pool_id = await shop.second_pool(is_sandbox=True)
    await shop.load(["SANDBOX-1", "SANDBOX-2"], pool_id=pool_id)
    assert texts_of(await sandbox.claim("S-1")) == ["SANDBOX-1"]
    assert texts_of(await live.claim("L-1")) == ["LIVE"]
    with pytest.raises(OutOfStock):
        await live.claim("L-2")
    assert states_of(await sandbox.claim("S-2", 2, may_wait=True)) == ["issued", "pending"]
    await shop.load(["LIVE-2"])
    assert await sandbox.serve_waiting() == 0
    assert texts_of(await live.claim("L-2")) == ["LIVE-2"]
    await shop.load(["SANDBOX-3"], pool_id=pool_id)
    assert await sandbox.serve_waiting() == 1
    assert texts_of(await sandbox.read("S-2")) == ["SANDBOX-2", "SANDBOX-3"]


async def test_claims_and_orders_and_fillers_at_once_sell_every_key_once_and_all_of_them(services: Services) -> None:
    shop = await Shop.opened(services)
    pipeline = await Pipeline.opened(shop)
    await asyncio.gather(*(pipeline.claim(f"W-{number}", 2, may_wait=True) for number in range(30)))
    await shop.load([f"ONCE-{number:03}" for number in range(100)])
    filling = [asyncio.create_task(pipeline.serve_waiting()) for _ in range(4)]
    bought = await asyncio.gather(*(shop.buy(f"N-{number}") for number in range(40)))
    while await pipeline.serve_waiting():
        pass
    assert sum(await asyncio.gather(*filling)) <= 60
    waited = [text for number in range(30) for text in texts_of(await pipeline.read(f"W-{number}"))]
    sold = [text for one in bought for text in texts_of(one)]
    assert len({*waited, *sold}) == len(waited) + len(sold) == 100
    assert await shop.left() == 0


async def test_the_auditor_is_silent_after_all_of_this(pipeline: Pipeline, database_urls: DatabaseUrls) -> None:
    await pipeline.shop.load(["LAST"])
    await pipeline.claim("last")
    assert await violations(database_urls.superuser) == {}
