import asyncio

import asyncpg
import pytest

from keyservice.domain.claim import HoldEnded, HoldExpired, NotIssued
from keyservice.domain.errors import Invalid, NotFound, OutOfStock
from keyservice.fulfillment.hold_keys import expire_holds
from keyservice.postgres.statements import statement
from tests.fulfillment.pipeline import Pipeline, states_of, units_of
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of
from tests.lab.waiting import until


@pytest.fixture
async def pipeline(shop: Shop) -> Pipeline:
    await shop.load([f"HOLD-{number}" for number in range(6)])
    return await Pipeline.opened(shop)


async def test_held_keys_are_not_for_sale_and_not_shown_until_they_are_paid(pipeline: Pipeline) -> None:
    held = await pipeline.claim("H-1", 2, hold_seconds=60)
    assert (held.status, states_of(held), texts_of(held)) == ("PAYMENT_PENDING", ["held", "held"], [])
    assert held.held_until is not None
    assert texts_of(await pipeline.read("H-1")) == []
    assert await pipeline.shop.left() == 4
    sold = await pipeline.commit("H-1")
    assert (sold.status, sold.held_until, texts_of(sold)) == ("COMPLETED", None, ["HOLD-0", "HOLD-1"])
    assert texts_of(await pipeline.commit("H-1")) == texts_of(await pipeline.read("H-1")) == ["HOLD-0", "HOLD-1"]


async def test_the_same_hold_again_is_the_same_hold(pipeline: Pipeline) -> None:
    first = await pipeline.claim("H-2", 2, hold_seconds=60)
    again = await pipeline.claim("H-2", 2, hold_seconds=60)
    assert (again.held_until, states_of(again)) == (first.held_until, ["held", "held"])
    assert await pipeline.shop.left() == 4
    await pipeline.commit("H-2")
    assert texts_of(await pipeline.claim("H-2", 2, hold_seconds=60)) == ["HOLD-0", "HOLD-1"]


async def test_released_keys_are_for_sale_again_once(pipeline: Pipeline) -> None:
    await pipeline.claim("H-3", 2, hold_seconds=60)
    for _ in range(2):
        released = await pipeline.release("H-3")
        assert (released.status, states_of(released)) == ("ABORTED", ["released", "released"])
        assert await pipeline.shop.left() == 6
    with pytest.raises(HoldEnded):
        await pipeline.commit("H-3")
    with pytest.raises(HoldEnded):
        await pipeline.extend("H-3", 60)
    assert texts_of(await pipeline.shop.buy("next", quantity=2)) == ["HOLD-0", "HOLD-1"]


async def test_a_hold_that_expires_ends_as_if_it_were_released(pipeline: Pipeline) -> None:
    await pipeline.claim("H-4", 3, hold_seconds=60)
    await pipeline.claim("lasting", 1, hold_seconds=60)
    await pipeline.let_expire("H-4")
    with pytest.raises(HoldExpired):
        await pipeline.commit("H-4")
    with pytest.raises(HoldExpired):
        await pipeline.extend("H-4", 60)
    assert await expire_holds(pipeline.shop.services.database) == 1
    assert await expire_holds(pipeline.shop.services.database) == 0
    assert await pipeline.shop.left() == 5
    assert (await pipeline.read("H-4")).status == "ABORTED"
    assert states_of(await pipeline.release("H-4")) == ["released"] * 3
    assert states_of(await pipeline.read("lasting")) == ["held"]


async def test_a_deadline_that_passes_while_somebody_reads_the_hold_is_past(
    pipeline: Pipeline, database_urls: DatabaseUrls
) -> None:
    await pipeline.claim("H-7", hold_seconds=2)
    reader = await asyncpg.connect(database_urls.superuser)
    try:
        async with reader.transaction():
            await reader.fetchrow(statement("orders.lock_order"), pipeline.order_id("H-7"))
            committing = asyncio.create_task(pipeline.commit("H-7"))
            waits = "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted"
            await until(lambda: reader.fetchval(waits), seconds=10, what="the commit waits for the order")
            past = "SELECT count(*) = 1 FROM orders WHERE order_id = $1 AND held_until < clock_timestamp()"
            await until(
                lambda: reader.fetchval(past, pipeline.order_id("H-7")), seconds=10, what="the deadline is past"
            )
            assert not committing.done()
        with pytest.raises(HoldExpired):
            await committing
    finally:
        await reader.close()


