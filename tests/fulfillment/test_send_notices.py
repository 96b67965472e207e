"""Sending: signed, in order, again until it is taken, and nobody waits for somebody else's receiver."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from uuid import UUID

import pytest
from aiohttp import web
from standardwebhooks.webhooks import WebhookVerificationError

from keyservice.connectors.egress import EgressPolicy
from keyservice.domain.errors import NotFound
from keyservice.domain.notice import EndpointState, NewNotice, NoticeOwner, NoticeSubject
from keyservice.domain.notice_schedule import RETRY_SECONDS
from keyservice.fulfillment.forget_notices import forget_notices
from keyservice.fulfillment.record_notices import record_notices
from keyservice.fulfillment.replay_notices import replay_failed, replay_notice, send_test_notice
from keyservice.services import Services
from tests.api.premises import tables_with
from tests.fulfillment.notices import MovedClock, Subscriber, send, sending
from tests.lab.shop import Shop, texts_of
from tests.lab.webhook_receiver import Answering, Received, Receiver, answering, receiving, taken

TWO_OF_AN_ORDER = ["order.created", "order.completed"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


@pytest.fixture
async def subscriber(shop: Shop, receiver: Receiver) -> AsyncIterator[Subscriber]:
    """Whoever sells the shop's keys, with an endpoint at the receiver."""
    await shop.load([f"KEY-{number}" for number in range(20)])
    opened = await Subscriber.opened(shop.services, NoticeOwner(caller_id=shop.reseller.caller_id), receiver)
    yield opened
    with suppress(NotFound):
        await opened.desk.change(opened.endpoint_id, url=None, types=None, state=EndpointState.DISABLED)


async def _tell(subscriber: Subscriber, object_id: str, name: str = "created") -> None:
    notice = NewNotice(subscriber.desk.owner, NoticeSubject.ORDER, name, object_id, datetime.now(UTC))
    async with subscriber.desk.database.transaction() as connection:
        await record_notices(connection, [notice])


