"""Large workbooks and archives, and hostile ones, through the real service: every row told, little memory, claims go on."""

import asyncio
import contextlib
import csv
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import asyncpg
import pytest

from tests.lab.auditor import violations
from tests.lab.checker import EndState
from tests.lab.conftest import Figures
from tests.lab.containers import XLSX, ZIP, ArchiveMixture, SheetMixture, planned_archive, planned_workbook
from tests.lab.driver import Driver, FileToSend, patient_session
from tests.lab.history import Outcome
from tests.lab.key_files import PlannedFile, fresh_keys, plain_file
from tests.lab.service_process import ServiceProcess
from tests.lab.storefront import Storefront
from tests.lab.waiting import until
from tests.unpacking.archives import archive_of
from tests.unpacking.workbooks import packed, parts_of, row, sheet

SERVICE_BYTES_MAX = 200_000_000
CHILD_BYTES_MAX = 250_000_000
CLIENTS = 4
_SAMPLE_SECONDS = 0.02
_numbers = count(1)

SMALL = SheetMixture(fresh=3_000, doubled=30, odd=70, hidden=20, blank=50)
LARGE = SheetMixture(fresh=300_000, doubled=3_000, odd=2_100, hidden=500, blank=1_000)
FEW = ArchiveMixture(fresh=300, doubled=10, odd=25, folders=10)
MANY = ArchiveMixture(fresh=10_000, doubled=100, odd=500, folders=200)
_full = [pytest.mark.full, pytest.mark.timeout(1_200)]


@pytest.fixture
async def driver(service: ServiceProcess) -> AsyncIterator[Driver]:
    async with patient_session(service.base_url, seconds=900) as session:
        yield Driver(session, await Storefront.opened(service, session))


@dataclass(slots=True)
class Meanwhile:
    """What went on while a file was read: how long each claim took, and the most memory of each kind of process."""

    seconds: list[float] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)
    children: set[int] = field(default_factory=set)

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]

    @property
    def megabytes(self) -> dict[str, float]:
        return {name: round(peak / 1e6, 1) for name, peak in self.peaks.items()}


@asynccontextmanager
async def watched(service: ServiceProcess, driver: Driver, seed: int) -> AsyncIterator[Meanwhile]:
    """Clients claim one key after the other and are all served, and memory is looked at all the time."""
    texts = fresh_keys(random.Random(seed + next(_numbers)), 20_000, prefix=f"QUIET-{seed}-{next(_numbers)}")  # noqa: S311
    assert (await driver.upload(plain_file(texts))).outcome is Outcome.OK
    seen, is_over = Meanwhile(), asyncio.Event()

    async def claim() -> None:
        while not is_over.is_set():
            began = time.monotonic()
            bought = await driver.order(driver.one_line(f"meanwhile-{next(_numbers)}"))
            assert bought.outcome is Outcome.OK
            seen.seconds.append(time.monotonic() - began)

    async def look() -> None:
        while not is_over.is_set():
            await asyncio.to_thread(_look, service, seen)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SAMPLE_SECONDS):
                    await is_over.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(claim())
        tasks.create_task(look())
        try:
            yield seen
        finally:
            is_over.set()
    assert seen.seconds


def _look(service: ServiceProcess, seen: Meanwhile) -> None:
    processes = [("launcher", service.launcher)]
    for number, worker in enumerate(service.workers):
        processes.append((f"worker {number}", worker))
        # Between fork and exec a child is still its parent, by name and by memory.
        found = [one for one in worker.children if b"keyservice.unpacking.child" in one.command_line]
        seen.children.update(child.pid for child in found)
        processes += [("child", child) for child in found]
    for name, process in processes:
        seen.peaks[name] = max(seen.peaks.get(name, 0), process.peak_memory_bytes)


PLANS = {
    "few rows": lambda rng: planned_workbook(rng, SMALL, is_shared=False),
    "few shared rows": lambda rng: planned_workbook(rng, SMALL, is_shared=True),
    "few files": lambda rng: planned_archive(rng, FEW),
    "300,000 rows": lambda rng: planned_workbook(rng, LARGE, is_shared=False),
    "300,000 shared rows": lambda rng: planned_workbook(rng, LARGE, is_shared=True),
    "10,000 files": lambda rng: planned_archive(rng, MANY),
}


@pytest.mark.parametrize(
    "plan", [pytest.param(name, marks=[] if name.startswith("few") else _full, id=name) for name in PLANS]
)
async def test_every_row_of_a_large_container_is_accounted_for_while_claims_are_served(
    service: ServiceProcess, driver: Driver, rng: random.Random, seed: int, figures: Figures, plan: str
) -> None:
    planned: PlannedFile = await asyncio.to_thread(PLANS[plan], rng)
    async with watched(service, driver, seed) as quiet:
        await until(lambda: _has(quiet, 300), seconds=60, what="300 claims are served")
    async with watched(service, driver, seed) as seen:
        began = time.monotonic()
        uploaded = await driver.upload(planned.file)
        seconds = time.monotonic() - began
    assert uploaded.outcome is Outcome.OK, uploaded.reason
    report = driver.reports[planned.file.upload_id]
    assert {verdict: rows for verdict, rows in report["verdicts"].items() if rows} == planned.verdicts
    assert (report["rows"], report["refused"]) == (len(planned.verdict_of_row), len(planned.refused))
    assert await _refused_rows(driver, planned.file.upload_id) == planned.refused
    await _demand_stored(service, planned)
    assert seen.peaks["child"] < CHILD_BYTES_MAX, seen.megabytes
    assert max(peak for name, peak in seen.peaks.items() if name != "child") < SERVICE_BYTES_MAX, seen.megabytes
    assert len(seen.children) == 1
    figures(
        seed=seed,
        rows=report["rows"],
        bytes=report["bytes"],
        verdicts=dict(planned.verdicts),
        seconds=round(seconds, 2),
        keys_per_second=round(report["accepted"] / seconds),
        peak_memory_mb=seen.megabytes,
        claims_meanwhile=len(seen.seconds),
        claim_p99_ms={"quiet": round(quiet.p99 * 1_000, 1), "meanwhile": round(seen.p99 * 1_000, 1)},
    )