async def test_an_extended_hold_has_its_time_from_now(pipeline: Pipeline) -> None:
    first = await pipeline.claim("H-5", hold_seconds=60)
    longer = await pipeline.extend("H-5", 3_600)
    assert first.held_until is not None
    assert longer.held_until is not None
    assert (longer.held_until - first.held_until).total_seconds() > 3_500
    shorter = await pipeline.extend("H-5", 1)
    assert shorter.held_until is not None
    assert shorter.held_until < first.held_until


async def test_what_is_sold_or_waits_is_no_hold(pipeline: Pipeline) -> None:
    await pipeline.claim("sold")
    for verb in (pipeline.release("sold"), pipeline.extend("sold", 60)):
        with pytest.raises(HoldEnded):
            await verb
    await pipeline.claim("waits", 9, may_wait=True)
    for verb in (pipeline.release("waits"), pipeline.extend("waits", 60)):
        with pytest.raises(HoldEnded):
            await verb
    with pytest.raises(Invalid):
        await pipeline.claim("both", 9, may_wait=True, hold_seconds=60)
    for verb in (pipeline.commit("never"), pipeline.release("never"), pipeline.extend("never", 1)):
        with pytest.raises(NotFound):
            await verb


async def test_another_callers_hold_is_not_there(pipeline: Pipeline) -> None:
    await pipeline.claim("H-6", hold_seconds=60)
    stranger = await Pipeline.opened(pipeline.shop)
    with pytest.raises(NotFound):
        await stranger.commit("H-6")
    assert states_of(await pipeline.read("H-6")) == ["held"]


async def test_commit_release_and_expiry_at_once_end_a_hold_one_way(pipeline: Pipeline) -> None:
    database = pipeline.shop.services.database
    await pipeline.shop.load([f"RACE-{number:03}" for number in range(60)])
    before = await pipeline.shop.left()
    committed = 0
    for number in range(30):
        reference = f"race-{number}"
        await pipeline.claim(reference, 2, hold_seconds=60)
        if number % 2:
            await pipeline.let_expire(reference)
        answers = await asyncio.gather(
            pipeline.commit(reference), pipeline.release(reference), expire_holds(database), return_exceptions=True
        )
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        assert all(isinstance(failure, HoldEnded | HoldExpired) for failure in failures), failures
        ended = await pipeline.read(reference)
        assert len(set(states_of(ended))) == 1
        assert ended.status in ("COMPLETED", "ABORTED")
        committed += len(texts_of(ended))
    assert await pipeline.shop.left() == before - committed


async def test_revoked_units_are_dead_and_the_others_stay(pipeline: Pipeline) -> None:
    units = units_of(await pipeline.claim("R-1", 3))
    partly = await pipeline.revoke("R-1", [units[1].unit_id])
    assert (partly.status, states_of(partly)) == ("PARTIAL_CANCELED", ["issued", "revoked", "issued"])
    assert texts_of(partly) == ["HOLD-0", "HOLD-2"]
    assert states_of(await pipeline.revoke("R-1", [units[1].unit_id])) == ["issued", "revoked", "issued"]
    with pytest.raises(NotFound):
        await pipeline.revoke("R-1", [units[0].unit_id, pipeline.order_id("R-1")])
    whole = await pipeline.revoke("R-1")
    assert (whole.status, texts_of(whole)) == ("CANCELED", [])
    assert whole.canceled_at is not None
    assert await pipeline.shop.left() == 3
    assert set(texts_of(await pipeline.shop.buy("rest", quantity=3))) == {"HOLD-3", "HOLD-4", "HOLD-5"}


