"""What is asked about a license after it was issued."""

from uuid import UUID

import pytest

from keyservice.domain.connector import CallOutcome, CallResult, ConnectorOperation, DeliveredKey
from keyservice.domain.errors import NotFound
from keyservice.domain.key import KeyText
from keyservice.domain.key_request import RequestState
from keyservice.fulfillment.ask_operation import NotAskable, ask_operation, end_license
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.judge_answer import Answer
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.sandbox.misbehaviour import Wrong
from keyservice.sandbox.publisher import Publisher
from tests.lab.real_time import RealTime, document_for
from tests.lab.shop import Shop, texts_of

PAUSE, RENEW = ConnectorOperation.PAUSE, ConnectorOperation.RENEW


async def opened(shop: Shop, publisher: Publisher) -> RealTime:
    whole = document_for(publisher).model_dump()
    cancel = whole["operations"][ConnectorOperation.CANCEL]
    create = whole["operations"][ConnectorOperation.CREATE]
    more = {name: {**cancel, "path": f"/licenses/{name}"} for name in ("pause", "resume", "upgrade")}
    renew = {**create, "path": "/licenses/renew"}
    operations = {**whole["operations"], **more, "renew": renew}
    return await RealTime.opened(shop, publisher, document_for(publisher, operations=operations))


async def ask(real_time: RealTime, license_ref: UUID, operation: ConnectorOperation) -> KeyRequest:
    services = real_time.shop.services
    return await ask_operation(
        services.database,
        services.connectors,
        real_time.shop.publisher_id,
        license_ref,
        operation,
        reason="asked",
        caller_id=1,
    )


async def license_of(real_time: RealTime, number: str) -> KeyRequest:
    purchase = await real_time.buy(number)
    (created,) = await real_time.requests(purchase.order_id)
    return created


async def test_a_license_is_paused_and_resumed_at_its_publisher(shop: Shop, publisher: Publisher) -> None:
    real_time = await opened(shop, publisher)
    created = await license_of(real_time, "OP-1")
    for operation in (PAUSE, ConnectorOperation.RESUME):
        asked = await ask(real_time, created.license_ref, operation)
        assert await ask(real_time, created.license_ref, operation) == asked, "it is under way already"
        await real_time.work_off()
        done = (await real_time.requests(created.order_id))[-1]
        assert (done.key_request_id, done.state) == (asked.key_request_id, RequestState.ACKNOWLEDGED)
    assert publisher.ledger.entries[str(created.license_ref)].operations == ["pause", "resume"]
    assert await real_time.status(created.order_id) == "COMPLETED"


async def test_a_renewal_that_is_not_answered_is_not_repeated_on_a_guess(shop: Shop, publisher: Publisher) -> None:
    real_time = await opened(shop, publisher)
    created = await license_of(real_time, "OP-2")
    publisher.script(Wrong.RESET_AFTER)
    await ask(real_time, created.license_ref, RENEW)
    await real_time.work_off()
    assert (await real_time.requests(created.order_id))[-1].state is RequestState.HELD
    assert publisher.ledger.entries[str(created.license_ref)].operations == ["renew"]


async def test_what_was_never_issued_or_has_ended_is_not_renewed(shop: Shop, publisher: Publisher) -> None:
    real_time = await opened(shop, publisher)
    created = await license_of(real_time, "OP-3")
    await end_license(shop.services.database, shop.publisher_id, created.license_ref, reason="leaked", caller_id=1)
    with pytest.raises(NotAskable):
        await ask(real_time, created.license_ref, RENEW)
    await real_time.work_off()
    assert publisher.live_keys_of(created.license_ref) == ()
    assert await real_time.status(created.order_id) == "CANCELED"
    with pytest.raises(NotFound):
        await ask(real_time, new_id(), RENEW)
    stranger = await Shop.opened(shop.services)
    with pytest.raises(NotFound):
        await end_license(shop.services.database, stranger.publisher_id, created.license_ref, reason="r", caller_id=1)


async def test_a_connector_without_the_operation_says_so(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    created = await license_of(real_time, "OP-4")
    with pytest.raises(NotAskable):
        await ask(real_time, created.license_ref, PAUSE)


async def test_a_renewal_that_brings_another_key_replaces_the_old_one(shop: Shop, publisher: Publisher) -> None:
    real_time = await opened(shop, publisher)
    created = await license_of(real_time, "OP-5")
    (old,) = texts_of(await real_time.buy("OP-5"))
    sent = await real_time.pretend_sent(await ask(real_time, created.license_ref, RENEW))
    shelved = await shop.services.connectors.take(sent.publisher_id, sent.connector_id)
    brought = (DeliveredKey(KeyText(b"SANDBOX-RENEW-AAAAA-BBBBB-CCCCC")),)
    result = CallResult(CallOutcome.DONE, keys=brought)
    await shop.services.asker.record(Answer(sent, shelved, sent.operation, result, sent.updated_at))
    await real_time.work_off()
    (new,) = texts_of(await real_time.buy("OP-5"))
    assert new != old
    assert [one.operation for one in await real_time.requests(created.order_id)] == ["create", "renew"]
    states = await real_time.rows("SELECT state FROM claims WHERE publisher_id = $1", shop.publisher_id)
    assert sorted(row["state"] for row in states) == ["issued", "replaced"]
