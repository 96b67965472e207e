"""Notices are kept for a time, delivered or not, and endpoints that are gone likewise."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

_AT_ONCE: Final = 1_000


async def forget_notices(database: Database, older_than: timedelta, *, now: datetime | None = None) -> int:
    """How many notices and endpoints were forgotten. Any number of processes may do it at once."""
    before = (now or datetime.now(UTC)) - older_than
    async with database.reading() as connection:
        endpoints = await connection.fetch(statement("notices.endpoints_with_old_notices"), before)
        gone = await connection.fetch(statement("notices.endpoints_long_gone"), before)
    forgotten = 0
    for row in endpoints:
        forgotten += await _forget_some(database, row["endpoint_id"], before)
    for row in gone:
        async with database.transaction() as connection:
            await connection.execute(statement("notices.forget_endpoint"), row["endpoint_id"])
        forgotten += 1
    return forgotten


async def _forget_some(database: Database, endpoint_id: UUID, before: datetime) -> int:
    async def work(connection: Connection) -> int:
        rows = await connection.fetch(statement("notices.old_notices"), endpoint_id, before, _AT_ONCE)
        old = [row["notice_id"] for row in rows]
        await connection.execute(statement("notices.forget_deliveries"), endpoint_id, old)
        await connection.execute(statement("notices.forget_notices"), endpoint_id, old)
        return len(old)

    return await short_transaction(database, work)
