"""One HTTP exchange with the outside: guarded, bounded, sent once, and clear about whether it may have been heard."""

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from keyservice.connectors.decoding import AnswerBroken, AnswerTooLarge, BoundedDecoder
from keyservice.connectors.egress import AddressRefused, EgressPolicy, UrlRefused, check_url, guarded_connector

HEADER_BYTES_MAX: Final = 8_190
_CHECKED_ORIGINS_MAX: Final = 1_000

# Alerts with which a server ends a TLS handshake. With TLS 1.3 they come after our request has left, but say that it was
# never handed on.
_HANDSHAKE_ALERTS: Final = (
    "CERTIFICATE_REQUIRED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "UNSUPPORTED_CERTIFICATE",
    "UNKNOWN_CA",
    "HANDSHAKE_FAILURE",
    "ACCESS_DENIED",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has come whole; names of headers are not case-sensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class TransportFailure(Exception):
    """There is no answer. `was_sent` is False only if it is certain that nobody has heard of the request."""

    def __init__(self, code: str, *, was_sent: bool) -> None:
        super().__init__(code)
        self.code = code
        self.was_sent = was_sent


class _Passage:
    """Where one request is on its way."""

    __slots__ = ("is_sent", "send_before")

    def __init__(self, send_before: float | None) -> None:
        self.is_sent = False
        self.send_before = send_before


class _TooLate(Exception):
    pass


class _ConnectionLost(aiohttp.ClientConnectionError):
    """Stands for errors that aiohttp answers by sending once more by itself."""


@asynccontextmanager
async def guarded_session(
    policy: EgressPolicy, *, connections_max: int = 100, resolver: AbstractResolver | None = None
) -> AsyncIterator["GuardedSession"]:
    """Everything that leaves the house leaves through such a session."""
    passages = aiohttp.TraceConfig()
    passages.on_request_headers_sent.append(_leave)
    async with aiohttp.ClientSession(
        connector=guarded_connector(policy, connections_max=connections_max, resolver=resolver),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        raise_for_status=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        trace_configs=[passages],
        middlewares=(_send_once,),
    ) as session:
        yield GuardedSession(session, policy)


class GuardedSession:
    """Sends requests. Redirects are answers like any other, cookies are forgotten, proxies of the environment ignored."""

    def __init__(self, session: aiohttp.ClientSession, policy: EgressPolicy) -> None:
        self._session = session
        self._policy = policy
        self._checked_origins: set[str] = set()

    async def send(
        self,
        method: str,
        url: URL,
        *,
        headers: list[tuple[str, str]],
        body: bytes | None = None,
        budget_seconds: float,
        connect_seconds: float,
        answer_bytes_max: int,
        ssl_context: ssl.SSLContext | None = None,
        send_before: float | None = None,
    ) -> Answer:
        """The answer, or `TransportFailure`. `url` goes out as it is; past `send_before` (monotonic) nothing does."""
        passage = _Passage(send_before)
        try:
            self._check_origin(url)
            async with (
                asyncio.timeout(budget_seconds),
                self._session.request(
                    method,
                    url,
                    headers=[("Accept-Encoding", "identity"), *headers],
                    data=body,
                    ssl=ssl_context or True,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, connect=connect_seconds, ceil_threshold=math.inf),
                    trace_request_ctx=passage,
                ) as response,
            ):
                return await _read(response, answer_bytes_max)
        except (aiohttp.ClientError, OSError, AnswerTooLarge, AnswerBroken, UrlRefused, _TooLate) as error:
            raise _failure(error, passage) from None

    def _check_origin(self, url: URL) -> None:
        origin = f"{url.scheme}://{url.raw_authority}"
        if origin in self._checked_origins:
            return
        check_url(origin, self._policy)
        if len(self._checked_origins) >= _CHECKED_ORIGINS_MAX:
            self._checked_origins.clear()
        self._checked_origins.add(origin)


async def _leave(session: aiohttp.ClientSession, context: SimpleNamespace, parameters: object) -> None:
    """Called with the connection made and before the first byte is written."""
    passage: _Passage = context.trace_request_ctx
    if passage.send_before is not None and time.monotonic() >= passage.send_before:
        raise _TooLate
    passage.is_sent = True


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A kept connection that breaks makes aiohttp send GET, PUT and DELETE again, unless it does not know the error."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLost from error


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> Answer:
    decoder = BoundedDecoder(response.headers.get("Content-Encoding", ""), bytes_max)
    async for chunk in response.content.iter_any():
        decoder.feed(chunk)
    return Answer(response.status, response.headers, decoder.finish())


def _failure(error: Exception, passage: _Passage) -> TransportFailure:
    if isinstance(error, _TooLate):
        return TransportFailure("too-late", was_sent=False)
    if not passage.is_sent:
        return TransportFailure(_code_before_sending(error), was_sent=False)
    if _ended_in_handshake(error):
        return TransportFailure("tls-refused", was_sent=False)
    return TransportFailure(_code_after_sending(error), was_sent=True)


def _code_before_sending(error: Exception) -> str:
    match error:
        case UrlRefused():
            return "egress-refused"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, AddressRefused):
            return "egress-refused"
        case aiohttp.ClientConnectorDNSError():
            return "name-not-found"
        case aiohttp.ClientSSLError():
            return "tls-failed"
        case TimeoutError():
            return "connect-timeout"
        case _:
            return "unreachable"


def _code_after_sending(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "timed-out"
        case AnswerTooLarge():
            return "answer-too-large"
        case AnswerBroken() | aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            return "answer-broken"
        case _:
            return "connection-lost"


def _ended_in_handshake(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return any(alert in str(error.reason or error).upper() for alert in _HANDSHAKE_ALERTS)
        error = error.__cause__
    return False
