"""Sending key files in tests: what is sent, by which command, and what the database then holds."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from keyservice.domain.caller import CallerKind
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_callers import add_caller
from tests.cli.command import Ended, run_keyservice
from tests.lab.shop import Shop


async def new_token(shop: Shop, kind: CallerKind) -> str:
    publisher = shop.publisher if kind is CallerKind.PUBLISHER else None
    async with shop.services.database.transaction() as connection:
        return await add_caller(connection, kind=kind, name=f"{kind}-{new_id()}", publisher=publisher)


def new_keys(count: int) -> list[str]:
    return [f"{new_id()}" for _ in range(count)]


def key_file(directory: Path, keys: Sequence[str], *, more: Sequence[str] = ()) -> Path:
    path = directory / "keys.csv"
    path.write_text("\n".join(["key", *keys, *more]) + "\n")
    return path


async def import_file(file: Path, url: str, token: str, *options: object, pool: object = "main") -> Ended:
    environment = {"KEYSERVICE_URL": url, "KEYSERVICE_TOKEN": token}
    return await run_keyservice("import-batch", file, "--pool", pool, *options, **environment)


@asynccontextmanager
async def listening(*routes: web.AbstractRouteDef) -> AsyncIterator[str]:
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def has_rows(shop: Shop) -> bool:
    return any(rows for _, rows in await batches_of(shop))


async def batches_of(shop: Shop) -> list[tuple[str, int]]:
    async with shop.services.database.transaction() as connection:
        rows = await connection.fetch("SELECT state, rows_done FROM batches WHERE pool_id = $1", shop.pool_id)
    return [tuple(row) for row in rows]