async def test_a_notice_is_signed_as_standard_webhooks_wants_it(
    shop: Shop, services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    bought = await shop.buy("signed")
    async with sending(services) as sender:
        await send(sender)
        assert await sender.send_due() == 2
    assert receiver.names == TWO_OF_AN_ORDER
    told = receiver.received[0].verify(subscriber.secret)
    assert (told["objectId"], told["order"]["partnerOrderNumber"]) == (str(bought.order_id), "signed")
    assert receiver.received[0].headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        receiver.received[0].verify("whsec_" + "A" * 43 + "=")
    assert await subscriber.states() == ["delivered", "delivered"]
    log = await subscriber.deliveries()
    assert [(one.attempt, one.http_status, one.error) for one in log] == [(1, 200, None)] * 2


async def test_a_notice_is_sent_once_in_quiet_times_however_many_send(
    shop: Shop, services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    for number in range(12):
        await shop.buy(f"many-{number}")
    async with sending(services) as one, sending(services) as other:
        for _ in range(3):
            await asyncio.gather(send(one), send(other))
    ids = [received.notice_id for received in receiver.received]
    assert len(ids) == len(set(ids)) == 24
    assert await subscriber.states() == ["delivered"] * 24


async def test_what_came_later_of_an_order_waits_and_other_orders_do_not(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    async def refuse_the_first(received: Received, _: web.Request) -> web.StreamResponse:
        return web.Response(status=500 if received.json["objectId"] == "A" else 200)

    clock = MovedClock()
    receiver.answer = refuse_the_first
    for object_id, name in (("A", "created"), ("A", "completed"), ("B", "created"), ("B", "completed")):
        await _tell(subscriber, object_id, name)
    async with sending(services, clock=clock) as sender:
        for _ in range(4):
            await send(sender)
        seen = [(one.json["objectId"], one.json["type"]) for one in receiver.received]
        assert sorted(seen) == [("A", "created"), ("B", "completed"), ("B", "created")]
        receiver.answer = taken
        clock.move(RETRY_SECONDS[0])
        await send(sender)
    of_a = [one.json["type"] for one in receiver.received if one.json["objectId"] == "A"]
    assert of_a == ["created", "created", "completed"]


async def test_keys_flow_while_a_receiver_is_down_and_everything_is_delivered_when_it_is_up(
    shop: Shop, services: Services, subscriber: Subscriber
) -> None:
    clock = MovedClock()
    async with receiving() as down:
        url, port = down.url, int(down.url.split(":")[2].split("/")[0])
    await subscriber.desk.change(subscriber.endpoint_id, url=url, types=None, state=None)
    async with sending(services, clock=clock) as sender:
        for number, pause in enumerate(RETRY_SECONDS[:4]):
            assert texts_of(await shop.buy(f"down-{number}")) == [f"KEY-{number}"]
            await send(sender)
            clock.move(pause)
        async with receiving(port) as up:
            for pause in RETRY_SECONDS:
                await send(sender)
                clock.move(pause)
    assert await subscriber.states() == ["delivered"] * 8
    ids = {one.notice_id for one in up.received}
    assert ids == {str(notice.notice_id) for notice in await subscriber.notices()}
    assert all(one.is_signed(subscriber.secret) for one in up.received)
    errors = {one.error for one in await subscriber.deliveries() if one.http_status is None}
    assert errors == {"no-connection"}


async def test_a_repetition_has_the_same_id_and_the_same_bytes(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    clock = MovedClock()
    receiver.answer = answering(500)
    await _tell(subscriber, "again")
    async with sending(services, clock=clock) as sender:
        for pause in RETRY_SECONDS[:3]:
            await send(sender)
            clock.move(pause)
    assert len(receiver.received) == 3
    assert len({(one.notice_id, one.body) for one in receiver.received}) == 1


async def test_a_notice_is_tried_as_the_schedule_says_and_then_given_up(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    clock = MovedClock()
    receiver.answer = answering(500)
    await _tell(subscriber, "hopeless")
    async with sending(services, clock=clock) as sender:
        await send(sender)
        for attempt, pause in enumerate(RETRY_SECONDS, start=1):
            clock.move(pause - 2)
            await send(sender)
            assert len(receiver.received) == attempt, "nothing before its time"
            clock.move(2.5)
            await send(sender)
        assert len(receiver.received) == len(RETRY_SECONDS) + 1
        assert await subscriber.states() == ["failed"]
        await _tell(subscriber, "hopeless", "completed")
        receiver.answer = taken
        await send(sender)
        assert await subscriber.states() == ["failed", "delivered"], "one that has failed holds nothing back"


async def test_what_has_failed_is_sent_again_when_its_owner_asks(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    clock = MovedClock()
    receiver.answer = answering(400)
    for object_id in ("X", "Y"):
        await _tell(subscriber, object_id)
    async with sending(services, clock=clock) as sender:
        for pause in (0, *RETRY_SECONDS):
            clock.move(pause + 1)
            await send(sender)
            await send(sender)
        assert await subscriber.states() == ["failed", "failed"]
        first = (await subscriber.notices())[0].notice_id
        receiver.answer, receiver.received[:] = taken, []
        assert await replay_notice(subscriber.desk, subscriber.endpoint_id, first) == 1
        await send(sender)
        assert [one.notice_id for one in receiver.received] == [str(first)]
        since = datetime.now(UTC) + timedelta(hours=1)
        assert await replay_failed(subscriber.desk, subscriber.endpoint_id, since=since) == 0
        assert await replay_failed(subscriber.desk, subscriber.endpoint_id, since=datetime(2026, 1, 1, tzinfo=UTC)) == 1
        await send(sender)
    assert await subscriber.states() == ["delivered", "delivered"]
    # One that was delivered is sent again too, when it is named.
    await replay_notice(subscriber.desk, subscriber.endpoint_id, first)
    assert await subscriber.states() == ["waiting", "delivered"]
    with pytest.raises(NotFound):
        await replay_notice(subscriber.desk, subscriber.endpoint_id, UUID(int=7))


async def test_410_ends_an_endpoint_until_its_owner_begins_again(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    clock = MovedClock()
    receiver.answer = answering(410)
    await _tell(subscriber, "gone")
    async with sending(services, clock=clock) as sender:
        await send(sender)
        assert (await subscriber.desk.read(subscriber.endpoint_id)).state is EndpointState.GONE
        await _tell(subscriber, "unheard")
        clock.move(RETRY_SECONDS[0])
        await send(sender)
        assert len(receiver.received) == len(await subscriber.notices()) == 1
        receiver.answer = taken
        await subscriber.desk.change(subscriber.endpoint_id, url=None, types=None, state=EndpointState.ENABLED)
        await send(sender)
    assert await subscriber.states() == ["delivered"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_a_failure_and_never_followed(
    services: Services, subscriber: Subscriber, receiver: Receiver, status: int
) -> None:
    async with receiving() as elsewhere:
        receiver.answer = answering(status, Location=elsewhere.url)
        await _tell(subscriber, "moved")
        async with sending(services) as sender:
            await send(sender)
        assert elsewhere.received == []
    (delivery,) = await subscriber.deliveries()
    assert delivery.http_status == status
    assert await subscriber.states() == ["waiting"]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_asks_for_a_pause_gets_it(
    services: Services, subscriber: Subscriber, receiver: Receiver, status: int
) -> None:
    clock = MovedClock()
    receiver.answer = answering(status, **{"Retry-After": "120"})
    await _tell(subscriber, "first")
    async with sending(services, clock=clock) as sender:
        await send(sender)
        await _tell(subscriber, "second")
        receiver.answer = taken
        clock.move(100)
        await send(sender)
        assert len(receiver.received) == 1, "nor is anything else sent there"
        clock.move(21)
        await send(sender)
    assert await subscriber.states() == ["delivered", "delivered"]


async def test_a_pause_is_granted_for_an_hour_at_the_most(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    receiver.answer = answering(429, **{"Retry-After": "999999999"})
    await _tell(subscriber, "greedy")
    async with sending(services) as sender:
        await send(sender)
    resumes_at = (await subscriber.desk.read(subscriber.endpoint_id)).resumes_at
    assert resumes_at is not None
    assert resumes_at < datetime.now(UTC) + timedelta(seconds=3_601)


async def _endless(_: Received, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65_536)


async def _bomb(_: Received, __: web.Request) -> web.StreamResponse:
    return web.Response(body=b"no gzip at all", headers={"Content-Encoding": "gzip"})


async def test_an_answer_without_end_is_not_read_to_it(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    for answer in (_endless, _bomb):
        receiver.answer = answer
        await _tell(subscriber, "endless")
        async with sending(services) as sender, asyncio.timeout(5):
            await send(sender)
    assert await subscriber.states() == ["delivered", "delivered"]


def _hanging(until: asyncio.Event) -> Answering:
    async def answer(_: Received, __: web.Request) -> web.StreamResponse:
        await until.wait()
        return web.Response()

    return answer


async def test_who_hangs_delays_nobody_else(shop: Shop, services: Services, subscriber: Subscriber) -> None:
    released = asyncio.Event()
    async with receiving() as hangs, sending(services) as sender:
        hangs.answer = _hanging(released)
        hung = await Subscriber.opened(services, NoticeOwner(publisher_id=shop.publisher_id), hangs)
        await _tell(hung, "slow")
        await sender.send_due()
        await _tell(subscriber, "quick")
        await sender.send_due()
        async with asyncio.timeout(10):
            while await subscriber.states() != ["delivered"]:
                await asyncio.sleep(0)
        assert await hung.states() == ["waiting"]
        released.set()
        await sender.finished()
    assert await hung.states() == ["delivered"]


async def test_who_does_not_answer_in_time_has_not_taken_it(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    receiver.answer = _hanging(asyncio.Event())
    await _tell(subscriber, "slow")
    async with sending(services, timeout_seconds=0.2) as sender:
        await send(sender)
    (delivery,) = await subscriber.deliveries()
    assert (delivery.error, delivery.http_status) == ("timeout", None)
    assert await subscriber.states() == ["waiting"]


async def test_no_connection_is_made_to_an_address_that_is_not_allowed(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    """The endpoint was registered when its address was allowed; each sending judges it anew."""
    await _tell(subscriber, "private")
    strict = EgressPolicy(ports=None, allow_plain_http=True)
    async with sending(services, policy=strict) as sender:
        await send(sender)
    assert receiver.received == []
    (delivery,) = await subscriber.deliveries()
    assert delivery.error == "address-refused"


async def test_a_name_that_comes_to_a_forbidden_address_is_refused_at_the_socket(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    named = receiver.url.replace("127.0.0.1", "localhost")
    await subscriber.desk.change(subscriber.endpoint_id, url=named, types=None, state=None)
    await _tell(subscriber, "named")
    # Names of the local network may be asked for, and what they come to may not.
    policy = EgressPolicy(ports=None, allow_plain_http=True, networks=(ip_network("10.0.0.0/8"),))
    async with sending(services, policy=policy) as sender:
        await send(sender)
    assert receiver.received == []
    assert [one.error for one in await subscriber.deliveries()] == ["address-refused"]


async def test_both_secrets_sign_for_a_day_after_a_rotation(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    clock = MovedClock()
    _, newer = await subscriber.desk.rotate(subscriber.endpoint_id)
    async with sending(services, clock=clock) as sender:
        await _tell(subscriber, "rotated")
        await send(sender)
        receiver.received[0].verify(subscriber.secret)
        receiver.received[0].verify(newer)
        clock.move(86_401)
        await _tell(subscriber, "a day later")
        await send(sender)
    last = receiver.received[1]
    assert (last.is_signed(newer), last.is_signed(subscriber.secret)) == (True, False)


async def test_no_secret_lies_in_the_database_in_plain(services: Services, subscriber: Subscriber) -> None:
    assert await tables_with(services.database, subscriber.secret.removeprefix("whsec_")) == []
    async with services.database.transaction() as connection:
        row = await connection.fetchrow(
            "SELECT sealed_secret FROM webhook_endpoints WHERE endpoint_id = $1", subscriber.endpoint_id
        )
    assert row is not None
    assert subscriber.secret.encode() not in row["sealed_secret"]
    assert subscriber.secret not in repr(subscriber)


async def test_a_test_notice_reaches_an_endpoint_that_wants_nothing_of_the_kind(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    await subscriber.desk.change(subscriber.endpoint_id, url=None, types=("order.aborted",), state=None)
    notice_id = await send_test_notice(subscriber.desk, subscriber.endpoint_id)
    async with sending(services) as sender:
        await send(sender)
    (received,) = receiver.received
    assert (received.name, received.notice_id) == ("webhook.test", str(notice_id))
    received.verify(subscriber.secret)


async def test_a_sender_that_stops_leaves_what_was_on_its_way_to_the_next_under_the_same_id(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    clock = MovedClock()
    receiver.answer = _hanging(asyncio.Event())
    await _tell(subscriber, "stopped")
    async with sending(services, clock=clock) as sender:
        await sender.send_due()
        await receiver.wait_for(1)
    receiver.answer = taken
    async with sending(services, clock=clock) as sender:
        await send(sender)
        assert len(receiver.received) == 1, "its lease is not over"
        clock.move(60)
        await send(sender)
    assert len({one.notice_id for one in receiver.received}) == 1
    assert len(receiver.received) == 2
    assert [one.attempt for one in await subscriber.deliveries()] == [2]


async def test_who_was_slower_than_its_lease_does_not_undo_what_the_next_one_did(
    services: Services, subscriber: Subscriber, receiver: Receiver
) -> None:
    clock, released = MovedClock(), asyncio.Event()

    async def fail_late(_: Received, __: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response(status=500)

    receiver.answer = fail_late
    await _tell(subscriber, "late")
    async with sending(services, clock=clock) as slow, sending(services, clock=clock) as other:
        await slow.send_due()
        await receiver.wait_for(1)
        clock.move(60)
        receiver.answer = taken
        await send(other)
        released.set()
        await slow.finished()
    assert await subscriber.states() == ["delivered"]


async def test_old_notices_and_endpoints_are_forgotten(services: Services, subscriber: Subscriber) -> None:
    await _tell(subscriber, "old")
    async with sending(services) as sender:
        await send(sender)
    later = datetime.now(UTC) + timedelta(days=31)
    await forget_notices(services.database, timedelta(days=32), now=later)
    assert len(await subscriber.notices()) == len(await subscriber.deliveries()) == 1
    await subscriber.desk.change(subscriber.endpoint_id, url=None, types=None, state=EndpointState.GONE)
    await forget_notices(services.database, timedelta(days=30), now=later)
    with pytest.raises(NotFound):
        await subscriber.notices()
