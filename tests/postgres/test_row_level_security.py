# ruff: noqa: S608 - the statements are made up here, and making them up is the point
"""Tenancy in the database itself: whatever SQL runs for a publisher, no other publisher's row exists in it."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import asyncpg
import pytest

from keyservice.crypto.keyring import Keyring
from keyservice.postgres.connection import UnsafeDatabase
from keyservice.postgres.roles import PIPELINE, PUBLISHER, TAKE_ON_PIPELINE, take_on_publisher
from keyservice.services import Services, check_database
from tests.lab.cluster import OWNER, SERVICE, DatabaseUrls, fresh_database
from tests.lab.shop import Shop

TENANTS: Final = (
    *("publishers", "fulfillment_templates", "products", "pools", "batches", "data_keys", "segments", "keys", "claims"),
    *("returned", "refused_rows", "dry_run_fingerprints", "publisher_events", "backorders", "revocations"),
    *("revocation_feeds", "connectors", "connector_versions", "connector_secrets", "connector_days", "key_requests"),
    *("key_request_attempts", "surplus_keys", "license_data", "webhook_endpoints", "notices", "notice_deliveries"),
)
ORDER_SIDE: Final = ("orders", "order_people", "line_items", "line_item_data", "order_events", "shoppers")
SECRETS: Final = ("callers", "caller_usage", "signing_keys", "secret_check_values")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Two publishers that have something in every table."""

    own: Shop
    foreign: Shop


@pytest.fixture(scope="module")
async def neighbours(services: Services, database_urls: DatabaseUrls) -> Neighbours:
    own, foreign = [await Shop.opened(services) for _ in range(2)]
    superuser = await asyncpg.connect(database_urls.superuser)
    try:
        for shop in (own, foreign):
            segment_id = await shop.load([f"KEY-{number}" for number in range(5)])
            await shop.buy(f"bought-{shop.publisher_id}", quantity=2)
            await _fill_the_rest(superuser, shop, segment_id)
    finally:
        await superuser.close()
    return Neighbours(own, foreign)


async def _fill_the_rest(superuser: asyncpg.Connection, shop: Shop, segment_id: int) -> None:
    values = (shop.publisher_id, segment_id)
    for sql in (
        "INSERT INTO returned SELECT $1::integer, $2::bigint, 1",
        "INSERT INTO refused_rows (publisher_id, batch_id, row_number, verdict)"
        " SELECT $1::integer, batch_id, 1, 'blank' FROM segments WHERE segment_id = $2::bigint",
        "INSERT INTO dry_run_fingerprints SELECT $1::integer, batch_id, '\\x00', 1 FROM segments WHERE segment_id = $2::bigint",
        "INSERT INTO publisher_events (publisher_id, event_id, name, facts, created_at)"
        " SELECT $1::integer, gen_random_uuid(), 'planted', '{}', now() WHERE $2::bigint > 0",
        "INSERT INTO backorders SELECT $1::integer, pool_id, gen_random_uuid(), gen_random_uuid(), now(), 1, 1, 1"
        "  FROM segments WHERE segment_id = $2::bigint",
        "INSERT INTO revocations (publisher_id, revocation_id, claim_id, segment_id, position, kind, reason, happened_at)"
        " SELECT $1::integer, gen_random_uuid(), claim_id, segment_id, position, 'revoked', 'planted', now()"
        "  FROM claims WHERE publisher_id = $1 AND segment_id = $2::bigint",
        "INSERT INTO revocation_feeds SELECT $1::integer, 0, '' WHERE $2::bigint > 0",
        "INSERT INTO connectors SELECT $1::integer, gen_random_uuid(), 'planted', 1, 'draft', gen_random_uuid(), now(), now()"
        " WHERE $2::bigint > 0",
        "INSERT INTO connector_versions SELECT publisher_id, connector_id, 1, '{}', 1, now() FROM connectors"
        " WHERE publisher_id = $1 AND $2::bigint > 0",
        "INSERT INTO connector_secrets SELECT publisher_id, connector_id, 'token', '', '', now() FROM connectors"
        " WHERE publisher_id = $1 AND $2::bigint > 0",
        "INSERT INTO connector_days SELECT $1::integer, gen_random_uuid(), now()::date, gen_random_uuid(), $2::bigint, 1",
        "INSERT INTO key_requests (publisher_id, key_request_id, license_ref, connector_id, connector_version, operation,"
        " order_id, line_number, unit_ids, state, give_up_at, created_at, updated_at) SELECT $1::integer, gen_random_uuid(),"
        " gen_random_uuid(), gen_random_uuid(), 1, 'create', gen_random_uuid(), 1, '{}', 'held', now(), now(), now()"
        " WHERE $2::bigint > 0",
        "INSERT INTO key_request_attempts (publisher_id, key_request_id, fence, operation, started_at, ended_at, outcome,"
        " seconds) SELECT $1::integer, gen_random_uuid(), 1, 'create', now(), now(), 'done', 0 WHERE $2::bigint > 0",
        "INSERT INTO surplus_keys SELECT $1::integer, gen_random_uuid(), gen_random_uuid(), $2::bigint, 1, 'open', '', now()",
        "INSERT INTO webhook_endpoints (endpoint_id, publisher_id, url, types, data_key_id, wrapped_key, sealed_secret,"
        " created_at) SELECT gen_random_uuid(), $1::integer, 'https://planted', '{}', 1, '', '', now() WHERE $2::bigint > 0",
        "INSERT INTO notices (endpoint_id, notice_id, publisher_id, subject, type, object_id, occurred_at, recorded_at, body,"
        " due_at) SELECT gen_random_uuid(), gen_random_uuid(), $1::integer, 's', 't', 'o', now(), now(), '{}', now()"
        " WHERE $2::bigint > 0",
        "INSERT INTO notice_deliveries SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), $1::integer, 1, now(),"
        " 200, NULL, 0 WHERE $2::bigint > 0",
        "INSERT INTO license_data SELECT $1::integer, gen_random_uuid(), $2::bigint, '', now()",
    ):
        await superuser.execute(sql, *values)


