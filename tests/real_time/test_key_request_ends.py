"""Leases, fences, people's decisions, replacements and surplus: whatever happens, a unit has one key and the books agree."""

import time
from dataclasses import replace
from uuid import UUID

import pytest

from keyservice.domain.connector import CallOutcome, CallResult, DeliveredKey
from keyservice.domain.errors import Invalid, NotFound, OutOfStock
from keyservice.domain.key import KeyText
from keyservice.domain.key_request import RequestState
from keyservice.domain.purchase import Purchase, UnitState
from keyservice.fulfillment.decide_request import Decision, NotDecidable, decide_request, hear_publisher
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.judge_answer import Answer
from keyservice.fulfillment.plan_requests import SEND_SECONDS
from keyservice.fulfillment.replace_key import replace_key
from keyservice.fulfillment.revoke_units import revoke_units
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.sandbox.misbehaviour import Misbehaviour, Wrong
from keyservice.sandbox.publisher import Publisher
from keyservice.services import Services
from tests.lab.real_time import RealTime, document_for
from tests.lab.shop import Shop, texts_of


async def held(shop: Shop, publisher: Publisher, number: str) -> tuple[RealTime, Purchase, KeyRequest]:
    """A request whose publisher has issued a key that nobody has got to see."""
    real_time = await RealTime.opened(shop, publisher, document_for(publisher, capabilities={}))
    publisher.script(Wrong.RESET_AFTER)
    purchase = await real_time.buy(number)
    (request,) = await real_time.requests(purchase.order_id)
    assert request.state is RequestState.HELD
    return real_time, purchase, request


async def decide(
    real_time: RealTime, request: KeyRequest, decision: Decision, *keys: str, publisher_id: int | None = None
) -> KeyRequest:
    services = real_time.shop.services
    return await decide_request(
        services.database,
        services.connectors,
        services.asker,
        publisher_id or request.publisher_id,
        request.key_request_id,
        decision,
        [DeliveredKey(KeyText(key.encode())) for key in keys],
        caller_id=1,
    )


async def test_a_person_gives_the_key_that_was_issued(shop: Shop, publisher: Publisher) -> None:
    real_time, purchase, request = await held(shop, publisher, "END-1")
    (key,) = publisher.keys_of(request.license_ref)
    decided = await decide(real_time, request, Decision.ISSUED, key)
    assert decided.state is RequestState.ISSUED
    assert texts_of(await real_time.buy("END-1")) == [key]
    assert await real_time.status(purchase.order_id) == "COMPLETED"
    with pytest.raises(NotDecidable):
        await decide(real_time, request, Decision.NOT_ISSUED)


async def test_a_person_says_that_nothing_was_issued_and_the_publisher_is_asked_again(
    shop: Shop, publisher: Publisher
) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher, capabilities={}))
    publisher.script(Wrong.RESET_BEFORE)
    purchase = await real_time.buy("END-2")
    (request,) = await real_time.requests(purchase.order_id)
    decided = await decide(real_time, request, Decision.NOT_ISSUED)
    assert decided.state is RequestState.PLANNED
    await real_time.work_off()
    assert len(texts_of(await real_time.buy("END-2"))) == 1
    assert publisher.ledger.issued == 1


async def test_a_person_says_that_there_will_be_no_key(shop: Shop, publisher: Publisher) -> None:
    real_time, purchase, request = await held(shop, publisher, "END-3")
    decided = await decide(real_time, request, Decision.REFUSED)
    assert decided.state is RequestState.REFUSED
    assert await real_time.status(purchase.order_id) == "PENDING_WITH_ERROR"
    again = await decide(real_time, request, Decision.ASK_AGAIN)
    assert again.state is RequestState.PLANNED
    assert await real_time.status(purchase.order_id) == "PENDING"


async def test_what_is_decided_is_checked(shop: Shop, publisher: Publisher) -> None:
    real_time, _, request = await held(shop, publisher, "END-4")
    other = await Shop.opened(shop.services)
    with pytest.raises(NotFound):
        await decide(real_time, request, Decision.REFUSED, publisher_id=other.publisher_id)
    with pytest.raises(Invalid, match="1 keys"):
        await decide(real_time, request, Decision.ISSUED, "ONE-KEY-1", "ONE-KEY-2")
    with pytest.raises(Invalid, match="give the keys"):
        await decide(real_time, request, Decision.ISSUED)
    with pytest.raises(Invalid, match="give the keys"):
        await decide(real_time, request, Decision.REFUSED, "ONE-KEY-1")
    with pytest.raises(NotDecidable):
        await decide(real_time, request, Decision.ACKNOWLEDGED)
    (after,) = await real_time.requests(request.order_id)
    assert after == request


