"""Many clients at once, on a real service of two worker processes: every key once, and nobody turned away too early."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import aiohttp
import asyncpg
import pytest

from tests.lab.auditor import violations
from tests.lab.checker import EndState, check, refused_too_early
from tests.lab.conftest import Figures
from tests.lab.driver import Driver, OrderToSend, patient_session
from tests.lab.history import Attempt, Operation, Outcome
from tests.lab.key_files import fresh_keys, plain_file
from tests.lab.service_process import ServiceProcess
from tests.lab.storefront import Storefront
from tests.lab.waiting import until


@pytest.fixture
async def session(service: ServiceProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with patient_session(service.base_url) as opened:
        yield opened


@pytest.fixture
async def driver(service: ServiceProcess, session: aiohttp.ClientSession) -> Driver:
    """Clients of a publisher and a reseller of their own."""
    return Driver(session, await Storefront.opened(service, session))


async def stock(driver: Driver, rng: random.Random, count: int) -> list[str]:
    texts = fresh_keys(rng, count, prefix=driver.store.handle.upper())
    uploaded = await driver.upload(plain_file(texts))
    assert (uploaded.outcome, driver.reports[uploaded.name]["accepted"]) == (Outcome.OK, count)
    return texts


async def contradictions(service: ServiceProcess, driver: Driver) -> list[str]:
    """What the checker finds in the driver's history, and the auditor in the database."""
    urls = await service.database_urls()
    connection = await asyncpg.connect(urls.superuser)
    try:
        findings = await check(driver.history, EndState(connection, service.keyring(), numbers=driver.numbers))
    finally:
        await connection.close()
    return findings + [f"{name}: {rows} rows" for name, rows in (await violations(urls.superuser)).items()]


class Rush(NamedTuple):
    """How many orders of one key each are sent for how many keys."""

    takers: int
    keys: int
    orders: int


@pytest.mark.parametrize(
    "rush",
    [
        Rush(takers=64, keys=2_000, orders=2_200),
        pytest.param(Rush(takers=64, keys=20_000, orders=22_000), marks=[pytest.mark.full, pytest.mark.timeout(900)]),
    ],
)
async def test_the_last_key_is_sold_once_and_nobody_hears_sold_out_before_it_is(
    service: ServiceProcess, driver: Driver, rng: random.Random, figures: Figures, rush: Rush
) -> None:
    store, history = driver.store, driver.history
    texts = await stock(driver, rng, rush.keys)
    worked_before = [worker.cpu_seconds for worker in service.workers]
    orders = iter([driver.one_line(n) for n in range(rush.orders)])
    began = time.monotonic()
    await asyncio.gather(*(_take(driver, orders, client) for client in range(rush.takers)))
    seconds = time.monotonic() - began

    sold = [text for one in history.of(Operation.ORDER, Outcome.OK) for text in one.keys]
    refused = list(history.of(Operation.ORDER, Outcome.REFUSED))
    assert history.count(Operation.ORDER, Outcome.UNKNOWN) == 0
    assert sorted(sold) == sorted(texts)
    assert {one.code for one in refused} == {1044}
    assert len(refused) == rush.orders - rush.keys
    assert refused_too_early(history) == []
    assert await store.left(driver.session) == 0
    assert await contradictions(service, driver) == []
    worked = [after.cpu_seconds - before for after, before in zip(service.workers, worked_before, strict=True)]
    assert min(worked) > 0.1, "both processes served"
    figures(
        takers=rush.takers,
        orders=rush.orders,
        keys=rush.keys,
        sold=len(sold),
        refused=len(refused),
        seconds=round(seconds, 2),
        orders_per_second=round(rush.orders / seconds),
    )


async def _take(driver: Driver, orders: Iterator[OrderToSend], client: int) -> None:
    for order in orders:
        await driver.order(order, client=client)


@pytest.mark.parametrize(
    ("orders", "times"), [(60, 10), pytest.param(500, 10, marks=[pytest.mark.full, pytest.mark.timeout(900)])]
)
async def test_an_order_sent_many_times_at_once_is_one_order_with_one_answer(
    service: ServiceProcess, driver: Driver, rng: random.Random, figures: Figures, orders: int, times: int
) -> None:
    store, history = driver.store, driver.history
    texts = await stock(driver, rng, 2 * orders + 5)
    copies = [driver.one_line(n, quantity=1 + n % 3) for n in range(orders)] * times
    rng.shuffle(copies)
    await asyncio.gather(*(_take(driver, iter(copies[client::64]), client) for client in range(64)))

    answers: dict[str, set[bytes]] = {}
    for one in history.of(Operation.ORDER, Outcome.OK):
        answers.setdefault(one.name, set()).add(one.digest)
    assert history.count(Operation.ORDER, Outcome.OK) == orders * times
    assert len(answers) == orders
    assert {len(digests) for digests in answers.values()} == {1}
    units = sum(1 + n % 3 for n in range(orders))
    assert await store.left(driver.session) == len(texts) - units
    assert await contradictions(service, driver) == []
    figures(orders=orders, times=times, answers=orders * times, different_answers=0)


