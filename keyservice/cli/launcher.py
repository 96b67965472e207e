"""The service's first process: it supervises the database and the worker processes, and serves nothing itself.

By hand: a process manager of the aiohttp world (gunicorn) measured no faster, and none of them also keeps a database.
"""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from keyservice.settings import Settings

if TYPE_CHECKING:  # a worker imports this module, and start.py would bring Alembic along
    from keyservice.cli.start import DatabaseAddress

log = structlog.get_logger(__name__)

_RESTART_PAUSE_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
_STEADY_SECONDS = 30.0


class PortTaken(Exception):
    """Another program listens on the address."""


class WorkerNotStarted(Exception):
    """A worker process ended before it was ready; its log lines say why."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is told on its standard input, never in its arguments or its environment."""

    database_url: str = field(repr=False)
    port: int
    worker_number: int
    settings: dict[str, Any]

    def to_line(self) -> bytes:
        return json.dumps({name: getattr(self, name) for name in Order.__slots__}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Order":
        return cls(**json.loads(line))


@asynccontextmanager
async def running_workers(settings: Settings, address: "DatabaseAddress") -> AsyncIterator[int]:
    """Start the workers and keep them alive until left; gives the port they share."""
    with reserved_port(settings.host, settings.port) as port:
        told = settings.model_dump(mode="json", exclude={"database_url", "database_owner_url"})
        orders = [Order(address.service_url, port, number, told) for number in range(settings.processes)]
        processes = await _start_all(orders)
        keepers = [
            asyncio.create_task(_keep(order, process, settings.stop_seconds), name=f"worker {order.worker_number}")
            for order, process in zip(orders, processes, strict=True)
        ]
        try:
            yield port
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)


@contextlib.contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """Hold the port for the workers. The first bind shares with nobody, so a stranger on the port is noticed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            alone.bind((host, port))
            alone.listen()
        except OSError as error:
            raise PortTaken(
                f"{host}:{port} cannot be listened on ({error.strerror}): choose another port (--port or KEYSERVICE_PORT)"
            ) from error
        chosen = alone.getsockname()[1]
    with socket.socket(family, socket.SOCK_STREAM) as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((host, chosen))
        yield chosen


async def wait_for_stop() -> None:
    """Until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    with on_stop_signals(stop.set):
        await stop.wait()


@contextlib.contextmanager
def on_stop_signals(callback: Callable[[], None]) -> Iterator[None]:
    """Call back on SIGINT and SIGTERM instead of dying of them."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, callback)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _start_all(orders: Sequence[Order]) -> list[Process]:
    """All workers at once; when one does not start, none is left behind."""
    started = await asyncio.gather(*(_start(order) for order in orders), return_exceptions=True)
    failures = [one for one in started if isinstance(one, BaseException)]
    processes = [one for one in started if isinstance(one, Process)]
    if failures:
        await asyncio.gather(*(_stop(process, 0) for process in processes))
        raise failures[0]
    return processes


async def _keep(order: Order, process: Process, stop_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    failures = 0
    try:
        while True:
            started = loop.time()
            await process.wait()
            failures = 0 if loop.time() - started > _STEADY_SECONDS else failures + 1
            log.error("worker_died", worker_id=order.worker_number, attempt=failures)
            await asyncio.sleep(_RESTART_PAUSE_SECONDS[min(failures, len(_RESTART_PAUSE_SECONDS) - 1)])
            with contextlib.suppress(WorkerNotStarted):
                process = await _start(order)
    finally:
        await _stop(process, stop_seconds)


async def _start(order: Order) -> Process:
    """A worker that has said it is ready. It ends by itself when this process does: its standard input closes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "keyservice.cli.worker"),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(order.to_line())
    try:
        await process.stdin.drain()
        ready = await process.stdout.readline()
    except (ConnectionError, asyncio.CancelledError):
        process.kill()
        raise
    if not ready:
        await process.wait()
        raise WorkerNotStarted(f"worker {order.worker_number} ended before it was ready; see the log")
    return process


async def _stop(process: Process, seconds: float) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        log.warning("worker_killed", timeout_seconds=seconds)
        process.kill()
        await process.wait()
