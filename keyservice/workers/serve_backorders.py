"""Units that are paid for get their keys as soon as there are some, and new orders have their turn in between."""

import asyncio

import asyncpg

from keyservice.domain.errors import KeyserviceError, OutcomeUnknown
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.release_backorders import pools_to_serve, release_backorders
from keyservice.postgres.connection import Database
from keyservice.postgres.statements import statement


async def serve_backorders(database: Database, opener: KeyOpener) -> int:
    """Serve the pools that are waited for, by turns, until they are empty or nobody waits; how many units were served.

    A pool that cannot be served keeps no other from its turn. Raises why when nothing else is left to be done.
    """
    served = 0
    while True:
        some, failure = await _serve_each_once(database, opener)
        served += some
        if not some:
            if failure is not None and not served:
                raise failure
            return served


async def _serve_each_once(database: Database, opener: KeyOpener) -> tuple[int, Exception | None]:
    """A chunk of each pool, and then as long a pause as the longest took: half of a pool's time is for new orders.

    How many units were served, and why a pool could not be. Nothing is done while another process is at it: one that
    served in the other's pauses would leave new orders no time at all.
    """
    # Nothing is written in it, so there is no COMMIT whose answer could be lost after the work was done.
    async with database.reading() as turn:
        if not await turn.fetchval(statement("backorders.one_round_at_a_time")):
            return 0, None
        return await _serve_and_pause(database, opener)


async def _serve_and_pause(database: Database, opener: KeyOpener) -> tuple[int, Exception | None]:
    loop = asyncio.get_running_loop()
    served, longest = 0, 0.0
    failure: Exception | None = None
    for publisher_id, pool_id in await pools_to_serve(database):
        began = loop.time()
        try:
            served += await release_backorders(database, opener, publisher_id, pool_id)
        except OutcomeUnknown:
            raise
        except (asyncpg.PostgresError, KeyserviceError) as error:
            failure = failure or error
        longest = max(longest, loop.time() - began)
    await asyncio.sleep(longest)
    return served, failure
