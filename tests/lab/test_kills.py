"""kill -9 of any process at any moment: what was acknowledged stays, nothing happens twice, and the service comes back."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from itertools import cycle, islice, takewhile
from typing import NamedTuple, assert_never

import asyncpg
import pytest

from tests.lab.auditor import violations
from tests.lab.checker import EndState, check
from tests.lab.conftest import Figures, own_postgres
from tests.lab.driver import Driver, patient_session
from tests.lab.history import Operation, Outcome
from tests.lab.key_files import Mixture, PlannedFile, broken_file, fresh_keys, mixed_file, plain_file
from tests.lab.processes import ProcessRef
from tests.lab.service_process import ServiceProcess
from tests.lab.storefront import Storefront
from tests.lab.waiting import until, until_true

pytestmark = [own_postgres, pytest.mark.slow]

TAKERS = 8
ORDERS_MAX = 400
READY_SECONDS = 30.0
MOMENT_SECONDS = (0.02, 0.5)
MIXTURE = Mixture(fresh=10_000, doubled=60, malformed=21, blank=3)


class Fault(StrEnum):
    """Which process is killed."""

    LAUNCHER = "launcher"
    WORKER = "worker"
    POSTMASTER = "postmaster"
    BACKEND = "backend"
    EVERYTHING = "everything"


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[ServiceProcess]:
    # Small chunks make an upload of many transactions, and short waits make a killed launcher's workers leave soon.
    async with ServiceProcess.running(processes=2, upload_chunk_rows=100, stop_seconds=5) as running:
        yield running


@pytest.fixture
async def driver(service: ServiceProcess) -> AsyncIterator[Driver]:
    async with patient_session(service.base_url) as session:
        yield Driver(session, await Storefront.opened(service, session))


@asynccontextmanager
async def load(driver: Driver, rng: random.Random, name: str) -> AsyncIterator[asyncio.TaskGroup]:
    """Clients who buy, hang up, ask again and cancel inside the block; its end waits until they know every outcome."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for client in range(TAKERS):
            group.create_task(_take(driver, stop, f"{name}.{client}", client, rng.getrandbits(32)))
        try:
            yield group
        finally:
            stop.set()


