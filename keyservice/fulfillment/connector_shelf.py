"""Connectors that are in use, with their secrets opened: kept for a moment, because every key request asks."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from keyservice.connectors.calls import Connector
from keyservice.connectors.document import ConnectorDocument
from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.errors import NotFound
from keyservice.fulfillment.connector_secrets import read_secrets
from keyservice.postgres.connection import Database
from keyservice.postgres.statements import statement

_KEPT_MAX: Final = 5_000

_Name = tuple[int, UUID, int | None]


@dataclass(frozen=True, slots=True)
class ShelvedConnector:
    """A version of a connector, and how the connector stands at present."""

    connector: Connector
    name: str
    state: str
    current_version: int
    pool_id: UUID

    @property
    def is_asked(self) -> bool:
        """Whether anything new is asked of it; what was begun is finished in any case."""
        return self.state in ("enabled", "testing")


class ConnectorShelf:
    """A change is known everywhere within `remember_seconds`."""

    def __init__(self, database: Database, wrapper: KeyWrapper, *, remember_seconds: float) -> None:
        self._database = database
        self._wrapper = wrapper
        self._remember_seconds = remember_seconds
        self._kept: OrderedDict[_Name, tuple[float, ShelvedConnector]] = OrderedDict()
        self._reading: dict[_Name, asyncio.Task[ShelvedConnector]] = {}

    async def take(self, publisher_id: int, connector_id: UUID, version: int | None = None) -> ShelvedConnector:
        """This version, or the current one. Raises NotFound, and Tampered when a secret does not open."""
        name = (publisher_id, connector_id, version)
        now = time.monotonic()
        kept = self._kept.get(name)
        if kept is not None and now - kept[0] < self._remember_seconds:
            return kept[1]
        reading = self._reading.get(name)
        if reading is None:
            # Everybody who asks meanwhile waits for this one, and whoever gives up takes it from nobody else.
            reading = self._reading[name] = asyncio.create_task(self._read_and_keep(name, now))
        return await asyncio.shield(reading)

    async def _read_and_keep(self, name: _Name, now: float) -> ShelvedConnector:
        try:
            found = await self._read(*name)
        finally:
            del self._reading[name]
        self._kept[name] = (now, found)
        self._kept.move_to_end(name)
        while len(self._kept) > _KEPT_MAX:
            self._kept.popitem(last=False)
        return found

    async def _read(self, publisher_id: int, connector_id: UUID, version: int | None) -> ShelvedConnector:
        async with self._database.reading() as connection:
            row = await connection.fetchrow(statement("connectors.version"), publisher_id, connector_id, version)
            if row is None:
                raise NotFound("there is no such connector")
            secrets = await read_secrets(connection, self._wrapper, publisher_id, connector_id)
        document = ConnectorDocument.model_validate_json(row["document"])
        connector = Connector(publisher_id, connector_id, row["version"], document, secrets)
        return ShelvedConnector(connector, row["name"], row["state"], row["current_version"], row["pool_id"])
