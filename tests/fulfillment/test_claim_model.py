"""Claims, holds, queues, revocations and batches in any order, against a model that knows nothing of a tape."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from keyservice.crypto.keyring import Keyring
from keyservice.domain.claim import HoldEnded, HoldExpired, NotIssued
from keyservice.domain.errors import Conflict, OutOfStock
from keyservice.domain.purchase import Purchase
from keyservice.domain.withdrawal import Withdrawal
from keyservice.fulfillment.hold_keys import expire_holds
from keyservice.fulfillment.manage_batches import hold_batch, release_batch, withdraw_batch
from keyservice.fulfillment.manage_pools import PoolChange, change_pool, read_pool
from keyservice.fulfillment.withdraw_keys import withdraw_keys
from keyservice.services import Services, open_services
from keyservice.settings import Settings
from tests.fulfillment.claim_model import Batch, Key, Model, Order, Unit
from tests.fulfillment.deaf_proxy import deaf_proxy
from tests.fulfillment.pipeline import Pipeline, states_of, units_of
from tests.fulfillment.uploads import announced, csv_of, receive
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of

T = TypeVar("T")

PLANS: Final = ((0, 1), (1,))
ORDERS_MAX: Final = 12
quantities = st.integers(1, 4)
lines = st.lists(st.tuples(st.sampled_from((0, 1)), quantities), min_size=1, max_size=2).map(tuple)
anything = st.integers(0, 1_000)


class Claims(RuleBasedStateMachine):
    """One pipeline, two pools, a product that is served from both and one that is served from the second."""

    runner: ClassVar[asyncio.Runner]
    ground: ClassVar[Services]
    """For the tests' own steps."""

    services: ClassVar[Services]
    superuser_url: ClassVar[str]
    hears_commits: ClassVar[bool]
    _texts: ClassVar[Iterator[int]] = count(1)

    pipeline: Pipeline
    prompter: Pipeline
    pools: tuple[UUID, UUID]
    products: tuple[int, int]

    @initialize()
    def open(self) -> None:
        self.model = Model(PLANS)
        self.began = datetime.now(UTC)
        self.batch_ids: dict[Batch, UUID] = {}
        self.owner_of: dict[str, UUID] = {}
        self.run(self._open())

    async def _open(self) -> None:
        shop = await Shop.opened(self.ground)
        self.prompter = await Pipeline.opened(shop)
        self.pipeline = replace(self.prompter, shop=replace(shop, services=self.services))
        self.pools = (shop.pool_id, await shop.second_pool())
        assert self.pools[0] < self.pools[1]
        self.products = (shop.product_ref, await shop.another_product(self.pools[1]))
        # What earlier runs left over is done with, so that only this one's holds and queues are counted.
        await expire_holds(self.services.database)
        await self.pipeline.serve_waiting()

    # ------------------------------------------------------------------------------------------------ stock
    @rule(pool=st.sampled_from((0, 1)), size=st.integers(1, 5), is_held=st.booleans())
    def upload(self, pool: int, size: int, is_held: bool) -> None:
        batch = Batch(
            pool, [Key(f"MODEL-{next(self._texts):07}") for _ in range(size)], "held" if is_held else "released"
        )
        upload = replace(announced(self.pipeline.shop), pool_id=self.pools[pool], is_held=is_held)
        sent = receive(self.prompter.shop, csv_of([key.text for key in batch.keys]), upload)
        if pool in self.model.closed:
            with pytest.raises(Conflict):
                self.run(sent)
        else:
            self.batch_ids[batch] = self.run(sent).report.batch_id
            self.model.batches.append(batch)

    @precondition(lambda self: any(batch.state != "withdrawn" for batch in self.model.batches))
    @rule(which=anything, verb=st.sampled_from((release_batch, hold_batch, withdraw_batch)))
    def change_batch(self, which: int, verb: Callable[..., Awaitable[object]]) -> None:
        batch = chosen([one for one in self.model.batches if one.state != "withdrawn"], which)
        self.run(verb(self.services.database, self.publisher_id, self.batch_ids[batch], caller_id=1))
        batch.state = {release_batch: "released", hold_batch: "held", withdraw_batch: "withdrawn"}[verb]  # type: ignore[index]

    @precondition(lambda self: bool(self.model.batches))
    @rule(which=anything)
    def withdraw_one(self, which: int) -> None:
        batch = chosen(self.model.batches, which)
        key = chosen(batch.keys, which)
        asked = Withdrawal([key.text], [], "leaked")
        (told,) = self.run(
            withdraw_keys(
                *(self.services.database, self.services.fingerprints, self.publisher_id, self.pools[batch.pool], asked),
                caller_id=1,
            )
        )
        gone = key.state == "withdrawn" or batch.state == "withdrawn"
        unsold = "already_withdrawn" if gone else "withdrawn"
        assert told.outcome == {"held": "issued", "issued": "issued", "dead": "revoked"}.get(key.state, unsold)
        if told.outcome == "withdrawn":
            key.state = "withdrawn"

    @rule(pool=st.sampled_from((0, 1)))
    def open_or_close(self, pool: int) -> None:
        self.model.closed ^= {pool}
        change = PoolChange(is_open=pool not in self.model.closed)
        self.run(change_pool(self.services.database, self.publisher_id, self.pools[pool], change, caller_id=1))

    # ------------------------------------------------------------------------------------------------ claims
    @precondition(lambda self: len(self.model.orders) < ORDERS_MAX)
    @rule(lines=lines, kind=st.sampled_from(("now", "hold", "wait")), paid_hours_ago=st.integers(0, 3))
    def claim(self, lines: tuple[tuple[int, int], ...], kind: str, paid_hours_ago: int) -> None:
        reference = f"claim-{len(self.model.orders)}"
        order = Order(lines, [], kind == "hold", kind == "wait", paid_hours_ago)
        if self.model.place(reference, order):
            self.answered(order, self.run(self.asked(reference, order)))
        else:
            with pytest.raises(OutOfStock):
                self.run(self.asked(reference, order))

    @precondition(lambda self: bool(self.model.orders))
    @rule(which=anything)
    def claim_again(self, which: int) -> None:
        reference, order = self.order(which)
        self.answered(order, self.run(self.asked(reference, order)))

    @precondition(lambda self: bool(self.model.orders))
    @rule(which=anything)
    def read(self, which: int) -> None:
        reference, order = self.order(which)
        self.answered(order, self.run(self.pipeline.read(reference)))

    # ------------------------------------------------------------------------------------------------ holds
    @precondition(lambda self: bool(self.model.orders))
    @rule(which=anything)
    def extend(self, which: int) -> None:
        reference, order = self.order(which)
        self.changed(order, self.pipeline.extend(reference, 3_600), refusal=hold_refusal(order))

    @precondition(lambda self: bool(self.model.orders))
    @rule(which=anything)
    def commit(self, which: int) -> None:
        reference, order = self.order(which)
        is_sold = not order.is_held and "issued" in order.states
        refusal = None if is_sold else hold_refusal(order)
        if refusal is None:
            self.model.commit(order)
        self.changed(order, self.pipeline.commit(reference), refusal=refusal)

    @precondition(lambda self: bool(self.model.orders))
    @rule(which=anything)
    def release(self, which: int) -> None:
        reference, order = self.order(which)
        was_released = all(unit.state == "released" and unit.key is not None for unit in order.units)
        refusal = None if order.is_held or was_released else HoldEnded
        self.model.end(unit for unit in order.units if unit.state == "held")
        self.changed(order, self.pipeline.release(reference), refusal=refusal)

    @precondition(lambda self: any(order.is_held for order in self.model.orders.values()))
    @rule(which=anything)
    def let_expire(self, which: int) -> None:
        reference, order = chosen([one for one in self.model.orders.items() if one[1].is_held], which)
        self.run(self.prompter.let_expire(reference))
        order.is_late = True

    @rule()
    def expire(self) -> None:
        expired = self.run(expire_holds(self.services.database))
        expected = self.model.expire()
        assert expired == expected or not self.hears_commits

    # ------------------------------------------------------------------------------------------------ ends
    @precondition(lambda self: bool(self.model.orders))
    @rule(which=anything, chosen_units=st.none() | st.sets(st.integers(0, 7), min_size=1, max_size=4))
    def revoke(self, which: int, chosen_units: set[int] | None) -> None:
        reference, order = self.order(which)
        stored = units_of(self.run(self.looked_at(reference)))
        numbers = range(len(order.units)) if chosen_units is None else {one % len(order.units) for one in chosen_units}
        unit_ids = None if chosen_units is None else [stored[number].unit_id for number in numbers]
        self.model.end([order.units[number] for number in numbers])
        self.changed(order, self.pipeline.revoke(reference, unit_ids))

    @precondition(lambda self: any(has_key(unit) for order in self.model.orders.values() for unit in order.units))
    @rule(which=anything, number=anything)
    def replace(self, which: int, number: int) -> None:
        reference, order = chosen([one for one in self.model.orders.items() if any(map(has_key, one[1].units))], which)
        unit = chosen([one for one in order.units if has_key(one)], number)
        shown = units_of(self.run(self.looked_at(reference)))[order.units.index(unit)]
        refusal: type[Exception] | None = NotIssued
        if unit.state == "issued":
            refusal = None if self.model.replace(unit) else OutOfStock
        self.changed(order, self.pipeline.replace(reference, shown), refusal=refusal)
        if refusal is None:
            self.changed(order, self.pipeline.replace(reference, shown))

    @rule()
    def serve(self) -> None:
        served = self.run(self.pipeline.serve_waiting())
        expected = self.model.serve()
        assert served == expected or not self.hears_commits

    # ------------------------------------------------------------------------------------------------ what must hold
    @invariant()
    def agrees(self) -> None:
        self.run(self._agree())
        assert self.owner_of.keys() == self.model.seen

    async def _agree(self) -> None:
        for number, pool_id in enumerate(self.pools):
            view = await read_pool(self.services.database, self.publisher_id, pool_id)
            expected = (len(self.model.stock(number)), len(self.model.waiting(number)))
            assert (view.left, view.backordered) == expected
        for reference, order in self.model.orders.items():
            stored = await self.looked_at(reference)
            assert (states_of(stored), stored.status, texts_of(stored)) == (order.states, order.status, order.texts)
            assert (stored.held_until is not None) is order.is_held

    def teardown(self) -> None:
        if hasattr(self, "pipeline"):
            assert self.run(violations(self.superuser_url)) == {}

    # ------------------------------------------------------------------------------------------------ asking
    @property
    def publisher_id(self) -> int:
        return self.pipeline.shop.publisher_id

    def run(self, work: Awaitable[T]) -> T:
        async def to_the_end() -> T:
            return await work

        return self.runner.run(to_the_end())

    def order(self, which: int) -> tuple[str, Order]:
        found: tuple[str, Order] = chosen(list(self.model.orders.items()), which)
        return found

    async def asked(self, reference: str, order: Order) -> Purchase:
        paid_at = self.began - timedelta(hours=order.paid_hours_ago) if order.paid_hours_ago else None
        return await self.pipeline.claim(
            reference,
            lines=[(self.products[product], quantity) for product, quantity in order.lines],
            hold_seconds=3_600 if order.is_hold else None,
            may_wait=order.may_wait,
            paid_at=paid_at,
        )

    async def looked_at(self, reference: str) -> Purchase:
        """As it is stored, without anything being shown."""
        pipeline = self.pipeline
        purchases, order_id = self.services.purchases, pipeline.order_id(reference)
        return (await purchases.read(order_id, pipeline.caller, source="test", reveal=False))[0]

    def changed(self, order: Order, verb: Awaitable[Purchase], *, refusal: type[Exception] | None = None) -> None:
        if refusal is None:
            self.answered(order, self.run(verb))
        else:
            with pytest.raises(refusal):
                self.run(verb)

    def answered(self, order: Order, purchase: Purchase) -> None:
        """Whatever an answer shows has been seen by this one unit for ever."""
        assert (states_of(purchase), texts_of(purchase)) == (order.states, order.texts)
        order.see()
        for unit in units_of(purchase):
            if unit.key is not None:
                assert self.owner_of.setdefault(unit.key.reveal(), unit.unit_id) == unit.unit_id, "sold twice"


