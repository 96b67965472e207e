"""A connector as it lies in the database: how it stands, its versions, the names of its secrets, its events."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
from pydantic_core import to_json

from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.errors import NotFound
from keyservice.fulfillment.ids import new_id
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


class ConnectorState(StrEnum):
    """Whether a connector is asked for keys."""

    DRAFT = "draft"
    TESTING = "testing"
    """Test orders are served by it, with the test parameters; nothing is sold."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    """Nothing new is asked; what was begun is finished."""


@dataclass(frozen=True, slots=True)
class ConnectorVersion:
    """One version of a document. It never changes; only what its handshake came to is noted beside it."""

    version: int
    document: ConnectorDocument
    created_by: int
    created_at: datetime
    handshake_at: datetime | None
    handshake: Mapping[str, Any] | None

    @property
    def is_handshake_good(self) -> bool:
        return self.handshake is not None and self.handshake.get("is_good") is True


@dataclass(frozen=True, slots=True)
class ConnectorListed:
    """How a connector stands. `version` is the one in use."""

    connector_id: UUID
    name: str
    state: ConnectorState
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SecretListed:
    """That there is a secret of this name, and since when."""

    name: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ConnectorView:
    """A connector with its newest version, which in an enabled connector waits until it is enabled itself."""

    listed: ConnectorListed
    newest: ConnectorVersion
    secrets: tuple[SecretListed, ...]

    @property
    def missing_secrets(self) -> tuple[str, ...]:
        """What the newest version refers to and nobody has given yet."""
        return tuple(sorted(self.newest.document.secret_names - {secret.name for secret in self.secrets}))


async def lock_connector(connection: Connection, publisher_id: int, connector_id: UUID) -> None:
    """Whoever changes a connector holds this lock first. Raises NotFound."""
    if await connection.fetchrow(statement("managed_connectors.lock_connector"), publisher_id, connector_id) is None:
        raise NotFound("there is no such connector")


async def connector_view(connection: Connection, publisher_id: int, connector_id: UUID) -> ConnectorView:
    """Raises NotFound."""
    row = await connection.fetchrow(statement("managed_connectors.connector"), publisher_id, connector_id)
    newest = await connection.fetchrow(statement("managed_connectors.newest_version"), publisher_id, connector_id)
    if row is None or newest is None:
        raise NotFound("there is no such connector")
    secrets = await connection.fetch(statement("managed_connectors.secret_names"), publisher_id, connector_id)
    return ConnectorView(connector_listed(row), version_of(newest), tuple(SecretListed(**secret) for secret in secrets))


async def read_version(connection: Connection, publisher_id: int, connector_id: UUID, version: int) -> ConnectorVersion:
    """Raises NotFound."""
    row = await connection.fetchrow(statement("managed_connectors.version"), publisher_id, connector_id, version)
    if row is None:
        raise NotFound("the connector has no such version")
    return version_of(row)


def connector_listed(row: asyncpg.Record) -> ConnectorListed:
    return ConnectorListed(
        row["connector_id"],
        row["name"],
        ConnectorState(row["state"]),
        row["version"],
        row["created_at"],
        row["updated_at"],
    )


def version_of(row: asyncpg.Record) -> ConnectorVersion:
    handshake = row["handshake"]
    return ConnectorVersion(
        row["version"],
        ConnectorDocument.model_validate_json(row["document"]),
        row["created_by"],
        row["created_at"],
        row["handshake_at"],
        None if handshake is None else json.loads(handshake),
    )


async def write_connector_event(
    connection: Connection,
    publisher_id: int,
    connector_id: UUID,
    caller_id: int,
    name: str,
    facts: Mapping[str, object],
    now: datetime,
) -> None:
    told = to_json({"connector_id": connector_id, **facts}).decode()
    event = (publisher_id, new_id(), None, None, caller_id, f"connector.{name}", told, now)
    await connection.execute(statement("tape.insert_publisher_event"), *event)
