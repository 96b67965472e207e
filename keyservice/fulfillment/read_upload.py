"""From the bytes of an upload to chunks of fingerprinted rows, read one chunk ahead of the database."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.domain.batch import UploadConflict, UploadIncomplete
from keyservice.domain.key_file import KeyFileReader, KeyFileRefused, KeyRow, MalformedRow

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Chunk:
    """Rows that one transaction stores, and where the file stood: every row up to the last lies within the bytes."""

    rows: Sequence[KeyRow]
    texts: Sequence[bytes]
    fingerprints: Sequence[bytes]
    malformed: Sequence[MalformedRow]
    last_row_number: int
    bytes_done: int
    sha256: bytes

    @property
    def row_count(self) -> int:
        return len(self.rows) + len(self.malformed)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What an earlier connection has stored: the same bytes must come again, their rows are passed over."""

    bytes_done: int
    sha256: bytes | None
    last_row_number: int


class UploadReading:
    """One pass over a file. It holds the rows of one chunk and one piece at the most."""

    def __init__(
        self,
        reader: KeyFileReader,
        fingerprints: Fingerprints,
        *,
        publisher_id: int,
        batch_id: UUID,
        checkpoint: Checkpoint,
        chunk_rows: int,
        piece_bytes: int,
        declared_bytes: int | None,
        declared_sha256: bytes | None,
    ) -> None:
        self._reader = reader
        self._fingerprints = fingerprints
        self._publisher_id = publisher_id
        self._batch_id = batch_id
        self._checkpoint = checkpoint
        self._chunk_rows = chunk_rows
        self._piece_bytes = piece_bytes
        self._declared_bytes = declared_bytes
        self._declared_sha256 = declared_sha256
        self._waiting: list[KeyRow | MalformedRow] = []

    async def chunks(self, pieces: AsyncIterable[bytes]) -> AsyncGenerator[Chunk, None]:
        """Raises KeyFileRefused, UploadConflict (another file under the same id), UploadIncomplete."""
        async with aclosing(_resized(pieces, self._piece_bytes)) as resized:
            async for piece in resized:
                for chunk in await asyncio.to_thread(self._feed, piece):
                    yield chunk
        # Before the last row is believed: in a file that was cut off it is half a key.
        self._demand_whole()
        for chunk in await asyncio.to_thread(self._finish):
            yield chunk

    def _feed(self, piece: memoryview) -> list[Chunk]:
        room = self._checkpoint.bytes_done - self._reader.bytes_seen
        if room <= 0:
            self._waiting += self._fresh(self._reader.feed(piece))
            return self._full_chunks()
        try:
            self._waiting += self._fresh(self._reader.feed(piece[:room]))
        except KeyFileRefused as error:
            # These bytes were read without refusal the first time.
            raise self._another_file() from error
        if len(piece) < room:
            return []
        if self._reader.digest_so_far() != self._checkpoint.sha256:
            raise self._another_file()
        return self._feed(piece[room:]) if len(piece) > room else self._full_chunks()

    def _finish(self) -> list[Chunk]:
        self._waiting += self._fresh(self._reader.finish())
        chunks = self._full_chunks()
        if self._waiting:
            chunks.append(self._chunk(self._waiting))
            self._waiting = []
        return chunks

    def _demand_whole(self) -> None:
        seen = self._reader.bytes_seen
        if self._declared_bytes is not None and seen != self._declared_bytes:
            raise UploadIncomplete(
                f"{self._declared_bytes} bytes were announced and {seen} came; send the whole file again under the same"
                " id, it goes on where it stopped",
                batch_id=self._batch_id,
            )
        if seen < self._checkpoint.bytes_done:
            raise self._another_file()
        if self._declared_sha256 is not None and self._reader.digest_so_far() != self._declared_sha256:
            raise KeyFileRefused(
                "what arrived does not have the declared SHA-256; send the file again under a new id",
                reason="digest-mismatch",
            )

    def _another_file(self) -> UploadConflict:
        return UploadConflict(
            "this upload was begun with another file; send that file, or use a new id for this one",
            reason="another-file",
            batch_id=self._batch_id,
        )

    def _fresh(self, rows: list[KeyRow | MalformedRow]) -> list[KeyRow | MalformedRow]:
        last = self._checkpoint.last_row_number
        if not rows or rows[0].row_number > last:
            return rows
        return [row for row in rows if row.row_number > last]

    def _full_chunks(self) -> list[Chunk]:
        size = self._chunk_rows
        whole = len(self._waiting) // size * size
        chunks = [self._chunk(self._waiting[start : start + size]) for start in range(0, whole, size)]
        del self._waiting[:whole]
        return chunks

    def _chunk(self, some: list[KeyRow | MalformedRow]) -> Chunk:
        rows = [row for row in some if isinstance(row, KeyRow)]
        texts = [row.text.encode() for row in rows]
        return Chunk(
            rows=rows,
            texts=texts,
            fingerprints=self._fingerprints.keys(self._publisher_id, texts),
            malformed=[row for row in some if isinstance(row, MalformedRow)],
            last_row_number=some[-1].row_number,
            bytes_done=self._reader.bytes_seen,
            sha256=self._reader.digest_so_far(),
        )


async def one_ahead(source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The items of the source; the next one is being made while the last is used."""
    upcoming = asyncio.ensure_future(anext(source, None))
    try:
        while (item := await upcoming) is not None:
            upcoming = asyncio.ensure_future(anext(source, None))
            yield item
    finally:
        upcoming.cancel()
        await asyncio.wait([upcoming])
        await source.aclose()


async def _resized(pieces: AsyncIterable[bytes], size: int) -> AsyncGenerator[memoryview, None]:
    """The same bytes in pieces of one size, the last one excepted: the way to a thread costs more than a few bytes."""
    gathered = bytearray()
    async for piece in pieces:
        gathered += piece
        while len(gathered) >= size:
            yield memoryview(bytes(gathered[:size]))
            del gathered[:size]
    if gathered:
        yield memoryview(bytes(gathered))
