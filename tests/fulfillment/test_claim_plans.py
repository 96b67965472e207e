"""What claims, holds, queues and their readers ask must not slow down as the tables grow, in either role and in any plan."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import pytest

from keyservice.fulfillment.ids import new_id
from keyservice.postgres.connection import PLANNER_SETTINGS
from keyservice.postgres.roles import TAKE_ON_PIPELINE, take_on_publisher
from keyservice.postgres.statements import statement
from tests.lab.cluster import DatabaseUrls, fresh_database

PUBLISHER_ID: Final = 700
OTHER_PUBLISHER_ID: Final = 701
POOL_ID: Final = UUID(int=7)
OTHER_POOL_ID: Final = UUID(int=8)
ID: Final = UUID(int=9)
IDS: Final = [UUID(int=number) for number in range(1_000, 1_050)]
NOW: Final = datetime(2026, 11, 25, tzinfo=UTC)

# A hundred thousand of everything that one publisher may have, and a few rows of another.
GROW: Final = (
    "INSERT INTO publishers SELECT n, 'plans-' || n, 'x', now() FROM generate_series(700, 701) AS n",
    "INSERT INTO pools (publisher_id, pool_id, name, policy, warning_level, alert_level, created_at, backordered)"
    " SELECT 700, lpad(to_hex(n), 32, '0')::uuid, n, 'fifo', 0, 0, now(), CASE WHEN n IN (7, 8) THEN 50000 ELSE 0 END"
    "   FROM generate_series(1, 2000) AS n",
    "INSERT INTO batches (publisher_id, batch_id, pool_id, state, file_format, file_options, data_key_id, created_by, created_at,"
    " progressed_at) SELECT 700, lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n % 2000 + 1), 32, '0')::uuid, 'released', 'txt',"
    " '{}', 1, 1, now(), now() FROM generate_series(1, 20000) AS n",
    "INSERT INTO segments (publisher_id, segment_id, pool_id, batch_id, state, loaded, next_position, returned_count)"
    " SELECT 700, n, lpad(to_hex(n % 2000 + 1), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid,"
    "        CASE WHEN n % 4 = 0 THEN 'open' ELSE 'exhausted' END, 1000, 1001, CASE WHEN n = 4 THEN 100000 ELSE 0 END"
    "   FROM generate_series(1, 20000) AS n WHERE n <> 4 UNION ALL"
    " SELECT 700, 4, lpad('7', 32, '0')::uuid, lpad('4', 32, '0')::uuid, 'open', 100000, 100001, 100000",
    "INSERT INTO returned SELECT 700, 4, n FROM generate_series(1, 100000) AS n",
    "INSERT INTO claims (publisher_id, claim_id, segment_id, position, unit_id, order_id, state, claimed_at)"
    " SELECT 700, lpad(to_hex(n), 32, '0')::uuid, n / 1000 + 10, n % 1000 + 1, lpad(to_hex(n), 32, '0')::uuid,"
    "        lpad(to_hex(n), 32, '0')::uuid, 'issued', now() FROM generate_series(1, 100000) AS n",
    "INSERT INTO backorders SELECT 700, lpad(to_hex(7 + n % 2), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid,"
    " lpad(to_hex(n), 32, '0')::uuid, now() - n * interval '1 second', n, 1, 1 FROM generate_series(1, 100000) AS n",
    "INSERT INTO orders (order_id, caller_id, partner_order_number, body_fingerprint, status, life_cycle_status, ordered_at,"
    " created_at, updated_at, document, held_until)"
    " SELECT lpad(to_hex(n), 32, '0')::uuid, 1, n, '', 'PAYMENT_PENDING', 'PAYMENT_PENDING', now(), now(), now(), '{}',"
    "        now() + n * interval '1 second' FROM generate_series(1, 100000) AS n",
    "INSERT INTO line_items SELECT lpad(to_hex(n), 32, '0')::uuid, 1, gen_random_uuid(), 700, 1, gen_random_uuid(), 1, 1, '{}'"
    "   FROM generate_series(1, 100000) AS n",
    "INSERT INTO line_item_data (order_id, line_item_data_id, line_number, unit_number, publisher_id, fulfillment_status,"
    " updated_at) SELECT lpad(to_hex(n), 32, '0')::uuid, gen_random_uuid(), 1, 1, 700, 'INITIALIZED', now()"
    "   FROM generate_series(1, 100000) AS n",
    "INSERT INTO revocations (publisher_id, revocation_id, claim_id, segment_id, position, kind, reason, happened_at)"
    " SELECT 700, lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid, 1, n, 'revoked', '', now()"
    "   FROM generate_series(1, 100000) AS n",
)


class Hot(NamedTuple):
    """A statement, what it is asked with, and how its plan must enter which index."""

    name: str
    values: tuple[Any, ...]
    index_name: str
    condition: str


OF_PIPELINE: Final = (
    Hot("backorders.waiting_in_turn", (PUBLISHER_ID, OTHER_POOL_ID, 50), "backorders_in_turn", "pool_id ="),
    Hot("backorders.still_waiting", (PUBLISHER_ID, IDS), "backorders_pkey", "unit_id = ANY"),
    Hot("backorders.delete_backorder", (PUBLISHER_ID, ID), "backorders_pkey", "unit_id ="),
    Hot("backorders.pools_that_are_waited_for", (PUBLISHER_ID,), "pools_with_backlog", "publisher_id ="),
    Hot("backorders.pools_that_are_waited_for", (PUBLISHER_ID,), "segments_for_sale", "pool_id = p.pool_id"),
    Hot("backorders.count_backordered", (PUBLISHER_ID, POOL_ID, 0), "pools_pkey", "pool_id ="),
    Hot("orders.expired_holds", (100,), "orders_held", "held_until < statement_timestamp()"),
    Hot("orders.lock_order", (ID,), "orders_pkey", "order_id ="),
    Hot("orders.read_order", (ID,), "orders_pkey", "order_id ="),
    Hot("orders.existing_order", (ID,), "orders_pkey", "order_id ="),
    Hot("orders.set_order_state", (ID, "PENDING", "COMPLETED", None, None, None, NOW), "orders_pkey", "order_id ="),
    Hot("orders.units", (ID,), "line_item_data_pkey", "order_id ="),
    Hot("orders.all_line_item_data", (ID,), "line_item_data_pkey", "order_id ="),
    Hot("orders.set_unit_state", (ID, ID, "NONE", None, NOW), "line_item_data_pkey", "line_item_data_id ="),
    Hot("orders.line_items", (ID,), "line_items_pkey", "order_id ="),
    Hot("orders.template_of_line", (ID, 1), "line_items_pkey", "line_number ="),
    Hot("tape.claims_of_units", (PUBLISHER_ID, IDS), "claims_pkey", "claim_id = ANY"),
    Hot("tape.disclose_claims", (PUBLISHER_ID, IDS, NOW), "claims_pkey", "claim_id = ANY"),
    Hot("tape.issue_claim", (PUBLISHER_ID, ID, NOW), "claims_pkey", "claim_id ="),
    Hot("tape.end_claim", (PUBLISHER_ID, ID, "revoked", NOW, "x"), "claims_pkey", "claim_id ="),
    Hot("tape.pools_of_segments", (PUBLISHER_ID, [1, 2, 3]), "segments_pkey", "segment_id = ANY"),
    Hot("tape.count_returned", (PUBLISHER_ID, 1, 1), "segments_pkey", "segment_id ="),
)
OF_BOTH: Final = (
    Hot("tape.lock_pools", (PUBLISHER_ID, [POOL_ID, OTHER_POOL_ID]), "pools_pkey", "pool_id = x.pool_id"),
    Hot("tape.segments_for_sale", (PUBLISHER_ID, [POOL_ID], NOW.date()), "segments_for_sale", "pool_id = x.pool_id"),
    Hot("tape.stock_of_pools", (PUBLISHER_ID, [POOL_ID]), "segments_for_sale", "pool_id = pools.pool_id"),
    Hot("tape.stock_of_pools", (PUBLISHER_ID, [POOL_ID]), "pools_pkey", "pool_id = x.pool_id"),
    Hot("tape.returned_positions", (PUBLISHER_ID, [4], 10), "returned_pkey", "segment_id = wanted.segment_id"),
    Hot("tape.read_keys", (PUBLISHER_ID, [1], [1]), "keys_pkey", '"position" <= x."position"'),
    Hot("tape.withdrawn_positions", (PUBLISHER_ID, [4], [1], 10), "claims_position_taken", '"position" >='),
    Hot("tape.move_cursor", (PUBLISHER_ID, 1, 1, 0, 0, 0, "open"), "segments_pkey", "segment_id ="),
    Hot("tape.take_returned", (PUBLISHER_ID, 1, 1), "returned_pkey", '"position" ='),
    Hot("tape.set_alarm", (PUBLISHER_ID, POOL_ID, "none"), "pools_pkey", "pool_id ="),
    Hot("tape.data_keys", (PUBLISHER_ID, [1, 2]), "data_keys_pkey", "data_key_id = x.data_key_id"),
)
OF_PUBLISHER: Final = (
    Hot("revocations.unnumbered", (PUBLISHER_ID, 1_000), "revocations_unnumbered", "publisher_id ="),
    Hot("revocations.entries", (PUBLISHER_ID, 1, 100), "revocations_numbered_once", "sequence >"),
)
CASES: Final = [
    *(("pipeline", hot) for hot in (*OF_PIPELINE, *OF_BOTH)),
    *(("publisher", hot) for hot in (*OF_BOTH, *OF_PUBLISHER)),
]


@pytest.fixture(scope="module")
async def grown(superuser_url: str) -> AsyncIterator[DatabaseUrls]:
    async with fresh_database(superuser_url) as urls:
        superuser = await asyncpg.connect(urls.superuser)
        try:
            for sql in GROW:
                await superuser.execute(sql)
        finally:
            await superuser.close()
        yield urls


@pytest.mark.parametrize("are_statistics_fresh", [False, True])
async def test_hot_statements_enter_the_right_index_at_the_right_place(
    grown: DatabaseUrls, are_statistics_fresh: bool
) -> None:
    if are_statistics_fresh:
        superuser = await asyncpg.connect(grown.superuser)
        await superuser.execute("ANALYZE")
        await superuser.close()
    connection = await asyncpg.connect(grown.service)
    faults = []
    try:
        for role, hot in CASES:
            for kind in ("custom", "generic"):
                plan = await plan_of(connection, role, hot, kind)
                if not enters(plan, hot):
                    faults.append(f"{hot.name} for the {role}, {kind} plan:\n{plan}")
    finally:
        await connection.close()
    assert not faults, "\n\n".join(faults)


async def plan_of(connection: asyncpg.Connection, role: str, hot: Hot, kind: str) -> str:
    take_on = TAKE_ON_PIPELINE if role == "pipeline" else take_on_publisher(PUBLISHER_ID)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"{take_on}; {PLANNER_SETTINGS}; SET LOCAL plan_cache_mode = force_{kind}_plan")
        name = f"hot_{new_id().hex}"
        await connection.execute(f"PREPARE {name} AS {statement(hot.name)}")
        values = ", ".join(literal(value) for value in hot.values)
        return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE {name} ({values})"))
    finally:
        await transaction.rollback()


def enters(plan: str, hot: Hot) -> bool:
    """Whether the index is scanned with the condition, and no table is read from end to end."""
    found = plan.partition(f" {hot.index_name} ")[2].partition("Index Cond: ")[2].partition("\n")[0]
    return hot.condition in found and "Seq Scan" not in plan


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "'{" + ",".join(str(one) for one in value) + "}'"
    return f"'{value}'"