@pytest.fixture
async def connection(database_urls: DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_urls.service)
    yield opened
    await opened.close()


def readings(foreign: int) -> Iterator[str]:
    """Statements that count rows of the foreign publisher, by every way that comes to mind."""
    for table in TENANTS:
        yield f"SELECT count(*) FROM {table} WHERE publisher_id = {foreign}"
        yield f"SELECT count(*) FROM {table} WHERE publisher_id <> $own"
        yield f"SELECT count(*) FILTER (WHERE publisher_id = {foreign}) FROM {table}"
        yield f"SELECT count(*) FROM (SELECT * FROM {table} OFFSET 0) AS x WHERE x.publisher_id IN ({foreign})"
        yield f"SELECT count(*) FROM (VALUES ({foreign})) AS x (n) JOIN {table} t ON t.publisher_id = x.n"
        yield f"WITH x AS MATERIALIZED (SELECT publisher_id FROM {table}) SELECT count(*) FROM x WHERE publisher_id = {foreign}"
        yield f"SELECT count(*) FROM {table} WHERE publisher_id = {foreign} OR true AND publisher_id <> $own"
        yield f"SELECT count(*) FROM (VALUES ({foreign})) x (n), LATERAL (SELECT FROM {table} WHERE publisher_id = n) t"
    for one, other in product(TENANTS[2:6], TENANTS[6:9]):
        joined = f"{one} a FULL JOIN {other} b ON a.publisher_id = b.publisher_id"
        yield f"SELECT count(*) FROM {joined} WHERE b.publisher_id = {foreign}"
    yield f"SELECT count(*) FROM pools WHERE publisher_id = {foreign} UNION ALL SELECT 0 LIMIT 1"
    yield f"SELECT count(*) FROM keys TABLESAMPLE SYSTEM (100) WHERE publisher_id = {foreign}"
    for table in TENANTS:
        yield f"SELECT count(*) FROM pg_stats WHERE tablename = '{table}'"