async def test_a_failed_cancellation_is_settled_by_a_person(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    purchase = await real_time.buy("END-5")
    (create,) = await real_time.requests(purchase.order_id)
    del publisher.ledger.entries[str(create.license_ref)]
    await real_time.cancel(purchase.order_id)
    await real_time.work_off()
    assert await real_time.status(purchase.order_id) == "CANCELED_WITH_ERROR"
    cancellation = (await real_time.requests(purchase.order_id))[1]
    decided = await decide(real_time, cancellation, Decision.ACKNOWLEDGED)
    assert decided.state is RequestState.ACKNOWLEDGED
    assert await real_time.status(purchase.order_id) == "CANCELED"


async def test_whoever_was_killed_while_sending_is_followed_by_nobody_who_sends_again(
    shop: Shop, publisher: Publisher
) -> None:
    """The lease is over, the request may have been sent: without a capability it is held, with one it is resolved."""
    real_time = await RealTime.opened(shop, publisher, document_for(publisher, capabilities={}), answer_seconds=0)
    purchase = await real_time.buy("END-6")
    (request,) = await real_time.requests(purchase.order_id)
    await real_time.pretend_sent(request)
    await real_time.work_off()
    (after,) = await real_time.requests(purchase.order_id)
    assert (after.state, publisher.ledger.requests) == (RequestState.HELD, [])


async def test_whoever_was_frozen_before_sending_sends_nothing_any_more(shop: Shop, publisher: Publisher) -> None:
    """Between the commit of the intent and the first byte it stood still for longer than it may."""
    real_time = await RealTime.opened(shop, publisher, document_for(publisher, capabilities={}), answer_seconds=0)
    purchase = await real_time.buy("END-20")
    (request,) = await real_time.requests(purchase.order_id)
    sent = await real_time.pretend_sent(request)
    asker = shop.services.asker
    await asker.attempt_within([sent], 10, since=time.monotonic() - SEND_SECONDS - 1)
    assert publisher.ledger.requests == []
    (after,) = await real_time.requests(purchase.order_id)
    assert (after.state, after.error_code) == (RequestState.PLANNED, "too-late")
    await real_time.work_off()
    assert publisher.ledger.issued == 1


async def test_an_answer_after_the_lease_is_still_a_key(shop: Shop, publisher: Publisher) -> None:
    """A writer was frozen between the answer and its record; somebody else has gone on meanwhile."""
    real_time = await RealTime.opened(shop, publisher, document_for(publisher, capabilities={}), answer_seconds=0)
    purchase = await real_time.buy("END-7")
    (request,) = await real_time.requests(purchase.order_id)
    sent = await real_time.pretend_sent(request)
    await real_time.work_off()
    late = await answer(real_time, sent, "LATE-KEY-0001")
    await shop.services.asker.record(late)
    assert texts_of(await real_time.buy("END-7")) == ["LATE-KEY-0001"]
    (after,) = await real_time.requests(purchase.order_id)
    assert after.state is RequestState.ISSUED
    # The same answer once more changes nothing.
    await shop.services.asker.record(late)
    claims = await real_time.rows("SELECT claim_id FROM claims WHERE publisher_id = $1", shop.publisher_id)
    assert len(claims) == 1


async def test_an_answer_that_proves_nothing_does_not_undo_what_came_after_the_lease(
    shop: Shop, publisher: Publisher
) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher), answer_seconds=0)
    purchase = await real_time.buy("END-8")
    (request,) = await real_time.requests(purchase.order_id)
    sent = await real_time.pretend_sent(request)
    await real_time.work_off()
    assert await real_time.status(purchase.order_id) == "COMPLETED"
    stale = replace(await answer(real_time, sent), result=CallResult(CallOutcome.NOT_EXECUTED, code="unreachable"))
    verdict = await shop.services.asker.record(stale)
    assert verdict.is_stale
    first, _ = await real_time.requests(purchase.order_id)
    assert first.state is RequestState.ABANDONED
    assert publisher.ledger.issued == 1


