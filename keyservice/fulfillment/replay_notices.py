"""Looking at what was sent, and having it sent again: the log of an endpoint, replays, and a notice to try it with."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from keyservice.domain.errors import NotFound
from keyservice.domain.notice import NoticeState, NoticeSubject, notice_body
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_webhooks import WebhookDesk
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt. It came to a status, or to an error of one word."""

    delivery_id: UUID
    notice_id: UUID
    attempt: int
    started_at: datetime
    http_status: int | None
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that one endpoint is told."""

    notice_id: UUID
    subject: str
    type: str
    object_id: str
    occurred_at: datetime
    state: NoticeState
    attempts: int
    due_at: datetime
    delivered_at: datetime | None


async def list_deliveries(desk: WebhookDesk, endpoint_id: UUID, *, after: UUID | None, limit: int) -> list[Delivery]:
    """A page of attempts, newest first. Raises NotFound."""
    await desk.read(endpoint_id)
    async with desk.database.reading() as connection:
        rows = await connection.fetch(statement("webhooks.deliveries"), endpoint_id, after, limit)
    return [Delivery(**row) for row in rows]


async def list_notices(desk: WebhookDesk, endpoint_id: UUID, *, after: UUID | None, limit: int) -> list[Notice]:
    """A page of notices, newest first. Raises NotFound."""
    await desk.read(endpoint_id)
    async with desk.database.reading() as connection:
        rows = await connection.fetch(statement("webhooks.notices"), endpoint_id, after, limit)
    return [Notice(**{**row, "state": NoticeState(row["state"])}) for row in rows]


async def replay_notice(desk: WebhookDesk, endpoint_id: UUID, notice_id: UUID) -> int:
    """Have it sent again, under the same id and with the same bytes. Raises NotFound."""

    async def work(connection: Connection) -> int:
        row = await desk.lock(connection, endpoint_id)
        if await connection.fetchval(statement("webhooks.replay_notice"), endpoint_id, notice_id, row["now"]) is None:
            raise NotFound("there is no such notice; those of a month ago are forgotten")
        return 1

    return await short_transaction(desk.database, work)


async def replay_failed(desk: WebhookDesk, endpoint_id: UUID, *, since: datetime) -> int:
    """Have all sent again that have failed for good and were recorded since then; how many. Raises NotFound."""

    async def work(connection: Connection) -> int:
        row = await desk.lock(connection, endpoint_id)
        rows = await connection.fetch(statement("webhooks.replay_failed"), endpoint_id, since, row["now"])
        return len(rows)

    return await short_transaction(desk.database, work)


async def send_test_notice(desk: WebhookDesk, endpoint_id: UUID) -> UUID:
    """Have a notice sent that says nothing; its id. Raises NotFound."""
    notice_id = new_id()

    async def work(connection: Connection) -> None:
        row = await desk.lock(connection, endpoint_id)
        body = notice_body(NoticeSubject.WEBHOOK, "test", str(endpoint_id), row["now"], {})
        told = (row["publisher_id"], str(endpoint_id), row["now"], body)
        await connection.execute(statement("notices.record_test"), endpoint_id, notice_id, *told)

    await short_transaction(desk.database, work, is_repeatable=False)
    return notice_id
