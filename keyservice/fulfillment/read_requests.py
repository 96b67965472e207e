"""Reading what publishers were asked for, with every attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from keyservice.domain.errors import NotFound
from keyservice.domain.key_request import RequestState
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.postgres.connection import Database
from keyservice.postgres.statements import statement

REQUESTS_PAGE_MAX = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to a publisher, and what it came to."""

    fence: int
    operation: str
    started_at: datetime
    ended_at: datetime
    outcome: str
    refusal: str | None
    error_code: str | None
    error_message: str | None
    http_status: int | None
    seconds: float


async def read_request(database: Database, publisher_id: int, key_request_id: UUID) -> KeyRequest:
    """Raises NotFound, for another publisher's too."""
    async with database.of_publisher(publisher_id).reading() as connection:
        row = await connection.fetchrow(statement("key_requests.key_request"), publisher_id, key_request_id)
    if row is None:
        raise NotFound("there is no such key request")
    return KeyRequest.of(row)


async def read_attempts(database: Database, publisher_id: int, key_request_id: UUID) -> list[Attempt]:
    """In their order."""
    async with database.of_publisher(publisher_id).reading() as connection:
        rows = await connection.fetch(statement("key_requests.attempts"), publisher_id, key_request_id)
    return [Attempt(**row) for row in rows]


async def list_requests(
    database: Database,
    publisher_id: int,
    *,
    states: Sequence[RequestState] | None,
    after: UUID | None,
    limit: int,
) -> list[KeyRequest]:
    """The newest first, behind the request `after`."""
    page = (publisher_id, states, after, min(limit, REQUESTS_PAGE_MAX))
    async with database.of_publisher(publisher_id).reading() as connection:
        rows = await connection.fetch(statement("key_requests.of_publisher"), *page)
    return [KeyRequest.of(row) for row in rows]


async def list_licenses(database: Database, publisher_id: int, *, after: UUID | None, limit: int) -> list[KeyRequest]:
    """The requests that created licenses, the newest first, behind the one called `after`."""
    page = (publisher_id, after, min(limit, REQUESTS_PAGE_MAX))
    async with database.of_publisher(publisher_id).reading() as connection:
        rows = await connection.fetch(statement("key_requests.licenses_of_publisher"), *page)
    return [KeyRequest.of(row) for row in rows]
