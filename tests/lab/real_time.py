"""A publisher that keeps its keys: the sandbox publisher, a connector to it, and a product that is asked for there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from keyservice.connectors.document import ConnectorDocument
from keyservice.fulfillment.cancel_order import cancel_order
from keyservice.fulfillment.connector_secrets import put_secrets
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.postgres.statements import statement
from keyservice.sandbox.made_keys import KEY_PATTERN
from keyservice.sandbox.publisher import Publisher
from tests.lab.filled_presets import secrets_of
from tests.lab.shop import Shop


@dataclass(frozen=True, slots=True)
class RealTime:
    """A shop whose product's keys are asked of a sandbox publisher."""

    shop: Shop
    publisher: Publisher
    connector_id: UUID
    product_ref: int

    @classmethod
    async def opened(
        cls,
        shop: Shop,
        publisher: Publisher,
        document: ConnectorDocument,
        *,
        behind: Sequence[Mapping[str, str]] = (),
        before: Sequence[Mapping[str, str]] = (),
        answer_seconds: float = 5.0,
        accepts_surplus: bool = False,
        state: str = "enabled",
    ) -> "RealTime":
        """The plan's steps are `before`, the connector, and `behind`."""
        connector_id = await add_connector(shop, document, secrets_of(publisher, document), state=state)
        steps = [*before, {"source": "connector", "connector": str(connector_id)}, *behind]
        plan = {"steps": steps, "answer_seconds": answer_seconds, "accepts_surplus": accepts_surplus}
        return cls(shop, publisher, connector_id, await add_product(shop, plan))

    def order(self, number: str, *, quantity: int = 1) -> Any:
        return self.shop.with_lines(self.shop.order(number), (self.product_ref, quantity))

    async def buy(self, number: str, *, quantity: int = 1) -> Any:
        return await self.shop.submit(self.order(number, quantity=quantity))

    async def requests(self, order_id: UUID) -> list[KeyRequest]:
        """Everything that was asked about an order, oldest first."""
        async with self.shop.services.database.reading() as connection:
            rows = await connection.fetch(statement("key_requests.of_order"), self.shop.publisher_id, order_id)
        return [KeyRequest.of(row) for row in rows]

    async def pretend_sent(self, request: KeyRequest) -> KeyRequest:
        """The request as a process has it that has taken it, and may have sent it, and was killed or frozen then."""
        async with self.shop.services.database.transaction() as connection:
            now = await connection.fetchval("SELECT clock_timestamp()")
            name = (request.publisher_id, request.key_request_id)
            row = await connection.fetchrow(statement("key_requests.take"), *name, request.fence, now, now)
        assert row is not None
        return KeyRequest.of(row)

    async def make_due(self) -> None:
        """As if the pauses were over and the leases had run out: the database's clock cannot be turned."""
        async with self.shop.services.database.transaction() as connection:
            await connection.execute(
                "UPDATE key_requests SET next_at = next_at - interval '1 hour' WHERE publisher_id = $1 AND next_at IS NOT NULL",
                self.shop.publisher_id,
            )

    async def ask_due(self) -> int:
        """One round of the chore, to the end of what it has begun."""
        asker = self.shop.services.asker
        begun = await asker.ask_due()
        await asker.idle()
        return begun

    async def work_off(self, *, rounds: int = 50) -> None:
        """Until nothing is open any more, without waiting for pauses."""
        for _ in range(rounds):
            await self.make_due()
            if not await self.ask_due():
                return
        raise AssertionError("key requests do not come to an end")

    async def cancel(self, order_id: UUID) -> None:
        services = self.shop.services
        await cancel_order(
            services.database, services.shopper_keys, self.shop.reseller, order_id, reason=2, comment=None
        )

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        async with self.shop.services.database.reading() as connection:
            return await connection.fetch(query, *values)

    async def status(self, order_id: UUID) -> str:
        (row,) = await self.rows("SELECT status FROM orders WHERE order_id = $1", order_id)
        return str(row["status"])


