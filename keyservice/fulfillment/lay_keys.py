"""Keys that publishers deliver go on the tape like uploaded ones: sealed, fingerprinted, one segment a day and connector.

They are taken in the transaction that lays them down, so they are never stock; surplus that a pool sells is laid into that
pool's own segment of the day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.crypto.sealing import DataKey, seal_keys
from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.connector import DeliveredKey
from keyservice.domain.key import KeyPlace
from keyservice.domain.key_parts import telling_text
from keyservice.domain.tape import Place
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.open_keys import data_key_context
from keyservice.postgres.connection import Connection, lost_race_on
from keyservice.postgres.statements import statement


class Delivery(NamedTuple):
    """A delivered key and what becomes of it: it is a unit's, it is taken off as surplus, or it is for sale."""

    publisher_id: int
    pool_id: UUID
    key: DeliveredKey
    fingerprint: bytes
    key_request_id: UUID
    state: Literal["issued", "withdrawn", "stock"]
    claim_id: UUID
    unit_id: UUID | None = None
    order_id: UUID | None = None


class Day(NamedTuple):
    """Where keys of one pool are laid down on one day."""

    batch_id: UUID
    segment_id: int
    data_key: DataKey
    loaded: int
    """How many keys it has, those that are being laid down included."""


class Laid(NamedTuple):
    """Where each claim's key lies, and the days of the pools, by publisher and pool."""

    places: dict[UUID, Place]
    days: dict[tuple[int, UUID], Day]


@dataclass(frozen=True, slots=True)
class KeyLayer:
    """Lays delivered keys."""

    fingerprints: Fingerprints
    wrapper: KeyWrapper

    def fingerprint(self, publisher_id: int, key: DeliveredKey) -> bytes:
        return self.fingerprints.key(publisher_id, key.text.raw)

    async def lay(self, connection: Connection, deliveries: Sequence[Delivery], now: datetime) -> Laid:
        """Lay the keys down. Stock's pools are locked. Loses its transaction to whoever lays the same key first."""
        places: dict[UUID, Place] = {}
        days: dict[tuple[int, UUID], Day] = {}
        for publisher_id, pool_id in sorted({(one.publisher_id, one.pool_id) for one in deliveries}):
            some = [one for one in deliveries if (one.publisher_id, one.pool_id) == (publisher_id, pool_id)]
            day = days[publisher_id, pool_id] = await self._day(connection, some, now)
            at = {
                one.claim_id: Place(day.segment_id, position)
                for position, one in enumerate(some, start=day.loaded - len(some) + 1)
            }
            await self._write(connection, publisher_id, day, some, at)
            places |= at
        await self._claim(connection, [one for one in deliveries if one.state != "stock"], places, now)
        return Laid(places, days)

    async def _day(self, connection: Connection, some: Sequence[Delivery], now: datetime) -> Day:
        """Today's place for these keys of one pool, with room made for them.

        Asked anew for each pool of a group: nothing is remembered that might be rolled back.
        """
        first = some[0]
        append = "connectors.append_stock" if first.state == "stock" else "connectors.append"
        asked = (first.publisher_id, first.pool_id, now.date(), len(some))
        row = await connection.fetchrow(statement(append), *asked)
        if row is None:
            await self._open_day(connection, first.publisher_id, first.pool_id, now)
            row = await connection.fetchrow(statement(append), *asked)
            assert row is not None
        raw = await self.wrapper.unwrap(row["wrapped"], data_key_context(first.publisher_id, row["batch_id"]))
        return Day(row["batch_id"], row["segment_id"], DataKey(row["data_key_id"], raw), row["loaded"])

    async def _open_day(self, connection: Connection, publisher_id: int, pool_id: UUID, now: datetime) -> None:
        """Nothing happens when somebody else has opened it meanwhile, and committed."""
        ids = await connection.fetchrow(statement("connectors.next_day_ids"))
        assert ids is not None
        batch_id, segment_id, data_key_id = new_id(), ids["segment_id"], ids["data_key_id"]
        day = (publisher_id, pool_id, now.date(), batch_id, segment_id, data_key_id)
        if await connection.fetchval(statement("connectors.insert_day"), *day) is None:
            return
        _, raw = DataKey.generate(data_key_id)
        wrapped = await self.wrapper.wrap(raw, data_key_context(publisher_id, batch_id))
        data_key_row = (publisher_id, data_key_id, batch_id, wrapped, now)
        await connection.execute(statement("tape.insert_data_key"), *data_key_row)
        batch = (publisher_id, batch_id, pool_id, data_key_id, now)
        await connection.execute(statement("connectors.insert_day_batch"), *batch)
        segment = (publisher_id, segment_id, pool_id, batch_id, "exhausted")
        await connection.execute(statement("connectors.insert_day_segment"), *segment)

    async def _write(
        self, connection: Connection, publisher_id: int, day: Day, some: Sequence[Delivery], at: dict[UUID, Place]
    ) -> None:
        places = [KeyPlace(publisher_id, *at[one.claim_id]) for one in some]
        texts = [one.key.text.raw for one in some]
        sealed = seal_keys(day.data_key, list(zip(places, texts, strict=True)))
        rows = [
            (
                *(place.segment_id, place.position, place.position, value, one.fingerprint),
                *(self._suffix(publisher_id, one.key), None, None, one.key.mime, one.key.name),
            )
            for place, value, one in zip(places, sealed, some, strict=True)
        ]
        with lost_race_on("keys_enter_once"):
            await connection.execute(
                statement("batches.insert_keys"), publisher_id, day.batch_id, *zip(*rows, strict=True)
            )

    def _suffix(self, publisher_id: int, key: DeliveredKey) -> bytes:
        told_by = key.text if key.mime is None else telling_text(key.text, key.mime)
        return self.fingerprints.suffix(publisher_id, told_by.raw)

    async def _claim(
        self, connection: Connection, taken: Sequence[Delivery], places: dict[UUID, Place], now: datetime
    ) -> None:
        for publisher_id in sorted({one.publisher_id for one in taken}):
            some = [one for one in taken if one.publisher_id == publisher_id]
            await connection.execute(
                statement("connectors.insert_requested_claims"),
                publisher_id,
                [one.claim_id for one in some],
                [places[one.claim_id].segment_id for one in some],
                [places[one.claim_id].position for one in some],
                [one.unit_id for one in some],
                [one.order_id for one in some],
                [one.state for one in some],
                [None for _ in some],
                now,
                [one.key_request_id for one in some],
            )
