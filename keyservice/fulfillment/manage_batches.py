"""A publisher's say over a batch after its upload: put it on sale, hold it back, withdraw what is unsold, give it its turn."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, assert_never
from uuid import UUID

from pydantic_core import to_json

from keyservice.domain.batch import BatchState, BatchStock
from keyservice.domain.errors import Conflict
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.read_batches import StoredBatch, list_batches, lock_batch, read_batch, read_stock
from keyservice.fulfillment.settle_pool import lock_pool, settle_pool
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

_ALLOWED: Final[dict[BatchState, frozenset[BatchState]]] = {
    BatchState.RELEASED: frozenset({BatchState.HELD}),
    BatchState.HELD: frozenset({BatchState.RELEASED}),
    BatchState.WITHDRAWN: frozenset({BatchState.HELD, BatchState.RELEASED}),
}


_SELLS_YET: Final = frozenset({BatchState.RECEIVING, BatchState.HELD, BatchState.RELEASED})


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch and where its keys are now."""

    batch: StoredBatch
    stock: BatchStock


async def release_batch(database: Database, publisher_id: int, batch_id: UUID, *, caller_id: int) -> BatchView:
    """Put a held batch on sale. Raises NotFound, Conflict."""
    return await _change(database, publisher_id, batch_id, BatchState.RELEASED, caller_id)


async def hold_batch(database: Database, publisher_id: int, batch_id: UUID, *, caller_id: int) -> BatchView:
    """Take what is unsold off sale until it is released again. Raises NotFound, Conflict."""
    return await _change(database, publisher_id, batch_id, BatchState.HELD, caller_id)


async def withdraw_batch(database: Database, publisher_id: int, batch_id: UUID, *, caller_id: int) -> BatchView:
    """Take what is unsold off sale for ever. Raises NotFound, Conflict."""
    return await _change(database, publisher_id, batch_id, BatchState.WITHDRAWN, caller_id)


async def set_priority(
    database: Database, publisher_id: int, batch_id: UUID, priority: int, *, caller_id: int
) -> BatchView:
    """Whose turn it is in a pool that sells by priority. Raises NotFound, Conflict for a batch that sells nothing any more."""

    async def work(connection: Connection) -> BatchView:
        pool_id = (await read_batch(connection, publisher_id, batch_id)).report.pool_id
        now = await lock_pool(connection, publisher_id, pool_id)
        batch = await lock_batch(connection, publisher_id, batch_id)
        if batch.report.is_dry_run or batch.state not in _SELLS_YET:
            raise Conflict("no key of this batch will be sold, so it has no priority")
        await connection.execute(statement("batches.set_batch_priority"), publisher_id, batch_id, priority)
        await connection.execute(statement("batches.set_segment_priority"), publisher_id, batch_id, priority)
        if batch.report.priority != priority:
            facts = to_json({"from": batch.report.priority, "to": priority}).decode()
            event = (publisher_id, new_id(), pool_id, batch_id, caller_id, "batch.priority_changed", facts, now)
            await connection.execute(statement("tape.insert_publisher_event"), *event)
        return await _view(connection, publisher_id, batch_id)

    return await short_transaction(database.of_publisher(publisher_id), work)


async def view_batch(database: Database, publisher_id: int, batch_id: UUID) -> BatchView:
    """Raises NotFound."""
    async with database.of_publisher(publisher_id).reading() as connection:
        return await _view(connection, publisher_id, batch_id)


async def view_batches(
    database: Database, publisher_id: int, pool_id: UUID, *, after: UUID | None, limit: int
) -> list[BatchView]:
    """A page of the pool's batches, newest first. Raises NotFound."""
    async with database.of_publisher(publisher_id).reading() as connection:
        batches = await list_batches(connection, publisher_id, pool_id, after=after, limit=limit)
        stock = await read_stock(connection, publisher_id, [batch.report.batch_id for batch in batches])
    return [BatchView(batch, stock[batch.report.batch_id]) for batch in batches]


async def _change(
    database: Database, publisher_id: int, batch_id: UUID, state: BatchState, caller_id: int
) -> BatchView:
    async def work(connection: Connection) -> BatchView:
        pool_id = (await read_batch(connection, publisher_id, batch_id)).report.pool_id
        now = await lock_pool(connection, publisher_id, pool_id)
        batch = await lock_batch(connection, publisher_id, batch_id)
        # Written even when nothing changes: only a commit proves that the first answer survived a failover.
        await connection.execute(statement("batches.set_batch_state"), publisher_id, batch_id, state)
        if batch.state is not state:
            _demand_change(batch.state, state, _ALLOWED[state])
            await _move_segments(connection, publisher_id, batch_id, state)
            stock = (await read_stock(connection, publisher_id, [batch_id]))[batch_id]
            event = (
                publisher_id,
                new_id(),
                pool_id,
                batch_id,
                caller_id,
                f"batch.{state}",
                to_json(stock).decode(),
                now,
            )
            await connection.execute(statement("tape.insert_publisher_event"), *event)
            await settle_pool(connection, publisher_id, pool_id)
        return await _view(connection, publisher_id, batch_id)

    return await short_transaction(database.of_publisher(publisher_id), work)


async def _move_segments(connection: Connection, publisher_id: int, batch_id: UUID, state: BatchState) -> None:
    match state:
        case BatchState.RELEASED:
            await connection.execute(statement("batches.put_segments_on_sale"), publisher_id, batch_id)
        case BatchState.HELD | BatchState.WITHDRAWN:
            await connection.execute(statement("batches.take_segments_off_sale"), publisher_id, batch_id, state)
        case BatchState.RECEIVING | BatchState.CHECKED | BatchState.REFUSED | BatchState.DISCARDED:
            raise AssertionError(f"nobody asks for the state {state}")
        case _:
            assert_never(state)


def _demand_change(now: BatchState, wanted: BatchState, allowed: Collection[BatchState]) -> None:
    if now in allowed:
        return
    if now is BatchState.RECEIVING:
        raise Conflict("this upload is not finished; send the rest of the file, or discard it")
    raise Conflict(f"this batch is {now} and cannot become {wanted}")


async def _view(connection: Connection, publisher_id: int, batch_id: UUID) -> BatchView:
    batch = await read_batch(connection, publisher_id, batch_id)
    return BatchView(batch, (await read_stock(connection, publisher_id, [batch_id]))[batch_id])
