"""A large file with every kind of bad row, through the API: each row accounted for, in little memory, watched live."""

import asyncio
import csv
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import aiohttp
import asyncpg
import pytest

from tests.lab.auditor import violations
from tests.lab.checker import EndState
from tests.lab.conftest import Figures
from tests.lab.driver import Driver, patient_session
from tests.lab.history import Outcome
from tests.lab.key_files import Mixture, fresh_keys, mixed_file, plain_file
from tests.lab.service_process import ServiceProcess
from tests.lab.storefront import Storefront
from tests.lab.waiting import until

MEMORY_BYTES_MAX = 200_000_000
UNITS_PER_ORDER = 10
_POLL_SECONDS = 0.02


class Size(NamedTuple):
    """The file's own rows, and how many keys in it are somewhere else already, for each way of being so."""

    mixture: Mixture
    in_stock: int
    issued: int
    revoked: int
    withdrawn: int
    in_unfinished_upload: int


SMALL = Size(Mixture(fresh=20_000, doubled=200, malformed=70, blank=5), 100, 50, 30, 20, 25)
MILLION = Size(Mixture(fresh=1_000_000, doubled=10_000, malformed=7_000, blank=500), 5_000, 2_000, 1_000, 700, 300)


@pytest.fixture
async def driver(service: ServiceProcess) -> AsyncIterator[Driver]:
    async with patient_session(service.base_url, seconds=900) as session:
        yield Driver(session, await Storefront.opened(service, session))


@dataclass(frozen=True, slots=True)
class Glance:
    """What a publisher who looks at a running import sees."""

    rows_done: int
    bytes_done: int
    rows_per_second: float | None
    seconds_left: float | None
    seen_at: float


@pytest.mark.parametrize(
    "size",
    [SMALL, pytest.param(MILLION, marks=[pytest.mark.full, pytest.mark.timeout(1_800)])],
    ids=["small", "million"],
)
async def test_every_row_of_a_large_file_is_accounted_for_while_its_import_is_watched(
    service: ServiceProcess, driver: Driver, rng: random.Random, seed: int, figures: Figures, size: Size
) -> None:
    known = await _make_known(driver, rng, size)
    planned = mixed_file(rng, size.mixture, prefix="LARGE", known=known)
    left_before = await driver.store.left(driver.session)

    began = time.monotonic()
    async with asyncio.TaskGroup() as clients:
        upload = clients.create_task(driver.upload(planned.file))
        glances = await _watch(driver, planned.file.upload_id, upload)
    seconds = time.monotonic() - began
    assert upload.result().outcome is Outcome.OK
    report = driver.reports[planned.file.upload_id]

    expected = Counter(
        {"accepted": size.mixture.fresh, "duplicate_in_file": size.mixture.doubled, "duplicate_in_stock": size.in_stock}
        | {"already_issued": size.issued, "revoked": size.revoked, "withdrawn": size.withdrawn}
        | {"in_unfinished_upload": size.in_unfinished_upload, "malformed": size.mixture.malformed}
        | {"blank": size.mixture.blank, "header": 1}
    )
    assert planned.verdicts == expected
    assert {verdict: count for verdict, count in report["verdicts"].items() if count} == expected
    assert (report["rows"], report["accepted"]) == (expected.total(), size.mixture.fresh)
    assert report["refused"] == len(planned.refused)
    assert await _refused_rows(driver, planned.file.upload_id) == planned.refused
    assert await driver.store.left(driver.session) == left_before + size.mixture.fresh
    await _demand_stored(service, planned.file.upload_id, planned.accepted)
    _demand_progress(glances, report)
    peaks = {"launcher": service.launcher.peak_memory_bytes}
    peaks |= {f"worker {number}": worker.peak_memory_bytes for number, worker in enumerate(service.workers)}
    assert max(peaks.values()) < MEMORY_BYTES_MAX, peaks
    figures(
        seed=seed,
        rows=report["rows"],
        bytes=report["bytes"],
        verdicts=dict(expected),
        seconds=round(seconds, 2),
        keys_per_second=round(size.mixture.fresh / seconds),
        peak_memory_mb={name: round(peak / 1e6, 1) for name, peak in peaks.items()},
        glances_with_progress=len({glance.rows_done for glance in glances}),
        estimate_off_by_seconds_max=round(_estimate_error(glances, began + seconds), 2),
    )


