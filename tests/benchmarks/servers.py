"""The server processes that are measured, and the process that loads them."""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from keyservice.cli.launcher import Order, reserved_port
from keyservice.settings import Settings
from tests.benchmarks.load_process import Outcome, Task

_STOP_SECONDS = 15.0


class Kind(StrEnum):
    """What a server process answers orders with."""

    SERVICE = "keyservice"
    EMPTY = "empty handler"
    SKIP_LOCKED = "SKIP LOCKED"


class RunFailed(Exception):
    """A server did not start, or answered anything but 201: the figures would mean nothing."""


@asynccontextmanager
async def serving(kind: Kind, settings: Settings, database_url: str, *, log: Path) -> AsyncIterator[int]:
    """One server process; gives its port."""
    with reserved_port(settings.host, 0) as port, log.open("ab") as log_file:
        told = settings.model_dump(mode="json", exclude={"database_url", "database_owner_url"})
        process = await _started(_command(kind), log_file, first=Order(database_url, port, 0, told).to_line())
        assert process.stdout is not None
        try:
            if not await process.stdout.readline():
                lines = "\n".join(log.read_text().splitlines()[-20:])
                raise RunFailed(f"the server of {kind} did not start:\n{lines}")
            yield port
        finally:
            await _stopped(process)


class Generator:
    """The load generator's process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._next_number = 1

    @classmethod
    @asynccontextmanager
    async def started(cls) -> AsyncIterator["Generator"]:
        process = await _started(["tests.benchmarks.load_process"], None)
        try:
            yield cls(process)
        finally:
            await _stopped(process)

    async def run(
        self, *, port: int, secret: str, product_ref: int, orders: int, connections: int, mark_every: int = 1_000
    ) -> Outcome:
        """Send orders that were never sent before. Raises RunFailed unless each is answered 201."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        task = Task(port, secret, product_ref, self._next_number, orders, connections, mark_every)
        self._next_number += orders
        stdin.write(json.dumps(asdict(task)).encode() + b"\n")
        line = await stdout.readline()
        if not line:
            raise RunFailed("the load generator ended")
        outcome = Outcome(**json.loads(line))
        if outcome.statuses != {"201": orders}:
            raise RunFailed(f"of {orders} orders not all were answered 201: {outcome.statuses}")
        return outcome


def _command(kind: Kind) -> list[str]:
    return ["keyservice.cli.worker"] if kind is Kind.SERVICE else ["tests.benchmarks.rival_process", kind.value]


async def _started(module: list[str], log_file: BinaryIO | None, *, first: bytes = b"") -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *module), stdin=PIPE, stdout=PIPE, stderr=log_file, limit=2**24
    )
    assert process.stdin is not None
    process.stdin.write(first)
    await process.stdin.drain()
    return process


async def _stopped(process: Process) -> None:
    """Its standard input ends, and with it the process; one that does not obey is killed."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    if process.returncode is None:
        process.kill()
        await process.wait()
