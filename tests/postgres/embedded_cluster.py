"""Directories that PostgreSQL's account can reach, small servers in them, and services in processes of their own."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg

from keyservice.postgres.binaries import PostgresBinaries
from keyservice.postgres.embedded import EmbeddedPostgres, RestartPolicy
from keyservice.postgres.embedded.operating_system_user import OperatingSystemUser, choose_user

IS_ROOT = os.geteuid() == 0
SMALL = {"shared_buffers": "16MB"}
REPOSITORY = Path(__file__).parents[2]

# Runs until it is killed, or until its standard input is closed.
SERVICE = """
import asyncio, json, pathlib, sys
import uvloop
from keyservice.postgres.binaries import PostgresBinaries
from keyservice.postgres.embedded import EmbeddedPostgres

async def main():
    directory, account = pathlib.Path(sys.argv[1]), sys.argv[2] or None
    sys.stdout, answers = sys.stderr, sys.stdout
    async with EmbeddedPostgres.running(
        directory,
        binaries=PostgresBinaries.locate(),
        operating_system_user=account,
        server_settings={"shared_buffers": "16MB"},
    ) as server:
        print(json.dumps([server.owner_url, server.postmaster_pid]), file=answers, flush=True)
        await asyncio.to_thread(sys.stdin.read)

uvloop.run(main())
"""


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """pytest's own directories are closed to other accounts, and PostgreSQL runs as one when the tests are root's."""
    directory = Path(tempfile.mkdtemp(prefix="keyservice test ", dir=_memory()))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@asynccontextmanager
async def small_server(
    directory: Path,
    *,
    user: str | None = None,
    binaries: PostgresBinaries | None = None,
    on_restart: Callable[[], None] | None = None,
    restart_policy: RestartPolicy | None = None,
) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres.running(
        directory,
        binaries=binaries or PostgresBinaries.locate(),
        operating_system_user=user,
        server_settings=SMALL,
        on_restart=on_restart,
        restart_policy=restart_policy,
    ) as server:
        yield server


@asynccontextmanager
async def connected(url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def service_process(
    directory: Path, *, user: str = "", interpreter: Sequence[str] = (sys.executable,), run_as: str | None = None
) -> "Iterator[tuple[subprocess.Popen[bytes], str, int]]":
    """A service in its own process: the process, its owner URL and its postmaster's pid. Killed at the end, alone."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    process = subprocess.Popen(
        [*interpreter, "-c", SERVICE, directory, user],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
        env={"PATH": os.defpath, "PYTHONPATH": f"{REPOSITORY}:{site}", "PYTHONDONTWRITEBYTECODE": "1"},
        user=run_as,
        group=None if run_as is None else _account(run_as).gid,
        extra_groups=None if run_as is None else [],
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the service ended before it was ready; its reason is on standard error"
            url, pid = json.loads(line)
            yield process, url, pid
        finally:
            process.kill()


async def eventually(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        await asyncio.sleep(0.01)


def end(pid: int) -> None:
    """Kill a server that a test leaves behind on purpose."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)


def account_of(pid: int | None) -> int:
    """The number of the account that a process runs as."""
    return Path("/proc", str(pid)).stat().st_uid


def program_of(pid: int | None) -> Path:
    return Path("/proc", str(pid), "exe").readlink()


def server_account() -> OperatingSystemUser:
    """The account that runs the server in these tests."""
    return choose_user(None, Path("/nonexistent"))


def _memory() -> Path | None:
    """A file system in memory, where a cluster a test is cheap: what a kill leaves does not depend on the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private directory in it
    if not memory.is_dir() or not os.access(memory, os.W_OK):
        return None
    status = os.statvfs(memory)
    is_roomy = status.f_bavail * status.f_frsize > 1_000_000_000
    return memory if is_roomy and not status.f_flag & os.ST_NOEXEC else None


def _account(name: str) -> OperatingSystemUser:
    return choose_user(name, Path("/nonexistent"))
