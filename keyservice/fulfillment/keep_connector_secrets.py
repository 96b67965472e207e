"""Giving a connector its secrets and taking them away. They are never shown again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.errors import Conflict, Invalid
from keyservice.fulfillment.connector_secrets import put_secrets
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_connector import (
    ConnectorState,
    ConnectorView,
    connector_view,
    lock_connector,
    read_version,
    write_connector_event,
)
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

SECRET_CHARACTERS_MAX: Final = 16_384


async def keep_secrets(
    database: Database,
    wrapper: KeyWrapper,
    publisher_id: int,
    connector_id: UUID,
    secrets: Mapping[str, str],
    *,
    caller_id: int,
    now: datetime,
) -> ConnectorView:
    """In the place of those of the same names, in use at once; what was tried with others has to be tried again.

    Raises NotFound, and Invalid for one that no document names.
    """
    _demand_sensible(secrets)

    async def work(connection: Connection) -> ConnectorView:
        await lock_connector(connection, publisher_id, connector_id)
        named = await _named(connection, publisher_id, await connector_view(connection, publisher_id, connector_id))
        for name in sorted(secrets):
            if name not in named:
                known = ", ".join(sorted(named)) or "no secrets"
                raise Invalid(f"the connector's document names: {known}", field="secrets")
        await put_secrets(connection, wrapper, publisher_id, connector_id, secrets, now)
        view = await connector_view(connection, publisher_id, connector_id)
        untried = (publisher_id, connector_id, view.newest.version, None, None)
        await connection.execute(statement("managed_connectors.put_handshake"), *untried)
        facts = {"names": sorted(secrets)}
        await write_connector_event(connection, publisher_id, connector_id, caller_id, "secrets-put", facts, now)
        return await connector_view(connection, publisher_id, connector_id)

    return await short_transaction(database.of_publisher(publisher_id), work)


async def delete_secret(
    database: Database, publisher_id: int, connector_id: UUID, name: str, *, caller_id: int, now: datetime
) -> ConnectorView:
    """One that is not there is gone already. Raises NotFound, and Conflict for one that a connector in use needs."""

    async def work(connection: Connection) -> ConnectorView:
        await lock_connector(connection, publisher_id, connector_id)
        view = await connector_view(connection, publisher_id, connector_id)
        if view.listed.state in (ConnectorState.ENABLED, ConnectorState.TESTING):
            used = await read_version(connection, publisher_id, connector_id, view.listed.version)
            if name in used.document.secret_names:
                raise Conflict("the version in use needs this secret; disable the connector first")
        gone = (publisher_id, connector_id, name)
        if await connection.fetchval(statement("managed_connectors.delete_secret"), *gone) is None:
            return view
        facts = {"name": name}
        await write_connector_event(connection, publisher_id, connector_id, caller_id, "secret-deleted", facts, now)
        return await connector_view(connection, publisher_id, connector_id)

    return await short_transaction(database.of_publisher(publisher_id), work)


async def _named(connection: Connection, publisher_id: int, view: ConnectorView) -> frozenset[str]:
    """By the newest version, and by the one in use: its secrets may have to be changed as well."""
    names = view.newest.document.secret_names
    if view.listed.version == view.newest.version:
        return names
    used = await read_version(connection, publisher_id, view.listed.connector_id, view.listed.version)
    return names | used.document.secret_names


def _demand_sensible(secrets: Mapping[str, str]) -> None:
    if not secrets:
        raise Invalid("give at least one secret", field="secrets")
    for text in secrets.values():
        if not 1 <= len(text) <= SECRET_CHARACTERS_MAX:
            raise Invalid(f"a secret has 1 to {SECRET_CHARACTERS_MAX} characters", field="secrets")