async def _has(seen: Meanwhile, claims: int) -> bool:
    return len(seen.seconds) >= claims


async def _refused_rows(driver: Driver, upload_id: str) -> dict[int, str]:
    path = f"/publisher/imports/{upload_id}/refused-rows"
    async with driver.session.get(path, headers=driver.store.bearer) as response:
        rows = csv.DictReader((await response.text()).splitlines())
        return {int(one["row"]): one["verdict"] for one in rows}


async def _demand_stored(service: ServiceProcess, planned: PlannedFile) -> None:
    urls = await service.database_urls()
    connection = await asyncpg.connect(urls.superuser)
    try:
        stored = await EndState(connection, service.keyring()).texts_of_batch(planned.file.upload_id)
    finally:
        await connection.close()
    assert sorted(stored) == sorted(planned.accepted)
    assert await violations(urls.superuser) == {}


async def test_one_far_cell_and_a_dimension_that_lies_lose_no_row(service: ServiceProcess, driver: Driver) -> None:
    far = '<row r="1048576"><c r="XFD1048576" t="str"><v>far</v></c></row>'
    name = driver.store.handle
    rows = [row(1, ["key"]), *(row(number, [f"{name}-FAR-{number}"]) for number in range(2, 1_002)), far]
    for dimension in ("A1", "A1:XFD1048576"):
        content = packed(parts_of({"Keys": sheet(rows, dimension=dimension)}))
        file = FileToSend(content, query={"dry_run": "true"}, content_type=XLSX)
        assert (await driver.upload(file)).outcome is Outcome.OK
        report = driver.reports[file.upload_id]
        found = {verdict: number for verdict, number in report["verdicts"].items() if number}
        assert found == {"accepted": 1_000, "header": 1, "malformed": 1, "blank": 1_048_576 - 1_002}
        assert (report["rows"], await _refused_rows(driver, file.upload_id)) == (1_048_576, {1_048_576: "malformed"})


def _bombs() -> Iterator[tuple[str, FileToSend]]:
    parts = parts_of({"Keys": sheet([row(1, ["key"])])}, strings=["<t>x</t>"])
    spaces = " " * 400_000_000
    yield (
        "zeros",
        FileToSend(
            archive_of({"zeros.bin": bytes(60_000)} | {f"{n}": bytes(60_000) for n in range(9_000)}), content_type=ZIP
        ),
    )
    yield "spaces in a sheet", FileToSend(packed({**parts, "xl/worksheets/sheet1.xml": spaces}), content_type=XLSX)
    del spaces
    rows = "".join(f'<row r="{number}"><c r="A{number}" t="s"><v>0</v></c></row>' for number in range(1, 1_000))
    yield (
        "a text a million times",
        FileToSend(
            packed(
                {
                    **parts,
                    "xl/sharedStrings.xml": parts["xl/sharedStrings.xml"].replace(
                        "<si>", "<si>" + "<t>A</t>" * 20_000_000
                    ),
                }
            ),
            content_type=XLSX,
        ),
    )
    laughs = '<!DOCTYPE x [<!ENTITY a "aaaa">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(12)
    )
    yield (
        "laughs",
        FileToSend(packed({**parts, "xl/worksheets/sheet1.xml": f"{laughs}]><x>&m;</x>{rows}"}), content_type=XLSX),
    )
    yield (
        "a name without end",
        FileToSend(packed({**parts, "xl/worksheets/sheet1.xml": "<" + "x" * 90_000_000}), content_type=XLSX),
    )


@pytest.mark.full
@pytest.mark.timeout(1_200)
async def test_bombs_are_refused_in_little_memory_while_claims_are_served(
    service: ServiceProcess, driver: Driver, seed: int, figures: Figures
) -> None:
    told: dict[str, object] = {}
    async with watched(service, driver, seed) as seen:
        for name, file in await asyncio.to_thread(list, _bombs()):
            began = time.monotonic()
            answer = await driver.upload(file)
            assert answer.outcome is Outcome.REFUSED, name
            told[name] = (len(file.content), answer.reason, round(time.monotonic() - began, 2))
    assert max(seen.peaks.values()) < 500_000_000, seen.megabytes
    assert max(peak for name, peak in seen.peaks.items() if name != "child") < SERVICE_BYTES_MAX, seen.megabytes
    assert not any(one for worker in service.workers for one in worker.children)
    figures(seed=seed, bombs=told, peak_memory_mb=seen.megabytes, claims_meanwhile=len(seen.seconds))
