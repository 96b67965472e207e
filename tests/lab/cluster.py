"""Databases for tests: one server a run, one migrated template, a fresh copy for each module that asks."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from keyservice.postgres.migrate import migrate

OWNER = "keyservice_test_owner"
SERVICE = "keyservice_test_service"
PASSWORD = "only-for-tests"
TEMPLATE = f"keyservice_test_template{os.environ.get('PYTEST_XDIST_WORKER', '')}"
_ONE_AT_A_TIME = 7_316_204


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """One database as its three roles see it."""

    superuser: str
    owner: str
    service: str


def as_role(url: str, *, database: str, user: str | None = None, password: str = PASSWORD) -> str:
    """The same server for another role and database."""
    parts = urlsplit(url)
    netloc = parts.netloc
    if user is not None:
        host = parts.netloc.rpartition("@")[2]
        netloc = f"{quote(user)}:{quote(password)}@{host}"
    # urlunsplit drops an empty netloc's slashes, which a URL of a socket needs.
    return urlunsplit((parts.scheme, netloc or "@", f"/{database}", parts.query, ""))


async def prepare_template(superuser_url: str) -> None:
    """Roles and a migrated template, made anew."""
    connection = await asyncpg.connect(superuser_url)
    try:
        # Roles and their rights belong to all databases of a server, which several test processes may share.
        await connection.execute("SELECT pg_advisory_lock($1)", _ONE_AT_A_TIME)
        for role, extra in ((OWNER, "CREATEROLE"), (SERVICE, "NOINHERIT")):
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                await connection.execute(f"CREATE ROLE {role} LOGIN {extra} PASSWORD '{PASSWORD}'")
        await connection.execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
        await connection.execute(f"CREATE DATABASE {TEMPLATE} OWNER {OWNER} TEMPLATE template0 ENCODING 'UTF8'")
        await migrate(as_role(superuser_url, database=TEMPLATE, user=OWNER), service_role=SERVICE)
    finally:
        await connection.close()


@asynccontextmanager
async def fresh_database(superuser_url: str) -> AsyncIterator[DatabaseUrls]:
    """A copy of the template, dropped at the end whoever is still connected."""
    name = f"keyservice_test_{uuid4().hex[:12]}"
    connection = await asyncpg.connect(superuser_url)
    try:
        await connection.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        yield DatabaseUrls(
            superuser=as_role(superuser_url, database=name),
            owner=as_role(superuser_url, database=name, user=OWNER),
            service=as_role(superuser_url, database=name, user=SERVICE),
        )
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()
