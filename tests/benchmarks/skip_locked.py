"""The usual design, written well: a status column, `FOR UPDATE SKIP LOCKED`, one transaction an order on a pool of connections.

Everything else is the service's own: HTTP, validation, ids, sealing, and the same rows in the same order tables.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import asyncpg
from pydantic_core import to_json

from keyservice.crypto.sealing import DataKey, key_aad, people_aad, sealed_data_key_id
from keyservice.domain.caller import Caller
from keyservice.domain.catalogue import Product
from keyservice.domain.errors import OutOfStock
from keyservice.domain.key import KeyPlace, KeyText
from keyservice.domain.order import NewOrder
from keyservice.domain.purchase import Purchase, PurchasedLine, PurchasedUnit, UnitState
from keyservice.fulfillment.accept_order import DraftLine, OrderDesk, OrderDraft, prepare
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.open_keys import data_key_context
from keyservice.postgres.connection import Connection
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


async def create_baseline(connection: Connection, *, publisher_id: int, pool_id: UUID, service_role: str) -> None:
    """The baseline's own table, with a copy of the publisher's sealed keys in it."""
    await connection.execute(CREATE)
    await connection.execute(FILL, publisher_id, pool_id)
    await connection.execute(f"GRANT USAGE ON SCHEMA baseline TO {service_role}")
    await connection.execute(f"GRANT SELECT, UPDATE ON baseline.keys TO {service_role}")


class SkipLockedDesk(OrderDesk):
    """Stands where the service's own desk stands."""

    def __init__(self, services: Services, data_keys: Mapping[int, DataKey]) -> None:
        self._services = services
        self._data_keys = data_keys

    @classmethod
    async def opened(cls, services: Services) -> "SkipLockedDesk":
        async with services.database.connection() as connection:
            rows = await connection.fetch("SELECT publisher_id, data_key_id, batch_id, wrapped FROM data_keys")
        return cls(services, {row["data_key_id"]: await _unwrapped(services, row) for row in rows})

    async def accept(self, caller: Caller, order: NewOrder, products: Mapping[int, Product]) -> Purchase:
        draft = prepare(self._services.fingerprints, caller, order, products)
        now = datetime.now(UTC)
        async with self._services.database.transaction() as connection:
            texts = {
                unit: await self._claim(connection, draft, line, unit, now)
                for line in draft.lines
                for unit in line.wanted.unit_ids
            }
            order_number = await self._write_order(connection, draft, now)
        return _purchase(draft, texts, order_number, now)

    async def _claim(
        self, connection: Connection, draft: OrderDraft, line: DraftLine, unit_id: UUID, now: datetime
    ) -> KeyText:
        row = await connection.fetchrow(_CLAIM, line.wanted.pool_ids[0])
        if row is None:
            raise OutOfStock(line_number=line.wanted.line_number, wanted=len(line.wanted.unit_ids), left=0)
        segment_id, position, sealed = row
        publisher_id, claim_id = line.wanted.publisher_id, new_id()
        await connection.execute(
            _INSERT_CLAIM, publisher_id, claim_id, segment_id, position, unit_id, draft.order_id, now
        )
        number = 1 + line.wanted.unit_ids.index(unit_id)
        await connection.execute(
            statement("orders.insert_line_item_data"),
            *(draft.order_id, unit_id, line.line.line_number, number, publisher_id, claim_id, "CREATION_ACCEPTED", now),
        )
        data_key = self._data_keys[sealed_data_key_id(sealed)]
        return KeyText(data_key.open(sealed, key_aad(KeyPlace(publisher_id, segment_id, position))))

    async def _write_order(self, connection: Connection, draft: OrderDraft, now: datetime) -> int:
        order, order_id = draft.order, draft.order_id
        shopper_keys = await self._services.shopper_keys.ensure(connection, [draft.shopper_ref], now)
        head = (order_id, draft.caller_id, order.partner_order_number, draft.body_fingerprint, draft.shopper_ref)
        money = (order.currency, draft.total_amount, order.ordered_at, now, draft.document)
        row = await connection.fetchrow(statement("orders.insert_order"), *head, "COMPLETED", "COMPLETED", *money)
        assert row is not None
        sealed = shopper_keys[draft.shopper_ref].seal(draft.people, people_aad(order_id))
        await connection.execute(statement("orders.insert_people"), order_id, draft.shopper_ref, sealed)
        for line, document in zip(draft.lines, draft.line_documents, strict=True):
            ids = (order_id, line.line.line_number, line.line_item_id, line.product.publisher_id)
            sold = (line.product.product_ref, line.product.template.template_id, line.line.quantity)
            await connection.execute(
                statement("orders.insert_line_item"), *ids, *sold, len(line.wanted.unit_ids), document
            )
        facts = to_json({"disclosed": draft.unit_count}).decode()
        event = (order_id, new_id(), None, draft.caller_id, "order.accepted", "COMPLETED", "connect", None, facts, now)
        await connection.execute(statement("orders.insert_event"), *event)
        return int(row["order_number"])


async def _unwrapped(services: Services, row: asyncpg.Record) -> DataKey:
    raw = await services.wrapper.unwrap(row["wrapped"], data_key_context(row["publisher_id"], row["batch_id"]))
    return DataKey(row["data_key_id"], raw)


def _purchase(draft: OrderDraft, texts: Mapping[UUID, KeyText], order_number: int, now: datetime) -> Purchase:
    return Purchase(
        order_id=draft.order_id,
        order_number=order_number,
        caller_id=draft.caller_id,
        partner_order_number=draft.order.partner_order_number,
        shopper_ref=draft.shopper_ref,
        status="COMPLETED",
        currency=draft.order.currency,
        ordered_at=draft.order.ordered_at,
        created_at=now,
        canceled_at=None,
        lines=tuple(
            PurchasedLine(
                line.line.line_number,
                line.product.product_ref,
                line.line.quantity,
                tuple(
                    PurchasedUnit(unit, number, UnitState.ISSUED, texts[unit], None, None)
                    for number, unit in enumerate(line.wanted.unit_ids, start=1)
                ),
            )
            for line in draft.lines
        ),
    )