async def add_connector(
    shop: Shop, document: ConnectorDocument, secrets: dict[str, str], *, state: str = "enabled"
) -> UUID:
    """A connector with its internal pool and its secrets."""
    connector_id, pool_id, now = new_id(), new_id(), datetime.now(UTC) - timedelta(seconds=1)
    services = shop.services
    async with services.database.of_publisher(shop.publisher_id).transaction() as connection:
        name = f"connector-{connector_id}"
        made = (shop.publisher_id, connector_id, name, pool_id, now)
        await connection.execute(statement("connectors.insert_connector"), *made)
        pool = (shop.publisher_id, pool_id, f" {name}", connector_id, now)
        await connection.execute(statement("connectors.insert_internal_pool"), *pool)
        version = (shop.publisher_id, connector_id, 1, document.model_dump_json(), 0, now)
        await connection.execute(statement("connectors.insert_version"), *version)
        await put_secrets(connection, services.wrapper, shop.publisher_id, connector_id, secrets, now)
        await connection.execute(
            "UPDATE connectors SET state = $3 WHERE publisher_id = $1 AND connector_id = $2",
            *(shop.publisher_id, connector_id, state),
        )
    return connector_id


async def add_product(shop: Shop, plan: Mapping[str, Any]) -> int:
    """A product with a plan of its own; its reference."""
    template_id, now = new_id(), datetime.now(UTC)
    product_ref = int(template_id) % 1_000_000_000_000 + 1
    async with shop.services.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO fulfillment_templates (template_id, publisher_id, name, quantity_mode, source_plan, created_at)"
            " VALUES ($1, $2, $3, 'quantity', $4, $5)",
            *(template_id, shop.publisher_id, str(template_id), json.dumps(plan), now),
        )
        await connection.execute(
            "INSERT INTO products (product_ref, publisher_id, template_id, name, created_at) VALUES ($1, $2, $3, 'real', $4)",
            *(product_ref, shop.publisher_id, template_id, now),
        )
    return product_ref


def document_for(publisher: Publisher, **members: Any) -> ConnectorDocument:
    """The reference's own protocol, as the sandbox publisher speaks it."""
    body = {"kind": "json", "template": _BODY}
    made = {
        "base_url": publisher.url_of("nexway"),
        "authentication": {"kind": "basic", "user": publisher.credentials.user},
        "operations": {
            "create": {
                "path": "/licenses/new",
                "body": body,
                "keys": [{"source": "json", "path": "$.activationCode", "all": True}],
                "license_id": {"source": "json", "path": "$.PublisherLicenseID"},
                "errors": [_means(409, "OUT_OF_STOCK", "out-of-stock")],
                **_SAYS,
            },
            "cancel": {
                "path": "/licenses/cancel",
                "body": body,
                "errors": [_means(404, "NOT_FOUND", "not-found"), _means(410, "CANCELLED", "already-done")],
                **_SAYS,
            },
        },
        "capabilities": {"can_void": True},
        "key_law": {"pattern": KEY_PATTERN},
        "budget_seconds": 2,
        "retry": {"first_seconds": 0.05, "attempts_max": 10},
        "breaker": {"failures": 1000},
    }
    return ConnectorDocument.model_validate({**made, **members})


_BODY: Final = (
    '{"fulfillmentId":"{{.LicenseID}}","quantity":{{.KeyCount}},"checkout":{"orderId":"{{.Checkout.OrderID}}",'
    '"lineItemId":"{{.Checkout.LineItemID}}"},"product":{"id":"{{.Product.ID}}"},"testMode":{{.IsTest}}}'
)
_SAYS: Final = {
    "error_code": {"source": "json", "path": "$.errorCode"},
    "error_message": {"source": "json", "path": "$.errorMessage"},
}


def _means(status: int, code: str, means: str) -> dict[str, Any]:
    value = {"source": "json", "path": "$.errorCode"}
    return {"when": {"statuses": [str(status)], "value": value, "equals": code}, "means": means}
