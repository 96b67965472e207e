"""A receiver of notices on loopback: it keeps what came, and answers what it was told to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook

Answering = Callable[["Received", web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def notice_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def name(self) -> str:
        return f"{self.json['subject']}.{self.json['type']}"

    def verify(self, secret: str) -> Any:
        """What the library of Standard Webhooks reads from it. Raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)

    def is_signed(self, secret: str) -> bool:
        """The same for one that a clock of the test's own has dated."""
        at = datetime.fromtimestamp(int(self.headers["webhook-timestamp"]), UTC)
        signature = Webhook(secret).sign(self.notice_id, at, self.body.decode())
        return signature in self.headers["webhook-signature"].split(" ")


async def taken(_: Received, __: web.Request) -> web.StreamResponse:
    return web.Response()


def answering(status: int, **headers: str) -> Answering:
    async def answer(_: Received, __: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    return answer


@dataclass(slots=True)
class Receiver:
    """`answer` is asked what to answer; it may be changed at any time."""

    url: str = ""
    answer: Answering = taken
    received: list[Received] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        one = Received(headers, await request.read())
        async with self.arrived:
            self.received.append(one)
            self.arrived.notify_all()
        return await self.answer(one, request)

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(20), self.arrived:
            await self.arrived.wait_for(lambda: len(self.received) >= count)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.received]


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        await runner.cleanup()
