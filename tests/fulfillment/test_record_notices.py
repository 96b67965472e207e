"""What is told, to whom and of what: in the transaction of what happened, and never with a key's text."""

import json
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from keyservice.domain.errors import OutOfStock
from keyservice.domain.notice import EndpointState, NewNotice, NoticeOwner, NoticeSubject, types_of_change
from keyservice.fulfillment.cancel_order import cancel_order
from keyservice.fulfillment.hold_keys import expire_holds
from keyservice.fulfillment.manage_pools import PoolChange, change_pool
from keyservice.fulfillment.record_notices import record_notices
from keyservice.services import Services
from keyservice.workers.serve_backorders import serve_backorders
from tests.api.premises import tables_with
from tests.fulfillment.notices import MovedClock, Subscriber
from tests.fulfillment.pipeline import Pipeline, units_of
from tests.fulfillment.uploads import receive
from tests.lab.canary import MARK, canaries
from tests.lab.shop import Shop
from tests.lab.webhook_receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


async def _of_reseller(shop: Shop, receiver: Receiver, *types: str) -> Subscriber:
    return await Subscriber.opened(shop.services, NoticeOwner(caller_id=shop.reseller.caller_id), receiver, *types)


async def _of_publisher(shop: Shop, receiver: Receiver, *types: str) -> Subscriber:
    return await Subscriber.opened(shop.services, NoticeOwner(publisher_id=shop.publisher_id), receiver, *types)


async def _names(subscriber: Subscriber) -> list[str]:
    return [f"{notice.subject}.{notice.type}" for notice in await subscriber.notices()]


async def _bodies(subscriber: Subscriber) -> list[dict[str, object]]:
    async with subscriber.desk.database.reading() as connection:
        rows = await connection.fetch(
            "SELECT body FROM notices WHERE endpoint_id = $1 ORDER BY number", subscriber.endpoint_id
        )
    return [json.loads(row["body"]) for row in rows]


async def test_who_sold_an_order_is_told_of_it_and_nobody_else(shop: Shop, receiver: Receiver) -> None:
    await shop.load(["A-1", "A-2", "A-3"])
    neighbour = await Shop.opened(shop.services)
    own, foreign = await _of_reseller(shop, receiver), await _of_reseller(neighbour, receiver)
    publisher = await _of_publisher(shop, receiver)
    bought = await shop.buy("told", quantity=2)
    assert await _names(own) == ["order.created", "order.completed"]
    assert await _names(foreign) == []
    assert "order.created" not in await _names(publisher)
    body = (await _bodies(own))[1]
    assert (body["subject"], body["type"], body["objectId"]) == ("order", "completed", str(bought.order_id))
    order = body["order"]
    assert isinstance(order, dict)
    assert (order["partnerOrderNumber"], order["status"]) == ("told", "COMPLETED")
    (item,) = order["items"]
    assert (item["quantity"], item["status"]) == (2, "CREATION_ACCEPTED")
    units = [str(unit.unit_id) for line in bought.lines for unit in line.units]
    assert [sub["fulfillmentId"] for sub in item["subItems"]] == units


async def test_an_order_of_one_key_is_one_item_without_parts(shop: Shop, receiver: Receiver) -> None:
    await shop.load(["B-1"])
    own = await _of_reseller(shop, receiver)
    bought = await shop.buy("single")
    order = (await _bodies(own))[0]["order"]
    assert isinstance(order, dict)
    (item,) = order["items"]
    assert (item["fulfillmentId"], item["subItems"]) == (str(bought.lines[0].units[0].unit_id), [])


async def test_a_repeated_order_is_told_of_once_and_a_refused_one_not_at_all(shop: Shop, receiver: Receiver) -> None:
    await shop.load(["C-1"])
    own = await _of_reseller(shop, receiver)
    for _ in range(2):
        await shop.buy("once")
    with pytest.raises(OutOfStock):
        await shop.buy("refused")
    assert await _names(own) == ["order.created", "order.completed"]


async def test_only_what_an_endpoint_wants_is_recorded_for_it(shop: Shop, receiver: Receiver) -> None:
    await shop.load(["D-1"])
    some, off = await _of_reseller(shop, receiver, "order.completed"), await _of_reseller(shop, receiver)
    await off.desk.change(off.endpoint_id, url=None, types=None, state=EndpointState.DISABLED)
    await shop.buy("wanted")
    assert await _names(some) == ["order.completed"]
    assert await _names(off) == []


async def test_a_canceled_order_is_told_of_and_its_dead_keys_to_the_publisher(shop: Shop, receiver: Receiver) -> None:
    await shop.load(["E-1", "E-2"])
    own, publisher = await _of_reseller(shop, receiver), await _of_publisher(shop, receiver, "key.revoked")
    bought = await shop.buy("dies", quantity=2)
    services = shop.services
    await cancel_order(services.database, services.shopper_keys, shop.reseller, bought.order_id, reason=2, comment=None)
    assert await _names(own) == ["order.created", "order.completed", "order.canceled"]
    assert await _names(publisher) == ["key.revoked", "key.revoked"]
    order = (await _bodies(own))[2]["order"]
    assert isinstance(order, dict)
    assert order["status"] == "CANCELED"
    assert {sub["status"] for sub in order["items"][0]["subItems"]} == {"CANCEL_ACCEPTED"}


