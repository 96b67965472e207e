"""The key of each shopper, under which everything personal is sealed: losing it is erasing the person."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from keyservice.crypto.keyring import Keyring
from keyservice.crypto.sealing import DataKey, aad, sealed_data_key_id
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


class ShopperKeys:
    """Makes and opens shoppers' keys. Nothing is remembered between transactions, so an erased key is gone at once."""

    def __init__(self, keyring: Keyring) -> None:
        self._wrapping = {
            _number(secret.secret_id): DataKey(_number(secret.secret_id), secret.value)
            for secret in keyring.versions("shopper")
        }
        self._current = self._wrapping[_number(keyring.current("shopper").secret_id)]

    async def ensure(self, connection: Connection, shopper_refs: Iterable[UUID], now: datetime) -> dict[UUID, DataKey]:
        """The key of each of these shoppers, made in this transaction where there was none."""
        made = {shopper_ref: DataKey.generate(0) for shopper_ref in sorted(shopper_refs)}
        rows = await connection.fetchmany(
            statement("orders.insert_shopper"),
            [(ref, self._current.seal(raw, _shopper_aad(ref)), now) for ref, (_, raw) in made.items()],
        )
        keys = {row["shopper_ref"]: made[row["shopper_ref"]][0] for row in rows}
        known = [(ref,) for ref in made if ref not in keys]
        if known:
            for row in await connection.fetchmany(statement("orders.shopper_key"), known):
                keys[row["shopper_ref"]] = self._open(row["shopper_ref"], row["wrapped_key"])
        return keys

    async def find(self, connection: Connection, shopper_refs: Iterable[UUID]) -> dict[UUID, DataKey]:
        """The keys of these shoppers that are there. Of one whose key is lost, the person is lost with it."""
        asked = [(ref,) for ref in sorted(set(shopper_refs))]
        rows = await connection.fetchmany(statement("orders.shopper_key"), asked) if asked else []
        return {row["shopper_ref"]: self._open(row["shopper_ref"], row["wrapped_key"]) for row in rows}

    def _open(self, shopper_ref: UUID, wrapped: bytes) -> DataKey:
        wrapping = self._wrapping.get(sealed_data_key_id(wrapped), self._current)
        return DataKey(0, wrapping.open(wrapped, _shopper_aad(shopper_ref)))


def _number(secret_id: str) -> int:
    return int.from_bytes(secret_id.encode()[:7])


def _shopper_aad(shopper_ref: UUID) -> bytes:
    return aad("shopper1", shopper_ref.bytes)
