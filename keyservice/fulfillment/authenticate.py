"""Telling who a token belongs to; a revoked one is known everywhere within `remember_seconds`."""

import time
from dataclasses import dataclass, replace

import asyncpg

from keyservice.crypto.access_tokens import looks_like_access_token, unknown_token
from keyservice.crypto.tokens import matches, parse_token
from keyservice.domain.caller import Caller, CallerKind, Scope
from keyservice.domain.request_limits import RequestLimits
from keyservice.fulfillment.access_tokens import AccessTokens
from keyservice.postgres.connection import Database
from keyservice.postgres.statements import statement

_REMEMBERED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    token_hash: bytes
    until: float


class Gatekeeper:
    """Looks tokens up by their id and remembers the hash, never the token.

    `default_limits` are those of callers that have none of their own, limit by limit.
    """

    def __init__(
        self,
        database: Database,
        access_tokens: AccessTokens,
        *,
        remember_seconds: float,
        default_limits: RequestLimits | None = None,
    ) -> None:
        self._database = database
        self._access_tokens = access_tokens
        self._remember_seconds = remember_seconds
        self._default_limits = default_limits or RequestLimits()
        self._known: dict[str, _Known] = {}

    async def identify(self, token: str) -> Caller:
        """The caller of this static token. Raises Unauthenticated, in the same words whatever is wrong with it."""
        token_id, token_hash = parse_token(token)
        known = await self._of_token(token_id)
        if not matches(token_hash, known.token_hash):
            raise unknown_token()
        return known.caller

    async def identify_bearer(self, token: str) -> Caller:
        """The caller of a static token, or of an access token, whose scopes then narrow what the caller may do.

        Raises Unauthenticated.
        """
        if not looks_like_access_token(token):
            return await self.identify(token)
        claims = await self._access_tokens.read(token)
        caller = (await self._of_token(claims.client_id)).caller
        return replace(caller, scopes=frozenset(scope for scope in caller.scopes if scope in claims.scopes))

    async def _of_token(self, token_id: str) -> _Known:
        known = self._known.get(token_id)
        if known is None or known.until < time.monotonic():
            known = await self._look_up(token_id)
        return known

    async def _look_up(self, token_id: str) -> _Known:
        self._known.pop(token_id, None)
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(statement("callers.caller_by_token"), token_id)
        if row is None or row["revoked_at"] is not None:
            raise unknown_token()
        if len(self._known) >= _REMEMBERED_MAX:
            self._known.clear()
        known = _Known(self._caller(row), row["token_hash"], time.monotonic() + self._remember_seconds)
        self._known[token_id] = known
        return known

    def _caller(self, row: asyncpg.Record) -> Caller:
        default = self._default_limits
        return Caller(
            caller_id=row["caller_id"],
            kind=CallerKind(row["kind"]),
            name=row["name"],
            publisher_id=row["publisher_id"],
            scopes=frozenset(Scope(scope) for scope in row["scopes"]),
            validation_profile=row["validation_profile"],
            cancel_period_days=row["cancel_period_days"],
            is_sandbox=row["is_sandbox"],
            limits=RequestLimits.of(
                row["requests_per_second"] or default.per_second,
                row["requests_burst"] or (None if row["requests_per_second"] else default.burst),
                row["requests_per_day"] or default.per_day,
            ),
        )
