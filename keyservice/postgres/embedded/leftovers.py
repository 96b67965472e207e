"""What an earlier run left on a data directory: an orphaned server, backends without one, a stale lock file."""

import asyncio
from functools import partial
from pathlib import Path

import structlog

from keyservice.postgres.embedded.errors import DataDirectoryInUse
from keyservice.postgres.embedded.processes import (
    STOP_BACKEND,
    STOP_POSTMASTER,
    is_known,
    processes_in,
    stop_process,
    was_started_here,
    works_in,
)

log = structlog.get_logger()


def postmaster_pid(data: Path) -> int | None:
    """The server's process as its lock file names it; negative numbers there mean a single-user server."""
    try:
        first, *_ = (data / "postmaster.pid").read_text().splitlines() or [""]
    except FileNotFoundError:
        return None
    return abs(int(first)) if first.strip().lstrip("-").isdecimal() else None


async def clear_leftovers(data: Path) -> None:
    """Make the data directory free for a new start. Raises DataDirectoryInUse for a server started by hand."""
    pid = postmaster_pid(data)
    if pid is not None and works_in(pid, data):
        if not was_started_here(pid, data):
            raise DataDirectoryInUse(
                directory=data, process=f"PostgreSQL process {pid}, which keyservice did not start"
            )
        log.warning("orphaned_postgres_found", pid=pid)
        await stop_process(pid, partial(works_in, pid, data), STOP_POSTMASTER)
        log.info("orphaned_postgres_stopped", pid=pid)
    await _outlast_backends(data)
    _remove_stale_lock_file(data)


async def _outlast_backends(data: Path) -> None:
    # They hold the old shared memory; PostgreSQL refuses to start beside them.
    backends = processes_in(data)
    if backends:
        log.info("orphaned_backends_found", count=len(backends))
    await asyncio.gather(*(stop_process(pid, partial(works_in, pid, data), STOP_BACKEND) for pid in backends))


def _remove_stale_lock_file(data: Path) -> None:
    # PostgreSQL takes the lock of a dead process itself. It does not when another process got that number since,
    # which after a restart of a container is likely. A process that cannot be looked at is left for it to judge.
    pid = postmaster_pid(data)
    if pid is not None and is_known(pid) and not works_in(pid, data):
        log.info("stale_lock_file_removed", pid=pid)
        (data / "postmaster.pid").unlink()
