import json
from datetime import UTC, datetime

import asyncpg
import pytest

from keyservice.domain.revocation import DeadClaim, RevocationKind
from keyservice.fulfillment.cancel_order import cancel_order
from keyservice.fulfillment.record_revocations import record_revocations
from keyservice.postgres.connection import Connection
from tests.lab.shop import Shop


async def entries(connection: Connection, shop: Shop) -> list[asyncpg.Record]:
    return await connection.fetch(
        "SELECT claim_id, segment_id, position, kind, reason, sequence, acknowledged_at FROM revocations"
        " WHERE publisher_id = $1 ORDER BY position",
        shop.publisher_id,
    )


async def told(connection: Connection, shop: Shop) -> list[tuple[str, dict[str, object]]]:
    rows = await connection.fetch(
        "SELECT name, facts FROM publisher_events WHERE publisher_id = $1 AND name LIKE 'key.%'"
        " ORDER BY (facts ->> 'position')::integer",
        shop.publisher_id,
    )
    return [(row["name"], json.loads(row["facts"])) for row in rows]


async def test_a_cancelled_order_tells_the_publisher_of_each_key_that_was_seen(shop: Shop) -> None:
    await shop.load([f"FEED-{number}" for number in range(4)])
    purchase = await shop.buy("gone", quantity=3)
    await shop.buy("kept")
    services = shop.services
    await cancel_order(
        services.database, services.shopper_keys, shop.reseller, purchase.order_id, reason=2, comment=None
    )
    async with services.database.reading() as connection:
        rows, events = await entries(connection, shop), await told(connection, shop)
        dead = await connection.fetch(
            "SELECT claim_id, segment_id, position FROM claims WHERE publisher_id = $1 AND state = 'revoked'"
            " ORDER BY position",
            shop.publisher_id,
        )
    assert [tuple(row)[:3] for row in rows] == [tuple(claim) for claim in dead]
    assert {(row["kind"], row["reason"]) for row in rows} == {("revoked", "order canceled: 2")}
    assert {(row["sequence"], row["acknowledged_at"]) for row in rows} == {(None, None)}
    assert [name for name, _ in events] == ["key.revoked"] * 3
    assert [facts["claim_id"] for _, facts in events] == [str(row["claim_id"]) for row in rows]


async def test_a_replaced_key_is_told_as_replaced(shop: Shop) -> None:
    segment_id = await shop.load(["OLD"])
    purchase = await shop.buy("swap")
    async with shop.services.database.transaction() as connection:
        claim_id = await connection.fetchval("SELECT claim_id FROM claims WHERE order_id = $1", purchase.order_id)
        await record_revocations(
            connection,
            shop.publisher_id,
            [DeadClaim(claim_id, segment_id, 1)],
            kind=RevocationKind.REPLACED,
            reason="activation server says: used",
            now=datetime.now(UTC),
        )
        (entry,) = await entries(connection, shop)
        assert (entry["kind"], entry["reason"]) == ("replaced", "activation server says: used")
        ((name, facts),) = await told(connection, shop)
        assert (name, facts["reason"]) == ("key.replaced", entry["reason"])


async def test_a_claim_dies_once(shop: Shop) -> None:
    segment_id = await shop.load(["ONCE"])
    purchase = await shop.buy("once")
    services, now = shop.services, datetime.now(UTC)
    await cancel_order(
        services.database, services.shopper_keys, shop.reseller, purchase.order_id, reason=2, comment=None
    )
    async with services.database.reading() as connection:
        claim_id = (await entries(connection, shop))[0]["claim_id"]

    async def told_again() -> None:
        async with services.database.transaction() as connection:
            claims = [DeadClaim(claim_id, segment_id, 1)]
            await record_revocations(
                connection, shop.publisher_id, claims, kind=RevocationKind.REVOKED, reason="again", now=now
            )

    with pytest.raises(asyncpg.UniqueViolationError, match="revocations_once"):
        await told_again()
