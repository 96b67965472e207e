"""Requests sent byte by byte, as no client library would send them, and the server that they are sent to."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web

from keyservice.api.server import ConnectionLimits, ServiceRunner, ServiceServer, serve_on
from keyservice.logs import configure_logs

PLANTED = "XK7Q-94TM-PW2Z"
SECRET = PLANTED.encode()
PATIENCE_SECONDS = 10
NEVER_SECONDS = 60.0
LIMITS = ConnectionLimits(
    header_seconds=NEVER_SECONDS,
    idle_seconds=NEVER_SECONDS,
    write_seconds=NEVER_SECONDS,
    linger_seconds=0.2,
    headers_max=50,
    connections_max=40,
)


@dataclass(frozen=True, slots=True)
class Answer:
    version: str
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"].startswith("application/problem+json")
        problem: dict[str, Any] = json.loads(self.body)
        return problem


class Served:
    """A running server and what it logged."""

    def __init__(
        self, runner: ServiceRunner, connect: Callable[[], Any], log: Callable[[], list[dict[str, Any]]]
    ) -> None:
        self._runner = runner
        self._connect = connect
        self.log = log

    async def stop(self) -> None:
        await self._runner.cleanup()

    @property
    def open_connections(self) -> int:
        return cast(ServiceServer, self._runner.server).open_connections

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await self._connect()
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def send(self, raw: bytes) -> Answer:
        async with self.connection() as (reader, writer):
            writer.write(raw)
            return await read_answer(reader)

    async def get(self, target: str, *headers: str) -> Answer:
        return await self.send(request(f"GET {target} HTTP/1.1", *headers))


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    async with asyncio.timeout(PATIENCE_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        version, status = head.split(" ")[:2]
        headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in head.splitlines()[1:] if line)
        }
        return Answer(version, int(status), headers, await reader.readexactly(int(headers.get("content-length", 0))))


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE_SECONDS):
        with suppress(ConnectionError):
            return await reader.read()
    return b""


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([line, "Host: x", *headers, *length, "", ""]).encode("latin-1") + body


def post(path: str, content_type: str, body: bytes, *headers: str) -> bytes:
    return request(
        f"POST {path} HTTP/1.1", *([f"Content-Type: {content_type}"] if content_type else []), *headers, body=body
    )


@asynccontextmanager
async def serving(app: web.Application, limits: ConnectionLimits) -> AsyncIterator[Served]:
    stream = io.StringIO()
    writer = configure_logs("debug", stream=stream)
    runner = ServiceRunner(app, limits=limits)
    site = cast(web.TCPSite, await serve_on(runner, host="127.0.0.1", port=0, reuse_port=True))

    def log() -> list[dict[str, Any]]:
        assert writer.flush()
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    yield Served(runner, lambda: asyncio.open_connection("127.0.0.1", site.port), log)
    await runner.cleanup()
    writer.close()
    assert PLANTED not in stream.getvalue()


def assert_headers(answer: Answer) -> None:
    assert answer.headers["server"] == "keyservice"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"]
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["x-request-id"])
