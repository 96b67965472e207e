"""The stock of a package is arithmetic: no statement reads a tape, whatever the planner's statistics know."""

import asyncpg
import pytest

from keyservice.fulfillment.short_transaction import LOCAL_SETTINGS
from keyservice.postgres.roles import take_on_publisher
from keyservice.postgres.statements import statement
from tests.fulfillment.feeds import cancelled
from tests.fulfillment.uploads import csv_of, receive
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop


@pytest.mark.parametrize("local_settings", ["", LOCAL_SETTINGS], ids=["reading", "writing"])
@pytest.mark.parametrize("are_statistics_fresh", [False, True])
async def test_dead_claims_are_counted_by_the_index_that_holds_nothing_else(
    shop: Shop, database_urls: DatabaseUrls, are_statistics_fresh: bool, local_settings: str
) -> None:
    await receive(shop, csv_of([f"STOCK-{shop.publisher}-{number}" for number in range(3_000)]))
    for number in range(10):
        await shop.buy(f"kept-{number}", quantity=200)
    await cancelled(shop, "dead", quantity=3)
    if are_statistics_fresh:
        superuser = await asyncpg.connect(database_urls.superuser)
        await superuser.execute("ANALYZE")
        await superuser.close()
    connection = await asyncpg.connect(database_urls.service)
    try:
        async with connection.transaction():
            await connection.execute(f"{take_on_publisher(shop.publisher_id)}; {local_settings}")
            rows = await connection.fetch(
                f"EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) {statement('packages.stock_of_pools')}",
                *(shop.publisher_id, [shop.pool_id]),
            )
    finally:
        await connection.close()
    plan = "\n".join(row[0] for row in rows)
    assert "claims_dead" in plan, plan
    for other in ("claims_position_taken", "claims_pkey", "Seq Scan on claims", "on keys"):
        assert other not in plan, plan
