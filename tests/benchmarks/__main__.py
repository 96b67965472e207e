"""`python -m tests.benchmarks`: measures, prints, ends. It starts its own PostgreSQL and needs nothing but the checkout."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from keyservice.cli.launcher import on_stop_signals
from keyservice.logs import configure_logs
from tests.benchmarks.figures import Measured
from tests.benchmarks.machine import Machine
from tests.benchmarks.orders import OrderBenchmark, Size
from tests.benchmarks.report import show, write
from tests.benchmarks.stand import Stand
from tests.benchmarks.uploads import UploadBenchmark
from tests.lab.cluster import prepare_template
from tests.lab.embedded import embedded_superuser_url

_FULL = Size(rounds=5, orders=10_000, warm_up=3_000, flat_orders=200_000, flat_part=20_000, uploaded_keys=200_000)
_QUICK = Size(rounds=2, orders=1_000, warm_up=500, flat_orders=5_000, flat_part=1_000, uploaded_keys=10_000)

_FILE_WIDTH = 120


def main(
    orders: Annotated[int | None, typer.Option(min=100, help="orders of each measurement")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="rounds of measurements in turn")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="small: does it work?")] = False,
    json: Annotated[Path | None, typer.Option(help="write everything to this file")] = None,
) -> None:
    """Measure the service against its rivals on this machine."""
    writer = configure_logs("warning")
    base = _QUICK if quick else _FULL
    try:
        asyncio.run(_stoppable(_run(base.scaled(orders=orders, rounds=rounds), is_quick=quick, json_path=json)))
    finally:
        writer.close()


async def _stoppable(work: Coroutine[None, None, None]) -> None:
    """Ended from outside, it takes its server and its directory with it."""
    task = asyncio.create_task(work)

    def stop() -> None:
        task.cancel()

    with on_stop_signals(stop):
        await task


async def _run(size: Size, *, is_quick: bool, json_path: Path | None) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    measured: list[Measured] = []
    async with embedded_superuser_url() as superuser_url:
        machine = await Machine.here(superuser_url)
        await prepare_template(superuser_url)
        async with Stand.opened(superuser_url) as stand, OrderBenchmark.opened(stand, size) as orders:
            measured.append(await orders.compare())
            measured.append(await orders.stay_flat())
        async with Stand.opened(superuser_url) as stand, UploadBenchmark.opened(stand) as uploads:
            measured.append(await uploads.compare(rounds=size.rounds, keys=size.uploaded_keys))
    show(console, machine, measured, is_quick=is_quick)
    if json_path is not None:
        write(json_path, machine, measured, is_quick=is_quick, size=size)


if __name__ == "__main__":
    application = typer.Typer(pretty_exceptions_enable=False)
    application.command()(main)
    application()
