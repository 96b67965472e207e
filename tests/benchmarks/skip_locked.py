"""The usual design, written well: a status column, `FOR UPDATE SKIP LOCKED`, one transaction an order on a pool of connections.

Everything else is the service's own: HTTP, validation, ids, sealing, and the same rows in the same order tables.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.crypto.sealing import DataKey, key_aad, people_aad, sealed_data_key_id
from keyservice.domain.caller import Caller
from keyservice.domain.catalogue import Product
from keyservice.domain.errors import OutOfStock
from keyservice.domain.key import KeyPlace, KeyText
from keyservice.domain.order import NewOrder
from keyservice.domain.purchase import Purchase
from keyservice.domain.tape import Place
from keyservice.fulfillment.accept_order import OrderDesk, prepare
from keyservice.fulfillment.claim_keys import IssuedKey
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.open_keys import OpenedKey, data_key_context
from keyservice.fulfillment.order_draft import DraftLine, OrderDraft, Placement
from keyservice.postgres.connection import Connection
from keyservice.postgres.roles import PIPELINE
from keyservice.postgres.statements import statement
from keyservice.services import Services

# Ordered by a column that no other index serves: by the primary key the planner would walk past every issued key.
# The room on each page and the early vacuum are what such a table needs to stay fast.
CREATE: Final = """
CREATE SCHEMA baseline;
CREATE TABLE baseline.keys (
    key_id bigint PRIMARY KEY, pool_id uuid NOT NULL, shelf bigint NOT NULL, status text NOT NULL,
    publisher_id integer NOT NULL, segment_id bigint NOT NULL, position integer NOT NULL, sealed bytea NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX keys_available ON baseline.keys (pool_id, shelf) WHERE status = 'available';
"""
FILL: Final = """
INSERT INTO baseline.keys (key_id, pool_id, shelf, status, publisher_id, segment_id, position, sealed)
SELECT row_number() OVER turn, $2, row_number() OVER turn, 'available', publisher_id, segment_id, position, sealed
  FROM keys WHERE publisher_id = $1 WINDOW turn AS (ORDER BY segment_id, position)
"""
# Dead entries at the index's head slow every later claim; a plain VACUUM may skip the index.
VACUUM: Final = "VACUUM (ANALYZE, INDEX_CLEANUP ON) baseline.keys"

_CLAIM: Final = """
UPDATE baseline.keys SET status = 'issued'
 WHERE key_id = (SELECT key_id FROM baseline.keys WHERE pool_id = $1 AND status = 'available'
                  ORDER BY shelf LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING segment_id, position, sealed
"""
_INSERT_CLAIM: Final = """
INSERT INTO claims (publisher_id, claim_id, segment_id, position, unit_id, order_id, state, claimed_at, disclosed_at)
VALUES ($1, $2, $3, $4, $5, $6, 'issued', $7, $7)
"""


async def create_baseline(connection: Connection, *, publisher_id: int, pool_id: UUID) -> None:
    """The baseline's own table, with a copy of the publisher's sealed keys in it."""
    await connection.execute(CREATE)
    await connection.execute(FILL, publisher_id, pool_id)
    await connection.execute(f"GRANT USAGE ON SCHEMA baseline TO {PIPELINE}")
    await connection.execute(f"GRANT SELECT, UPDATE ON baseline.keys TO {PIPELINE}")


class SkipLockedDesk(OrderDesk):
    """Stands where the service's own desk stands."""

    def __init__(self, services: Services, data_keys: Mapping[int, DataKey]) -> None:
        self._services = services
        self._data_keys = data_keys

    @classmethod
    async def opened(cls, services: Services) -> "SkipLockedDesk":
        async with services.database.transaction() as connection:
            rows = await connection.fetch("SELECT publisher_id, data_key_id, batch_id, wrapped FROM data_keys")
        return cls(services, {row["data_key_id"]: await _unwrapped(services, row) for row in rows})

    async def accept(self, caller: Caller, order: NewOrder, products: Mapping[int, Product]) -> Purchase:
        draft = prepare(self._services.fingerprints, caller, order, products, {})
        now = datetime.now(UTC)
        async with self._services.database.transaction() as connection:
            keys = [
                await self._claim(connection, draft, line, unit, now)
                for line in draft.lines
                for unit in line.wanted.unit_ids
            ]
            placement = Placement(draft, keys, now)
            order_number = await self._write_order(connection, placement)
        return placement.purchase(order_number)

    async def _claim(
        self, connection: Connection, draft: OrderDraft, line: DraftLine, unit_id: UUID, now: datetime
    ) -> IssuedKey:
        pool_id = line.wanted.pool_ids[0]
        row = await connection.fetchrow(_CLAIM, pool_id)
        if row is None:
            raise OutOfStock(line_number=line.line_number, wanted=len(line.wanted.unit_ids), left=0)
        segment_id, position, sealed = row
        publisher_id, claim_id = line.wanted.publisher_id, new_id()
        await connection.execute(
            _INSERT_CLAIM, publisher_id, claim_id, segment_id, position, unit_id, draft.order_id, now
        )
        data_key = self._data_keys[sealed_data_key_id(sealed)]
        text = KeyText(data_key.open(sealed, key_aad(KeyPlace(publisher_id, segment_id, position))))
        place = Place(segment_id, position)
        return IssuedKey(claim_id, unit_id, publisher_id, pool_id, place, OpenedKey(text, None, None))

    async def _write_order(self, connection: Connection, placement: Placement) -> int:
        """The rows of the service's own orders, one statement each."""
        draft = placement.draft
        row = await connection.fetchrow(statement("orders.insert_order"), *placement.order_row())
        assert row is not None
        assert draft.shopper_ref is not None
        assert draft.people is not None
        shopper_keys = await self._services.shopper_keys.ensure(connection, [draft.shopper_ref], placement.now)
        sealed = shopper_keys[draft.shopper_ref].seal(draft.people, people_aad(draft.order_id))
        await connection.execute(statement("orders.insert_people"), draft.order_id, draft.shopper_ref, sealed)
        for line in placement.line_rows():
            await connection.execute(statement("orders.insert_line_item"), *line)
        for unit in placement.unit_rows():
            await connection.execute(statement("orders.insert_line_item_data"), *unit)
        await connection.execute(statement("orders.insert_event"), *placement.event_row(source="connect"))
        return int(row["order_number"])


async def _unwrapped(services: Services, row: asyncpg.Record) -> DataKey:
    raw = await services.wrapper.unwrap(row["wrapped"], data_key_context(row["publisher_id"], row["batch_id"]))
    return DataKey(row["data_key_id"], raw)
