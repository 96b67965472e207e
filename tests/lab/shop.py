"""A small world for tests: a publisher, its pool, its product, and a reseller with a token."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from uuid import UUID

from keyservice.crypto.sealing import DataKey, key_aad
from keyservice.domain.caller import Caller, CallerKind
from keyservice.domain.key import KeyPlace
from keyservice.domain.order import NewOrder, NewOrderLine
from keyservice.domain.purchase import Purchase
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_callers import add_caller
from keyservice.fulfillment.open_keys import data_key_context
from keyservice.postgres.statements import statement
from keyservice.services import Services

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Shop:
    """Ids and tokens of one publisher, one pool, one product and one reseller."""

    services: Services
    publisher_id: int
    publisher: str
    pool_id: UUID
    product_ref: int
    reseller: Caller
    reseller_token: str

    @classmethod
    async def opened(
        cls,
        services: Services,
        *,
        policy: str = "fifo",
        warning_level: int = 0,
        alert_level: int = 0,
        is_sandbox: bool = False,
        days_left_min: int = 0,
    ) -> "Shop":
        number = next(_numbers)
        handle = f"publisher-{number}-{new_id().hex[-6:]}"
        pool_id, template_id = new_id(), new_id()
        product_ref = int(new_id()) % 1_000_000_000_000 + 1
        now = datetime.now(UTC)
        async with services.database.transaction() as connection:
            publisher_id = await connection.fetchval(statement("callers.insert_publisher"), handle, handle)
            await connection.execute(
                "INSERT INTO pools (publisher_id, pool_id, name, policy, warning_level, alert_level, is_sandbox, days_left_min,"
                " created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                *(publisher_id, pool_id, "main", policy, warning_level, alert_level, is_sandbox, days_left_min, now),
            )
            plan = json.dumps({"steps": [{"source": "pool", "pool": str(pool_id)}]})
            await connection.execute(
                "INSERT INTO fulfillment_templates (template_id, publisher_id, name, quantity_mode, source_plan, created_at)"
                " VALUES ($1, $2, 'plain', 'quantity', $3, $4)",
                *(template_id, publisher_id, plan, now),
            )
            await connection.execute(
                "INSERT INTO products (product_ref, publisher_id, template_id, name, created_at) VALUES ($1, $2, $3, $4, $5)",
                *(product_ref, publisher_id, template_id, "Antivirus 2027", now),
            )
            token = await add_caller(
                connection, kind=CallerKind.RESELLER, name=f"reseller-{handle}", validation_profile="lenient"
            )
        reseller = await services.gatekeeper.identify(token)
        return cls(services, publisher_id, handle, pool_id, product_ref, reseller, token)

    async def load(
        self, texts: Sequence[str], *, expires_on: date | None = None, state: str = "open", pool_id: UUID | None = None
    ) -> int:
        """Put keys on the tape as one released segment; returns its id."""
        batch_id = new_id()
        now = datetime.now(UTC)
        pool = pool_id or self.pool_id
        services = self.services
        async with services.database.transaction() as connection:
            segment_id = await connection.fetchval("SELECT nextval('segment_ids')")
            data_key_id = await connection.fetchval("SELECT nextval('data_key_ids')")
            data_key, raw = DataKey.generate(data_key_id)
            wrapped = await services.wrapper.wrap(raw, data_key_context(self.publisher_id, batch_id))
            await connection.execute(
                statement("tape.insert_data_key"), self.publisher_id, data_key_id, batch_id, wrapped, now
            )
            await connection.execute(
                "INSERT INTO batches (publisher_id, batch_id, pool_id, state, file_format, file_options, data_key_id,"
                " created_by, created_at, progressed_at) VALUES ($1, $2, $3, $4, 'txt', '{}', $5, 1, $6, $6)",
                *(self.publisher_id, batch_id, pool, "released" if state == "open" else state, data_key_id, now),
            )
            await connection.execute(
                "INSERT INTO segments (publisher_id, segment_id, pool_id, batch_id, state, expires_on, loaded)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                *(self.publisher_id, segment_id, pool, batch_id, state, expires_on, len(texts)),
            )
            if texts:
                columns = zip(
                    *(self._key_row(data_key, segment_id, at, text) for at, text in enumerate(texts, 1)), strict=True
                )
                await connection.execute(
                    statement("batches.insert_keys"), self.publisher_id, batch_id, *(list(column) for column in columns)
                )
        return int(segment_id)

    async def sell_in_blocks(self, block_size: int) -> None:
        """From now on a quantity of one is so many keys."""
        async with self.services.database.transaction() as connection:
            await connection.execute(
                "UPDATE fulfillment_templates SET quantity_mode = 'block', block_size = $2 WHERE publisher_id = $1",
                *(self.publisher_id, block_size),
            )

    async def another_product(self, *pool_ids: UUID) -> int:
        """The reference of a product of its own whose source plan is these pools."""
        template_id, now = new_id(), datetime.now(UTC)
        product_ref = int(template_id) % 1_000_000_000_000 + 1
        plan = json.dumps({"steps": [{"source": "pool", "pool": str(pool_id)} for pool_id in pool_ids]})
        async with self.services.database.transaction() as connection:
            await connection.execute(
                "INSERT INTO fulfillment_templates (template_id, publisher_id, name, quantity_mode, source_plan, created_at)"
                " VALUES ($1, $2, $3, 'quantity', $4, $5)",
                *(template_id, self.publisher_id, str(template_id), plan, now),
            )
            await connection.execute(
                "INSERT INTO products (product_ref, publisher_id, template_id, name, created_at)"
                " VALUES ($1, $2, $3, 'other', $4)",
                *(product_ref, self.publisher_id, template_id, now),
            )
        return product_ref

    async def second_pool(self, *, is_sandbox: bool = False) -> UUID:
        """Another pool of the publisher, asked when the first one is empty."""
        pool_id = new_id()
        step = json.dumps([{"source": "pool", "pool": str(pool_id)}])
        async with self.services.database.transaction() as connection:
            await connection.execute(
                "INSERT INTO pools (publisher_id, pool_id, name, policy, warning_level, alert_level, created_at, is_sandbox)"
                " VALUES ($1, $2, $3, 'fifo', 0, 0, $4, $5)",
                *(self.publisher_id, pool_id, f"second {pool_id}", datetime.now(UTC), is_sandbox),
            )
            await connection.execute(
                "UPDATE fulfillment_templates SET source_plan = jsonb_set(source_plan, '{steps}', source_plan -> 'steps' || $2)"
                " WHERE publisher_id = $1",
                *(self.publisher_id, step),
            )
        return pool_id

    def _key_row(self, data_key: DataKey, segment_id: int, position: int, text: str) -> tuple[object, ...]:
        raw, fingerprints = text.encode(), self.services.fingerprints
        return (
            *(segment_id, position, position),
            data_key.seal(raw, key_aad(KeyPlace(self.publisher_id, segment_id, position))),
            fingerprints.key(self.publisher_id, raw),
            fingerprints.suffix(self.publisher_id, raw),
            *(None, None, None, None),
        )

    async def left(self) -> int:
        from keyservice.fulfillment.watch_pools import read_levels

        async with self.services.database.transaction() as connection:
            return (await read_levels(connection, self.publisher_id, [self.pool_id]))[self.pool_id].left

    def order(self, number: str, *, quantity: int = 1, email: str = "ada@example.com") -> NewOrder:
        """A valid order of one line."""
        line = NewOrderLine(1, self.product_ref, quantity, Decimal(10), Decimal(10) * quantity, Decimal(0), (), False)
        return NewOrder(
            partner_order_number=number,
            currency="EUR",
            ordered_at=datetime(2026, 11, 22, tzinfo=UTC),
            affiliate_id=None,
            marketing_program_id=None,
            payment=None,
            discounts=(),
            lines=(line,),
            people={"customer": {"email": email}},
            document={"orderLines": [{"quantity": quantity}]},
        )

    def with_lines(self, order: NewOrder, *lines: tuple[int, int]) -> NewOrder:
        """The order with other lines, each (product_ref, quantity)."""
        made = tuple(
            NewOrderLine(number, ref, quantity, None, None, None, (), False)
            for number, (ref, quantity) in enumerate(lines, start=1)
        )
        return replace(order, lines=made, document={"orderLines": [{"ref": ref, "n": n} for ref, n in lines]})

    async def buy(self, number: str, *, quantity: int = 1) -> Purchase:
        return await self.submit(self.order(number, quantity=quantity))

    async def submit(self, order: NewOrder) -> Purchase:
        products = await self.services.catalogue.products({line.product_ref for line in order.lines})
        return await self.services.orders.accept(self.reseller, order, products)


def texts_of(purchase: Purchase) -> list[str]:
    """All key texts of a purchase, in order of lines and units."""
    return [unit.key.reveal() for line in purchase.lines for unit in line.units if unit.key is not None]