async def test_a_key_that_was_voided_before_its_answer_came_is_not_delivered(shop: Shop, publisher: Publisher) -> None:
    """A writer was frozen with the answer in its hands; meanwhile the publisher was made to take the key back."""
    real_time = await RealTime.opened(shop, publisher, document_for(publisher), answer_seconds=0)
    purchase = await real_time.buy("END-19")
    (request,) = await real_time.requests(purchase.order_id)
    sent = await real_time.pretend_sent(request)
    await real_time.make_due()
    await real_time.ask_due()
    first, second = await real_time.requests(purchase.order_id)
    assert (first.state, second.state) == (RequestState.ABANDONED, RequestState.PLANNED)
    await shop.services.asker.record(await answer(real_time, sent, "VOIDED-KEY-01"))
    assert texts_of(await real_time.buy("END-19")) == []
    await real_time.work_off()
    (delivered,) = texts_of(await real_time.buy("END-19"))
    assert [delivered] == list(publisher.live_keys_of(second.license_ref))


async def test_a_second_key_for_one_unit_is_surplus_and_is_taken_back(shop: Shop, publisher: Publisher) -> None:
    """Two writers were at it, and the publisher issued twice: one key is delivered."""
    real_time = await RealTime.opened(shop, publisher, document_for(publisher), answer_seconds=0)
    purchase = await real_time.buy("END-9")
    (request,) = await real_time.requests(purchase.order_id)
    sent = await real_time.pretend_sent(request)
    await real_time.work_off()
    (delivered,) = texts_of(await real_time.buy("END-9"))
    await shop.services.asker.record(await answer(real_time, sent, "SECOND-KEY-01"))
    assert texts_of(await real_time.buy("END-9")) == [delivered]
    surplus = await real_time.rows("SELECT state FROM surplus_keys WHERE publisher_id = $1", shop.publisher_id)
    assert [row["state"] for row in surplus] == ["voiding"]
    await real_time.work_off()
    assert await real_time.status(purchase.order_id) == "COMPLETED"


async def test_surplus_is_sold_from_a_pool_where_the_connector_says_so(shop: Shop, publisher: Publisher) -> None:
    document = document_for(publisher, surplus="pool", surplus_pool=str(shop.pool_id))
    real_time = await RealTime.opened(shop, publisher, document, answer_seconds=0.02)
    publisher.script(Misbehaviour(Wrong.LATE, seconds=0.3))
    purchase = await real_time.buy("END-10")
    await real_time.cancel(purchase.order_id)
    await shop.services.asker.idle()
    assert await real_time.status(purchase.order_id) == "CANCELED"
    assert await shop.left() == 1
    sold = await shop.buy("END-10-pool")
    assert texts_of(sold) == [key for issue in publisher.ledger.issues() for key in issue.keys]


async def test_a_key_that_does_not_work_is_replaced_by_a_new_one_and_taken_back(
    shop: Shop, publisher: Publisher
) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    purchase = await real_time.buy("END-11")
    (bad,) = texts_of(purchase)
    asked = await replace_unit(real_time, purchase)
    # It keeps what it has until the new one is there, and asking again begins nothing more.
    assert texts_of(asked) == [bad]
    await replace_unit(real_time, purchase)
    await real_time.work_off()
    after = await real_time.buy("END-11")
    (good,) = texts_of(after)
    assert good != bad
    requests = await real_time.requests(purchase.order_id)
    assert [(one.operation, one.state) for one in requests] == [
        ("create", RequestState.ISSUED),
        ("create", RequestState.ISSUED),
        ("cancel", RequestState.ACKNOWLEDGED),
    ]
    assert publisher.live_keys_of(requests[0].license_ref) == ()
    assert list(publisher.live_keys_of(requests[1].license_ref)) == [good]
    assert after.status == "COMPLETED"


