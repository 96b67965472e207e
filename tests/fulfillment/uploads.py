"""Uploading files in tests: what a publisher sends, whole, cut off, or held back until a signal."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from uuid import UUID

from keyservice.domain.batch import RefusedRow, Verdict
from keyservice.domain.key_file import ColumnMapping, KeyFileFormat, KeyFileLimits
from keyservice.fulfillment.read_batches import StoredBatch, find_batch, read_batch, refused_rows
from keyservice.fulfillment.receive_batch import Received, Upload, UploadLimits, receive_batch
from tests.lab.shop import Shop


class ConnectionCut(Exception):
    """Stands for a client that went away."""


async def in_pieces(data: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def cut_off(data: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    async for piece in in_pieces(data, size):
        yield piece
    raise ConnectionCut


async def until(signal: asyncio.Event, first: bytes, rest: bytes) -> AsyncIterator[bytes]:
    """The beginning, then nothing until the signal, then the rest."""
    yield first
    await signal.wait()
    yield rest


def csv_of(keys: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in ("key", *keys)).encode()


def announced(shop: Shop, *, file_format: KeyFileFormat = KeyFileFormat.CSV) -> Upload:
    return Upload(shop.publisher_id, shop.pool_id, shop.reseller.caller_id, file_format, ColumnMapping())


async def receive(
    shop: Shop,
    pieces: bytes | AsyncIterator[bytes],
    upload: Upload | None = None,
    *,
    chunk_rows: int = 2_000,
    limits: KeyFileLimits | None = None,
) -> Received:
    services = shop.services
    return await receive_batch(
        services.database,
        services.wrapper,
        services.fingerprints,
        upload or announced(shop),
        in_pieces(pieces) if isinstance(pieces, bytes) else pieces,
        limits=UploadLimits(limits or KeyFileLimits(), chunk_rows),
        unpacker=services.unpacker,
    )


async def receive_cut(shop: Shop, data: bytes, batch_id: UUID, *, chunk_rows: int = 10) -> StoredBatch:
    """Begin an upload, have it cut off behind these bytes, and tell what is stored of it."""
    try:
        # Whole pieces of the reader are read before the cut, so that there is something to be stored.
        await receive(shop, cut_off(data), replace(announced(shop), batch_id=batch_id), chunk_rows=chunk_rows)
    except ConnectionCut:
        return await stored(shop, batch_id)
    raise AssertionError("the upload was not cut off")


async def stored(shop: Shop, batch_id: UUID) -> StoredBatch:
    async with shop.services.database.transaction() as connection:
        return await read_batch(connection, shop.publisher_id, batch_id)


async def refused(shop: Shop, batch_id: UUID) -> list[RefusedRow]:
    pages = refused_rows(shop.services.database, shop.publisher_id, batch_id)
    return [row async for page in pages for row in page]


async def verdicts(shop: Shop, batch_id: UUID) -> dict[int, Verdict]:
    return {row.row_number: row.verdict for row in await refused(shop, batch_id)}


async def rows_of(shop: Shop, table: str) -> int:
    """How many rows of this publisher a table holds."""
    async with shop.services.database.transaction() as connection:
        return int(
            await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE publisher_id = $1",  # noqa: S608 - a name from the tests
                shop.publisher_id,
            )
        )


async def until_stored(shop: Shop, batch_id: UUID, rows: int) -> StoredBatch:
    """Wait until so many rows of the upload are committed."""
    deadline = asyncio.get_running_loop().time() + 20
    while asyncio.get_running_loop().time() < deadline:
        async with shop.services.database.transaction() as connection:
            batch = await find_batch(connection, shop.publisher_id, batch_id)
        if batch is not None and batch.report.rows >= rows:
            return batch
        await asyncio.sleep(0.005)
    raise AssertionError(f"{rows} rows were not stored in time")