def writings(foreign: int) -> Iterator[str]:
    """Statements that would change, take away or slip in a row of the foreign publisher."""
    for table, column in (
        ("pools", "name"),
        ("batches", "refusal"),
        ("fulfillment_templates", "name"),
        ("products", "name"),
    ):
        yield f"UPDATE {table} SET {column} = 'taken over' WHERE publisher_id = {foreign}"
        yield f"UPDATE {table} SET publisher_id = {foreign}"
        yield f"SELECT 1 FROM {table} WHERE publisher_id = {foreign} FOR UPDATE"
    for table in ("segments", "keys", "returned", "refused_rows", "dry_run_fingerprints"):
        yield f"DELETE FROM {table} WHERE publisher_id = {foreign}"
        yield f"DELETE FROM {table} t USING (VALUES ({foreign})) AS x (n) WHERE t.publisher_id = x.n"
        yield f"WITH gone AS (DELETE FROM {table} WHERE publisher_id = {foreign} RETURNING 1) SELECT count(*) FROM gone"
    yield f"UPDATE segments SET next_position = loaded + 1 WHERE publisher_id = {foreign}"
    yield f"INSERT INTO returned (publisher_id, segment_id, position) VALUES ({foreign}, 1, 99)"
    yield f"INSERT INTO pools SELECT {foreign}, gen_random_uuid(), 'slipped in', policy, 0, 0 FROM pools LIMIT 1"
    yield f"INSERT INTO publisher_events VALUES ({foreign}, gen_random_uuid(), NULL, NULL, NULL, 'slipped in', '{{}}', now())"
    yield (
        "INSERT INTO claims (publisher_id, claim_id, segment_id, position, state, claimed_at)"
        f" VALUES ({foreign}, gen_random_uuid(), 1, 1, 'withdrawn', now())"
    )
    yield (
        "INSERT INTO pools (publisher_id, pool_id, name, policy, warning_level, alert_level, created_at)"
        " SELECT publisher_id, pool_id, 'x', 'fifo', 0, 0, now() FROM pools"
        f" ON CONFLICT (publisher_id, pool_id) DO UPDATE SET publisher_id = {foreign}"
    )


def forbidden(role: str) -> Iterator[str]:
    """What a role has no part in, whosever it is, and ways to become somebody else."""
    for table in (*ORDER_SIDE, *SECRETS) if role == PUBLISHER else ():
        yield f"SELECT count(*) FROM {table}"
        yield f"DELETE FROM {table}"
        yield f"SELECT (SELECT count(*) FROM {table}) FROM publishers"
    for table in (
        "claims",
        "orders",
        "order_events",
        "publisher_events",
        "data_keys",
        "revocations",
        "publishers",
        "callers",
    ):
        yield f"DELETE FROM {table}"
        yield f"TRUNCATE {table}"
        yield f"DROP TABLE {table}"
        yield f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"
        yield f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"
        yield f"CREATE POLICY planted ON {table} USING (true)"
        yield f"DROP POLICY pipeline ON {table}"
    yield "UPDATE keys SET sealed = ''"
    yield "UPDATE order_events SET name = ''"
    yield "UPDATE publisher_events SET name = ''"
    yield "UPDATE data_keys SET wrapped = ''"
    yield "SET SESSION AUTHORIZATION postgres"
    yield "SET row_security = off; SELECT count(*) FROM pg_authid"
    yield f"ALTER ROLE {role} BYPASSRLS"
    yield f"ALTER ROLE {role} SUPERUSER"
    yield "CREATE TABLE planted (n integer)"
    yield "CREATE FUNCTION planted() RETURNS integer LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"
    yield "COPY (SELECT 1) TO PROGRAM 'true'"
    yield "SELECT pg_read_file('postgresql.conf')"
    yield "SELECT lo_import('/etc/passwd')"


