"""Limits in several processes at once, in real time: never more than one burst beyond what one counter would let through."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest

from keyservice.domain.caller import CallerKind
from keyservice.domain.request_limits import RequestLimits
from keyservice.fulfillment.ids import new_id
from tests.lab.conftest import Figures
from tests.lab.service_process import ServiceProcess

LIMITS = RequestLimits(per_second=100, burst=50)


async def rush(service: ServiceProcess, *, clients: int, seconds: float) -> tuple[Counter[int], float]:
    """The statuses of all answers to clients that never pause, each on a connection of its own, and how long it took."""
    token = await service.new_caller(CallerKind.AUDITOR, f"limited {new_id()}", limits=LIMITS)
    statuses: Counter[int] = Counter()
    started = time.monotonic()

    async def client() -> None:
        async with aiohttp.ClientSession(service.base_url, headers={"Authorization": f"Bearer {token}"}) as session:
            while time.monotonic() < started + seconds:
                async with session.get("/admin/publishers?limit=1") as response:
                    statuses[response.status] += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return statuses, time.monotonic() - started


def expect_limited(statuses: Counter[int], elapsed: float) -> float:
    """How much of what one counter would let through was let through."""
    one_counter = LIMITS.at_once + 100 * elapsed
    assert statuses.keys() == {200, 429}
    assert statuses[200] <= one_counter + LIMITS.at_once
    assert statuses[200] >= one_counter / 2, "a limit is no outage"
    return statuses[200] / one_counter


async def test_two_processes_hold_one_limit(service: ServiceProcess, figures: Figures) -> None:
    statuses, elapsed = await rush(service, clients=8, seconds=2)
    figures(
        let_through=statuses[200], refused=statuses[429], of_one_counter=round(expect_limited(statuses, elapsed), 3)
    )


@pytest.fixture
async def four_processes() -> AsyncIterator[ServiceProcess]:
    async with ServiceProcess.running(processes=4) as running:
        yield running


@pytest.mark.full
async def test_four_processes_hold_one_limit(four_processes: ServiceProcess, figures: Figures) -> None:
    statuses, elapsed = await rush(four_processes, clients=32, seconds=20)
    figures(
        let_through=statuses[200], refused=statuses[429], of_one_counter=round(expect_limited(statuses, elapsed), 3)
    )
