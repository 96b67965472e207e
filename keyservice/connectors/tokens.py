"""OAuth2 client credentials (RFC 6749, section 4.4): one token for all calls, fetched once however many wait for it."""

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote_plus

from yarl import URL

from keyservice.connectors.document import OAuth2Authentication
from keyservice.connectors.encoding import USER_AGENT, encode_form
from keyservice.connectors.outgoing import Answer, GuardedSession, TransportFailure
from keyservice.connectors.retry_after import retry_after_seconds

TOKEN_ANSWER_BYTES_MAX: Final = 65_536
TOKEN_SECONDS: Final = 10.0
"""For one request to the token endpoint; a call that waits for it keeps to its own budget."""

_LIFETIME_DEFAULT_SECONDS: Final = 300.0
_LIFETIME_MAX_SECONDS: Final = 86_400.0
_EARLY_SECONDS_MAX: Final = 60.0
_THROTTLED_DEFAULT_SECONDS: Final = 5.0


class TokenFailed(Exception):
    """There is no token, so nothing was asked of the publisher."""

    def __init__(self, code: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    fresh_until: float


class TokenCache:
    """The token of one connector version."""

    def __init__(
        self,
        authentication: OAuth2Authentication,
        client_secret: str,
        session: GuardedSession,
        *,
        ssl_context: ssl.SSLContext | None,
        clock: Callable[[], float],
    ) -> None:
        self._authentication = authentication
        self._client_secret = client_secret
        self._session = session
        self._ssl_context = ssl_context
        self._clock = clock
        self._token: _Token | None = None
        self._fetching: asyncio.Task[_Token] | None = None
        self._throttled_until = 0.0

    async def token(self, wait_seconds: float) -> str:
        """A token that is not about to expire; raises TokenFailed."""
        if self._token is not None and self._clock() < self._token.fresh_until:
            return self._token.text
        if (left := self._throttled_until - self._clock()) > 0:
            raise TokenFailed("token-throttled", retry_after_seconds=left)
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        try:
            async with asyncio.timeout(wait_seconds):
                # One who gives up does not take the token from the others.
                return (await asyncio.shield(self._fetching)).text
        except TimeoutError:
            raise TokenFailed("token-timed-out") from None

    def forget(self, token: str) -> None:
        """It was refused; whoever comes next fetches another."""
        if self._token is not None and self._token.text == token:
            self._token = None

    async def close(self) -> None:
        """Stop fetching."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _fetched(self, task: asyncio.Task[_Token]) -> None:
        self._fetching = None
        if not task.cancelled() and task.exception() is None:
            self._token = task.result()

    async def _fetch(self) -> _Token:
        headers, body = self._request()
        asked_at = self._clock()
        try:
            answer = await self._session.send(
                "POST",
                URL(self._authentication.token_url),
                headers=headers,
                body=body,
                budget_seconds=TOKEN_SECONDS,
                connect_seconds=TOKEN_SECONDS,
                answer_bytes_max=TOKEN_ANSWER_BYTES_MAX,
                ssl_context=self._ssl_context,
            )
        except TransportFailure as failure:
            raise TokenFailed(f"token-{failure.code}") from None
        if answer.status == 429:
            wait = retry_after_seconds(answer.headers) or _THROTTLED_DEFAULT_SECONDS
            self._throttled_until = self._clock() + wait
            raise TokenFailed("token-throttled", retry_after_seconds=wait)
        return _read_token(answer, asked_at)

    def _request(self) -> tuple[list[tuple[str, str]], bytes]:
        wanted = self._authentication
        fields = [("grant_type", "client_credentials")]
        fields += [(name, value) for name, value in (("scope", wanted.scope), ("audience", wanted.audience)) if value]
        headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Accept", "application/json"),
            ("User-Agent", USER_AGENT),
        ]
        if wanted.client_place == "body":
            fields += [("client_id", wanted.client_id), ("client_secret", self._client_secret)]
        else:
            # RFC 6749, section 2.3.1: encoded as in a form before Basic puts a colon between them.
            pair = f"{quote_plus(wanted.client_id)}:{quote_plus(self._client_secret)}"
            headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
        return headers, encode_form(fields, "utf-8")


def _read_token(answer: Answer, asked_at: float) -> _Token:
    if answer.status != 200:
        raise TokenFailed("token-refused")
    try:
        told = json.loads(answer.body)
        text, lifetime = told["access_token"], float(told.get("expires_in", _LIFETIME_DEFAULT_SECONDS))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise TokenFailed("token-unreadable") from None
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or not text or not lifetime >= 0:
        raise TokenFailed("token-unreadable")
    lifetime = min(lifetime, _LIFETIME_MAX_SECONDS)
    return _Token(text, asked_at + lifetime - min(_EARLY_SECONDS_MAX, lifetime / 10))