@pytest.mark.parametrize("orders", [40, pytest.param(1_000, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
async def test_an_order_and_two_cancellations_that_race_end_in_one_state(
    service: ServiceProcess, driver: Driver, rng: random.Random, figures: Figures, orders: int
) -> None:
    history = driver.history
    await stock(driver, rng, orders)
    waiting = iter([(driver.one_line(n), n % 2 == 1) for n in range(orders)])

    async def race() -> None:
        for order, insists in waiting:
            canceling = (_cancel(driver, order.number, insists=insists) for _ in range(2))
            made, again, codes = await asyncio.gather(
                driver.order(order), driver.order(order), asyncio.gather(*canceling)
            )
            assert {made.outcome, again.outcome} == {Outcome.OK}
            # Both may come before the order; of two that come after it the first one wins.
            assert sorted(codes) in ([[0, 1011]] if insists else [[0, 1010], [0, 1011], [1010, 1010]])
            found = await driver.read(order.number)
            assert (found.keys == ()) == (0 in codes)

    await asyncio.gather(*(race() for _ in range(20)))
    assert await contradictions(service, driver) == []
    figures(orders=orders, canceled=sum(one.code == 0 for one in history.of(Operation.CANCEL, Outcome.OK)))


async def _cancel(driver: Driver, number: str, *, insists: bool) -> int:
    """The answer's code; who insists asks again while there is no such order yet."""

    async def ask() -> Attempt | None:
        attempt = await driver.cancel(number)
        return None if insists and attempt.code == 1010 else attempt

    return (await until(ask, seconds=30, what=f"{number} can be cancelled")).code


@pytest.mark.parametrize("orders", [30, pytest.param(1_000, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
async def test_an_order_over_three_publishers_of_whom_one_has_nothing_left_is_refused_whole(
    service: ServiceProcess,
    session: aiohttp.ClientSession,
    driver: Driver,
    rng: random.Random,
    figures: Figures,
    orders: int,
) -> None:
    second, empty = [Driver(session, await Storefront.opened(service, session)) for _ in range(2)]
    await stock(driver, rng, orders)
    await stock(second, rng, orders + 1)
    both = [(one.store.product_ref, 1) for one in (driver, second)]
    whole = [OrderToSend.of(f"{driver.numbers}whole.{n}", *both) for n in range(orders)]
    short = [OrderToSend.of(f"{driver.numbers}short.{n}", *both, (empty.store.product_ref, 1)) for n in range(orders)]
    mixed = iter([order for pair in zip(whole, short, strict=True) for order in pair])
    await asyncio.gather(*(_take(driver, mixed, client) for client in range(64)))

    outcomes = {one.name: (one.outcome, one.code) for one in driver.history.of(Operation.ORDER)}
    assert {outcomes[order.number] for order in whole} == {(Outcome.OK, 0)}
    assert {outcomes[order.number] for order in short} == {(Outcome.REFUSED, 1044)}
    assert [await one.store.left(session) for one in (driver, second, empty)] == [0, 1, 0]
    assert await contradictions(service, driver) == []
    figures(accepted=orders, refused_whole=orders)


@pytest.mark.parametrize("keys", [4_000, pytest.param(40_000, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
async def test_a_key_that_comes_in_several_files_at_once_enters_once(
    service: ServiceProcess, driver: Driver, rng: random.Random, figures: Figures, keys: int
) -> None:
    texts = fresh_keys(rng, keys, prefix=f"{driver.store.handle}-files")
    files = [plain_file(rng.sample(texts, k=keys)) for _ in range(3)]
    sent = [*files, files[0]]
    began = time.monotonic()
    uploads = await asyncio.gather(*(driver.upload_until_known(file) for file in sent))
    seconds = time.monotonic() - began
    assert {one.outcome for one in uploads} == {Outcome.OK}
    counts = sum((Counter(driver.reports[file.upload_id]["verdicts"]) for file in files), Counter[str]())
    assert counts["accepted"] == keys
    assert counts["duplicate_in_stock"] + counts["in_unfinished_upload"] == 2 * keys
    assert await driver.store.left(driver.session) == keys
    assert await contradictions(service, driver) == []
    figures(files=len(sent), rows=keys * len(files), accepted=keys, seconds=round(seconds, 2))


@pytest.mark.parametrize("keys", [1_200, pytest.param(20_000, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
async def test_a_key_is_sold_or_withdrawn_and_never_sold_after_it_was_withdrawn(
    service: ServiceProcess, driver: Driver, rng: random.Random, figures: Figures, keys: int
) -> None:
    """Half as many orders as there are keys, while a third of the keys is withdrawn by their texts, all on one pool."""
    store, session = driver.store, driver.session
    texts = await stock(driver, rng, keys)
    orders = iter([driver.one_line(n) for n in range(keys // 2)])
    leaked = rng.sample(texts, k=keys // 3)
    slices = iter([leaked[first : first + 20] for first in range(0, len(leaked), 20)])
    withdrawn: set[str] = set()

    async def withdraw_slices() -> None:
        for some in slices:
            outcomes = await store.withdraw(session, some)
            assert set(outcomes) <= {"withdrawn", "issued"}
            withdrawn.update(key for key, told in zip(some, outcomes, strict=True) if told == "withdrawn")

    await asyncio.gather(
        *(_take(driver, orders, client) for client in range(48)), *(withdraw_slices() for _ in range(16))
    )
    sold = [text for one in driver.history.of(Operation.ORDER, Outcome.OK) for text in one.keys]
    assert len(sold) == keys // 2
    assert not set(sold) & withdrawn
    left = await store.left(session)
    assert left == keys - len(sold) - len(withdrawn)
    rest = await driver.order(driver.one_line("the rest", quantity=left))
    assert sorted([*rest.keys, *sold, *withdrawn]) == sorted(texts)
    assert await store.left(session) == 0
    assert await contradictions(service, driver) == []
    figures(keys=keys, sold=len(sold), withdrawn=len(withdrawn), left=left)