async def _take(driver: Driver, stop: asyncio.Event, name: str, client: int, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - decides what this client buys
    for number in range(ORDERS_MAX):
        if stop.is_set():
            return
        order = driver.one_line(f"{name}.{number}", quantity=rng.randint(1, 3))
        if rng.random() < 0.1:
            await driver.order(order, client=client, seconds=rng.uniform(0.001, 0.03))
        await driver.order_until_known(order, client=client)
        if rng.random() < 0.1:
            await driver.order_until_known(order, client=client)
        if rng.random() < 0.1:
            await driver.cancel_until_known(order.number, client=client)


async def strike(service: ServiceProcess, fault: Fault, rng: random.Random) -> None:
    """Kill, and see to it that what should replace the killed process is there."""
    match fault:
        case Fault.LAUNCHER:
            await _restarted(service, [service.launcher])
        case Fault.EVERYTHING:
            await _restarted(service, service.everything)
        case Fault.WORKER:
            await _replaced(service, rng.choice(service.workers))
        case Fault.POSTMASTER:
            postmaster = service.postmaster
            assert postmaster is not None
            postmaster.kill()
            await until_true(
                lambda: service.postmaster not in (None, postmaster), seconds=READY_SECONDS, what="PostgreSQL is back"
            )
        case Fault.BACKEND:
            rng.choice(service.backends).kill()
        case _:
            assert_never(fault)


async def _restarted(service: ServiceProcess, victims: Sequence[ProcessRef]) -> None:
    workers = service.workers
    for victim in victims:
        victim.kill()
    await service.reap_launcher()
    await service.start()
    await until_true(lambda: not any(one.is_alive for one in workers), seconds=20, what="orphaned workers end")


async def _replaced(service: ServiceProcess, worker: ProcessRef) -> None:
    assert worker.kill()

    def is_replaced() -> bool:
        return len(service.workers) == service.processes and worker not in service.workers

    await until_true(is_replaced, seconds=READY_SECONDS, what="the launcher starts another worker")


async def contradictions(service: ServiceProcess, driver: Driver, files: Sequence[PlannedFile] = ()) -> list[str]:
    """What checker and auditor find, how the files' batches differ from their plans, and whether the stock adds up."""
    urls = await service.database_urls()
    connection = await asyncpg.connect(urls.superuser)
    try:
        state = EndState(connection, service.keyring(), numbers=driver.numbers)
        findings = await check(driver.history, state)
        for planned in files:
            if sorted(await state.texts_of_batch(planned.file.upload_id)) != sorted(planned.accepted):
                findings.append(f"the batch {planned.file.upload_id} does not hold its file's keys")
        if half_done := await state.half_done_uploads():
            findings.append(f"{half_done} uploads or segments are half done")
        stock = await state.stock(driver.store.pool_id)
        told = await driver.store.left(driver.session)
        if not stock.left == stock.by_cursor == told:
            findings.append(f"the stock is {stock.left} by claims, {stock.by_cursor} by cursors and {told} by the API")
    finally:
        await connection.close()
    return findings + [f"{name}: {rows} rows" for name, rows in (await violations(urls.superuser)).items()]


class Suffered(NamedTuple):
    """A round that is over: its upload came through, and it took so long until the service was ready."""

    fault: Fault
    planned: PlannedFile
    was_uploading: bool
    ready_seconds: float


async def suffer(service: ServiceProcess, driver: Driver, rng: random.Random, fault: Fault, name: str) -> Suffered:
    """One round: load, a kill at a random moment, recovery, and the load on until it is served again."""
    planned = mixed_file(rng, MIXTURE, prefix=name.upper())
    broken = broken_file(fresh_keys(rng, MIXTURE.fresh // 2, prefix=f"BROKEN-{name}"))
    async with load(driver, rng, name) as clients:
        upload = clients.create_task(driver.upload_until_known(planned.file))
        refusal = clients.create_task(driver.upload_until_known(broken))
        await asyncio.wait([upload, refusal], timeout=rng.uniform(*MOMENT_SECONDS))
        was_uploading, struck_at = not upload.done(), time.monotonic()
        await strike(service, fault, rng)
        await service.wait_ready(seconds=READY_SECONDS)
        ready_at = time.monotonic()
        await until_true(lambda: _sold_since(driver, ready_at), seconds=READY_SECONDS, what="orders are served again")
    assert (refusal.result().outcome, refusal.result().reason) == (Outcome.REFUSED, "not-utf8")
    uploaded = upload.result()
    assert uploaded.outcome is Outcome.OK, uploaded.reason
    found = {verdict: n for verdict, n in driver.reports[planned.file.upload_id]["verdicts"].items() if n}
    assert found == planned.verdicts
    return Suffered(fault, planned, was_uploading, ready_at - struck_at)


def _sold_since(driver: Driver, moment: float) -> bool:
    recent = takewhile(lambda one: one.invoked_at > moment, reversed(driver.history.attempts))
    return any(one.operation is Operation.ORDER and one.outcome is Outcome.OK for one in recent)


@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=[pytest.mark.full, pytest.mark.timeout(3_600)])])
async def test_whatever_is_killed_nothing_acknowledged_is_lost_and_nothing_happens_twice(
    service: ServiceProcess, driver: Driver, rng: random.Random, seed: int, figures: Figures, rounds: int
) -> None:
    assert (await driver.upload(plain_file(fresh_keys(rng, 12_000, prefix="FIRST")))).outcome is Outcome.OK
    faults = list(islice(cycle(Fault), rounds))
    rng.shuffle(faults)
    suffered: list[Suffered] = []
    for number, fault in enumerate(faults):
        suffered.append(await suffer(service, driver, rng, fault, f"round{number}of{rounds}"))
        files = [one.planned for one in suffered] if number + 1 == rounds else [suffered[-1].planned]
        await _purged(service)
        assert await contradictions(service, driver, files) == [], f"round {number}, {fault}, seed {seed}"
    history = driver.history
    assert history.count(Operation.ORDER, Outcome.REFUSED) == 0, "there were keys for everybody"
    assert history.count(Operation.ORDER, Outcome.UNKNOWN) > 0, "the faults were felt"
    assert service.tracebacks() == 0
    await _settled(service)
    acknowledged = list(history.of(Operation.ORDER, Outcome.OK))
    figures(
        seed=seed,
        rounds=rounds,
        kills=Counter(faults),
        kills_during_an_upload=sum(one.was_uploading for one in suffered),
        ready_seconds_max={
            fault: round(max(one.ready_seconds for one in suffered if one.fault is fault), 2) for fault in set(faults)
        },
        orders_acknowledged=len({one.name for one in acknowledged}),
        keys_acknowledged=len({text for one in acknowledged for text in one.keys}),
        attempts_unknown=sum(not one.is_known for one in history.attempts),
        uploads_sent_again=history.count(Operation.UPLOAD, Outcome.UNKNOWN),
        starts_refused_port_taken=service.port_refusals,
        lost=0,
        twice=0,
    )