async def test_holds_and_units_that_wait_are_told_of_when_they_come_to_something(
    shop: Shop, receiver: Receiver
) -> None:
    await shop.load(["F-1", "F-2"])
    pipeline = await Pipeline.opened(shop)
    own = await Subscriber.opened(shop.services, NoticeOwner(caller_id=pipeline.caller.caller_id), receiver)
    await pipeline.claim("sold", hold_seconds=60)
    await pipeline.commit("sold")
    await pipeline.claim("left", hold_seconds=60)
    await pipeline.let_expire("left")
    await expire_holds(shop.services.database)
    assert await _names(own) == ["order.created", "order.completed", "order.created", "order.aborted"]
    await pipeline.claim("waits", 2, may_wait=True)
    assert (await _names(own))[4:] == ["order.created", "order.partiallyCompleted"]
    await shop.load(["F-3"])
    await serve_backorders(shop.services.database, shop.services.opener)
    assert (await _names(own))[6:] == ["order.completed"]


async def test_a_replaced_key_is_told_of_to_its_publisher(shop: Shop, receiver: Receiver) -> None:
    await shop.load(["G-1", "G-2"])
    publisher = await _of_publisher(shop, receiver, "key.replaced", "key.revoked")
    pipeline = await Pipeline.opened(shop)
    (unit,) = units_of(await pipeline.claim("bad"))
    await pipeline.replace("bad", unit)
    assert await _names(publisher) == ["key.replaced"]


async def test_a_threshold_is_told_of_when_it_is_reached_and_not_when_it_is_left(
    shop: Shop, receiver: Receiver
) -> None:
    await shop.load([f"H-{number}" for number in range(4)])
    publisher = await _of_publisher(shop, receiver)
    database = shop.services.database
    await change_pool(
        database, shop.publisher_id, shop.pool_id, PoolChange(warning_level=3, alert_level=1), caller_id=1
    )
    assert await _names(publisher) == []
    for number in range(3):
        await shop.buy(f"low-{number}")
    told = await _bodies(publisher)
    assert [(body["subject"], body["type"]) for body in told] == [("licenseKeyPackage", "thresholdReached")] * 2
    assert [body["licenseKeyPackage"]["alarm"] for body in told] == ["warning", "alert"]  # type: ignore[index]
    await change_pool(
        database, shop.publisher_id, shop.pool_id, PoolChange(warning_level=0, alert_level=0), caller_id=1
    )
    assert len(await _names(publisher)) == 2


async def test_a_batch_that_was_imported_is_told_of(shop: Shop, receiver: Receiver) -> None:
    publisher = await _of_publisher(shop, receiver)
    report = await receive(shop, b"key\nI-1\nI-1\nI-2\n")
    assert await _names(publisher) == ["batch.imported"]
    batch = (await _bodies(publisher))[0]["batch"]
    assert isinstance(batch, dict)
    assert (batch["id"], batch["rows"]["accepted"]) == (str(report.report.batch_id), 2)


async def test_no_keys_text_is_in_any_notice(shop: Shop, receiver: Receiver) -> None:
    await shop.load(canaries(random.Random(7), 6))  # noqa: S311 - no secrets
    await _of_reseller(shop, receiver)
    await _of_publisher(shop, receiver)
    bought = await shop.buy("secret", quantity=3)
    services = shop.services
    await cancel_order(services.database, services.shopper_keys, shop.reseller, bought.order_id, reason=2, comment=None)
    assert await tables_with(services.database, MARK) == []


async def test_nothing_is_told_of_what_was_not_committed(shop: Shop, receiver: Receiver, services: Services) -> None:
    own = await _of_reseller(shop, receiver)
    notice = NewNotice(
        NoticeOwner(caller_id=shop.reseller.caller_id), NoticeSubject.ORDER, "created", "1", MovedClock()()
    )
    with pytest.raises(asyncpg.PostgresError):
        await _tell_and_fail(services, notice)
    assert await _names(own) == []
    async with services.database.transaction() as connection:
        await record_notices(connection, [notice])
    assert await _names(own) == ["order.created"]


@pytest.mark.parametrize(
    ("before", "after", "types"),
    [
        (None, "PENDING", ("created",)),
        (None, "PAYMENT_PENDING", ("created",)),
        (None, "PARTIAL_COMPLETED", ("created", "partiallyCompleted")),
        ("PENDING", "PENDING_WITH_ERROR", ("fulfillmentFailed",)),
        ("PENDING_WITH_ERROR", "COMPLETED", ("completed",)),
        ("PARTIAL_COMPLETED", "PARTIAL_COMPLETED", ()),
        ("COMPLETED", "CANCEL_PENDING", ()),
        ("CANCEL_PENDING", "CANCELED", ("canceled",)),
        ("PAYMENT_PENDING", "ABORTED", ("aborted",)),
    ],
)
def test_each_change_of_an_order_has_its_names(before: str | None, after: str, types: tuple[str, ...]) -> None:
    assert types_of_change(before, after) == types


async def _tell_and_fail(services: Services, notice: NewNotice) -> None:
    async with services.database.transaction() as connection:
        await record_notices(connection, [notice])
        await connection.execute("SELECT 1 / 0")
