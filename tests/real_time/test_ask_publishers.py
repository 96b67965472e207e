"""Keys that are asked of their publisher at the moment of sale: one for each unit, believed only when proven."""

import pytest

from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.key_request import RequestState
from keyservice.domain.purchase import UnitState
from keyservice.sandbox.misbehaviour import Misbehaviour, Wrong
from keyservice.sandbox.publisher import Publisher
from tests.lab.real_time import RealTime, document_for
from tests.lab.shop import Shop, texts_of


async def test_the_answer_to_an_order_holds_the_key_that_its_publisher_issued(real_time: RealTime) -> None:
    purchase = await real_time.buy("RT-1")
    assert purchase.status == "COMPLETED"
    (request,) = await real_time.requests(purchase.order_id)
    assert request.state is RequestState.ISSUED
    assert texts_of(purchase) == list(real_time.publisher.keys_of(request.license_ref))
    assert real_time.publisher.ledger.issued == 1


async def test_a_repetition_of_the_order_asks_nobody_again(real_time: RealTime) -> None:
    first = await real_time.buy("RT-2")
    again = await real_time.buy("RT-2")
    assert texts_of(first) == texts_of(again)
    assert real_time.publisher.ledger.issued == 1


async def test_each_unit_is_asked_for_by_a_request_of_its_own(real_time: RealTime) -> None:
    purchase = await real_time.buy("RT-3", quantity=3)
    requests = await real_time.requests(purchase.order_id)
    assert len(requests) == 3
    assert sorted(texts_of(purchase)) == sorted(
        key for one in requests for key in real_time.publisher.keys_of(one.license_ref)
    )


async def test_one_order_mixes_pool_lines_and_lines_that_are_asked_for(real_time: RealTime, shop: Shop) -> None:
    await shop.load(["POOL-KEY-1"])
    order = shop.with_lines(shop.order("RT-4"), (shop.product_ref, 1), (real_time.product_ref, 1))
    purchase = await shop.submit(order)
    assert purchase.status == "COMPLETED"
    texts = texts_of(purchase)
    assert texts[0] == "POOL-KEY-1"
    assert texts[1] in {key for issue in real_time.publisher.ledger.issues() for key in issue.keys}


async def test_what_comes_late_leaves_the_order_pending_and_is_there_when_it_is_read(
    shop: Shop, publisher: Publisher
) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher), answer_seconds=0.05)
    publisher.script(Misbehaviour(Wrong.LATE, seconds=0.5))
    purchase = await real_time.buy("RT-5")
    assert purchase.status == "PENDING"
    assert purchase.lines[0].units[0].state is UnitState.PENDING
    await shop.services.asker.idle()
    again = await real_time.buy("RT-5")
    assert again.status == "COMPLETED"
    assert len(texts_of(again)) == 1
    assert publisher.ledger.issued == 1


async def test_an_order_that_is_cancelled_is_cancelled_at_its_publisher(real_time: RealTime) -> None:
    purchase = await real_time.buy("RT-6")
    await real_time.cancel(purchase.order_id)
    assert await real_time.status(purchase.order_id) == "CANCEL_PENDING"
    await real_time.work_off()
    assert await real_time.status(purchase.order_id) == "CANCELED"
    create, cancelled = await real_time.requests(purchase.order_id)
    assert cancelled.state is RequestState.ACKNOWLEDGED
    assert cancelled.license_ref == create.license_ref
    assert real_time.publisher.live_keys_of(create.license_ref) == ()


async def test_a_publisher_that_cannot_take_keys_back_leaves_the_order_cancelled(
    shop: Shop, publisher: Publisher
) -> None:
    whole = document_for(publisher)
    create = {"create": whole.operations[ConnectorOperation.CREATE].model_dump()}
    document = document_for(publisher, operations=create, capabilities={}, surplus="hold")
    real_time = await RealTime.opened(shop, publisher, document)
    purchase = await real_time.buy("RT-7")
    await real_time.cancel(purchase.order_id)
    await real_time.work_off()
    assert await real_time.status(purchase.order_id) == "CANCELED"
    assert (await real_time.requests(purchase.order_id))[1].state is RequestState.UNSUPPORTED


async def test_a_cancellation_that_is_refused_is_said_to_have_failed(real_time: RealTime) -> None:
    purchase = await real_time.buy("RT-8")
    (create,) = await real_time.requests(purchase.order_id)
    # The publisher has lost its books.
    del real_time.publisher.ledger.entries[str(create.license_ref)]
    await real_time.cancel(purchase.order_id)
    await real_time.work_off()
    assert await real_time.status(purchase.order_id) == "CANCELED_WITH_ERROR"
    events = await real_time.rows(
        "SELECT name FROM publisher_events WHERE publisher_id = $1 AND name = 'key_request.refused'",
        real_time.shop.publisher_id,
    )
    assert len(events) == 1


@pytest.mark.parametrize(
    "wrong", [Wrong.RESET_AFTER, Wrong.HALF_BODY, Wrong.STATUS_AFTER, Wrong.HTML_PAGE, Wrong.EMPTY]
)
async def test_a_lost_answer_is_voided_and_asked_for_anew(real_time: RealTime, wrong: Wrong) -> None:
    real_time.publisher.script(wrong)
    purchase = await real_time.buy(f"RT-9-{wrong}")
    assert texts_of(purchase) == []
    await real_time.work_off()
    again = await real_time.buy(f"RT-9-{wrong}")
    assert again.status == "COMPLETED"
    first, second = await real_time.requests(purchase.order_id)
    assert (first.state, second.state) == (RequestState.ABANDONED, RequestState.ISSUED)
    assert real_time.publisher.live_keys_of(first.license_ref) == ()
    assert list(real_time.publisher.live_keys_of(second.license_ref)) == texts_of(again)


