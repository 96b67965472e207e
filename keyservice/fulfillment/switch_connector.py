"""Enabling a connector, testing with it, disabling it: what has to be true before a publisher is asked for keys."""

from datetime import datetime
from uuid import UUID

from keyservice.domain.errors import Conflict
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_connector import (
    ConnectorState,
    ConnectorView,
    connector_view,
    lock_connector,
    write_connector_event,
)
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement


async def switch_connector(
    database: Database,
    publisher_id: int,
    connector_id: UUID,
    state: ConnectorState,
    *,
    caller_id: int,
    now: datetime,
) -> ConnectorView:
    """Enabling and testing bring the newest version into use. To be in the state already is no error.

    Raises NotFound, Conflict when something is missing, ConnectorRefused for a document that cannot be used.
    """

    async def work(connection: Connection) -> ConnectorView:
        await lock_connector(connection, publisher_id, connector_id)
        view = await connector_view(connection, publisher_id, connector_id)
        version = view.listed.version
        if state in (ConnectorState.ENABLED, ConnectorState.TESTING):
            version = view.newest.version
            demand_usable(view)
        if state is ConnectorState.ENABLED and not view.newest.is_handshake_good:
            raise Conflict(f"version {version} has had no good handshake yet; shake hands first")
        if (state, version) == (view.listed.state, view.listed.version):
            return view
        await connection.execute(
            statement("managed_connectors.set_state"), publisher_id, connector_id, state, version, now
        )
        facts = {"version": version, "before": view.listed.state}
        await write_connector_event(connection, publisher_id, connector_id, caller_id, state, facts, now)
        return await connector_view(connection, publisher_id, connector_id)

    return await short_transaction(database.of_publisher(publisher_id), work)


def demand_usable(view: ConnectorView) -> None:
    """Raises Conflict for what is not there yet, ConnectorRefused for what is wrong in the newest version."""
    document = view.newest.document
    if document.to_fill_in:
        places = ", ".join(part.path for part in document.to_fill_in)
        raise Conflict(f"fill in first: {places}; and take them out of to_fill_in")
    if view.missing_secrets:
        raise Conflict(f"these secrets are not there yet: {', '.join(view.missing_secrets)}")
