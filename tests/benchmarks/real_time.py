"""`python -m tests.benchmarks.real_time`: key requests against an instant publisher, and others beside one that hangs.

The bare client does the same request with the same library and one commit for each key; both take turns in one run.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import aiohttp
import asyncpg
import typer

from keyservice.crypto.keyring import Keyring
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.logs import configure_logs
from keyservice.sandbox.misbehaviour import Wrong
from keyservice.sandbox.publisher import running_publisher
from keyservice.services import Services, open_services
from keyservice.settings import Settings
from tests.lab.cluster import fresh_database, prepare_template
from tests.lab.embedded import embedded_superuser_url
from tests.lab.real_time import RealTime, add_product, document_for
from tests.lab.shop import Shop

AT_ONCE = 64
_BODY = {
    "fulfillmentId": "0" * 36,
    "quantity": 1,
    "checkout": {"orderId": "0" * 36, "lineItemId": "0" * 36},
    "product": {"id": "1"},
}


def main(
    requests: Annotated[int, typer.Option(min=100, help="key requests of each round")] = 3_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="of each run beside a publisher that hangs")] = 10.0,
) -> None:
    """Measure on this machine."""
    writer = configure_logs("error")
    try:
        asyncio.run(_run(requests, rounds, seconds))
    finally:
        writer.close()


async def _run(requests: int, rounds: int, seconds: float) -> None:
    async with embedded_superuser_url() as superuser_url:
        await prepare_template(superuser_url)
        async with _opened(superuser_url) as (services, database_url):
            await _throughput(services, database_url, requests, rounds)
            await _beside_a_hanging_one(services, seconds)


@asynccontextmanager
async def _opened(superuser_url: str) -> AsyncIterator[tuple[Services, str]]:
    with tempfile.TemporaryDirectory(prefix="keyservice-benchmark-") as directory:
        settings = Settings(
            data_directory=Path(directory), egress_networks="127.0.0.0/8", egress_ports="", egress_plain_http=True
        )
        keyring = Keyring.create(settings.keyring_path, datetime.now(UTC))
        async with (
            fresh_database(superuser_url) as urls,
            open_services(settings, database_url=urls.service, keyring=keyring) as services,
        ):
            yield services, urls.superuser


async def _throughput(services: Services, database_url: str, requests: int, rounds: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.instant_publisher", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(await process.stdout.readline())}"
    try:
        shop = await Shop.opened(services)
        async with running_publisher() as unused:
            document = document_for(unused, base_url=url, concurrency=1_000, key_law={}, capabilities={})
            real_time = await RealTime.opened(shop, unused, document)
        bare, asked, sold = [], [], []
        for number in range(rounds + 1):
            # The first round warms up.
            bare.append(await _bare(url, database_url, requests))
            asked.append(await _key_requests(real_time, requests, f"ASK-{number}"))
            sold.append(await _orders(real_time, requests // 3, f"SELL-{number}"))
        ratios = [one / other for one, other in zip(asked[1:], bare[1:], strict=True)]
        typer.echo(f"bare client and one commit each   {statistics.median(bare[1:]):8,.0f} /s")
        typer.echo(f"key requests                      {statistics.median(asked[1:]):8,.0f} /s")
        typer.echo(f"orders that are asked for, whole  {statistics.median(sold[1:]):8,.0f} /s")
        typer.echo(f"key requests to the bare client   {statistics.median(ratios):8.2f}")
    finally:
        process.kill()
        await process.wait()


async def _bare(url: str, database_url: str, count: int) -> float:
    pool = await asyncpg.create_pool(database_url, min_size=8, max_size=8)
    await pool.execute("CREATE TABLE IF NOT EXISTS bare (id uuid PRIMARY KEY, key text NOT NULL)")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(_: int) -> None:
            async with session.post(f"{url}/licenses/new", json=_BODY) as response:
                told = await response.json()
            await pool.execute("INSERT INTO bare VALUES ($1, $2)", new_id(), told["activationCode"])

        speed = await _timed(one, count)
    await pool.close()
    return speed


async def _key_requests(real_time: RealTime, count: int, name: str) -> float:
    """Requests of orders that are there already, from the intent to the recorded key."""
    planted = await _planted(real_time, count, name)
    asker = real_time.shop.services.asker

    async def one(at: int) -> None:
        await asker.attempt_within([planted[at]], 60, since=time.monotonic())

    speed = await _timed(one, count)
    rows = await real_time.rows(
        "SELECT count(*) AS n FROM key_requests WHERE key_request_id = ANY($1) AND state = 'issued'",
        [request.key_request_id for request in planted],
    )
    assert rows[0]["n"] == count, f"{rows[0]['n']} of {count} were issued"
    return speed


async def _planted(real_time: RealTime, count: int, name: str) -> list[KeyRequest]:
    """As they are right after the commit of their orders: this process's own to send."""
    services, shop = real_time.shop.services, real_time.shop
    lazy = replace(real_time, product_ref=await _without_waiting(real_time))

    async def order(at: int) -> None:
        await lazy.buy(f"{name}-{at}")

    await _timed(order, count)
    async with services.database.transaction() as connection:
        rows = await connection.fetch(
            "UPDATE key_requests SET state = 'sending', attempt = 1, fence = 1, next_at = now() + interval '1 hour'"
            " WHERE publisher_id = $1 AND state = 'planned' RETURNING *",
            shop.publisher_id,
        )
    return [KeyRequest.of(row) for row in rows][:count]


