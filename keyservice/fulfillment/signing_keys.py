"""The keys that sign for this service: made when they are needed, followed by the next one in time, kept until the last
signature has lost its meaning. The private half lies in the database, wrapped by a service secret and bound to its id.

The public half is taken from the private one, so a row that somebody else wrote signs nothing and verifies nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import asyncpg
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.errors import NotFound, Tampered
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

SigningPurpose = Literal["tokens", "statements"]
_REMEMBERED_MAX: Final = 100
_SHOWN_FOR: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key, and how long it signs and verifies."""

    key_id: str
    private: Ed25519PrivateKey = field(repr=False)
    signs_from: datetime
    signs_until: datetime
    verifies_until: datetime

    @property
    def public(self) -> Ed25519PublicKey:
        return self.private.public_key()


class SigningKeys:
    """The keys of one purpose. `verifies_for` counts from the end of signing."""

    def __init__(
        self,
        database: Database,
        wrapper: KeyWrapper,
        purpose: SigningPurpose,
        *,
        signs_for: timedelta,
        verifies_for: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._wrapper = wrapper
        self._purpose = purpose
        self._signs_for = signs_for
        self._verifies_for = verifies_for
        self._clock = clock
        self._signing: SigningKey | None = None
        self._known: dict[str, SigningKey] = {}
        self._shown: tuple[datetime, list[SigningKey]] | None = None

    async def signing(self) -> SigningKey:
        """The key that signs now; a new one when there is none or its time is over."""
        now = self._clock()
        if self._signing is None or self._signing.signs_until <= now:
            self._signing = self._remember(await short_transaction(self._database, self._signing_or_new))
        return self._signing

    async def verifying(self, key_id: str) -> SigningKey:
        """Raises NotFound for a key that is not ours or verifies no longer."""
        now = self._clock()
        known = self._known.get(key_id)
        if known is None:
            async with self._database.transaction() as connection:
                row = await connection.fetchrow(statement("signing.verifying_key"), key_id, self._purpose, now)
            known = None if row is None else await self._opened(row)
            if known is None:
                raise NotFound("there is no such signing key")
            self._remember(known)
        if known.verifies_until <= now:
            raise NotFound("there is no such signing key")
        return known

    async def published(self) -> list[SigningKey]:
        """All that verify now, the newest first; there is always one. Remembered for a moment: anybody may ask."""
        now = self._clock()
        if self._shown is None or not self._shown[0] <= now < self._shown[0] + _SHOWN_FOR:
            await self.signing()
            async with self._database.transaction() as connection:
                rows = await connection.fetch(statement("signing.verifying_keys"), self._purpose, now)
            keys = [self._known.get(row["key_id"]) or await self._opened(row) for row in rows]
            self._shown = (now, [key for key in keys if key is not None])
        return self._shown[1]

    async def _signing_or_new(self, connection: Connection) -> SigningKey:
        now = self._clock()
        await connection.execute(statement("signing.lock_rotation"), self._purpose)
        row = await connection.fetchrow(statement("signing.signing_key"), self._purpose, now)
        found = None if row is None else await self._opened(row)
        return found or await self._made(connection, now)

    async def _made(self, connection: Connection, now: datetime) -> SigningKey:
        private = Ed25519PrivateKey.generate()
        signs_until = now + self._signs_for
        key = SigningKey(new_id().hex, private, now, signs_until, signs_until + self._verifies_for)
        wrapped = await self._wrapper.wrap(private.private_bytes_raw(), self._context(key.key_id))
        await connection.execute(statement("signing.delete_expired"), self._purpose, now)
        await connection.execute(
            statement("signing.insert_key"),
            *(key.key_id, self._purpose, key.public.public_bytes_raw(), wrapped, now),
            *(key.signs_until, key.verifies_until),
        )
        return key

    async def _opened(self, row: asyncpg.Record) -> SigningKey | None:
        """None for a row that this service did not write."""
        try:
            seed = await self._wrapper.unwrap(row["wrapped_private_key"], self._context(row["key_id"]))
        except Tampered as error:
            structlog.get_logger().error("signing_key_tampered", exc_info=error)
            return None
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return SigningKey(row["key_id"], private, row["created_at"], row["signs_until"], row["verifies_until"])

    def _remember(self, key: SigningKey) -> SigningKey:
        if len(self._known) >= _REMEMBERED_MAX:
            self._known.clear()
        self._known[key.key_id] = key
        return key

    def _context(self, key_id: str) -> dict[str, str]:
        return {"purpose": f"signing {self._purpose}", "key": key_id}
