"""A publisher's connectors: making them, new versions of their documents, and reading them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.errors import Conflict, Invalid, NotFound
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_connector import (
    ConnectorListed,
    ConnectorState,
    ConnectorVersion,
    ConnectorView,
    connector_listed,
    connector_view,
    lock_connector,
    read_version,
    write_connector_event,
)
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

CONNECTORS_MAX: Final = 200
"""Of one publisher."""

VERSIONS_MAX: Final = 1_000
"""Of one connector."""

DOCUMENT_BYTES_MAX: Final = 524_288
CONNECTORS_PAGE_MAX: Final = 500
_IN_USE: Final = (ConnectorState.ENABLED, ConnectorState.TESTING)
_VERSION_ABOVE_ALL: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class VersionListed:
    """A version without its document."""

    version: int
    created_by: int
    created_at: datetime
    handshake_at: datetime | None
    is_handshake_good: bool


async def create_connector(
    database: Database,
    publisher_id: int,
    *,
    name: str,
    document: ConnectorDocument,
    caller_id: int,
    now: datetime,
) -> ConnectorView:
    """A draft, with the internal pool that its keys will be recorded in.

    Raises Conflict for a name that is taken or one connector too many, Invalid for a document that is too large.
    """
    text = _stored_text(document)
    connector_id, pool_id = new_id(), new_id()

    async def work(connection: Connection) -> ConnectorView:
        if await connection.fetchval(statement("managed_connectors.count_connectors"), publisher_id) >= CONNECTORS_MAX:
            raise Conflict(f"a publisher has at most {CONNECTORS_MAX} connectors; change one that is not needed")
        try:
            await connection.execute(
                statement("connectors.insert_connector"), publisher_id, connector_id, name, pool_id, now
            )
        except asyncpg.UniqueViolationError as error:
            raise Conflict("there is a connector of this name; choose another") from error
        pool = (publisher_id, pool_id, _pool_name(connector_id), connector_id, now)
        await connection.execute(statement("connectors.insert_internal_pool"), *pool)
        version = (publisher_id, connector_id, 1, text, caller_id, now)
        await connection.execute(statement("connectors.insert_version"), *version)
        facts = {"name": name, "version": 1, "preset": document.preset}
        await write_connector_event(connection, publisher_id, connector_id, caller_id, "created", facts, now)
        return await connector_view(connection, publisher_id, connector_id)

    return await short_transaction(database.of_publisher(publisher_id), work, is_repeatable=False)


async def add_version(
    database: Database,
    publisher_id: int,
    connector_id: UUID,
    *,
    document: ConnectorDocument,
    edited_version: int,
    caller_id: int,
    now: datetime,
) -> ConnectorView:
    """A new version, made from the newest one, `edited_version`. While the connector is in use it is not in use yet.

    Raises NotFound, Conflict when somebody else has made one meanwhile, Invalid for a document that is too large.
    """
    text = _stored_text(document)

    async def work(connection: Connection) -> ConnectorView:
        await lock_connector(connection, publisher_id, connector_id)
        before = await connector_view(connection, publisher_id, connector_id)
        newest = before.newest.version
        if before.newest.document == document and edited_version in (newest - 1, newest):
            # It is there already: this was sent before.
            return before
        if newest != edited_version:
            raise Conflict(f"the newest version is {newest}; read it and make your change on it")
        if newest >= VERSIONS_MAX:
            raise Conflict(f"a connector has at most {VERSIONS_MAX} versions; make another connector")
        version = (publisher_id, connector_id, newest + 1, text, caller_id, now)
        await connection.execute(statement("connectors.insert_version"), *version)
        state = before.listed.state
        used = before.listed.version if state in _IN_USE else newest + 1
        changed = (publisher_id, connector_id, state, used, now)
        await connection.execute(statement("managed_connectors.set_state"), *changed)
        facts = {"version": newest + 1, "is_used": used == newest + 1}
        await write_connector_event(connection, publisher_id, connector_id, caller_id, "version-added", facts, now)
        return await connector_view(connection, publisher_id, connector_id)

    return await short_transaction(database.of_publisher(publisher_id), work, is_repeatable=False)


async def read_connector(database: Database, publisher_id: int, connector_id: UUID) -> ConnectorView:
    """Raises NotFound."""
    async with database.of_publisher(publisher_id).reading() as connection:
        return await connector_view(connection, publisher_id, connector_id)


async def read_connector_version(
    database: Database, publisher_id: int, connector_id: UUID, version: int
) -> ConnectorVersion:
    """Raises NotFound."""
    async with database.of_publisher(publisher_id).reading() as connection:
        return await read_version(connection, publisher_id, connector_id, version)


async def list_connectors(
    database: Database, publisher_id: int, *, after: UUID | None = None, limit: int = CONNECTORS_PAGE_MAX
) -> list[ConnectorListed]:
    """In the order in which they were made."""
    async with database.of_publisher(publisher_id).reading() as connection:
        page = min(limit, CONNECTORS_PAGE_MAX)
        rows = await connection.fetch(statement("managed_connectors.connectors"), publisher_id, after, page)
    return [connector_listed(row) for row in rows]


async def list_versions(
    database: Database, publisher_id: int, connector_id: UUID, *, before: int | None, limit: int
) -> list[VersionListed]:
    """The newest first, behind the version `before`. Raises NotFound."""
    below = _VERSION_ABOVE_ALL if before is None else min(before, _VERSION_ABOVE_ALL)
    async with database.of_publisher(publisher_id).reading() as connection:
        if await connection.fetchrow(statement("managed_connectors.connector"), publisher_id, connector_id) is None:
            raise NotFound("there is no such connector")
        page = (publisher_id, connector_id, below, min(limit, CONNECTORS_PAGE_MAX))
        rows = await connection.fetch(statement("managed_connectors.versions"), *page)
    return [VersionListed(**row) for row in rows]


def _stored_text(document: ConnectorDocument) -> str:
    """With all its defaults written out, so that they never change under a version that is there."""
    text = document.model_dump_json()
    if len(text.encode()) > DOCUMENT_BYTES_MAX:
        raise Invalid(f"a connector's document has at most {DOCUMENT_BYTES_MAX} bytes", field="document")
    return text


def _pool_name(connector_id: UUID) -> str:
    # No pool that a publisher names begins with a space.
    return f" connector {connector_id}"
