"""A cancellation that is reversed: licenses live again where their publisher can do so, other units get another key."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.caller import Caller
from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.errors import NotFound, OutOfStock
from keyservice.domain.key_request import RequestState
from keyservice.domain.purchase import UnitState
from keyservice.fulfillment.reinstate_units import NotReinstatable, reinstate_units
from keyservice.sandbox.misbehaviour import Misbehaviour, Wrong
from keyservice.sandbox.publisher import Publisher
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.real_time import RealTime, document_for
from tests.lab.shop import Shop, texts_of

CREATE, CANCEL, RESUME = ConnectorOperation.CREATE, ConnectorOperation.CANCEL, ConnectorOperation.RESUME


def able_to_resume(publisher: Publisher, **members: Any) -> ConnectorDocument:
    """The sandbox publisher, asked to enable licenses again as well."""
    document = document_for(publisher, **members)
    create = document.operations[CREATE]
    resume = create.model_copy(update={"path": "/licenses/resume", "keys": (), "license_id": None})
    return document.model_copy(update={"operations": {**document.operations, RESUME: resume}})


async def reinstate(
    shop: Shop, order_id: UUID, *, caller: Caller | None = None, unit_ids: Sequence[UUID] | None = None
) -> None:
    services = shop.services
    await reinstate_units(
        *(services.database, services.opener, services.connectors, caller or shop.reseller, order_id),
        unit_ids=unit_ids,
        reason="chargeback won",
    )


async def feed(real_time: RealTime) -> list[str]:
    rows = await real_time.rows(
        "SELECT kind FROM revocations WHERE publisher_id = $1 ORDER BY happened_at, life, kind DESC",
        real_time.shop.publisher_id,
    )
    return [row["kind"] for row in rows]


async def canceled(real_time: RealTime, number: str) -> tuple[UUID, list[str]]:
    """An order that was bought and cancelled, and its keys."""
    purchase = await real_time.buy(number)
    texts = texts_of(purchase)
    assert len(texts) == 1
    await real_time.cancel(purchase.order_id)
    await real_time.work_off()
    assert await real_time.status(purchase.order_id) == "CANCELED"
    return purchase.order_id, texts


async def test_a_license_lives_again_when_its_publisher_says_so(
    shop: Shop, publisher: Publisher, database_urls: DatabaseUrls
) -> None:
    real_time = await RealTime.opened(shop, publisher, able_to_resume(publisher))
    order_id, (key,) = await canceled(real_time, "BACK-1")
    await reinstate(shop, order_id)
    assert await real_time.status(order_id) == "PENDING"
    assert texts_of(await real_time.buy("BACK-1")) == [], "nobody has said yet that it works"
    await real_time.work_off()
    assert await real_time.status(order_id) == "COMPLETED"
    assert texts_of(await real_time.buy("BACK-1")) == [key]
    assert [one.operation for one in await real_time.requests(order_id)] == [CREATE, CANCEL, RESUME]
    (entry,) = publisher.ledger.entries.values()
    assert entry.operations == ["resume"]
    assert await feed(real_time) == ["revoked", "reinstated"]
    assert await violations(database_urls.superuser) == {}


async def test_a_repetition_changes_nothing_and_each_cancellation_can_be_reversed(
    shop: Shop, publisher: Publisher, database_urls: DatabaseUrls
) -> None:
    real_time = await RealTime.opened(shop, publisher, able_to_resume(publisher))
    order_id, (key,) = await canceled(real_time, "BACK-2")
    for turn in (1, 2):
        await reinstate(shop, order_id)
        await reinstate(shop, order_id)
        await real_time.work_off()
        await reinstate(shop, order_id)
        assert texts_of(await real_time.buy("BACK-2")) == [key]
        assert await violations(database_urls.superuser) == {}
        await real_time.cancel(order_id)
        await real_time.work_off()
        assert await real_time.status(order_id) == "CANCELED"
        assert await feed(real_time) == ["revoked", *["reinstated", "revoked"] * turn]
    assert publisher.ledger.issued == 1
    assert await violations(database_urls.superuser) == {}


async def test_who_cannot_enable_a_license_again_is_asked_for_another(
    shop: Shop, publisher: Publisher, database_urls: DatabaseUrls
) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    order_id, (key,) = await canceled(real_time, "BACK-3")
    await reinstate(shop, order_id)
    await real_time.work_off()
    (other,) = texts_of(await real_time.buy("BACK-3"))
    assert other != key
    assert await real_time.status(order_id) == "COMPLETED"
    assert await feed(real_time) == ["revoked"]
    assert await violations(database_urls.superuser) == {}


async def test_a_publisher_that_refuses_to_enable_it_is_asked_for_another(
    shop: Shop, publisher: Publisher, database_urls: DatabaseUrls
) -> None:
    document = able_to_resume(publisher)
    refusing = {"error_codes": ["NOT_FOUND"]}
    real_time = await RealTime.opened(
        shop, publisher, ConnectorDocument.model_validate({**document.model_dump(), "permanent_errors": refusing})
    )
    order_id, (key,) = await canceled(real_time, "BACK-4")
    publisher.ledger.entries.clear()
    await reinstate(shop, order_id)
    await real_time.work_off()
    (other,) = texts_of(await real_time.buy("BACK-4"))
    assert other != key
    resumed = next(one for one in await real_time.requests(order_id) if one.operation is RESUME)
    assert resumed.state is RequestState.REFUSED
    assert await violations(database_urls.superuser) == {}


async def test_an_unknown_outcome_is_asked_again_until_it_is_known(
    shop: Shop, publisher: Publisher, database_urls: DatabaseUrls
) -> None:
    real_time = await RealTime.opened(shop, publisher, able_to_resume(publisher))
    order_id, (key,) = await canceled(real_time, "BACK-5")
    publisher.script(*[Misbehaviour(Wrong.RESET_AFTER, operation="resume")] * 3)
    await reinstate(shop, order_id)
    await real_time.work_off()
    assert texts_of(await real_time.buy("BACK-5")) == [key]
    assert await violations(database_urls.superuser) == {}


async def test_cancelled_again_before_the_publisher_was_asked_nothing_is_enabled(
    shop: Shop, publisher: Publisher, database_urls: DatabaseUrls
) -> None:
    real_time = await RealTime.opened(shop, publisher, able_to_resume(publisher))
    order_id, _ = await canceled(real_time, "BACK-6")
    await reinstate(shop, order_id)
    await real_time.cancel(order_id)
    assert await real_time.status(order_id) == "CANCELED"
    await real_time.work_off()
    (entry,) = publisher.ledger.entries.values()
    assert entry.operations == []
    assert await violations(database_urls.superuser) == {}


async def test_cancelled_again_while_the_publisher_is_asked_the_license_is_taken_back(
    shop: Shop, publisher: Publisher, database_urls: DatabaseUrls
) -> None:
    real_time = await RealTime.opened(shop, publisher, able_to_resume(publisher))
    order_id, _ = await canceled(real_time, "BACK-7")
    await reinstate(shop, order_id)
    resumed = next(one for one in await real_time.requests(order_id) if one.operation is RESUME)
    await real_time.pretend_sent(resumed)
    await real_time.cancel(order_id)
    assert await real_time.status(order_id) == "CANCEL_PENDING"
    await real_time.work_off()
    assert await real_time.status(order_id) == "CANCELED"
    (entry,) = publisher.ledger.entries.values()
    assert (entry.operations, entry.times_cancelled) == (["resume"], 2)
    assert await violations(database_urls.superuser) == {}


async def test_while_the_cancellation_is_under_way_it_is_not_reversed(shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, able_to_resume(publisher))
    purchase = await real_time.buy("BACK-8")
    await real_time.cancel(purchase.order_id)
    with pytest.raises(NotReinstatable):
        await reinstate(shop, purchase.order_id)
    assert await real_time.status(purchase.order_id) == "CANCEL_PENDING"


async def test_a_key_from_a_pool_stays_dead_and_the_unit_gets_another(
    shop: Shop, publisher: Publisher, database_urls: DatabaseUrls
) -> None:
    await shop.load(["POOL-1", "POOL-2"])
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    order = shop.with_lines(shop.order("BACK-9"), (shop.product_ref, 1), (real_time.product_ref, 1))
    purchase = await shop.submit(order)
    await real_time.cancel(purchase.order_id)
    await real_time.work_off()
    await reinstate(shop, purchase.order_id)
    await real_time.work_off()
    again = await shop.submit(order)
    assert len(texts_of(again)) == 2
    assert set(texts_of(again)) & set(texts_of(purchase)) == set()
    assert "POOL-2" in texts_of(again)
    assert await real_time.status(purchase.order_id) == "COMPLETED"
    assert await violations(database_urls.superuser) == {}


async def test_one_unit_of_several_is_wanted_again(
    shop: Shop, publisher: Publisher, database_urls: DatabaseUrls
) -> None:
    await shop.load([f"SOME-{number}" for number in range(5)])
    purchase = await shop.submit(shop.with_lines(shop.order("BACK-10"), (shop.product_ref, 2)))
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    await real_time.cancel(purchase.order_id)
    first, second = (unit for line in purchase.lines for unit in line.units)
    await reinstate(shop, purchase.order_id, unit_ids=[first.unit_id])
    assert await real_time.status(purchase.order_id) == "PARTIAL_CANCELED"
    again = await shop.submit(shop.with_lines(shop.order("BACK-10"), (shop.product_ref, 2)))
    states = {unit.unit_id: unit.state for line in again.lines for unit in line.units}
    assert states == {first.unit_id: UnitState.ISSUED, second.unit_id: UnitState.REVOKED}
    with pytest.raises(NotFound):
        await reinstate(shop, purchase.order_id, unit_ids=[purchase.order_id])
    assert await violations(database_urls.superuser) == {}


async def test_without_another_key_nothing_changes(
    shop: Shop, publisher: Publisher, database_urls: DatabaseUrls
) -> None:
    await shop.load(["ONLY-1"])
    purchase = await shop.buy("BACK-11")
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    await real_time.cancel(purchase.order_id)
    with pytest.raises(OutOfStock):
        await reinstate(shop, purchase.order_id)
    assert await real_time.status(purchase.order_id) == "CANCELED"
    await shop.load(["ONLY-2"])
    await reinstate(shop, purchase.order_id)
    assert texts_of(await shop.buy("BACK-11")) == ["ONLY-2"]
    assert await violations(database_urls.superuser) == {}


async def test_a_stranger_reverses_nothing(shop: Shop, publisher: Publisher) -> None:
    await shop.load(["MINE-1", "MINE-2"])
    purchase = await shop.buy("BACK-12")
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    await real_time.cancel(purchase.order_id)
    other = await Shop.opened(shop.services)
    with pytest.raises(NotFound):
        await reinstate(shop, purchase.order_id, caller=other.reseller)
    assert await real_time.status(purchase.order_id) == "CANCELED"
