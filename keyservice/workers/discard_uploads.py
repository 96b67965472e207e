"""Uploads that nobody came back for are discarded, and what a dying process left half discarded is finished."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

import asyncpg
import structlog

from keyservice.domain.batch import BatchState
from keyservice.domain.errors import Conflict, KeyserviceError
from keyservice.fulfillment.discard_upload import discard_upload, purge_batch
from keyservice.postgres.connection import CONNECTION_LOST, Database
from keyservice.postgres.statements import statement

log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 600.0


async def discard_stale_uploads(database: Database, older_than: timedelta) -> int:
    """How many uploads without progress for so long were discarded. Any number of processes may do it at once."""
    async with database.connection() as connection:
        stale = await connection.fetch(statement("batches.stale_uploads"), older_than)
        unpurged = await connection.fetch(statement("batches.unpurged_batches"))
    discarded = 0
    for publisher_id, batch_id in stale:
        # Finished meanwhile: nothing to give up.
        with suppress(Conflict):
            report = await discard_upload(database, publisher_id, batch_id, caller_id=None, older_than=older_than)
            discarded += report.state is BatchState.DISCARDED
    for publisher_id, batch_id in unpurged:
        await purge_batch(database, publisher_id, batch_id)
    return discarded


@asynccontextmanager
async def discarding_stale_uploads(
    database: Database, *, hours: float, pause_seconds: float = _PAUSE_SECONDS
) -> AsyncIterator[None]:
    """Look for stale uploads now and then until left."""
    task = asyncio.create_task(_keep_discarding(database, timedelta(hours=hours), pause_seconds))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _keep_discarding(database: Database, older_than: timedelta, pause_seconds: float) -> None:
    while True:
        try:
            count = await discard_stale_uploads(database, older_than)
        except (KeyserviceError, asyncpg.PostgresError, *CONNECTION_LOST):
            log.exception("stale_uploads_not_discarded")
        else:
            if count:
                log.info("stale_uploads_discarded", count=count)
        await asyncio.sleep(pause_seconds)
