"""A worker process: `python -m keyservice.cli.worker`, told by the launcher on standard input what to serve."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import structlog
import uvloop

from keyservice.api.application import serving
from keyservice.cli.launcher import Order, on_stop_signals
from keyservice.crypto.keyring import Keyring
from keyservice.logs import configure_logs
from keyservice.services import open_services
from keyservice.settings import Settings
from keyservice.workers.chores import doing_chores

log = structlog.get_logger(__name__)


def main() -> int:
    order = Order.from_line(sys.stdin.buffer.readline())
    settings = Settings(**order.settings)
    writer = configure_logs(settings.log_level)
    try:
        uvloop.run(_serve(settings, order))
    except Exception:  # whatever it is, it ends in the log, whose lines cannot carry a key, and not on the terminal
        log.exception("worker_failed")
        return 1
    finally:
        writer.close()
    return 0


async def _serve(settings: Settings, order: Order) -> None:
    stop = asyncio.Event()
    with on_stop_signals(stop.set):
        keyring = Keyring.load(settings.keyring_path)
        async with (
            open_services(settings, database_url=order.database_url, keyring=keyring) as services,
            doing_chores(services),
            serving(services, port=order.port),
            _launcher_watched(stop),
        ):
            print("ready", flush=True)  # noqa: T201 - what the launcher waits for
            await stop.wait()


@contextlib.asynccontextmanager
async def _launcher_watched(stop: asyncio.Event) -> AsyncIterator[None]:
    """Stop when the launcher is gone, however it went: its end of the pipe closes with it."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    watcher = asyncio.create_task(reader.read())
    watcher.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        watcher.cancel()


if __name__ == "__main__":
    raise SystemExit(main())
