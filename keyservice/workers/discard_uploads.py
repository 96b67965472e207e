"""Uploads that nobody came back for are discarded, and what a dying process left half discarded is finished."""

from contextlib import suppress
from datetime import timedelta

from keyservice.domain.batch import BatchState
from keyservice.domain.errors import Conflict
from keyservice.fulfillment.discard_upload import discard_upload, purge_batch
from keyservice.postgres.connection import Database
from keyservice.postgres.statements import statement


async def discard_stale_uploads(database: Database, older_than: timedelta) -> int:
    """How many uploads without progress for so long were discarded. Any number of processes may do it at once."""
    async with database.reading() as connection:
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
