"""Endpoints for notices, as their owner sees and changes them. A secret is shown when it is made, and never again."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.connectors.egress import EgressPolicy, UrlRefused, check_url
from keyservice.crypto.sealing import DataKey
from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.errors import Conflict, Invalid, NotFound
from keyservice.domain.notice import EndpointState, NoticeOwner
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.webhook_secrets import new_secret, open_data_key, seal_secret, secret_context
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

GONE_FOR_EACH: Final = 10
"""An owner has at the most so many endpoints that are gone for each that it may have; they are forgotten with time."""

PREVIOUS_SECRET_SIGNS_FOR: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where notices are sent."""

    endpoint_id: UUID
    url: str
    types: tuple[str, ...]
    state: EndpointState
    created_at: datetime
    failing_since: datetime | None
    resumes_at: datetime | None
    previous_until: datetime | None


@dataclass(frozen=True, slots=True)
class WebhookDesk:
    """One owner's endpoints. For a publisher, no other publisher's exist in its database."""

    database: Database
    wrapper: KeyWrapper
    policy: EgressPolicy
    owner: NoticeOwner
    endpoints_max: int

    @classmethod
    def of(
        cls, database: Database, wrapper: KeyWrapper, policy: EgressPolicy, owner: NoticeOwner, *, endpoints_max: int
    ) -> "WebhookDesk":
        own = database if owner.publisher_id is None else database.of_publisher(owner.publisher_id)
        return cls(own, wrapper, policy, owner, endpoints_max)

    async def create(self, url: str, types: tuple[str, ...]) -> tuple[Endpoint, str]:
        """The new endpoint and its secret. Raises Invalid and Conflict."""
        self._demand_good(url, types)
        endpoint_id, secret = new_id(), new_secret()
        async with self.database.transaction() as connection:
            data_key_id = await connection.fetchval(statement("webhooks.next_data_key_id"))
        data_key, raw = DataKey.generate(data_key_id)
        wrapped = await self.wrapper.wrap(raw, secret_context(endpoint_id))
        sealed = seal_secret(data_key, endpoint_id, secret)

        async def work(connection: Connection) -> Endpoint:
            found = await self._find(connection, endpoint_id)
            if found is not None:  # the connection broke during the COMMIT, and the COMMIT had reached the server
                return found
            await self._demand_room(connection)
            row = (*self._owner, url, list(types), data_key_id, wrapped, sealed)
            await connection.execute(statement("webhooks.insert_endpoint"), endpoint_id, *row)
            return await self._read(connection, endpoint_id)

        return await short_transaction(self.database, work), secret

    async def page(self, *, after: UUID | None, limit: int) -> list[Endpoint]:
        """A page of them, oldest first."""
        async with self.database.reading() as connection:
            rows = await connection.fetch(statement("webhooks.endpoints"), *self._owner, after, limit)
        return [_endpoint(row) for row in rows]

    async def read(self, endpoint_id: UUID) -> Endpoint:
        """Raises NotFound, for somebody else's too."""
        async with self.database.reading() as connection:
            return await self._read(connection, endpoint_id)

    async def change(
        self, endpoint_id: UUID, *, url: str | None, types: tuple[str, ...] | None, state: EndpointState | None
    ) -> Endpoint:
        """What is None stays as it is. Raises NotFound, Invalid and Conflict."""
        self._demand_good(url, types)

        async def work(connection: Connection) -> Endpoint:
            row = await self.lock(connection, endpoint_id)
            becomes = state or EndpointState(row["state"])
            if row["state"] == EndpointState.GONE and becomes is not EndpointState.GONE:
                await self._demand_room(connection)
            gone_at = row["now"] if becomes is EndpointState.GONE else None
            await connection.execute(
                statement("webhooks.change_endpoint"),
                *(endpoint_id, url or row["url"], row["types"] if types is None else list(types), becomes, gone_at),
            )
            return await self._read(connection, endpoint_id)

        return await short_transaction(self.database, work)

    async def rotate(self, endpoint_id: UUID) -> tuple[Endpoint, str]:
        """A new secret; the one before it signs too for a day. Raises NotFound."""
        secret = new_secret()

        async def work(connection: Connection) -> Endpoint:
            row = await self.lock(connection, endpoint_id)
            sealed = seal_secret(await open_data_key(self.wrapper, row), endpoint_id, secret)
            until = row["now"] + PREVIOUS_SECRET_SIGNS_FOR
            await connection.execute(statement("webhooks.set_secret"), endpoint_id, sealed, until)
            return await self._read(connection, endpoint_id)

        # Not repeated when nobody can tell: the secret before this one would be lost.
        return await short_transaction(self.database, work, is_repeatable=False), secret

    async def lock(self, connection: Connection, endpoint_id: UUID) -> asyncpg.Record:
        """The endpoint's row, until the transaction ends. Raises NotFound."""
        row = await connection.fetchrow(statement("webhooks.lock_endpoint"), *self._owner, endpoint_id)
        if row is None:
            raise _no_such_webhook()
        return row

    @property
    def _owner(self) -> tuple[int | None, int | None]:
        return self.owner.caller_id, self.owner.publisher_id

    def _demand_good(self, url: str | None, types: tuple[str, ...] | None) -> None:
        if url is not None:
            try:
                check_url(url, self.policy)
            except UrlRefused as error:
                raise Invalid(str(error), field="url") from error
        if types is not None:
            self.owner.demand_types(types)

    async def _demand_room(self, connection: Connection) -> None:
        number = self.owner.caller_id if self.owner.caller_id is not None else -(self.owner.publisher_id or 0)
        await connection.execute(statement("webhooks.one_registration_at_a_time"), number)
        counts = await connection.fetchrow(statement("webhooks.count_endpoints"), *self._owner)
        assert counts is not None
        if counts["living"] >= self.endpoints_max or counts["all_of_them"] >= self.endpoints_max * (GONE_FOR_EACH + 1):
            raise Conflict(f"there are {self.endpoints_max} webhooks already, as many as may be; delete one first")

    async def _find(self, connection: Connection, endpoint_id: UUID) -> Endpoint | None:
        row = await connection.fetchrow(statement("webhooks.endpoint"), *self._owner, endpoint_id)
        return None if row is None else _endpoint(row)

    async def _read(self, connection: Connection, endpoint_id: UUID) -> Endpoint:
        found = await self._find(connection, endpoint_id)
        if found is None:
            raise _no_such_webhook()
        return found


def _no_such_webhook() -> NotFound:
    return NotFound("there is no such webhook")


def _endpoint(row: asyncpg.Record) -> Endpoint:
    return Endpoint(
        row["endpoint_id"],
        row["url"],
        tuple(row["types"]),
        EndpointState(row["state"]),
        row["created_at"],
        row["failing_since"],
        row["resumes_at"],
        row["previous_until"],
    )
