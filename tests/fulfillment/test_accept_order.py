import asyncio

import pytest

from keyservice.domain.errors import NotFound, OutOfStock, ReferenceReused
from keyservice.domain.purchase import UnitState
from keyservice.fulfillment.cancel_order import AlreadyCanceled, cancel_order
from tests.lab.shop import Shop, texts_of


async def test_an_order_is_answered_with_its_keys_in_the_order_of_the_tape(shop: Shop) -> None:
    await shop.load(["KEY-A", "KEY-B", "KEY-C"])
    purchase = await shop.buy("one", quantity=2)
    assert texts_of(purchase) == ["KEY-A", "KEY-B"]
    assert await shop.left() == 1


async def test_the_same_order_again_gives_the_same_answer_and_takes_nothing(shop: Shop) -> None:
    await shop.load(["KEY-D", "KEY-E"])
    first = await shop.buy("again")
    second = await shop.buy("again")
    assert texts_of(first) == texts_of(second) == ["KEY-D"]
    assert (first.order_number, first.created_at) == (second.order_number, second.created_at)
    assert await shop.left() == 1


async def test_the_same_number_with_another_body_is_refused_and_changes_nothing(shop: Shop) -> None:
    await shop.load(["KEY-F", "KEY-G", "KEY-H"])
    await shop.buy("reused")
    with pytest.raises(ReferenceReused):
        await shop.buy("reused", quantity=2)
    assert await shop.left() == 2


async def test_a_short_order_is_refused_whole_and_stores_nothing(shop: Shop) -> None:
    await shop.load(["KEY-I", "KEY-J"])
    with pytest.raises(OutOfStock) as refusal:
        await shop.buy("short", quantity=3)
    assert (refusal.value.wanted, refusal.value.left) == (3, 2)
    assert await shop.left() == 2
    # The refused number may be sent again, even with another body.
    assert texts_of(await shop.buy("short", quantity=2)) == ["KEY-I", "KEY-J"]


async def test_parallel_copies_of_an_order_are_one_order(shop: Shop) -> None:
    await shop.load([f"PAR-{number}" for number in range(40)])
    answers = await asyncio.gather(*(shop.buy(f"parallel-{number % 10}") for number in range(100)))
    by_number: dict[str, set[tuple[object, ...]]] = {}
    for answer in answers:
        by_number.setdefault(answer.partner_order_number, set()).add((answer.order_number, *texts_of(answer)))
    assert {len(different) for different in by_number.values()} == {1}
    assert await shop.left() == 30


async def test_more_takers_than_keys_get_every_key_exactly_once(shop: Shop) -> None:
    keys = [f"RUSH-{number:04}" for number in range(300)]
    await shop.load(keys)
    answers = await asyncio.gather(*(shop.buy(f"rush-{number}") for number in range(330)), return_exceptions=True)
    issued = [text for answer in answers if not isinstance(answer, BaseException) for text in texts_of(answer)]
    assert sorted(issued) == keys
    assert sum(isinstance(answer, OutOfStock) for answer in answers) == 30


async def test_cancelling_kills_the_keys_for_good(shop: Shop) -> None:
    await shop.load(["DEAD-1", "DEAD-2"])
    bought = await shop.buy("cancelled")
    await cancel_order(
        shop.services.database,
        shop.services.shopper_keys,
        shop.reseller,
        bought.order_id,
        reason=2,
        comment="a comment",
    )
    purchase, _ = await shop.services.purchases.read(bought.order_id, shop.reseller, source="test", reveal=True)
    assert purchase.lines[0].units[0].state is UnitState.REVOKED
    assert purchase.lines[0].units[0].key is None
    assert await shop.left() == 1
    assert texts_of(await shop.buy("after")) == ["DEAD-2"]
    with pytest.raises(AlreadyCanceled):
        await cancel_order(
            shop.services.database, shop.services.shopper_keys, shop.reseller, bought.order_id, reason=2, comment=None
        )


async def test_a_reseller_sees_nothing_of_another_resellers_order(shop: Shop) -> None:
    await shop.load(["MINE-1"])
    bought = await shop.buy("mine")
    other = await Shop.opened(shop.services)
    with pytest.raises(NotFound):
        await other.services.purchases.read(bought.order_id, other.reseller, source="test", reveal=True)
    with pytest.raises(NotFound):
        await cancel_order(
            shop.services.database, shop.services.shopper_keys, other.reseller, bought.order_id, reason=2, comment=None
        )


async def test_a_replay_in_a_group_never_makes_a_fresh_order_short(shop: Shop) -> None:
    await shop.load(["MIX-1", "MIX-2"])
    await shop.buy("mix-old")
    # In one group the replay comes first and draws the last key, which it does not need.
    old, fresh = await asyncio.gather(shop.buy("mix-old"), shop.buy("mix-new"))
    assert (texts_of(old), texts_of(fresh)) == (["MIX-1"], ["MIX-2"])
    assert await shop.left() == 0


async def test_a_replay_is_answered_when_the_pool_is_empty(shop: Shop) -> None:
    await shop.load(["GONE-1"])
    first = await shop.buy("sold out since")
    with pytest.raises(OutOfStock):
        await shop.buy("too late")
    assert texts_of(await shop.buy("sold out since")) == texts_of(first)


async def test_what_replays_drew_is_sold_next(shop: Shop) -> None:
    await shop.load([f"DREW-{number}" for number in range(6)])
    for number in range(2):
        await shop.buy(f"drew-{number}")
    answers = await asyncio.gather(*(shop.buy(f"drew-{number}") for number in range(4)))
    rest = [await shop.buy(f"drew-{number}") for number in range(4, 6)]
    assert sorted(text for answer in [*answers, *rest] for text in texts_of(answer)) == [f"DREW-{n}" for n in range(6)]
