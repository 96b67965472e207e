"""What is for sale in a pool has changed other than by a claim: its alarm is settled behind the pool's lock."""

from datetime import datetime
from uuid import UUID

from keyservice.domain.errors import NotFound
from keyservice.domain.tape import Wanted
from keyservice.fulfillment.claim_keys import lock_tapes
from keyservice.fulfillment.watch_pools import settle_alarm
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


async def lock_pool(connection: Connection, publisher_id: int, pool_id: UUID) -> datetime:
    """Hold the pool until the transaction ends; the time by the database's clock. Raises NotFound."""
    row = await connection.fetchrow(statement("tape.lock_pools"), publisher_id, [pool_id])
    if row is None:
        raise NotFound("there is no such pool")
    now: datetime = row["now"]
    return now


async def settle_pool(connection: Connection, publisher_id: int, pool_id: UUID) -> None:
    """Read the level anew and raise or lower the alarm. A closed pool keeps the alarm it has."""
    tapes = await lock_tapes(connection, [Wanted(0, publisher_id, (pool_id,), ())])
    for pool in tapes.pools.values():
        await settle_alarm(connection, pool, now=tapes.now)
