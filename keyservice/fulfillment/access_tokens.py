"""Short-lived tokens in the place of a static one: issued for it, dead with it."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from keyservice.crypto.access_tokens import (
    CHARACTERS_MAX,
    CLOCK_SKEW,
    AccessClaims,
    key_id_of,
    public_jwk,
    read_access_token,
    sign_access_token,
    unknown_token,
)
from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.caller import Scope
from keyservice.domain.errors import NotFound
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.signing_keys import SigningKeys
from keyservice.postgres.connection import Database

LIFETIME_SECONDS_MAX: Final = 3_600
_REMEMBERED_MAX: Final = 10_000


class AccessTokens:
    """Issues and reads them. A key verifies for an hour longer than it signs: no setting lets a token live longer."""

    def __init__(
        self,
        database: Database,
        wrapper: KeyWrapper,
        *,
        issuer: str,
        lifetime: timedelta,
        rotation: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        verifies_for = timedelta(seconds=LIFETIME_SECONDS_MAX) + 2 * CLOCK_SKEW
        self._keys = SigningKeys(
            database, wrapper, "tokens", signs_for=rotation, verifies_for=verifies_for, clock=clock
        )
        self._issuer = issuer
        self._lifetime = lifetime
        self._clock = clock
        self._read: dict[bytes, AccessClaims] = {}

    async def issue(self, client_id: str, scopes: Iterable[Scope]) -> tuple[str, int]:
        """The token, and for how many seconds it is good."""
        key = await self._keys.signing()
        now = self._clock()
        claims = AccessClaims(client_id, frozenset(scopes), now, now + self._lifetime, str(new_id()))
        text = sign_access_token(claims, key.key_id, key.private, issuer=self._issuer)
        return text, int(self._lifetime.total_seconds())

    async def read(self, text: str) -> AccessClaims:
        """What a good token says. Raises Unauthenticated."""
        if len(text) > CHARACTERS_MAX or not text.isascii():
            raise unknown_token()
        digest = hashlib.sha256(text.encode()).digest()
        now = self._clock()
        known = self._read.get(digest)
        # A signature is verified once; near its end, or when a clock was set back, the token is looked at again.
        if known is not None and known.issued_at <= now < known.expires_at:
            return known
        try:
            key = await self._keys.verifying(key_id_of(text))
        except NotFound:
            raise unknown_token() from None
        claims = read_access_token(text, key.public, issuer=self._issuer, now=now)
        if len(self._read) >= _REMEMBERED_MAX:
            self._read.clear()
        self._read[digest] = claims
        return claims

    async def public_keys(self) -> list[dict[str, object]]:
        """As the members of a JWK set (RFC 7517), the newest first."""
        return [public_jwk(key.key_id, key.public) for key in await self._keys.published()]