async def test_every_table_is_a_tenants_or_closed_to_publishers(database_urls: DatabaseUrls) -> None:
    superuser = await asyncpg.connect(database_urls.superuser)
    try:
        tables = await superuser.fetch(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        )
        others = await superuser.fetch(
            "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm', 'f') AND relnamespace = 'public'::regnamespace"
            " UNION ALL SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        )
    finally:
        await superuser.close()
    assert {row["relname"] for row in tables} == {*TENANTS, *ORDER_SIDE, *SECRETS, "schema_version"}
    assert [row["relname"] for row in others] == [], "they would be read with the rights of whoever owns them"


async def test_two_hundred_statements_for_one_publisher_see_and_touch_no_row_of_another(
    connection: asyncpg.Connection, neighbours: Neighbours
) -> None:
    own, foreign = neighbours.own.publisher_id, neighbours.foreign.publisher_id
    tried = 0
    for sql in readings(foreign):
        assert await _foreign_rows(connection, own, sql.replace("$own", str(own))) == 0, sql
        tried += 1
    before = await _state_of(connection, foreign)
    for sql in writings(foreign):
        assert await _touched(connection, take_on_publisher(own), sql) == 0, sql
        tried += 1
    for sql in forbidden(PUBLISHER):
        assert await _touched(connection, take_on_publisher(own), sql) == 0, sql
        tried += 1
    assert await _state_of(connection, foreign) == before
    assert tried >= 200


async def test_the_same_statements_find_the_rows_when_they_are_the_publishers_own(
    connection: asyncpg.Connection, neighbours: Neighbours
) -> None:
    """Else the test above would prove nothing."""
    own = neighbours.own.publisher_id
    for table in TENANTS:
        found = await _foreign_rows(connection, own, f"SELECT count(*) FROM {table} WHERE publisher_id = {own}")
        assert found > 0, table


async def test_two_hundred_statements_of_the_pipeline_reach_across_publishers_but_not_beyond_its_part(
    connection: asyncpg.Connection, neighbours: Neighbours
) -> None:
    foreign = neighbours.foreign.publisher_id
    tried = 0
    for table in TENANTS:
        sql = f"SELECT count(*) FROM {table} WHERE publisher_id = {foreign}"
        async with connection.transaction():
            await connection.execute(TAKE_ON_PIPELINE)
            assert await connection.fetchval(sql) > 0, sql
        tried += 1
    before = await _state_of(connection, foreign)
    for sql in forbidden(PIPELINE):
        assert await _touched(connection, TAKE_ON_PIPELINE, sql) == 0, sql
        tried += 1
    for table in (*TENANTS, *ORDER_SIDE, *SECRETS):
        for sql in (
            f"TRUNCATE {table}",
            f"ALTER TABLE {table} OWNER TO {SERVICE}",
            f"CREATE INDEX planted ON {table} ((1))",
            f"CREATE RULE planted AS ON INSERT TO {table} DO INSTEAD NOTHING",
            f"CREATE TRIGGER planted BEFORE UPDATE ON {table} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            f"SET LOCAL row_security = off; TABLE {table}",
        ):
            assert await _touched(connection, TAKE_ON_PIPELINE, sql) == 0, sql
            tried += 1
    assert await _state_of(connection, foreign) == before
    assert tried >= 200


async def test_a_transaction_that_names_no_publisher_finds_nothing_and_is_no_error(
    connection: asyncpg.Connection, neighbours: Neighbours
) -> None:
    naming = ("", "SET LOCAL keyservice.publisher_id = ''")
    for first in naming * 2:  # a setting that an earlier transaction had is '' afterwards, not absent
        for table in TENANTS:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL ROLE {PUBLISHER}; {first}")
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
        async with connection.transaction():
            await connection.execute(take_on_publisher(neighbours.own.publisher_id))
            assert await connection.fetchval("SELECT count(*) FROM keys") == 5


async def test_without_a_role_the_services_login_reaches_nothing(
    connection: asyncpg.Connection, neighbours: Neighbours
) -> None:
    assert neighbours.own.publisher_id
    for table in (*TENANTS, *ORDER_SIDE, *SECRETS):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval(f"SELECT count(*) FROM {table}")


async def test_the_owner_of_the_tables_sees_no_row_either(database_urls: DatabaseUrls, neighbours: Neighbours) -> None:
    assert neighbours.own.publisher_id
    owner = await asyncpg.connect(database_urls.owner)
    try:
        for table in (*TENANTS, *ORDER_SIDE, *SECRETS):
            assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0
    finally:
        await owner.close()


async def test_without_the_policy_foreign_rows_would_be_seen(
    database_urls: DatabaseUrls, neighbours: Neighbours
) -> None:
    """What keeps them apart is the policy: the same statement finds them when it is switched off."""
    superuser = await asyncpg.connect(database_urls.superuser)
    transaction = superuser.transaction()
    await transaction.start()
    await superuser.execute("ALTER TABLE keys DISABLE ROW LEVEL SECURITY")
    await superuser.execute(take_on_publisher(neighbours.own.publisher_id))
    foreign = neighbours.foreign.publisher_id
    found = await superuser.fetchval("SELECT count(*) FROM keys WHERE publisher_id = $1", foreign)
    await transaction.rollback()
    await superuser.close()
    assert found == 5


@pytest.fixture
async def own_database(superuser_url: str) -> AsyncIterator[DatabaseUrls]:
    async with fresh_database(superuser_url) as urls:
        yield urls


@pytest.mark.parametrize(
    ("harm", "undo", "why"),
    [
        (f"ALTER ROLE {PUBLISHER} BYPASSRLS", f"ALTER ROLE {PUBLISHER} NOBYPASSRLS", "exempt from row-level security"),
        (f"ALTER ROLE {PIPELINE} SUPERUSER", f"ALTER ROLE {PIPELINE} NOSUPERUSER", "superuser"),
        (f"ALTER ROLE {PIPELINE} CREATEROLE", f"ALTER ROLE {PIPELINE} NOCREATEROLE", "create roles"),
        (f"ALTER TABLE keys OWNER TO {PIPELINE}", f"ALTER TABLE keys OWNER TO {OWNER}", "owns the tables"),
        (f"CREATE ROLE stronger BYPASSRLS; GRANT stronger TO {PIPELINE}", "DROP ROLE stronger", "may become stronger"),
        (f"CREATE ROLE stronger SUPERUSER; GRANT stronger TO {SERVICE}", "DROP ROLE stronger", "may become stronger"),
        (f"GRANT {PIPELINE} TO {PUBLISHER}", f"REVOKE {PIPELINE} FROM {PUBLISHER}", "could cross publishers"),
        ("ALTER TABLE keys NO FORCE ROW LEVEL SECURITY", "ALTER TABLE keys FORCE ROW LEVEL SECURITY", "not forced on keys"),
        ("ALTER TABLE orders DISABLE ROW LEVEL SECURITY", "ALTER TABLE orders ENABLE ROW LEVEL SECURITY", "not forced on orders"),
        (f"SET ROLE {OWNER}; REVOKE {PIPELINE} FROM {SERVICE}; RESET ROLE", "", "may not take"),
    ],
)  # fmt: skip
async def test_start_up_refuses_what_would_weaken_the_tenancy(
    own_database: DatabaseUrls, keyring: Keyring, harm: str, undo: str, why: str
) -> None:
    superuser = await asyncpg.connect(own_database.superuser)
    is_fine_grained = superuser.get_server_version() >= (16, 0)
    options = " WITH INHERIT FALSE, SET TRUE" if is_fine_grained else ""
    again = f"SET ROLE {OWNER}; GRANT {PIPELINE} TO {SERVICE}{options}; RESET ROLE"
    await check_database(own_database.service, keyring)
    try:
        await superuser.execute(harm)
        with pytest.raises(UnsafeDatabase, match=why):
            await check_database(own_database.service, keyring)
    finally:
        await superuser.execute(undo or again)
        await superuser.close()
    await check_database(own_database.service, keyring)


async def test_start_up_refuses_a_login_that_inherits_the_working_roles(
    own_database: DatabaseUrls, keyring: Keyring
) -> None:
    superuser = await asyncpg.connect(own_database.superuser)
    is_fine_grained = superuser.get_server_version() >= (16, 0)
    harm, undo = (
        (
            f"SET ROLE {OWNER}; GRANT {PIPELINE} TO {SERVICE} WITH INHERIT TRUE; RESET ROLE",
            f"SET ROLE {OWNER}; GRANT {PIPELINE} TO {SERVICE} WITH INHERIT FALSE; RESET ROLE",
        )
        if is_fine_grained
        else (f"ALTER ROLE {SERVICE} INHERIT", f"ALTER ROLE {SERVICE} NOINHERIT")
    )
    try:
        await superuser.execute(harm)
        with pytest.raises(UnsafeDatabase, match="inherits the rights"):
            await check_database(own_database.service, keyring)
    finally:
        await superuser.execute(undo)
        await superuser.close()
    await check_database(own_database.service, keyring)


async def _foreign_rows(connection: asyncpg.Connection, own: int, sql: str) -> int:
    async with connection.transaction():
        await connection.execute(take_on_publisher(own))
        return int(await connection.fetchval(sql))


async def _touched(connection: asyncpg.Connection, take_on: str, sql: str) -> int:
    """How many rows the statement returned or changed; a refusal touches none. Nothing of it stays."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(take_on)
        status = await connection.execute(sql)
        found = await connection.fetchval(sql) if sql.startswith(("SELECT count", "WITH")) else None
    except (asyncpg.InsufficientPrivilegeError, asyncpg.CheckViolationError, asyncpg.UndefinedFunctionError):
        return 0
    except asyncpg.PostgresSyntaxError as error:
        raise AssertionError(f"{sql}: {error}") from error
    finally:
        await transaction.rollback()
    return int(found) if found is not None else int(status.rpartition(" ")[2]) if status[-1].isdigit() else 1


async def _state_of(connection: asyncpg.Connection, publisher_id: int) -> list[tuple[str, int]]:
    """A hash of everything that the publisher has."""
    async with connection.transaction():
        await connection.execute(TAKE_ON_PIPELINE)
        return [
            (
                table,
                await connection.fetchval(
                    f"SELECT coalesce(sum(hashtext(t::text)), 0) FROM {table} t WHERE publisher_id = $1",
                    publisher_id,
                ),
            )
            for table in TENANTS
        ]