async def _make_known(driver: Driver, rng: random.Random, size: Size) -> dict[str, str]:
    """Keys that the service has already, each with the verdict that it must get when it comes again."""
    sold = size.issued + size.revoked
    assert sold % UNITS_PER_ORDER == size.revoked % UNITS_PER_ORDER == 0
    stock = fresh_keys(rng, sold + size.in_stock, prefix="STOCK")
    assert (await driver.upload(plain_file(stock))).outcome is Outcome.OK
    verdicts: dict[str, str] = {}
    for number in range(sold // UNITS_PER_ORDER):
        order = driver.one_line(number, quantity=UNITS_PER_ORDER)
        bought = await driver.order(order)
        assert bought.outcome is Outcome.OK
        is_revoked = number < size.revoked // UNITS_PER_ORDER
        if is_revoked:
            assert (await driver.cancel(order.number)).outcome is Outcome.OK
        verdicts |= dict.fromkeys(bought.keys, "revoked" if is_revoked else "already_issued")
    verdicts |= {text: "duplicate_in_stock" for text in stock if text not in verdicts}
    withdrawn = fresh_keys(rng, size.withdrawn, prefix="WITHDRAWN")
    upload = await driver.upload(plain_file(withdrawn))
    await driver.store.post(driver.session, f"batches/{upload.name}/withdraw")
    unfinished = fresh_keys(rng, 6_000, prefix="UNFINISHED")
    await _break_off(driver, unfinished, stored=size.in_unfinished_upload)
    verdicts |= dict.fromkeys(withdrawn, "withdrawn")
    return verdicts | dict.fromkeys(unfinished[: size.in_unfinished_upload], "in_unfinished_upload")


async def _break_off(driver: Driver, texts: Sequence[str], *, stored: int) -> None:
    """An upload that ends before its end, when the first `stored` rows at the least are committed."""
    file, seen = plain_file(texts), asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield file.content
        await seen.wait()

    async def send() -> None:
        headers = {**driver.store.bearer, "Idempotency-Key": file.upload_id, "Content-Type": file.content_type}
        async with driver.session.post(driver.store.batches_path, data=content(), headers=headers) as response:
            pytest.fail(f"the upload was not broken off: {response.status}")

    async def is_stored() -> bool:
        found = await _import(driver, file.upload_id)
        return found is not None and found["rows_done"] >= stored

    sending = asyncio.create_task(send())
    try:
        await until(is_stored, seconds=20, what="a part of the upload is stored")
    finally:
        sending.cancel()
        await asyncio.wait([sending])
    assert sending.cancelled()


async def _watch(driver: Driver, upload_id: str, upload: "asyncio.Task[Any]") -> list[Glance]:
    glances: list[Glance] = []
    while not upload.done():
        found = await _import(driver, upload_id)
        if found is not None and found["state"] == "receiving" and found["rows_done"]:
            numbers = (found["rows_done"], found["bytes_done"], found["rows_per_second"], found["seconds_left"])
            glances.append(Glance(*numbers, time.monotonic()))
        await asyncio.wait([upload], timeout=_POLL_SECONDS)
    return glances


async def _import(driver: Driver, upload_id: str) -> dict[str, Any] | None:
    try:
        async with driver.session.get(f"/publisher/imports/{upload_id}", headers=driver.store.bearer) as response:
            found: dict[str, Any] = await response.json()
            return found if response.status == 200 else None
    except aiohttp.ClientConnectionError:
        return None


async def _refused_rows(driver: Driver, upload_id: str) -> dict[int, str]:
    path = f"/publisher/imports/{upload_id}/refused-rows"
    async with driver.session.get(path, headers=driver.store.bearer) as response:
        rows = csv.DictReader((await response.text()).splitlines())
        return {int(row["row"]): row["verdict"] for row in rows}


async def _demand_stored(service: ServiceProcess, batch_id: str, accepted: Sequence[str]) -> None:
    """The batch holds exactly the planned keys, and they open."""
    urls = await service.database_urls()
    connection = await asyncpg.connect(urls.superuser)
    try:
        stored = await EndState(connection, service.keyring()).texts_of_batch(batch_id)
    finally:
        await connection.close()
    assert sorted(stored) == sorted(accepted)
    assert await violations(urls.superuser) == {}


def _demand_progress(glances: Sequence[Glance], report: dict[str, Any]) -> None:
    """It only ever grows, in many steps, and is told with a speed and a time that is left."""
    assert len({glance.rows_done for glance in glances}) >= 3
    for before, after in pairwise(glances):
        assert before.rows_done <= after.rows_done
        assert before.bytes_done <= after.bytes_done
    assert all(glance.rows_per_second for glance in glances)
    assert all(glance.seconds_left is not None for glance in glances)
    assert glances[-1].rows_done <= report["rows"]


def _estimate_error(glances: Sequence[Glance], ended_at: float) -> float:
    """How far the estimates were off, those of the first tenth excepted."""
    late = glances[len(glances) // 10 :]
    return max(abs(glance.seen_at + (glance.seconds_left or 0) - ended_at) for glance in late)
