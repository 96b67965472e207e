"""One attempt to deliver a notice: a signed POST, and what came back. Nothing that a receiver does raises here."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final
from uuid import UUID

import aiohttp
from standardwebhooks.webhooks import Webhook
from yarl import URL

from keyservice.connectors.egress import AddressRefused, EgressPolicy, UrlRefused, check_url
from keyservice.domain.notice_schedule import retry_after_seconds

ANSWER_BYTES_MAX: Final = 16_384
"""So much of an answer is read, so that its connection can be used again, and all of it is thrown away."""

_USER_AGENT: Final = "keyservice"
_RESTING: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of it: a status, or the reason why there is none."""

    started_at: datetime
    seconds: float
    http_status: int | None = None
    error: str | None = None
    rest_seconds: float | None = None
    """How long the receiver asked to be left alone."""

    @property
    def is_delivered(self) -> bool:
        return self.http_status is not None and 200 <= self.http_status < 300

    @property
    def is_gone(self) -> bool:
        return self.http_status == HTTPStatus.GONE


async def post_notice(
    session: aiohttp.ClientSession,
    policy: EgressPolicy,
    url: str,
    *,
    notice_id: UUID,
    body: str,
    secrets: Sequence[str],
    now: datetime,
    timeout_seconds: float,
) -> Attempt:
    """Send it, signed with each of the secrets. A redirect is an answer like any other and never followed."""
    began = time.monotonic()
    status, error, rest = None, None, None
    try:
        async with asyncio.timeout(timeout_seconds):
            target = check_url(url, policy)
            status, retry_after = await _post(session, target, _headers(notice_id, body, secrets, now), body)
            rest = retry_after_seconds(retry_after, now) if status in _RESTING else None
    except (UrlRefused, aiohttp.ClientError, OSError, ValueError) as failure:
        error = _named(failure)
    return Attempt(now, time.monotonic() - began, status, error, rest)


async def _post(session: aiohttp.ClientSession, url: URL, headers: dict[str, str], body: str) -> tuple[int, str | None]:
    async with session.post(url, data=body.encode(), headers=headers, allow_redirects=False) as response:
        try:
            await _throw_away(response)
        except (aiohttp.ClientError, OSError):
            # Its status was heard; whatever is wrong with the rest was not asked for.
            response.close()
        return response.status, response.headers.get("Retry-After")


async def _throw_away(response: aiohttp.ClientResponse) -> None:
    left = ANSWER_BYTES_MAX
    while left > 0:
        piece = await response.content.read(left)
        if not piece:
            return
        left -= len(piece)
    response.close()


def _headers(notice_id: UUID, body: str, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    signatures = [Webhook(secret).sign(str(notice_id), now, body) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": _USER_AGENT,
        "webhook-id": str(notice_id),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _named(failure: BaseException) -> str:
    """A word of ours: what a library says may hold what a receiver sent."""
    if isinstance(failure, UrlRefused) or _is_caused_by_refusal(failure):
        return "address-refused"
    if isinstance(failure, TimeoutError):
        return "timeout"
    if isinstance(failure, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls"
    if isinstance(failure, aiohttp.ClientConnectorError | ConnectionRefusedError):
        return "no-connection"
    if isinstance(failure, aiohttp.ServerDisconnectedError | ConnectionError):
        return "connection-lost"
    return "not-http"


def _is_caused_by_refusal(failure: BaseException | None) -> bool:
    if isinstance(failure, aiohttp.ClientConnectorError):
        failure = failure.os_error
    while failure is not None:
        if isinstance(failure, AddressRefused):
            return True
        failure = failure.__cause__
    return False
