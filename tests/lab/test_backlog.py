"""A backlog of paid units and one released batch: served in order of payment, while new orders go on as if nothing happened."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, NamedTuple

import aiohttp
import asyncpg
import pytest

from tests.lab.auditor import violations
from tests.lab.conftest import Figures
from tests.lab.driver import Driver, patient_session
from tests.lab.history import Outcome
from tests.lab.key_files import fresh_keys, plain_file
from tests.lab.platform import PlatformClient
from tests.lab.service_process import ServiceProcess

SERVED_SECONDS: Final = 300.0
_WAITERS: Final = 32


class Run(NamedTuple):
    """Claims of so many units each that wait; new orders a second, and for how long they are measured on their own."""

    claims: int
    units: int
    orders_per_second: int
    quiet_seconds: float

    @property
    def backlog(self) -> int:
        return self.claims * self.units


@pytest.fixture
async def session(service: ServiceProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with patient_session(service.base_url, connections=200) as opened:
        yield opened


@pytest.mark.parametrize(
    "run",
    [
        Run(claims=60, units=5, orders_per_second=20, quiet_seconds=1.0),
        pytest.param(
            Run(claims=2_000, units=5, orders_per_second=40, quiet_seconds=15.0),
            marks=[pytest.mark.full, pytest.mark.timeout(1_800)],
        ),
    ],
)
async def test_one_released_batch_serves_the_backlog_in_order_of_payment_beside_new_orders(
    service: ServiceProcess, session: aiohttp.ClientSession, rng: random.Random, figures: Figures, run: Run
) -> None:
    platform = await PlatformClient.opened(service, session)
    driver = Driver(session, platform.store)
    buyers = Buyers(driver, run.orders_per_second)

    first = await uploaded(driver, rng, int(run.orders_per_second * run.quiet_seconds) + 100)
    deadline = time.monotonic() + run.quiet_seconds
    quiet = await buyers.until(_after(deadline))
    await platform.store.post(session, f"batches/{first}/withdraw")

    await wait_in_line(platform, rng, run)
    assert await waiting(service, platform) == run.backlog
    spare = int(run.orders_per_second * SERVED_SECONDS)
    second = await uploaded(driver, rng, run.backlog + spare, is_held=True)
    began = time.monotonic()
    await platform.store.post(session, f"batches/{second}/release")
    busy = await buyers.until(lambda: _is_served(service, platform, began))
    seconds = time.monotonic() - began

    places = await served_in_turn(service, platform)
    assert len(places) == run.backlog
    assert places == sorted(places), "somebody who paid later was served earlier"
    assert await violations((await service.database_urls()).superuser) == {}
    figures(
        backlog=run.backlog,
        seconds=round(seconds, 1),
        units_per_second=round(run.backlog / seconds),
        new_orders_quiet=len(quiet),
        new_orders_meanwhile=len(busy),
        p50_ms={"quiet": _ms(quiet, 0.5), "meanwhile": _ms(busy, 0.5)},
        p99_ms={"quiet": _ms(quiet, 0.99), "meanwhile": _ms(busy, 0.99)},
        p99_ratio=round(_at(busy, 0.99) / _at(quiet, 0.99), 2),
        refused=0,
    )


class Buyers:
    """New orders of one key each, sent at a steady pace whatever the answers take. Each must be served."""

    def __init__(self, driver: Driver, per_second: int) -> None:
        self._driver = driver
        self._pause = 1 / per_second
        self._numbers = count(1)

    async def until(self, is_over: Callable[[], Awaitable[bool]]) -> list[float]:
        """The seconds from the moment each order was due to its answer."""
        loop = asyncio.get_running_loop()
        orders: list[asyncio.Task[float]] = []
        due = loop.time()
        over = asyncio.create_task(_watched(is_over))
        while not over.done():
            orders.append(asyncio.create_task(self._buy(due)))
            due += self._pause
            await asyncio.sleep(max(due - loop.time(), 0))
        await over
        return list(await asyncio.gather(*orders))

    async def _buy(self, due: float) -> float:
        bought = await self._driver.order(self._driver.one_line(f"new-{next(self._numbers)}"))
        assert bought.outcome is Outcome.OK, bought
        return asyncio.get_running_loop().time() - due


async def _watched(is_over: Callable[[], Awaitable[bool]]) -> None:
    while not await is_over():
        await asyncio.sleep(0.05)


def _after(deadline: float) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return time.monotonic() > deadline

    return ask


async def uploaded(driver: Driver, rng: random.Random, keys: int, *, is_held: bool = False) -> str:
    """The id of a new batch of so many keys."""
    file = plain_file(fresh_keys(rng, keys, prefix=f"B{rng.getrandbits(24):X}"))
    sent = await driver.upload(replace(file, query={**file.query, "hold": "true"}) if is_held else file)
    assert (sent.outcome, driver.reports[sent.name]["accepted"]) == (Outcome.OK, keys)
    return str(driver.reports[sent.name]["batch_id"])


async def wait_in_line(platform: PlatformClient, rng: random.Random, run: Run) -> None:
    """Claims that are sent in another order than they were paid in."""
    now = datetime.now(UTC)
    numbers = iter(range(run.claims))

    async def send() -> None:
        for number in numbers:
            paid_at = (now - timedelta(seconds=rng.randrange(1_000_000))).isoformat()
            told = await platform.claim(f"wait-{number}", run.units, wait=True, paid_at=paid_at)
            assert told.states == ["pending"] * run.units, told

    await asyncio.gather(*(send() for _ in range(_WAITERS)))


async def waiting(service: ServiceProcess, platform: PlatformClient) -> int:
    connection = await asyncpg.connect((await service.database_urls()).superuser)
    try:
        return int(
            await connection.fetchval("SELECT backordered FROM pools WHERE pool_id = $1::uuid", platform.store.pool_id)
        )
    finally:
        await connection.close()


async def _is_served(service: ServiceProcess, platform: PlatformClient, began: float) -> bool:
    assert time.monotonic() - began < SERVED_SECONDS, "the backlog is not served in time"
    return await waiting(service, platform) == 0


async def served_in_turn(service: ServiceProcess, platform: PlatformClient) -> list[tuple[int, int]]:
    """Where on the tape the keys of those who waited lie, by who had paid first."""
    connection = await asyncpg.connect((await service.database_urls()).superuser)
    try:
        rows = await connection.fetch(
            "SELECT c.segment_id, c.position FROM claims c"
            "  JOIN orders o ON o.order_id = c.order_id AND o.kind = 'lean'"
            "  JOIN line_item_data d ON d.order_id = c.order_id AND d.line_item_data_id = c.unit_id"
            "  JOIN segments s ON s.publisher_id = c.publisher_id AND s.segment_id = c.segment_id"
            " WHERE s.pool_id = $1::uuid ORDER BY o.paid_at, o.order_number, d.line_number, d.unit_number",
            platform.store.pool_id,
        )
    finally:
        await connection.close()
    return [(row["segment_id"], row["position"]) for row in rows]


def _at(latencies: list[float], share: float) -> float:
    return sorted(latencies)[math.ceil(share * len(latencies)) - 1]


def _ms(latencies: list[float], share: float) -> float:
    return round(1_000 * _at(latencies, share), 1)