def chosen(some: Any, which: int) -> Any:
    return some[which % len(some)]


def has_key(unit: Unit) -> bool:
    return unit.key is not None


def hold_refusal(order: Order) -> type[Exception] | None:
    if not order.is_held:
        return HoldEnded
    return HoldExpired if order.is_late else None


def tried(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if phase is not Phase.explain],
        print_blob=True,
    )


LENGTHS: Final = [
    pytest.param(tried(12, 25), id="some"),
    pytest.param(tried(300, 50), id="many", marks=[pytest.mark.full, pytest.mark.timeout(3_600)]),
]


@pytest.mark.parametrize("lose_every", [None, 5])
@pytest.mark.parametrize("length", LENGTHS)
def test_claims_agree_with_their_model_whatever_is_done_in_whatever_order(
    database_urls: DatabaseUrls, keyring: Keyring, settings: Settings, length: settings, lose_every: int | None
) -> None:
    """Also where every fifth COMMIT is not heard of, and every verb that is repeated must recognise what it has done."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            members = runner.run(_opened(stack, database_urls, keyring, settings, lose_every))
            run_state_machine_as_test(type("ClaimsHere", (Claims,), members | {"runner": runner}), settings=length)
            assert lose_every is None or members["proxy"].lost > 0
        finally:
            runner.run(stack.aclose())


async def _opened(
    stack: AsyncExitStack, urls: DatabaseUrls, keyring: Keyring, settings: Settings, lose_every: int | None
) -> dict[str, Any]:
    ground = await stack.enter_async_context(open_services(settings, database_url=urls.service, keyring=keyring))
    services, proxy = ground, None
    if lose_every is not None:
        url, proxy = await stack.enter_async_context(deaf_proxy(urls.service, lose_every=lose_every))
        services = await stack.enter_async_context(open_services(settings, database_url=url, keyring=keyring))
    return {
        "ground": ground,
        "services": services,
        "proxy": proxy,
        "superuser_url": urls.superuser,
        "hears_commits": lose_every is None,
    }