async def _without_waiting(real_time: RealTime) -> int:
    """A product whose orders leave their requests to somebody else."""
    steps = [{"source": "connector", "connector": str(real_time.connector_id)}]
    return await add_product(real_time.shop, {"steps": steps, "answer_seconds": 0})


async def _orders(real_time: RealTime, count: int, name: str) -> float:
    async def one(at: int) -> None:
        purchase = await real_time.buy(f"{name}-{at}")
        assert purchase.status == "COMPLETED"

    return await _timed(one, count)


async def _timed(one: Callable[[int], Awaitable[None]], count: int) -> float:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return count / (time.perf_counter() - started)


# ------------------------------------------------------------------------------------------------ one that hangs
async def _beside_a_hanging_one(services: Services, seconds: float) -> None:
    async with running_publisher() as good, running_publisher() as bad:
        shop = await Shop.opened(services)
        await shop.load([f"POOL-{number}" for number in range(20_000)])
        fine = await RealTime.opened(shop, good, document_for(good))
        other = await Shop.opened(services)
        document = document_for(bad, budget_seconds=30, breaker={"failures": 8, "open_seconds": 15})
        hanging = await RealTime.opened(other, bad, document)
        await _paced(fine, None, seconds / 2, "WARM")
        quiet = await _paced(fine, None, seconds, "QUIET")
        bad.script(*[Wrong.HANG] * 20_000)
        loud = await _paced(fine, hanging, seconds, "LOUD")
    for name in ("asked", "pool"):
        before, after = _p99(quiet[name]), _p99(loud[name])
        typer.echo(
            f"p99 of {'another publisher' if name == 'asked' else 'a pool'}: {before * 1e3:.1f} ms quiet,"
            f" {after * 1e3:.1f} ms beside one that hangs, {after / before:.2f} of it"
        )


async def _paced(fine: RealTime, hanging: RealTime | None, seconds: float, name: str) -> dict[str, list[float]]:
    """100 orders a second of the hanging publisher, and 20 a second of each of the others, whoever is slow."""
    times: dict[str, list[float]] = {"asked": [], "pool": []}
    tasks: list[asyncio.Task[None]] = []

    async def order(kind: str, number: int) -> None:
        started = time.perf_counter()
        if kind == "asked":
            await fine.buy(f"{name}-A-{number}")
        else:
            await fine.shop.buy(f"{name}-P-{number}")
        times[kind].append(time.perf_counter() - started)

    async def stuck(number: int) -> None:
        assert hanging is not None
        await hanging.buy(f"{name}-H-{number}")

    started = time.perf_counter()
    for tick in range(int(seconds * 100)):
        await asyncio.sleep(max(0.0, started + tick / 100 - time.perf_counter()))
        if hanging is not None:
            tasks.append(asyncio.create_task(stuck(tick)))
        if tick % 5 == 0:
            tasks += [asyncio.create_task(order(kind, tick)) for kind in ("asked", "pool")]
    waiting = [task for task in tasks if not task.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=30)
    return times


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


if __name__ == "__main__":
    typer.run(main)
