"""The database and its two roles: one owns and migrates, one serves and owns nothing."""

import asyncpg

from keyservice.postgres.embedded.credentials import DATABASE, OWNER, SERVICE, Credentials

_ROLE_EXISTS = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)"
_DATABASE_EXISTS = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
_CREATE_DATABASE = f"CREATE DATABASE {DATABASE} OWNER {OWNER}"
# CREATE ROLE takes no parameters: the server writes the statement, and quotes the password itself.
_WRITE_CREATE_OWNER = """
SELECT format('CREATE ROLE %I LOGIN CREATEROLE NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS PASSWORD %L',
              $1::text, $2::text)
"""
_WRITE_CREATE_SERVICE = """
SELECT format('CREATE ROLE %I LOGIN NOCREATEROLE NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS PASSWORD %L',
              $1::text, $2::text)
"""


async def create_roles(*, superuser_url: str, owner_url: str, credentials: Credentials) -> None:
    """Create what is missing, so an interrupted first start is completed by the next one."""
    connection = await asyncpg.connect(superuser_url)
    try:
        await _create_role(connection, _WRITE_CREATE_OWNER, OWNER, credentials.owner)
        if not await connection.fetchval(_DATABASE_EXISTS, DATABASE):
            await connection.execute(_CREATE_DATABASE)
    finally:
        await connection.close()
    # Since PostgreSQL 16 a role may alter another only if it created it: the owner creates the service's role.
    connection = await asyncpg.connect(owner_url)
    try:
        await _create_role(connection, _WRITE_CREATE_SERVICE, SERVICE, credentials.service)
    finally:
        await connection.close()


async def _create_role(
    connection: "asyncpg.Connection[asyncpg.Record]", write_statement: str, role: str, password: str
) -> None:
    if not await connection.fetchval(_ROLE_EXISTS, role):
        await connection.execute(await connection.fetchval(write_statement, role, password))
