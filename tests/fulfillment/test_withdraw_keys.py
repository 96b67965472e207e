import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from uuid import UUID

import asyncpg
import pytest

from keyservice.domain.batch import BatchStock, Verdict
from keyservice.domain.errors import NotFound, OutOfStock
from keyservice.domain.withdrawal import NamedBy, Outcome, Withdrawal
from keyservice.fulfillment.cancel_order import cancel_order
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_batches import hold_batch, release_batch, view_batch, withdraw_batch
from keyservice.fulfillment.manage_pools import PublisherEvent, list_events
from keyservice.fulfillment.withdraw_keys import Answered, withdraw_keys
from keyservice.postgres.connection import Database
from keyservice.services import Services
from tests.api.premises import tables_with
from tests.fulfillment.deaf_proxy import deaf_proxy
from tests.fulfillment.holding import claim, release, texts
from tests.fulfillment.uploads import announced, csv_of, receive, refused
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of

# Claims without orders, which `claim` makes.
PLANTED = {"an_issued_claim_has_no_unit", "an_issued_key_has_no_disclosure_event"}


async def withdraw(
    shop: Shop, *keys: str, ids: Sequence[str] = (), pool_id: UUID | None = None, database: Database | None = None
) -> list[Outcome]:
    answers = await withdraw_keys(
        database or shop.services.database,
        shop.services.fingerprints,
        shop.publisher_id,
        pool_id or shop.pool_id,
        Withdrawal(keys, ids, "they leaked"),
        caller_id=shop.reseller.caller_id,
    )
    names = [(NamedBy.KEY, index) for index in range(len(keys))]
    names += [(NamedBy.PUBLISHER_KEY_ID, index) for index in range(len(ids))]
    assert answers == [Answered(*name, answer.outcome) for name, answer in zip(names, answers, strict=True)]
    return [answer.outcome for answer in answers]


async def events_of(shop: Shop, name: str) -> list[PublisherEvent]:
    database = shop.services.database
    events = await list_events(database, shop.publisher_id, pool_id=shop.pool_id, after=None, limit=500)
    return [event for event in events if event.name == name]


async def upload(shop: Shop, keys: Sequence[str], *, is_held: bool = False) -> UUID:
    return (await receive(shop, csv_of(keys), replace(announced(shop), is_held=is_held))).report.batch_id


async def stock_of(shop: Shop, batch_id: UUID) -> BatchStock:
    return (await view_batch(shop.services.database, shop.publisher_id, batch_id)).stock


async def test_the_cursor_passes_by_what_was_withdrawn(shop: Shop, database_urls: DatabaseUrls) -> None:
    batch_id = await upload(shop, [f"PASS-{number}" for number in range(6)])
    assert await withdraw(shop, "PASS-1", "PASS-2", "PASS-5") == [Outcome.WITHDRAWN] * 3
    assert await shop.left() == 3
    assert await stock_of(shop, batch_id) == BatchStock(6, for_sale=3, withdrawn=3)
    assert texts_of(await shop.buy("around", quantity=2)) == ["PASS-0", "PASS-3"]
    assert await stock_of(shop, batch_id) == BatchStock(6, for_sale=1, withdrawn=3, taken=2)
    assert (await violations(database_urls.superuser)).keys() <= PLANTED
    assert texts_of(await shop.buy("the last")) == ["PASS-4"]
    with pytest.raises(OutOfStock):
        await shop.buy("none")
    assert await stock_of(shop, batch_id) == BatchStock(6, withdrawn=3, taken=3)
    assert (await violations(database_urls.superuser)).keys() <= PLANTED


async def test_a_key_that_came_back_is_withdrawn_from_the_shelf(shop: Shop, database_urls: DatabaseUrls) -> None:
    await shop.load([f"SHELF-{number}" for number in range(4)])
    held = await claim(shop, 3, state="held")
    await release(shop, held)
    assert await withdraw(shop, "SHELF-1") == [Outcome.WITHDRAWN]
    assert await shop.left() == 3
    assert texts_of(await shop.buy("the others", quantity=3)) == ["SHELF-0", "SHELF-2", "SHELF-3"]
    assert (await violations(database_urls.superuser)).keys() <= PLANTED


