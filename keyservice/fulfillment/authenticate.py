"""Telling who a token belongs to; a revoked one is known everywhere within `remember_seconds`."""

import time
from dataclasses import dataclass

from keyservice.crypto.tokens import matches, parse_token
from keyservice.domain.caller import Caller, CallerKind, Scope
from keyservice.domain.errors import Unauthenticated
from keyservice.postgres.connection import Database
from keyservice.postgres.statements import statement

_REMEMBERED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    token_hash: bytes
    until: float


class Gatekeeper:
    """Looks tokens up by their id and remembers the hash, never the token."""

    def __init__(self, database: Database, *, remember_seconds: float) -> None:
        self._database = database
        self._remember_seconds = remember_seconds
        self._known: dict[str, _Known] = {}

    async def identify(self, token: str) -> Caller:
        """The caller of this token. Raises Unauthenticated, in the same words whatever is wrong with it."""
        token_id, token_hash = parse_token(token)
        known = self._known.get(token_id)
        if known is None or known.until < time.monotonic():
            known = await self._look_up(token_id)
        if not matches(token_hash, known.token_hash):
            raise _unknown()
        return known.caller

    async def _look_up(self, token_id: str) -> _Known:
        self._known.pop(token_id, None)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(statement("callers.caller_by_token"), token_id)
        if row is None or row["revoked_at"] is not None:
            raise _unknown()
        caller = Caller(
            caller_id=row["caller_id"],
            kind=CallerKind(row["kind"]),
            name=row["name"],
            publisher_id=row["publisher_id"],
            scopes=frozenset(Scope(scope) for scope in row["scopes"]),
            validation_profile=row["validation_profile"],
            cancel_period_days=row["cancel_period_days"],
        )
        if len(self._known) >= _REMEMBERED_MAX:
            self._known.clear()
        known = _Known(caller, row["token_hash"], time.monotonic() + self._remember_seconds)
        self._known[token_id] = known
        return known


def _unknown() -> Unauthenticated:
    return Unauthenticated("this token is not known or was revoked")
