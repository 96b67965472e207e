"""Opening sealed keys: data keys are unwrapped once and kept for a while, plaintext is not kept at all."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from keyservice.crypto.sealing import DataKey, key_aad, sealed_data_key_id
from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.errors import Tampered
from keyservice.domain.key import KeyPlace, KeyText
from keyservice.domain.tape import Place
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


@dataclass(frozen=True, slots=True)
class OpenedKey:
    """A key's text with what a browser needs to hand it out as a file."""

    text: KeyText
    mime: str | None
    name: str | None


class KeyOpener:
    """Holds unwrapped data keys: at most `keys_max`, each for at most `seconds`."""

    def __init__(self, wrapper: KeyWrapper, *, keys_max: int = 2_000, seconds: float = 1_800) -> None:
        self._wrapper = wrapper
        self._keys_max = keys_max
        self._seconds = seconds
        self._data_keys: OrderedDict[tuple[int, int], tuple[float, DataKey]] = OrderedDict()

    async def open(
        self, connection: Connection, publisher_id: int, places: Sequence[Place]
    ) -> dict[Place, OpenedKey | Tampered]:
        """The keys at these places. A key that does not open, or is not there, is a Tampered value, not an exception."""
        opened: dict[Place, OpenedKey | Tampered] = {
            place: Tampered("there is no key at this place") for place in places
        }
        rows = await connection.fetch(
            statement("tape.read_keys"), publisher_id, [at.segment_id for at in places], [at.position for at in places]
        )
        await self._load(connection, publisher_id, (row["sealed"] for row in rows))
        for segment_id, position, sealed, mime, name in rows:
            place = Place(segment_id, position)
            try:
                raw = self._open_one(publisher_id, place, sealed)
            except Tampered as damage:
                opened[place] = damage
            else:
                opened[place] = OpenedKey(KeyText(raw), mime, name)
        return opened

    async def open_value(self, connection: Connection, publisher_id: int, sealed: bytes, aad: bytes) -> bytes:
        """A value other than a key that was sealed under one of the publisher's data keys. Raises Tampered."""
        await self._load(connection, publisher_id, [sealed])
        found = self._data_keys.get((publisher_id, sealed_data_key_id(sealed)))
        if found is None:
            raise Tampered("the value names a data key that this publisher does not have")
        return found[1].open(sealed, aad)

    def _open_one(self, publisher_id: int, place: Place, sealed: bytes) -> bytes:
        found = self._data_keys.get((publisher_id, sealed_data_key_id(sealed)))
        if found is None:
            raise Tampered("the key names a data key that this publisher does not have")
        return found[1].open(sealed, key_aad(KeyPlace(publisher_id, place.segment_id, place.position)))

    async def _load(self, connection: Connection, publisher_id: int, sealed: Iterable[bytes]) -> None:
        now = time.monotonic()
        missing = [
            data_key_id
            for data_key_id in {_data_key_id(one) for one in sealed} - {None}
            if not self._is_fresh((publisher_id, data_key_id), now)
        ]
        if missing:
            rows = await connection.fetch(statement("tape.data_keys"), publisher_id, missing)
            for row in rows:
                await self._keep(publisher_id, row["data_key_id"], row["batch_id"], row["wrapped"], now)

    def _is_fresh(self, name: tuple[int, int | None], now: float) -> bool:
        found = self._data_keys.get(name)  # type: ignore[arg-type]
        return found is not None and now - found[0] < self._seconds

    async def _keep(self, publisher_id: int, data_key_id: int, batch_id: UUID, wrapped: bytes, now: float) -> None:
        raw = await self._wrapper.unwrap(wrapped, data_key_context(publisher_id, batch_id))
        self._data_keys[publisher_id, data_key_id] = (now, DataKey(data_key_id, raw))
        self._data_keys.move_to_end((publisher_id, data_key_id))
        while len(self._data_keys) > self._keys_max:
            self._data_keys.popitem(last=False)


def data_key_context(publisher_id: int, batch_id: UUID) -> dict[str, str]:
    """What a wrapped data key is bound to: it opens for no other publisher and no other batch."""
    return {"purpose": "keys", "publisher": str(publisher_id), "batch": str(batch_id)}


def _data_key_id(sealed: bytes) -> int | None:
    try:
        return sealed_data_key_id(sealed)
    except Tampered:
        return None
