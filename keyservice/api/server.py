"""The HTTP server: aiohttp's, with the deadlines it lacks and answers of our own to what its parser refuses."""

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from keyservice.api.door import SERVER_NAME, Door, add_headers, new_request_id, prepare_headers
from keyservice.api.problems import Unexpected, problem_response
from keyservice.api.reading import RequestRefused
from keyservice.logs import REQUEST_ID

QUIET_ROUTES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
BACKLOG: Final = 1024

_FULL: Final = (
    "HTTP/1.1 503 Service Unavailable\r\n"
    f"Server: {SERVER_NAME}\r\nRetry-After: 1\r\nCache-Control: no-store\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
).encode()


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one client may take of a process. Behind a proxy, `idle_seconds` must be longer than the proxy's own."""

    header_seconds: float = 10.0
    idle_seconds: float = 75.0
    write_seconds: float = 30.0
    linger_seconds: float = 2.0
    headers_max: int = 100
    line_bytes_max: int = 8190
    connections_max: int = 10_000


class ServiceProtocol(RequestHandler):
    """One connection. Private to aiohttp and used here: `_messages` and `_waiter`; a test holds them in place."""

    __slots__ = ("_head_timer", "_is_counted", "_server")

    def __init__(self, server: "ServiceServer", **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._server.has_room():
            self.force_close()
            stream = cast(asyncio.WriteTransport, transport)
            stream.write(_FULL)
            stream.close()
            return
        self._server.open_connections += 1
        self._is_counted = True
        super().connection_made(transport)
        _limit_unread(transport, self._server.limits.write_seconds)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:  # at least one head is complete
            self._stop_awaiting()
        elif self._head_timer is None and self._waiter is not None and not self._waiter.done():
            self._await_head()  # nothing is being served, so these bytes began a head and did not complete it

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_awaiting()
        if self._is_counted:
            self._is_counted = False
            self._server.open_connections -= 1
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Requests that the parser refuses come here, and errors of the door itself. aiohttp's own answer quotes the request."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun and is broken off")
        if REQUEST_ID.get() is None:
            REQUEST_ID.set(new_request_id())
        log = structlog.get_logger()
        if status < 500:
            log.info("request_malformed", status=status, error_type=exc)
            error: Exception = RequestRefused("the request is not valid HTTP", status=status, closes=True)
        else:
            log.error("request_failed", exc_info=exc)
            error = Unexpected()
        response = problem_response(error, cast(web.Request, request))
        add_headers(response)
        response.force_close()
        return response

    def _await_head(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(self._server.limits.header_seconds, self.force_close)

    def _stop_awaiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class ServiceServer(web.Server):
    """Makes the protocol of each connection, and counts them."""

    def __init__(self, door: Door, *, request_factory: Any, limits: ConnectionLimits) -> None:
        super().__init__(cast(Any, door.answer), request_factory=request_factory)
        self.limits = limits
        self.open_connections = 0

    def has_room(self) -> bool:
        return self.open_connections < self.limits.connections_max

    def __call__(self) -> ServiceProtocol:
        return ServiceProtocol(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,
            auto_decompress=False,  # bodies are only read unencoded, and a bomb must not be unpacked to be refused
            keepalive_timeout=self.limits.idle_seconds,
            lingering_time=self.limits.linger_seconds,
            max_field_size=self.limits.line_bytes_max,
            max_headers=self.limits.headers_max,
            max_line_size=self.limits.line_bytes_max,
        )


class ServiceRunner(web.AppRunner):
    """aiohttp's runner, with the door around the application and limits on its connections."""

    __slots__ = ("_limits", "_quiet_routes")

    def __init__(
        self,
        app: web.Application,
        *,
        limits: ConnectionLimits | None = None,
        quiet_routes: frozenset[str] = QUIET_ROUTES,
        shutdown_seconds: float = 30.0,
    ) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_seconds)
        app.on_response_prepare.append(prepare_headers)
        self._limits = limits or ConnectionLimits()
        self._quiet_routes = quiet_routes

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        door = Door(cast(Any, made.request_handler), quiet_routes=self._quiet_routes)
        return ServiceServer(door, request_factory=made.request_factory, limits=self._limits)


async def serve_on(
    runner: web.BaseRunner, *, host: str, port: int, reuse_port: bool, unix_path: Path | None = None
) -> web.TCPSite | web.UnixSite:
    """Start to answer on the unix socket if there is one, else on the port; the runner's `cleanup` ends it."""
    if runner.server is None:
        await runner.setup()
    site: web.TCPSite | web.UnixSite
    if unix_path is None:
        site = web.TCPSite(runner, host, port, reuse_port=reuse_port, backlog=BACKLOG)
    else:
        site = web.UnixSite(runner, unix_path, backlog=BACKLOG)
    await site.start()
    return site


def _limit_unread(transport: asyncio.BaseTransport, seconds: float) -> None:
    """A client that does not read its answer would hold the handler for ever: the kernel ends that, and only Linux can."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
