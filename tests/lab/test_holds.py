"""Holds under kill -9 and a clock that jumps: each ends committed or back in stock, and exactly once."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
import pytest

from tests.lab.auditor import violations
from tests.lab.conftest import Figures, own_postgres
from tests.lab.driver import Driver, patient_session
from tests.lab.history import Outcome
from tests.lab.key_files import fresh_keys, plain_file
from tests.lab.platform import PlatformClient
from tests.lab.service_process import ServiceProcess
from tests.lab.waiting import until

pytestmark = own_postgres

CLIENTS = 16
READY_SECONDS = 60.0


class Run(NamedTuple):
    """So many holds on so many keys; a kill and a jump every so often, in seconds."""

    holds: int
    keys: int
    kill_seconds: float


@dataclass(slots=True)
class Fates:
    """What the clients were told. A hold of a client that walked away ends by its deadline."""

    shown: dict[str, str] = field(default_factory=dict)
    """By key, the reference that it was shown under."""

    released: int = 0
    expired: int = 0
    sold_out: int = 0
    left_alone: int = 0

    def show(self, reference: str, keys: list[str]) -> None:
        for key in keys:
            assert self.shown.setdefault(key, reference) == reference, f"sold twice: {reference}"


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[ServiceProcess]:
    async with ServiceProcess.running(processes=2, watch_seconds=0.05, stop_seconds=5) as running:
        yield running


@pytest.mark.parametrize(
    "run",
    [
        Run(holds=400, keys=150, kill_seconds=0.7),
        pytest.param(Run(10_000, 10_000, kill_seconds=2.0), marks=[pytest.mark.full, pytest.mark.timeout(3_600)]),
    ],
)
async def test_each_hold_ends_committed_or_back_in_stock_exactly_once(
    service: ServiceProcess, rng: random.Random, seed: int, figures: Figures, run: Run
) -> None:
    async with patient_session(service.base_url, seconds=20) as session:
        platform = await PlatformClient.opened(service, session)
        driver = Driver(session, platform.store)
        texts = fresh_keys(rng, run.keys, prefix=f"HOLD{run.holds}")
        assert (await driver.upload_until_known(plain_file(texts))).outcome is Outcome.OK
        fates, references = Fates(), iter([f"{run.holds}-{number}" for number in range(run.holds)])
        async with trouble(service, rng, run) as troubles:
            seeds = [rng.getrandbits(32) for _ in range(CLIENTS)]
            await asyncio.gather(*(client_of(platform, references, one, fates) for one in seeds))
        await service.wait_ready(seconds=READY_SECONDS)
        # Further than all jumps back together.
        await jump(service, hours=24 * 366)
        await until(lambda: _nothing_held(service), seconds=READY_SECONDS, what="every hold has ended")
        ended = await ends(service, f"{run.holds}-%")
        for reference, status in ended.items():
            told = await platform.read(reference)
            assert told.body["status"] == status
            fates.show(reference, told.keys)
            assert bool(told.keys) is (status == "COMPLETED")
        assert set(ended.values()) <= {"COMPLETED", "ABORTED"}
        assert len(ended) + fates.sold_out == run.holds
        assert fates.shown.keys() <= set(texts)
        assert await platform.store.left(session) == run.keys - len(fates.shown)
    assert await violations((await service.database_urls()).superuser) == {}
    assert service.tracebacks() == 0
    counts = Counter(ended.values())
    figures(
        seed=seed,
        holds=run.holds,
        keys=run.keys,
        committed=counts["COMPLETED"],
        back_in_stock=counts["ABORTED"],
        told_released=fates.released,
        told_expired=fates.expired,
        left_alone=fates.left_alone,
        sold_out=fates.sold_out,
        troubles=troubles,
        sold_twice=0,
        lost=0,
    )


async def client_of(platform: PlatformClient, references: Iterator[str], seed: int, fates: Fates) -> None:
    """Hold, then pay, think better of it, take longer, or walk away."""
    rng = random.Random(seed)  # noqa: S311 - decides what this client does
    for reference in references:
        told = await platform.claim(reference, hold_seconds=rng.choice((1, 2, 3_600)))
        if told.kind == "out-of-stock":
            fates.sold_out += 1
            await asyncio.sleep(0)
            continue
        assert told.status == 201, told
        if rng.random() < 0.2:
            await platform.change(reference, "extend", seconds=rng.choice((1, 60)))
        match rng.choices(("commit", "release", "leave"), (3, 3, 4))[0]:
            case "commit":
                told = await platform.change(reference, "commit")
                if told.status == 200:
                    fates.show(reference, told.keys)
                else:
                    assert told.kind in ("hold-expired", "hold-ended"), told
                    fates.expired += 1
            case "release":
                told = await platform.change(reference, "release")
                assert told.status == 200, told
                assert told.states == ["released"]
                fates.released += 1
            case _:
                fates.left_alone += 1


@asynccontextmanager
async def trouble(service: ServiceProcess, rng: random.Random, run: Run) -> AsyncIterator[Counter[str]]:
    """Now and then a process is killed, and the clock jumps, until left."""
    done: Counter[str] = Counter()
    task = asyncio.create_task(_trouble(service, rng, run.kill_seconds, done))
    try:
        yield done
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _trouble(service: ServiceProcess, rng: random.Random, seconds: float, done: Counter[str]) -> None:
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5) * seconds)
        # A slow machine is given the time to come back: who never gets anywhere shows nothing.
        await service.wait_ready(seconds=90)
        what = rng.choice(("worker", "postmaster", "backend", "clock forward", "clock back"))
        with suppress(*_GONE):
            match what:
                case "worker":
                    rng.choice(service.workers).kill()
                case "postmaster":
                    postmaster = service.postmaster
                    if postmaster is not None:
                        postmaster.kill()
                case "backend":
                    rng.choice(service.backends).kill()
                case "clock forward":
                    await jump(service, hours=1)
                case _:
                    await jump(service, hours=-24)
            done[what] += 1


_GONE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, AssertionError, IndexError)


async def jump(service: ServiceProcess, *, hours: int) -> None:
    """What a jump of the database's clock would do to the deadlines, which are all that it is compared with."""
    connection = await asyncpg.connect((await service.database_urls()).superuser)
    try:
        await connection.execute(
            "UPDATE orders SET held_until = held_until - make_interval(hours => $1) WHERE held_until IS NOT NULL", hours
        )
    finally:
        await connection.close()


async def _nothing_held(service: ServiceProcess) -> bool:
    connection = await asyncpg.connect((await service.database_urls()).superuser)
    try:
        return bool(await connection.fetchval("SELECT count(*) = 0 FROM orders WHERE held_until IS NOT NULL"))
    finally:
        await connection.close()


async def ends(service: ServiceProcess, pattern: str) -> dict[str, str]:
    """The status of each hold by its reference."""
    connection = await asyncpg.connect((await service.database_urls()).superuser)
    try:
        rows = await connection.fetch(
            "SELECT partner_order_number, status FROM orders WHERE kind = 'lean' AND partner_order_number LIKE $1",
            pattern,
        )
    finally:
        await connection.close()
    return {row["partner_order_number"]: row["status"] for row in rows}