async def test_no_replacement_leaves_the_old_key(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    purchase = await real_time.buy("END-12")
    publisher.script(*[Wrong.OUT_OF_STOCK] * 20)
    await replace_unit(real_time, purchase)
    await real_time.work_off()
    assert texts_of(await real_time.buy("END-12")) == texts_of(purchase)
    assert await real_time.status(purchase.order_id) == "COMPLETED"
    assert publisher.ledger.voided == 0


async def test_revoking_one_unit_cancels_its_key_and_no_other(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    purchase = await real_time.buy("END-13", quantity=2)
    revoked, kept = purchase.lines[0].units
    services = shop.services
    await revoke_units(
        *(services.database, services.purchases, shop.reseller, purchase.order_id),
        unit_ids=[revoked.unit_id],
        reason="one too many",
    )
    await real_time.work_off()
    after = await real_time.buy("END-13", quantity=2)
    assert [unit.state for unit in after.lines[0].units] == [UnitState.REVOKED, UnitState.ISSUED]
    assert publisher.ledger.voided == 1
    requests = await real_time.requests(purchase.order_id)
    of_unit = {one.unit_ids[0]: one.license_ref for one in requests if one.operation == "create"}
    assert publisher.live_keys_of(of_unit[revoked.unit_id]) == ()
    assert kept.key is not None
    assert publisher.live_keys_of(of_unit[kept.unit_id]) == (kept.key.reveal(),)


async def test_of_a_license_with_several_keys_one_alone_is_not_taken_back(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher, request_per="line"))
    purchase = await real_time.buy("END-14", quantity=3)
    assert len(set(texts_of(purchase))) == 3
    services = shop.services
    units = [unit.unit_id for unit in purchase.lines[0].units]
    for some in ([units[0]], units[1:]):
        await revoke_units(
            *(services.database, services.purchases, shop.reseller, purchase.order_id), unit_ids=some, reason="r"
        )
        await real_time.work_off()
        if len(some) == 1:
            assert publisher.ledger.voided == 0
            assert (await real_time.requests(purchase.order_id))[-1].state is RequestState.UNSUPPORTED
    assert publisher.ledger.voided == 3
    assert await real_time.status(purchase.order_id) == "CANCELED"


async def test_a_publisher_that_tells_by_itself_is_heard_once(shop: Shop, publisher: Publisher) -> None:
    document = document_for(publisher, capabilities={"pushes_back": True}, key_law={})
    real_time = await RealTime.opened(shop, publisher, document, answer_seconds=0)
    purchase = await real_time.buy("END-15")
    (request,) = await real_time.requests(purchase.order_id)
    await real_time.pretend_sent(request)
    for _ in range(2):
        await hear(real_time, request.license_ref, "PUSHED-KEY-001")
    assert texts_of(await real_time.buy("END-15")) == ["PUSHED-KEY-001"]
    with pytest.raises(NotFound):
        await hear(real_time, new_id(), "PUSHED-KEY-002")


async def test_a_publisher_that_does_not_say_so_is_not_heard(shop: Shop, publisher: Publisher) -> None:
    real_time, _, request = await held(shop, publisher, "END-16")
    with pytest.raises(NotDecidable):
        await hear(real_time, request.license_ref, "PUSHED-KEY-003")


async def test_test_orders_are_asked_for_as_tests_and_others_never_by_a_connector_in_testing(
    services: Services, publisher: Publisher
) -> None:
    shop = await Shop.opened(services, is_sandbox=True)
    real_time = await RealTime.opened(shop, publisher, document_for(publisher), state="testing")
    with pytest.raises(OutOfStock):
        await real_time.buy("END-17")
    sandbox = replace(shop, reseller=replace(shop.reseller, is_sandbox=True))
    tested = replace(real_time, shop=sandbox)
    purchase = await tested.buy("END-18")
    (request,) = await tested.requests(purchase.order_id)
    assert request.is_test
    assert request.state is RequestState.ISSUED


async def hear(real_time: RealTime, license_ref: UUID, key: str) -> None:
    services = real_time.shop.services
    publisher_id = real_time.shop.publisher_id
    told = [DeliveredKey(KeyText(key.encode()))]
    await hear_publisher(
        *(services.database, services.connectors, services.asker, publisher_id, license_ref, told), license_id=None
    )


async def answer(real_time: RealTime, sent: KeyRequest, *keys: str) -> Answer:
    """What somebody who had taken the request as `sent` says of it."""
    shelved = await real_time.shop.services.connectors.take(sent.publisher_id, sent.connector_id, 1)
    delivered = tuple(DeliveredKey(KeyText(key.encode())) for key in keys)
    result = CallResult(CallOutcome.DONE, keys=delivered)
    return Answer(sent, shelved, sent.operation, result, sent.updated_at)


async def replace_unit(real_time: RealTime, purchase: Purchase) -> Purchase:
    shop, unit = real_time.shop, purchase.lines[0].units[0]
    services = shop.services
    assert unit.claim_id is not None
    return await replace_key(
        *(services.database, services.purchases, services.opener, services.connectors),
        *(shop.reseller, purchase.order_id),
        unit_id=unit.unit_id,
        claim_id=unit.claim_id,
        reason="does not activate",
    )
