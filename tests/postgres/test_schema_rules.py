"""The rules that keep one schema and one SQL good for a single server and for a distributed one (Citus), on plain PostgreSQL."""

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from keyservice.postgres.statements import families, statements
from tests.lab.cluster import DatabaseUrls

DISTRIBUTION_COLUMNS = {
    **dict.fromkeys(
        (
            *("pools", "batches", "data_keys", "segments", "keys", "claims", "returned", "refused_rows"),
            *("dry_run_fingerprints", "publisher_events", "backorders", "revocations", "revocation_feeds"),
            *("connectors", "connector_versions", "connector_secrets", "connector_days", "key_requests"),
            *("key_request_attempts", "surplus_keys", "license_data"),
        ),
        "publisher_id",
    ),
    **dict.fromkeys(("orders", "order_people", "line_items", "line_item_data", "order_events"), "order_id"),
    "shoppers": "shopper_ref",
    "caller_usage": "caller_id",
    **dict.fromkeys(("webhook_endpoints", "notices", "notice_deliveries"), "endpoint_id"),
}
REFERENCE_TABLES = {"publishers", "callers", "fulfillment_templates", "products", "secret_check_values", "signing_keys"}
NOT_DISTRIBUTED = {"schema_version"}

UNIQUE_INDEXES = """
SELECT t.relname AS table_name, i.relname AS index_name,
       array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = ANY(x.indkey)) AS columns
  FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
 WHERE n.nspname = 'public' AND x.indisunique
"""
FOREIGN_KEYS = """
SELECT c.conname AS name, s.relname AS source, t.relname AS target,
       array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = s.oid AND a.attnum = ANY(c.conkey)) AS columns
  FROM pg_constraint c JOIN pg_class s ON s.oid = c.conrelid JOIN pg_class t ON t.oid = c.confrelid
 WHERE c.contype = 'f'
"""


async def unique_index_faults(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(UNIQUE_INDEXES)
    return [
        row["index_name"]
        for row in rows
        if (column := DISTRIBUTION_COLUMNS.get(row["table_name"])) is not None and column not in row["columns"]
    ]


async def foreign_key_faults(connection: asyncpg.Connection) -> list[str]:
    faults = []
    for row in await connection.fetch(FOREIGN_KEYS):
        source, target = DISTRIBUTION_COLUMNS.get(row["source"]), DISTRIBUTION_COLUMNS.get(row["target"])
        is_good = target is None or (source == target and source in row["columns"])
        if not is_good:
            faults.append(row["name"])
    return faults


@pytest.fixture
async def owner(database_urls: DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_urls.owner)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def test_every_table_has_a_place_in_a_distributed_database(owner: asyncpg.Connection) -> None:
    rows = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    assert {row["relname"] for row in rows} == DISTRIBUTION_COLUMNS.keys() | REFERENCE_TABLES | NOT_DISTRIBUTED


async def test_every_unique_index_contains_its_tables_distribution_column(owner: asyncpg.Connection) -> None:
    assert await unique_index_faults(owner) == []
    await owner.execute("CREATE UNIQUE INDEX planted ON claims (unit_id)")
    assert await unique_index_faults(owner) == ["planted"]


async def test_foreign_keys_stay_inside_their_group_or_point_at_a_catalogue(owner: asyncpg.Connection) -> None:
    assert await foreign_key_faults(owner) == []
    await owner.execute("ALTER TABLE order_people ADD CONSTRAINT planted FOREIGN KEY (shopper_ref) REFERENCES shoppers")
    assert await foreign_key_faults(owner) == ["planted"]


async def test_no_table_has_a_trigger_of_its_own(owner: asyncpg.Connection) -> None:
    assert await owner.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0


def fault_of(sql: str) -> str | None:
    """Which rule a statement breaks, or None."""
    flat = " ".join(sql.split())
    upper = flat.upper()
    tables = (
        set(re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+([a-z_]+)", flat, re.IGNORECASE)) & DISTRIBUTION_COLUMNS.keys()
    )
    columns = {DISTRIBUTION_COLUMNS[table] for table in tables}
    if re.search(r"SELECT\s+(?:\w+\.)?\*", upper):
        return "names no columns"
    if len(columns) > 1:
        return "joins two groups"
    if re.search(r"FOR (NO KEY )?UPDATE", upper) and not _names_a_distribution_column(flat, columns):
        return "locks rows without the distribution column"
    if upper.startswith(("UPDATE", "DELETE")) and tables and not _names_a_distribution_column(flat, columns):
        return "changes rows without the distribution column"
    if upper.startswith("INSERT") and "UNNEST" in upper and "CROSS JOIN UNNEST" not in upper:
        return "inserts from a bare unnest"
    if upper.startswith("WITH") and re.search(r"\b(INSERT|UPDATE|DELETE)\b", upper):
        return "modifies inside a CTE"
    if re.search(r"PG_(TRY_)?ADVISORY_LOCK|LISTEN |SET (?!LOCAL)SESSION", upper):
        return "keeps session state"
    return None


def _names_a_distribution_column(sql: str, columns: set[str]) -> bool:
    return any(re.search(rf"\b{column} = \$\d", sql) for column in columns)


ALL_STATEMENTS = [(f"{family}.{name}", sql) for family in families() for name, sql in statements(family).items()]
# Read or swept across publishers by admins and workers, never on a claim's way.
ACROSS_SHARDS: set[str] = set()


@pytest.mark.parametrize(("name", "sql"), ALL_STATEMENTS, ids=[name for name, _ in ALL_STATEMENTS])
def test_every_statement_obeys_the_rules_of_a_distributed_database(name: str, sql: str) -> None:
    assert fault_of(sql) is None or name in ACROSS_SHARDS


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("SELECT * FROM claims WHERE publisher_id = $1", "names no columns"),
        ("SELECT o.order_id FROM orders o JOIN claims c ON c.order_id = o.order_id", "joins two groups"),
        ("SELECT state FROM claims WHERE claim_id = $1 FOR UPDATE", "locks rows without the distribution column"),
        ("UPDATE claims SET state = $1 WHERE claim_id = $2", "changes rows without the distribution column"),
        ("INSERT INTO returned (publisher_id) SELECT x FROM unnest($1::int[]) x", "inserts from a bare unnest"),
        ("WITH a AS (UPDATE pools SET alarm = $2 WHERE publisher_id = $1 RETURNING pool_id) SELECT pool_id FROM a",
         "modifies inside a CTE"),
    ],
)  # fmt: skip
def test_a_statement_that_breaks_a_rule_is_found(sql: str, fault: str) -> None:
    assert fault_of(sql) == fault


async def test_every_statement_can_be_prepared_by_the_services_role(database_urls: DatabaseUrls) -> None:
    connection = await asyncpg.connect(database_urls.service)
    try:
        for name, sql in ALL_STATEMENTS:
            try:
                await connection.prepare(sql)
            except asyncpg.PostgresError as error:
                pytest.fail(f"{name}: {error}")
    finally:
        await connection.close()