async def test_revoking_a_hold_puts_its_keys_back(pipeline: Pipeline) -> None:
    held = units_of(await pipeline.claim("R-2", 2, hold_seconds=60))
    partly = await pipeline.revoke("R-2", [held[0].unit_id])
    assert (partly.status, states_of(partly)) == ("PAYMENT_PENDING", ["released", "held"])
    assert partly.held_until is not None
    assert await pipeline.shop.left() == 5
    sold = await pipeline.commit("R-2")
    assert (sold.status, texts_of(sold)) == ("PARTIAL_CANCELED", ["HOLD-1"])
    await pipeline.claim("R-3", 2, hold_seconds=60)
    assert (await pipeline.revoke("R-3")).status == "ABORTED"


async def test_a_hold_whose_units_are_revoked_one_after_the_other_is_over_with_the_last(pipeline: Pipeline) -> None:
    first, last = units_of(await pipeline.claim("R-4", 2, hold_seconds=60))
    await pipeline.revoke("R-4", [first.unit_id])
    ended = await pipeline.revoke("R-4", [last.unit_id])
    assert (ended.status, ended.held_until, states_of(ended)) == ("ABORTED", None, ["released", "released"])
    for verb in (pipeline.commit("R-4"), pipeline.extend("R-4", 60)):
        with pytest.raises(HoldEnded):
            await verb
    await pipeline.claim("R-5", 2, hold_seconds=60)
    await pipeline.commit("R-5")
    sold = units_of(await pipeline.read("R-5"))
    for unit in sold:
        revoked = await pipeline.revoke("R-5", [unit.unit_id])
    assert revoked.status == "CANCELED"
    assert await pipeline.shop.left() == 4


async def test_a_replaced_key_is_dead_and_the_new_one_is_the_units(pipeline: Pipeline) -> None:
    bad, good = units_of(await pipeline.claim("X-1", 2))
    replaced = await pipeline.replace("X-1", bad)
    assert (replaced.status, texts_of(replaced)) == ("COMPLETED", ["HOLD-2", "HOLD-1"])
    assert texts_of(await pipeline.replace("X-1", bad)) == ["HOLD-2", "HOLD-1"]  # the same request again
    again = await pipeline.replace("X-1", units_of(replaced)[0])
    assert texts_of(again) == ["HOLD-3", "HOLD-1"]
    assert units_of(again)[1] == good
    assert await pipeline.shop.left() == 2
    async with pipeline.shop.services.database.transaction() as connection:
        rows = await connection.fetch(
            "SELECT kind, reason FROM revocations WHERE publisher_id = $1 ORDER BY happened_at",
            pipeline.shop.publisher_id,
        )
    assert [(row["kind"], row["reason"]) for row in rows] == [("replaced", "does not activate")] * 2


async def test_a_key_is_kept_when_there_is_no_other(pipeline: Pipeline) -> None:
    units = units_of(await pipeline.claim("X-2", 6))
    with pytest.raises(OutOfStock):
        await pipeline.replace("X-2", units[0])
    assert len(texts_of(await pipeline.read("X-2"))) == 6


async def test_only_an_issued_key_is_replaced(pipeline: Pipeline) -> None:
    (held,) = units_of(await pipeline.claim("X-3", hold_seconds=60))
    with pytest.raises(NotIssued):
        await pipeline.replace("X-3", held)
    (sold,) = units_of(await pipeline.claim("X-4"))
    with pytest.raises(NotFound):
        await pipeline.replace("X-3", sold)
    await pipeline.revoke("X-4")
    with pytest.raises(NotIssued):
        await pipeline.replace("X-4", sold)


async def test_replacements_at_once_take_one_key(pipeline: Pipeline) -> None:
    (unit,) = units_of(await pipeline.claim("X-5"))
    answers = await asyncio.gather(*(pipeline.replace("X-5", unit) for _ in range(8)))
    assert {tuple(texts_of(one)) for one in answers} == {("HOLD-1",)}
    assert await pipeline.shop.left() == 4


async def test_the_auditor_is_silent_after_all_of_this(pipeline: Pipeline, database_urls: DatabaseUrls) -> None:
    await pipeline.claim("last", hold_seconds=60)
    assert await violations(database_urls.superuser) == {}