async def _purged(service: ServiceProcess) -> None:
    """What was refused is deleted in steps, which whoever comes after a kill has to finish."""
    connection = await asyncpg.connect((await service.database_urls()).superuser)
    try:
        state = EndState(connection, service.keyring())

        async def ask() -> bool:
            return await state.half_done_uploads() == 0

        await until(ask, seconds=READY_SECONDS, what="nothing is left of refused files")
    finally:
        await connection.close()


async def _settled(service: ServiceProcess) -> None:
    """No transaction stays open and no connection is left over."""
    connection = await asyncpg.connect((await service.database_urls()).superuser)
    try:

        async def ask() -> bool:
            row = await connection.fetchrow(
                "SELECT count(*) AS connections, count(*) FILTER (WHERE state <> 'idle') AS busy"
                " FROM pg_stat_activity WHERE usename = 'keyservice_service'"
            )
            assert row is not None
            return bool(row["busy"] == 0 and row["connections"] <= service.processes * 10)

        await until(ask, seconds=10, what="the database is idle")
    finally:
        await connection.close()


async def test_a_killed_worker_is_replaced_and_the_others_go_on_meanwhile(
    service: ServiceProcess, driver: Driver, rng: random.Random
) -> None:
    await driver.upload(plain_file(fresh_keys(rng, 5_000, prefix="WORKER")))
    victim, survivor = service.workers
    async with load(driver, rng, "worker"):
        await until_true(lambda: driver.history.count(Operation.ORDER, Outcome.OK) > 50, seconds=20, what="orders run")
        await _replaced(service, victim)
        await service.wait_ready(seconds=READY_SECONDS)
    assert survivor.is_alive
    assert await contradictions(service, driver) == []


async def test_a_service_that_is_told_to_stop_under_load_finishes_what_it_began(
    service: ServiceProcess, driver: Driver, rng: random.Random
) -> None:
    await driver.upload(plain_file(fresh_keys(rng, 5_000, prefix="STOP")))
    planned = mixed_file(rng, MIXTURE, prefix="STOPPED")
    async with load(driver, rng, "stop") as clients:
        clients.create_task(driver.upload_until_known(planned.file))
        await until_true(lambda: driver.history.count(Operation.ORDER, Outcome.OK) > 50, seconds=20, what="orders run")
        assert await service.stop() == 0
        await service.start()
        await service.wait_ready(seconds=READY_SECONDS)
    assert {one.outcome for one in driver.history.of(Operation.UPLOAD)} <= {Outcome.OK, Outcome.UNKNOWN}
    assert await contradictions(service, driver, [planned]) == []


async def test_a_worker_that_starts_while_the_database_is_away_says_so_in_the_log_and_is_started_again(
    service: ServiceProcess,
) -> None:
    assert service.workers[0].kill()
    died = 0

    async def is_started_again() -> bool:
        nonlocal died
        if died < 4 and (postmaster := service.postmaster) is not None:
            died += postmaster.kill()
        return died == 4 and all(worker.listens_on(service.port) for worker in service.workers)

    await until(is_started_again, seconds=READY_SECONDS, what="the database dies four times and every worker listens")
    await service.wait_ready(seconds=READY_SECONDS)
    assert service.tracebacks() == 0