async def test_without_a_capability_an_unknown_outcome_is_held_for_a_person(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher, capabilities={}))
    publisher.script(Wrong.RESET_AFTER)
    purchase = await real_time.buy("RT-10")
    await real_time.work_off()
    (request,) = await real_time.requests(purchase.order_id)
    assert request.state is RequestState.HELD
    assert await real_time.status(purchase.order_id) == "PENDING_WITH_ERROR"
    assert publisher.ledger.issued == 1


async def test_out_of_stock_falls_back_to_the_pool_behind(shop: Shop, publisher: Publisher) -> None:
    await shop.load(["BEHIND-1"])
    behind = [{"source": "pool", "pool": str(shop.pool_id)}]
    real_time = await RealTime.opened(shop, publisher, document_for(publisher), behind=behind)
    publisher.script(Wrong.OUT_OF_STOCK)
    purchase = await real_time.buy("RT-11")
    assert texts_of(purchase) == ["BEHIND-1"]
    assert publisher.ledger.issued == 0


async def test_an_unknown_outcome_never_falls_back(shop: Shop, publisher: Publisher) -> None:
    await shop.load(["BEHIND-2"])
    behind = [{"source": "pool", "pool": str(shop.pool_id)}]
    real_time = await RealTime.opened(
        shop, publisher, document_for(publisher, capabilities={}), behind=behind, answer_seconds=0.5
    )
    publisher.script(Wrong.RESET_AFTER)
    purchase = await real_time.buy("RT-12")
    await real_time.work_off()
    assert texts_of(await real_time.buy("RT-12")) == []
    assert await real_time.status(purchase.order_id) == "PENDING_WITH_ERROR"
    assert await shop.left() == 1


async def test_unless_the_plan_accepts_the_surplus_which_is_voided(shop: Shop, publisher: Publisher) -> None:
    await shop.load(["BEHIND-3"])
    behind = [{"source": "pool", "pool": str(shop.pool_id)}]
    real_time = await RealTime.opened(
        shop, publisher, document_for(publisher), behind=behind, answer_seconds=0.01, accepts_surplus=True
    )
    publisher.script(Wrong.RESET_AFTER)
    purchase = await real_time.buy("RT-13")
    await real_time.work_off()
    assert texts_of(await real_time.buy("RT-13")) == ["BEHIND-3"]
    assert await real_time.status(purchase.order_id) == "COMPLETED"
    (request,) = await real_time.requests(purchase.order_id)
    assert request.state is RequestState.ABANDONED
    assert publisher.ledger.issued == publisher.ledger.voided == 1


async def test_out_of_stock_waits_in_the_queue_where_the_plan_ends_so(shop: Shop, publisher: Publisher) -> None:
    behind = [{"source": "pool", "pool": str(shop.pool_id)}, {"source": "backorder"}]
    real_time = await RealTime.opened(shop, publisher, document_for(publisher), behind=behind)
    publisher.script(Wrong.OUT_OF_STOCK)
    purchase = await real_time.buy("RT-14")
    assert purchase.status == "PENDING"
    waiting = await real_time.rows("SELECT unit_id FROM backorders WHERE publisher_id = $1", shop.publisher_id)
    assert [row["unit_id"] for row in waiting] == [purchase.lines[0].units[0].unit_id]


async def test_pools_in_front_are_looked_into_first(shop: Shop, publisher: Publisher) -> None:
    await shop.load(["BEFORE-1"])
    before = [{"source": "pool", "pool": str(shop.pool_id)}]
    real_time = await RealTime.opened(shop, publisher, document_for(publisher), before=before)
    purchase = await real_time.buy("RT-15", quantity=2)
    assert texts_of(purchase)[0] == "BEFORE-1"
    assert publisher.ledger.issued == 1
    assert purchase.status == "COMPLETED"


async def test_a_key_that_comes_after_the_cancellation_is_taken_back(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher), answer_seconds=0.02)
    publisher.script(Misbehaviour(Wrong.LATE, seconds=0.4))
    purchase = await real_time.buy("RT-16")
    await real_time.cancel(purchase.order_id)
    assert await real_time.status(purchase.order_id) == "CANCEL_PENDING"
    await shop.services.asker.idle()
    await real_time.work_off()
    assert await real_time.status(purchase.order_id) == "CANCELED"
    assert publisher.ledger.issued == publisher.ledger.voided == 1
    surplus = await real_time.rows("SELECT state FROM surplus_keys WHERE publisher_id = $1", shop.publisher_id)
    assert [row["state"] for row in surplus] == ["voided"]


async def test_a_key_that_somebody_else_has_is_not_delivered(real_time: RealTime) -> None:
    first = await real_time.buy("RT-17")
    (taken,) = texts_of(first)
    real_time.publisher.script(Misbehaviour(Wrong.FOREIGN_KEY, text=taken))
    second = await real_time.buy("RT-18")
    assert texts_of(second) == []
    (request,) = await real_time.requests(second.order_id)
    assert (request.state, request.error_code) == (RequestState.HELD, "known-key")
    await real_time.work_off()
    assert real_time.publisher.ledger.voided == 0, "it might be the first buyer's key that dies"


async def test_a_cancelled_order_is_never_asked_for(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher), answer_seconds=0)
    purchase = await real_time.buy("RT-19")
    await real_time.cancel(purchase.order_id)
    assert await real_time.status(purchase.order_id) == "CANCELED"
    await real_time.work_off()
    assert publisher.ledger.requests == []
