"""The statements of an upload must not slow down as the tables grow, whatever the planner's statistics know."""

from typing import Any

import asyncpg
import pytest

from keyservice.fulfillment.ids import new_id
from keyservice.postgres.connection import PLANNER_SETTINGS
from keyservice.postgres.roles import take_on_publisher
from keyservice.postgres.statements import statement
from tests.fulfillment.uploads import csv_of, receive
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop


async def plan_of(url: str, name: str, *values: Any) -> str:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"{take_on_publisher(values[0])}; {PLANNER_SETTINGS}")
            return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement(name)}", *values))
    finally:
        await connection.close()


@pytest.mark.parametrize("are_statistics_fresh", [False, True])
async def test_a_publisher_that_statistics_do_not_know_is_probed_by_whole_index_keys(
    shop: Shop, database_urls: DatabaseUrls, are_statistics_fresh: bool
) -> None:
    await receive(shop, csv_of([f"PLAN-{new_id()}" for _ in range(30_000)]))
    await shop.buy("some", quantity=200)
    superuser = await asyncpg.connect(database_urls.superuser)
    try:
        # Cheaper to enter than the right indexes are: what tempts the planner when it expects one row of the publisher.
        for table in ("keys", "claims", "segments"):
            await superuser.execute(f"CREATE INDEX IF NOT EXISTS tempting_{table} ON {table} (publisher_id)")
        if are_statistics_fresh:
            await superuser.execute("ANALYZE")
    finally:
        await superuser.close()
    unknown = 1_000_000
    url = database_urls.service

    plan = await plan_of(url, "batches.known_fingerprints", unknown, [b"x" * 32])
    assert "Index Cond: ((publisher_id = 1000000) AND (fingerprint >= x.fingerprint)" in plan
    plan = await plan_of(url, "batches.fate_of_places", unknown, [1], [1])
    assert "using claims_position_taken" in plan
    assert "(publisher_id = 1000000) AND (segment_id >= x.segment_id)" in plan
    plan = await plan_of(url, "batches.places_of_publisher_key_ids", unknown, ["x"], 11)
    assert "(publisher_key_id >= x.publisher_key_id)" in plan.partition("Index Cond")[2]
    plan = await plan_of(url, "tape.withdrawn_positions", unknown, [1], [1], 64)
    assert "using claims_position_taken" in plan
    assert '(segment_id = wanted.segment_id) AND ("position" >= wanted.first_position)' in plan
    plan = await plan_of(url, "batches.known_in_dry_run", unknown, new_id(), [b"x" * 32])
    assert "(fingerprint = x.fingerprint)" in plan.partition("Index Cond")[2]
    for name, values in (
        ("batches.purge_keys", (unknown, 1, 1, 10_000)),
        ("batches.purge_refused_rows", (unknown, new_id(), 1, 10_000)),
        ("batches.purge_dry_run", (unknown, new_id(), b"\0", b"\1")),
        ("batches.load_segments", (unknown, [1], [1])),
        ("batches.lock_batch", (unknown, new_id())),
    ):
        plan = await plan_of(url, name, *values)
        assert "Seq Scan" not in plan, plan
