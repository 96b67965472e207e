"""A server to compare with, a process of its own: `python -m tests.benchmarks.rival_process KIND`, told what to serve on
standard input as a worker of the service is."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date

import uvloop
from aiohttp import web
from pydantic_core import to_json

from keyservice.api.application import serving
from keyservice.api.connect.answers import AnsweredLine, AnsweredOrder, AnsweredUnit, order_answer, refusal_answer
from keyservice.api.connect.errors import answer
from keyservice.api.connect.requests import Profile, Refused
from keyservice.api.connect.validation import read_order
from keyservice.api.reading import read_json
from keyservice.api.server import ConnectionLimits, ServiceRunner, serve_on
from keyservice.cli.launcher import Order
from keyservice.crypto.keyring import Keyring
from keyservice.domain.errors import Unauthenticated
from keyservice.domain.key import KeyText
from keyservice.logs import configure_logs
from keyservice.services import Services, open_services
from keyservice.settings import Settings
from tests.benchmarks.servers import Kind
from tests.benchmarks.skip_locked import SkipLockedDesk

_UNIT = AnsweredUnit(KeyText(b"BENCH-00000000000000000000001"), "issued")
_ANSWER = to_json(
    order_answer(AnsweredOrder("ORDER-000000001", 100_000_001, (AnsweredLine(4626, (_UNIT,), date(2027, 1, 1)),)))
)


def main() -> None:
    kind = Kind(sys.argv[1])
    order = Order.from_line(sys.stdin.buffer.readline())
    settings = Settings(**order.settings)
    writer = configure_logs(settings.log_level)
    try:
        uvloop.run(_serve(kind, settings, order))
    finally:
        writer.close()


async def _serve(kind: Kind, settings: Settings, order: Order) -> None:
    keyring = Keyring.load(settings.keyring_path)
    async with open_services(settings, database_url=order.database_url, keyring=keyring) as services:
        if kind is Kind.EMPTY:
            server = _serving_empty(settings, port=order.port)
        else:
            server = serving(await _with_skip_locked(services), port=order.port)
        async with server:
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.buffer.read)


async def _with_skip_locked(services: Services) -> Services:
    return replace(services, orders=await SkipLockedDesk.opened(services))


@asynccontextmanager
async def _serving_empty(settings: Settings, *, port: int) -> AsyncIterator[None]:
    """The service's server with its reading and its rules, and nothing behind them."""

    async def create_order(request: web.Request) -> web.Response:
        if len(request.headers.getall("secret", [])) != 1:
            raise Unauthenticated("send one header `secret`")
        order = read_order(
            await read_json(request, bytes_max=settings.body_bytes_max, seconds_max=settings.body_seconds),
            profile=Profile.STRICT,
            lines_max=settings.order_lines_max,
            quantity_max=settings.line_quantity_max,
        )
        if isinstance(order, Refused):
            return answer(refusal_answer(order))
        return web.Response(body=_ANSWER, status=201, content_type="application/json")

    connect, application = web.Application(), web.Application()
    connect.add_routes([web.post("/order/new", create_order)])
    application.add_subapp("/connect", connect)
    limits = ConnectionLimits(header_seconds=settings.header_seconds, idle_seconds=settings.idle_seconds)
    runner = ServiceRunner(application, limits=limits, shutdown_seconds=settings.stop_seconds)
    try:
        await serve_on(runner, host=settings.host, port=port, reuse_port=True)
        yield
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