async def test_the_last_unsold_key_of_a_segment_may_go_and_a_key_that_comes_back_opens_it_again(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    await shop.load(["LAST-0", "LAST-1", "LAST-2"])
    held = await claim(shop, 1, state="held")
    assert await withdraw(shop, "LAST-1", "LAST-2") == [Outcome.WITHDRAWN] * 2
    with pytest.raises(OutOfStock):
        await shop.buy("none")
    await release(shop, held)
    assert await shop.left() == 1
    assert (await violations(database_urls.superuser)).keys() <= PLANTED
    assert texts_of(await shop.buy("again")) == ["LAST-0"]
    assert (await violations(database_urls.superuser)).keys() <= PLANTED


async def test_each_entry_is_told_what_became_of_its_key_and_asking_again_changes_nothing(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    await shop.load(["FATE-HELD", "FATE-SOLD", "FATE-REVOKED"])
    await claim(shop, 1, state="held")
    await shop.buy("sold")
    await shop.buy("revoked")
    services = shop.services
    order_id = services.fingerprints.order_id(shop.reseller.caller_id, "connect", "revoked")
    await cancel_order(services.database, services.shopper_keys, shop.reseller, order_id, reason=2, comment=None)
    gone = await upload(shop, ["FATE-BATCH"])
    await withdraw_batch(shop.services.database, shop.publisher_id, gone, caller_id=1)
    await shop.load(["FATE-UPLOAD"], state="receiving")
    await shop.load(["FATE-STOCK"])
    elsewhere = await another_pool(shop)
    await shop.load(["FATE-ELSEWHERE"], pool_id=elsewhere)
    neighbour = await Shop.opened(shop.services)
    await neighbour.load(["FATE-FOREIGN"])
    asked = {
        "FATE-STOCK": Outcome.WITHDRAWN,
        "FATE-HELD": Outcome.ISSUED,
        "FATE-SOLD": Outcome.ISSUED,
        "FATE-REVOKED": Outcome.REVOKED,
        "FATE-BATCH": Outcome.ALREADY_WITHDRAWN,
        "FATE-UPLOAD": Outcome.IN_UNFINISHED_UPLOAD,
        "FATE-ELSEWHERE": Outcome.OTHER_POOL,
        "FATE-FOREIGN": Outcome.NOT_FOUND,
        "fate-stock": Outcome.NOT_FOUND,
        "FATE-STOCK ": Outcome.NOT_FOUND,
    }
    assert await withdraw(shop, *asked) == list(asked.values())
    assert await withdraw(shop, *asked) == [Outcome.ALREADY_WITHDRAWN, *list(asked.values())[1:]]
    assert (await shop.left(), await neighbour.left()) == (0, 1)
    assert len(await events_of(shop, "keys.withdrawn")) == 1
    assert (await violations(database_urls.superuser)).keys() <= PLANTED


async def test_a_key_that_is_named_twice_is_withdrawn_once(shop: Shop) -> None:
    file = b"key,key_id\nTWICE-1,T-1\nTWICE-2,T-2\n"
    await receive(shop, file)
    outcomes = await withdraw(shop, "TWICE-1", "TWICE-1", ids=["T-1", "T-2", "T-2"])
    first, again = Outcome.WITHDRAWN, Outcome.ALREADY_WITHDRAWN
    assert outcomes == [first, again, again, first, again]
    (event,) = await events_of(shop, "keys.withdrawn")
    assert event.facts["withdrawn"] == 2


async def test_a_publisher_s_id_stands_for_the_one_living_key_that_has_it(shop: Shop) -> None:
    rows = ["key,key_id", "ID-1,once", "ID-2,twice", "ID-3,twice", *(f"ID-MANY-{number},many" for number in range(20))]
    await receive(shop, "\n".join(rows).encode())
    elsewhere = await another_pool(shop)
    await receive(shop, b"key,key_id\nID-4,elsewhere\nID-5,once\n", replace(announced(shop), pool_id=elsewhere))
    outcomes = await withdraw(shop, ids=["once", "twice", "many", "elsewhere", "nobodys"])
    assert outcomes == [
        *(Outcome.WITHDRAWN, Outcome.AMBIGUOUS, Outcome.AMBIGUOUS, Outcome.OTHER_POOL, Outcome.NOT_FOUND),
    ]
    assert await withdraw(shop, "ID-2") == [Outcome.WITHDRAWN]
    assert await withdraw(shop, ids=["twice"]) == [Outcome.WITHDRAWN]
    assert await withdraw(shop, ids=["twice", "once"]) == [Outcome.ALREADY_WITHDRAWN] * 2
    assert await shop.left() == 20


async def test_a_held_batch_loses_what_is_withdrawn_before_it_is_released(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    batch_id = await upload(shop, ["KEPT-0", "KEPT-1", "KEPT-2"], is_held=True)
    assert await withdraw(shop, "KEPT-0", "KEPT-2") == [Outcome.WITHDRAWN] * 2
    assert await stock_of(shop, batch_id) == BatchStock(3, held=1, withdrawn=2)
    await release_batch(shop.services.database, shop.publisher_id, batch_id, caller_id=1)
    assert await shop.left() == 1
    await hold_batch(shop.services.database, shop.publisher_id, batch_id, caller_id=1)
    assert await withdraw(shop, "KEPT-1") == [Outcome.WITHDRAWN]
    await release_batch(shop.services.database, shop.publisher_id, batch_id, caller_id=1)
    with pytest.raises(OutOfStock):
        await shop.buy("none")
    await withdraw_batch(shop.services.database, shop.publisher_id, batch_id, caller_id=1)
    assert await stock_of(shop, batch_id) == BatchStock(3, withdrawn=3)
    assert (await violations(database_urls.superuser)).keys() <= PLANTED


async def test_a_withdrawn_key_never_enters_again(shop: Shop) -> None:
    await upload(shop, ["GONE-FOR-GOOD", "STAYS"])
    await withdraw(shop, "GONE-FOR-GOOD")
    report = (await receive(shop, csv_of(["GONE-FOR-GOOD", "STAYS", "NEW"]))).report
    assert [row.verdict for row in await refused(shop, report.batch_id)] == [
        Verdict.WITHDRAWN,
        Verdict.DUPLICATE_IN_STOCK,
    ]


async def test_a_withdrawal_settles_the_alarm_and_tells_counts_and_ids_only(services: Services) -> None:
    shop = await Shop.opened(services, warning_level=2, alert_level=0)
    batch_id = await upload(shop, ["QUIET-1", "QUIET-2", "QUIET-3"])
    await withdraw(shop, "QUIET-1", "QUIET-9")
    (event,) = await events_of(shop, "keys.withdrawn")
    assert event.facts == {"withdrawn": 1, "batches": {str(batch_id): 1}}
    assert event.caller_id == shop.reseller.caller_id
    assert [alarm.facts["to"] for alarm in await events_of(shop, "pool.alarm_changed")][-1] == "warning"
    assert await tables_with(services.database, "QUIET-") == []
    async with services.database.transaction() as connection:
        row = await connection.fetchrow(
            "SELECT unit_id, order_id, state, disclosed_at, ended_at IS NOT NULL AS is_ended, end_reason FROM claims"
            " WHERE publisher_id = $1",
            shop.publisher_id,
        )
    assert row is not None
    assert tuple(row) == (None, None, "withdrawn", None, True, "they leaked")


async def test_what_was_withdrawn_is_neither_sold_nor_counted_whatever_the_damage_around_it(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    batch_id = await upload(shop, [f"HURT-{number}" for number in range(5)])
    connection = await asyncpg.connect(database_urls.superuser)
    await connection.execute(
        "UPDATE keys SET sealed = set_byte(sealed, 40, (get_byte(sealed, 40) + 1) % 256)"
        " WHERE publisher_id = $1 AND position = 3",
        shop.publisher_id,
    )
    await connection.close()
    await withdraw(shop, "HURT-1")
    assert texts_of(await shop.buy("around both", quantity=2)) == ["HURT-0", "HURT-3"]
    assert await stock_of(shop, batch_id) == BatchStock(5, for_sale=1, withdrawn=2, taken=2)
    assert (await violations(database_urls.superuser)).keys() <= PLANTED


async def test_a_long_row_of_withdrawn_keys_is_no_obstacle(shop: Shop, database_urls: DatabaseUrls) -> None:
    keys = [f"ROW-{number:04}" for number in range(1_500)]
    batch_id = await upload(shop, keys)
    for first in range(0, 1_400, 700):
        assert set(await withdraw(shop, *keys[first : first + 700])) == {Outcome.WITHDRAWN}
    assert await shop.left() == 100
    with pytest.raises(OutOfStock):
        await shop.buy("too many", quantity=101)
    assert texts_of(await shop.buy("behind them", quantity=100)) == keys[1_400:]
    assert await stock_of(shop, batch_id) == BatchStock(1_500, withdrawn=1_400, taken=100)
    assert (await violations(database_urls.superuser)).keys() <= PLANTED


async def test_a_pool_of_somebody_else_is_not_there(shop: Shop) -> None:
    neighbour = await Shop.opened(shop.services)
    await neighbour.load(["THEIRS"])
    for pool_id in (neighbour.pool_id, new_id()):
        with pytest.raises(NotFound):
            await withdraw(shop, "THEIRS", pool_id=pool_id)
    assert await neighbour.left() == 1


async def test_a_withdrawal_whose_commit_was_not_answered_is_told_as_done_and_done_once(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    batch_id = await upload(shop, [f"DEAF-{number}" for number in range(40)])
    async with (
        deaf_proxy(database_urls.service, lose_every=2) as (url, proxy),
        Database.opened(url, connections_max=2) as database,
    ):
        for number in range(0, 20, 2):
            outcomes = await withdraw(shop, f"DEAF-{number}", f"DEAF-{number + 1}", database=database)
            assert outcomes == [Outcome.WITHDRAWN] * 2
        assert proxy.lost >= 4
    assert await stock_of(shop, batch_id) == BatchStock(40, for_sale=20, withdrawn=20)
    assert [event.facts["withdrawn"] for event in await events_of(shop, "keys.withdrawn")] == [2] * 10
    assert (await violations(database_urls.superuser)).keys() <= PLANTED


async def test_sales_holds_and_withdrawals_at_once_give_each_key_to_one_of_them(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    keys = [f"RUSH-{number:03}" for number in range(400)]
    for first in range(0, 400, 100):
        await shop.load(keys[first : first + 100])
    chosen = Random(7).sample(keys, 160)  # noqa: S311 - it plans a run
    sold: list[str] = []
    withdrawn: set[str] = set()

    async def buy(client: int) -> None:
        for number in range(25):
            sold.extend(texts_of(await shop.buy(f"rush-{client}-{number}")))

    async def withdraw_some(some: Sequence[str]) -> None:
        for first in range(0, len(some), 5):
            names = some[first : first + 5]
            outcomes = await withdraw(shop, *names)
            assert set(outcomes) <= {Outcome.WITHDRAWN, Outcome.ISSUED}
            withdrawn.update(key for key, outcome in zip(names, outcomes, strict=True) if outcome is Outcome.WITHDRAWN)

    async def hold_and_release() -> None:
        for _ in range(15):
            await release(shop, await claim(shop, 2, state="held"))

    await asyncio.gather(
        *(buy(client) for client in range(6)),
        *(withdraw_some(chosen[client::4]) for client in range(4)),
        *(hold_and_release() for _ in range(2)),
    )
    assert len(set(sold)) == len(sold) == 150
    assert not withdrawn & set(sold)
    assert withdrawn
    left = await shop.left()
    assert left + len(sold) + len(withdrawn) == len(keys)
    rest = texts(await claim(shop, left))
    assert sorted([*rest, *sold, *withdrawn]) == keys
    assert (await violations(database_urls.superuser)).keys() <= PLANTED


async def another_pool(shop: Shop) -> UUID:
    pool_id = new_id()
    async with shop.services.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO pools (publisher_id, pool_id, name, policy, warning_level, alert_level, created_at)"
            " VALUES ($1, $2, 'another', 'fifo', 0, 0, now())",
            *(shop.publisher_id, pool_id),
        )
    return pool_id


async def test_the_auditor_finds_a_cursor_that_forgot_what_was_withdrawn(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    await shop.load(["FORGOT-1", "FORGOT-2"])
    await withdraw(shop, "FORGOT-2")
    connection = await asyncpg.connect(database_urls.superuser)
    try:
        assert (await violations(database_urls.superuser)).keys() <= PLANTED
        await connection.execute(
            "UPDATE segments SET withdrawn_ahead = 0, withdrawn_count = 2 WHERE publisher_id = $1", shop.publisher_id
        )
        found = (await violations(database_urls.superuser)).keys() - PLANTED
        assert found == {"a_segment_miscounts_what_was_withdrawn_ahead", "a_segment_miscounts_what_was_withdrawn"}
        await connection.execute(
            "UPDATE segments SET withdrawn_ahead = 1, withdrawn_count = 1 WHERE publisher_id = $1", shop.publisher_id
        )
    finally:
        await connection.close()
