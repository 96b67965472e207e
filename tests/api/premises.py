"""The whole service on loopback with two publishers who must not know of each other, and what its tables hold."""

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from keyservice.api.application import build_application
from keyservice.api.server import ConnectionLimits
from keyservice.crypto.tokens import parse_token
from keyservice.domain.caller import CallerKind, Scope
from keyservice.fulfillment.access_tokens import AccessTokens
from keyservice.fulfillment.manage_callers import add_caller
from keyservice.postgres.connection import Database
from keyservice.services import Services
from tests.api.raw_http import LIMITS, Answer, Served, read_to_end, serving
from tests.lab.shop import Shop

_LIMITS: Final[ConnectionLimits] = replace(LIMITS, connections_max=200, headers_max=100)


@dataclass(frozen=True, slots=True)
class Premises:
    """The served application; `own` and `foreign` are two publishers, the texts are tokens."""

    served: Served
    services: Services
    own: Shop
    foreign: Shop
    publisher: str
    foreign_publisher: str
    admin: str
    reseller: str
    foreign_reseller: str
    pipeline: str
    templates: Mapping[str, UUID]
    """By the publisher's handle."""


@asynccontextmanager
async def opened_premises(services: Services) -> AsyncIterator[Premises]:
    """Whoever leaves has proved that no planted value was logged and that nothing was reported as a failure."""
    own, foreign = await Shop.opened(services), await Shop.opened(services)
    async with services.database.transaction() as connection:
        publisher, foreign_publisher = [
            await add_caller(
                connection, kind=CallerKind.PUBLISHER, name=f"of-{shop.publisher}", publisher=shop.publisher
            )
            for shop in (own, foreign)
        ]
        admin = await add_caller(connection, kind=CallerKind.ADMIN, name="admin")
        reseller, foreign_reseller = [
            await add_caller(connection, kind=CallerKind.RESELLER, name=name) for name in ("strict", "foreign-strict")
        ]
        pipeline = await add_caller(connection, kind=CallerKind.PIPELINE, name="pipeline")
        rows = await connection.fetch(
            "SELECT handle, template_id FROM fulfillment_templates JOIN publishers USING (publisher_id)"
        )
    async with serving(build_application(services), _LIMITS) as served:
        yield Premises(
            served=served,
            services=services,
            own=own,
            foreign=foreign,
            publisher=publisher,
            foreign_publisher=foreign_publisher,
            admin=admin,
            reseller=reseller,
            foreign_reseller=foreign_reseller,
            pipeline=pipeline,
            templates={row["handle"]: row["template_id"] for row in rows},
        )
        loud = [line for line in served.log() if line["level"] not in {"info", "debug"}]
        assert not loud, loud


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def forged(token: str) -> str:
    """The public half of a good token with a secret of one's own, and a checksum that fits."""
    body = f"{'_'.join(token.split('_', 2)[:2])}_{'A' * 43}"
    checksum = base64.b32encode(hashlib.sha256(b"checksum " + body.encode()).digest()).decode().lower()[:6]
    return f"{body}_{checksum}"


async def access_token_for(
    premises: Premises, token: str, scopes: frozenset[Scope] | None = None, *, moved: timedelta = timedelta()
) -> str:
    """An access token in the place of this static one, issued by a clock that is moved by so much."""
    services = premises.services
    if scopes is None:
        scopes = (await services.gatekeeper.identify(token)).scopes
    tokens = AccessTokens(
        services.database,
        services.wrapper,
        issuer=services.settings.token_issuer,
        lifetime=timedelta(seconds=services.settings.access_token_seconds),
        rotation=timedelta(days=services.settings.signing_key_days),
        clock=lambda: datetime.now(UTC) + moved,
    )
    return (await tokens.issue(parse_token(token)[0], scopes))[0]


async def asked(served: Served, raw: bytes) -> Answer:
    """The answer to a request of HTTP/1.0, which ends with its connection: one that is streamed too."""
    async with served.connection() as (reader, writer):
        writer.write(raw)
        head, _, body = (await read_to_end(reader)).partition(b"\r\n\r\n")
    version, status = head.decode().split(" ")[:2]
    lines = [line.split(": ", 1) for line in head.decode().splitlines()[1:]]
    return Answer(version, int(status), {name.lower(): value for name, value in lines}, body)


async def stored_rows(database: Database, *, but: frozenset[str] = frozenset()) -> dict[str, tuple[int, int]]:
    """How many rows each table holds, and a hash over what stands in them."""
    tables = [table for table in await _tables(database) if table not in but]
    query = " UNION ALL ".join(
        f"SELECT '{table}', count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {table} t"  # noqa: S608 - names from the catalogue
        for table in tables
    )
    async with database.transaction() as connection:
        return {row[0]: (row[1], int(row[2])) for row in await connection.fetch(query)}


async def tables_with(database: Database, text: str) -> list[str]:
    """The tables in which this text stands somewhere in plain."""
    query = " UNION ALL ".join(
        f"SELECT '{table}' FROM {table} t WHERE strpos(t::text, $1) > 0"  # noqa: S608 - names from the catalogue
        for table in await _tables(database)
    )
    async with database.transaction() as connection:
        return sorted({row[0] for row in await connection.fetch(query, text)})


async def _tables(database: Database) -> list[str]:
    async with database.transaction() as connection:
        rows = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            " AND has_table_privilege(oid, 'SELECT') ORDER BY relname"
        )
    return [row["relname"] for row in rows]
