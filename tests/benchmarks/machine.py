"""The machine under the figures, and how much of it others used meanwhile."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader needs to judge the figures."""

    date: str
    cpu: str
    cores: int
    load_before: tuple[float, float, float]
    kernel: str
    python: str
    postgres: str
    postgres_settings: dict[str, str]

    @classmethod
    async def here(cls, superuser_url: str) -> "Machine":
        connection = await asyncpg.connect(superuser_url)
        try:
            rows = await connection.fetch(
                "SELECT name, current_setting(name) AS setting FROM pg_settings WHERE name IN ('server_version', 'fsync',"
                " 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'max_wal_size')"
            )
        finally:
            await connection.close()
        settings = {row["name"]: row["setting"] for row in rows}
        return cls(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            cpu=_cpu_model(),
            cores=len(os.sched_getaffinity(0)),
            load_before=os.getloadavg(),
            kernel=platform.release(),
            python=platform.python_version(),
            postgres=settings.pop("server_version"),
            postgres_settings=settings,
        )

    def __str__(self) -> str:
        load = " ".join(f"{one:.2f}" for one in self.load_before)
        settings = ", ".join(f"{name} {value}" for name, value in sorted(self.postgres_settings.items()))
        return (
            f"{self.date} · {self.cpu}, {self.cores} cores, load before {load} · Linux {self.kernel} · "
            f"Python {self.python} · PostgreSQL {self.postgres} ({settings})"
        )


@dataclass(slots=True)
class ForeignLoad:
    """The share of all cores, 0 to 1, that processes outside the benchmark and other guests of the host used."""

    share: float = 0.0


@contextmanager
def foreign_load() -> Iterator[ForeignLoad]:
    """Measures the block."""
    load = ForeignLoad()
    began, busy, own = time.monotonic(), _busy_seconds(), _own_seconds()
    yield load
    available = (time.monotonic() - began) * (os.cpu_count() or 1)
    foreign = (_busy_seconds() - busy) - (_own_seconds() - own)
    load.share = min(1.0, max(0.0, foreign / available))


def _busy_seconds() -> float:
    user, nice, system, _idle, _iowait, interrupts, soft_interrupts, stolen, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + interrupts + soft_interrupts + stolen) / _TICKS


def _own_seconds() -> float:
    """CPU of this process and everything below it, the dead included: their parent keeps their account."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        used[pid] = sum(map(int, fields[11:15]))
    own = {os.getpid()}
    while added := {pid for pid, parent in parents.items() if parent in own and pid not in own}:
        own |= added
    return sum(used.get(pid, 0) for pid in own) / _TICKS


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
