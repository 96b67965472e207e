"""Orders through each kind of protocol, from the order to the key in the shopper's history."""

from datetime import timedelta

import pytest

from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.connector import DeliveredKey
from keyservice.domain.key import KeyText
from keyservice.domain.key_request import RequestState
from keyservice.fulfillment.decide_request import NotDecidable, hear_publisher
from keyservice.sandbox.misbehaviour import Misbehaviour, Wrong
from keyservice.sandbox.publisher import Publisher
from tests.lab.filled_presets import preset_at
from tests.lab.real_time import RealTime
from tests.lab.shop import Shop, texts_of


def asked(publisher: Publisher, name: str, **changes: object) -> ConnectorDocument:
    """Of a publisher that may be trusted to answer quickly, so that nobody waits for long."""
    return preset_at(publisher, name).model_copy(update={"budget_seconds": 2, **changes})


def given(text: str) -> DeliveredKey:
    return DeliveredKey(KeyText(text.encode()))


@pytest.mark.parametrize("name", ["alibaba-wuying", "kinguin"])
async def test_who_is_asked_again_until_it_is_done_delivers_in_the_end(
    shop: Shop, publisher: Publisher, name: str
) -> None:
    document = asked(publisher, name, poll_seconds=7)
    real_time = await RealTime.opened(shop, publisher, document, answer_seconds=2)
    publisher.counter.polls_until_ready = 3
    purchase = await real_time.buy(f"{name}-1")
    assert texts_of(purchase) == []
    (request,) = await real_time.requests(purchase.order_id)
    assert request.state is RequestState.ACCEPTED
    assert request.next_at is not None
    # As often as the connector says, whether or not a look-up also tells of what was never accepted.
    assert request.next_at - request.updated_at == timedelta(seconds=7)
    await real_time.work_off()
    assert texts_of(await real_time.buy(f"{name}-1")) == list(publisher.keys_of(request.license_ref))
    assert await real_time.status(purchase.order_id) == "COMPLETED"
    assert publisher.ledger.issued == 1


async def test_who_delivers_by_itself_is_waited_for_and_not_asked_again(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, asked(publisher, "huawei-async"), answer_seconds=2)
    services = shop.services
    purchase = await real_time.buy("PUSH-1")
    (request,) = await real_time.requests(purchase.order_id)
    assert request.state is RequestState.ACCEPTED
    (key,) = publisher.keys_of(request.license_ref)
    heard = await hear_publisher(
        services.database,
        services.connectors,
        services.asker,
        shop.publisher_id,
        request.license_ref,
        [given(key)],
        "L-1",
    )
    assert heard.state is RequestState.ISSUED
    assert texts_of(await real_time.buy("PUSH-1")) == [key]
    assert [seen.operation for seen in publisher.ledger.requests] == ["create"]


async def test_who_does_not_say_that_it_delivers_by_itself_is_not_heard(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, asked(publisher, "alibaba-wuying"), answer_seconds=2)
    services = shop.services
    purchase = await real_time.buy("PUSH-2")
    (request,) = await real_time.requests(purchase.order_id)
    with pytest.raises(NotDecidable):
        await hear_publisher(
            services.database,
            services.connectors,
            services.asker,
            shop.publisher_id,
            request.license_ref,
            [given("K-1")],
            None,
        )


async def test_what_cannot_be_reserved_is_not_bought_and_is_asked_for_again(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, asked(publisher, "eneba"), answer_seconds=2)
    publisher.script(Misbehaviour(Wrong.STATUS_BEFORE, operation="reserve"))
    purchase = await real_time.buy("TWO-1")
    (request,) = await real_time.requests(purchase.order_id)
    assert request.state is RequestState.PLANNED
    assert publisher.ledger.issued == 0
    await real_time.work_off()
    assert texts_of(await real_time.buy("TWO-1")) == list(publisher.keys_of(request.license_ref))
    assert [seen.operation for seen in publisher.ledger.requests] == ["reserve", "reserve", "create"]


async def test_a_purchase_whose_second_phase_is_unknown_is_for_a_person(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, asked(publisher, "eneba"), answer_seconds=2)
    publisher.script(Misbehaviour(Wrong.RESET_AFTER, operation="create"))
    purchase = await real_time.buy("TWO-2")
    (request,) = await real_time.requests(purchase.order_id)
    assert request.state is RequestState.HELD
    assert publisher.ledger.issued == 1


async def test_without_a_token_nothing_is_bought_and_with_the_next_one_it_is(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, asked(publisher, "codeswholesale"), answer_seconds=2)
    publisher.script(Misbehaviour(Wrong.STATUS_BEFORE, operation="token"))
    purchase = await real_time.buy("TOKEN-1")
    (request,) = await real_time.requests(purchase.order_id)
    assert request.state is RequestState.PLANNED
    assert publisher.ledger.issued == 0
    await real_time.work_off()
    assert texts_of(await real_time.buy("TOKEN-1")) == list(publisher.keys_of(request.license_ref))
    assert (publisher.tokens.issued, publisher.ledger.issued) == (1, 1)


@pytest.mark.parametrize("name", ["soap", "kinguin"])
async def test_a_cancellation_reaches_a_publisher_of_each_kind(shop: Shop, publisher: Publisher, name: str) -> None:
    real_time = await RealTime.opened(shop, publisher, asked(publisher, name), answer_seconds=2)
    purchase = await real_time.buy(f"{name}-9")
    await real_time.work_off()
    (request,) = await real_time.requests(purchase.order_id)
    assert len(publisher.live_keys_of(request.license_ref)) == 1
    await real_time.cancel(purchase.order_id)
    await real_time.work_off()
    assert publisher.live_keys_of(request.license_ref) == ()
    assert await real_time.status(purchase.order_id) == "CANCELED"
