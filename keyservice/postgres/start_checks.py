"""What start-up refuses: a server that forgets what it acknowledged, and roles that could see or change more than they should."""

import asyncpg

from keyservice.postgres.connection import UnsafeDatabase
from keyservice.postgres.roles import PIPELINE, PUBLISHER, WORKING_ROLES


async def check_server(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raise UnsafeDatabase unless the server is PostgreSQL 15 to 18 and keeps what it acknowledges."""
    version = connection.get_server_version()
    if not 15 <= version.major <= 18:
        raise UnsafeDatabase(f"PostgreSQL {version.major} is not supported: use PostgreSQL 15, 16, 17 or 18")
    rows = await connection.fetch(
        "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')"
    )
    settings = {row["name"]: row["setting"] for row in rows}
    for name in ("fsync", "full_page_writes"):
        if settings[name] != "on":
            raise UnsafeDatabase(f"{name} is {settings[name]}: a crash would lose acknowledged keys; set {name} = on")
    if settings["synchronous_commit"] not in ("on", "remote_apply"):
        raise UnsafeDatabase(
            f"synchronous_commit is {settings['synchronous_commit']}: acknowledged keys could be lost;"
            " set synchronous_commit = on (or remote_apply)"
        )


async def check_roles(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raise UnsafeDatabase unless the service can do nothing by itself, and little enough in each of its working roles."""
    for role in (None, *WORKING_ROLES):
        await _demand_plain(connection, role)
    for role in WORKING_ROLES:
        await _demand_taken_on(connection, role)
    if await connection.fetchval("SELECT pg_has_role($1, $2, 'MEMBER')", PUBLISHER, PIPELINE):
        raise UnsafeDatabase(
            f"{PUBLISHER} is a member of {PIPELINE} and could cross publishers: REVOKE {PIPELINE} FROM it"
        )
    unforced = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " AND relname <> 'schema_version' AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY relname"
    )
    if unforced:
        names = ", ".join(row["relname"] for row in unforced)
        raise UnsafeDatabase(f"row-level security is not forced on {names}: ALTER TABLE … FORCE ROW LEVEL SECURITY")


async def _demand_plain(connection: "asyncpg.Connection[asyncpg.Record]", name: str | None) -> None:
    role = await connection.fetchrow(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles"
        " WHERE rolname = coalesce($1, current_user)",
        name,
    )
    if role is None:
        raise UnsafeDatabase(
            f"the role {name} is missing: run `keyservice migrate` with KEYSERVICE_DATABASE_OWNER_URL set"
        )
    for attribute, word in (
        ("rolsuper", "a superuser"),
        ("rolbypassrls", "exempt from row-level security"),
        ("rolcreaterole", "allowed to create roles"),
        ("rolcreatedb", "allowed to create databases"),
    ):
        if role[attribute]:
            raise UnsafeDatabase(
                f"the role {role['rolname']} is {word}: take that away from it, or give the service another"
            )
    stronger = await connection.fetchval(
        "SELECT string_agg(rolname, ', ' ORDER BY rolname) FROM pg_roles WHERE rolname <> ALL ($2::name[])"
        " AND (rolsuper OR rolbypassrls OR rolcreaterole) AND pg_has_role($1, oid, 'MEMBER')",
        *(role["rolname"], [role["rolname"], *WORKING_ROLES]),
    )
    if stronger:
        raise UnsafeDatabase(f"the role {role['rolname']} may become {stronger}: REVOKE {stronger} FROM it")
    owned = await connection.fetchval(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND pg_has_role($1, c.relowner, 'MEMBER')",
        role["rolname"],
    )
    if owned:
        raise UnsafeDatabase(
            f"the role {role['rolname']} owns the tables: let another role own and migrate them"
            " (KEYSERVICE_DATABASE_OWNER_URL) and give the service its own"
        )


async def _demand_taken_on(connection: "asyncpg.Connection[asyncpg.Record]", role: str) -> None:
    row = await connection.fetchrow(
        "SELECT pg_has_role($1, 'MEMBER') AS may, pg_has_role($1, 'USAGE') AS inherits, current_user AS name", role
    )
    assert row is not None
    if not row["may"]:
        raise UnsafeDatabase(
            f"the role {row['name']} may not take {role} on: GRANT {role} TO it, or run `keyservice migrate`"
        )
    if row["inherits"]:
        raise UnsafeDatabase(
            f"the role {row['name']} inherits the rights of {role} and could use them without naming a publisher:"
            " make it NOINHERIT (before PostgreSQL 16), or grant WITH INHERIT FALSE"
        )
