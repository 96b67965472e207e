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


@dataclass(frozen=True, slots=True)
class Arrival:
    """What was announced of the file, and what came of it before."""

    batch_id: UUID
    checkpoint: Checkpoint
    declared_bytes: int | None
    declared_sha256: bytes | None

    def demand_whole(self, size: int, sha256: bytes) -> None:
        """Raises UploadIncomplete, UploadConflict and KeyFileRefused when this is not the file that was announced."""
        if self.declared_bytes is not None and size != self.declared_bytes:
            raise UploadIncomplete(
                f"{self.declared_bytes} bytes were announced and {size} came; send the whole file again under the same"
                " id, it goes on where it stopped",
                batch_id=self.batch_id,
            )
        if size < self.checkpoint.bytes_done:
            raise self.another_file()
        if self.declared_sha256 is not None and sha256 != self.declared_sha256:
            raise KeyFileRefused(
                "what arrived does not have the declared SHA-256; send the file again under a new id",
                reason="digest-mismatch",
            )

    def another_file(self) -> UploadConflict:
        return UploadConflict(
            "this upload was begun with another file; send that file, or use a new id for this one",
            reason="another-file",
            batch_id=self.batch_id,
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """What a file came to when it was read to its end."""

    rows: int
    blank_rows: int
    header_rows: int
    size: int
    sha256: bytes


class Chunker:
    """Cuts rows into chunks, each of so many rows and so many bytes at the most. Rows that are stored are passed over."""

    def __init__(
        self, fingerprints: Fingerprints, *, publisher_id: int, last_row_number: int, rows_max: int, bytes_max: int
    ) -> None:
        self._fingerprints = fingerprints
        self._publisher_id = publisher_id
        self._last_row_number = last_row_number
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._waiting: list[KeyRow | MalformedRow] = []

    def add(self, rows: list[KeyRow | MalformedRow]) -> None:
        last = self._last_row_number
        if rows and rows[0].row_number <= last:
            rows = [row for row in rows if row.row_number > last]
        self._waiting += rows

    def full(self, *, bytes_done: int, sha256: bytes) -> list[Chunk]:
        """Every chunk that has as much as it may."""
        chunks = []
        while len(self._waiting) >= self._rows_max or self._is_heavy():
            chunks.append(self._chunk(self._cut(), bytes_done, sha256))
        return chunks

    def rest(self, *, bytes_done: int, sha256: bytes) -> list[Chunk]:
        chunks = self.full(bytes_done=bytes_done, sha256=sha256)
        if self._waiting:
            chunks.append(self._chunk(self._waiting, bytes_done, sha256))
            self._waiting = []
        return chunks

    def _is_heavy(self) -> bool:
        # Only files are so large that a chunk of them has to be weighed.
        return bool(self._waiting) and _octets(self._waiting[-1]) > 0 and self._weight() >= self._bytes_max

    def _weight(self) -> int:
        return sum(map(_octets, self._waiting))

    def _cut(self) -> list[KeyRow | MalformedRow]:
        weight, count = 0, 0
        for row in self._waiting[: self._rows_max]:
            weight += _octets(row)
            count += 1
            if weight >= self._bytes_max:
                break
        some = self._waiting[:count]
        del self._waiting[:count]
        return some

    def _chunk(self, some: list[KeyRow | MalformedRow], bytes_done: int, sha256: bytes) -> Chunk:
        rows = [row for row in some if isinstance(row, KeyRow)]
        texts = [row.raw for row in rows]
        return Chunk(
            rows=rows,
            texts=texts,
            fingerprints=self._fingerprints.keys(self._publisher_id, texts),
            malformed=[row for row in some if isinstance(row, MalformedRow)],
            last_row_number=some[-1].row_number,
            bytes_done=bytes_done,
            sha256=sha256,
        )


class UploadReading:
    """One pass over a file that is read as it comes. It holds the rows of one chunk and one piece at the most."""

    def __init__(self, reader: KeyFileReader, chunker: Chunker, arrival: Arrival, *, piece_bytes: int) -> None:
        self._reader = reader
        self._chunker = chunker
        self._arrival = arrival
        self._piece_bytes = piece_bytes

    @property
    def totals(self) -> Totals:
        reader = self._reader
        counts = (reader.rows_seen, reader.blank_rows, reader.header_rows)
        return Totals(*counts, reader.bytes_seen, reader.digest_so_far())

    async def chunks(self, pieces: AsyncIterable[bytes]) -> AsyncGenerator[Chunk, None]:
        """Raises KeyFileRefused, UploadConflict (another file under the same id), UploadIncomplete."""
        async with aclosing(_resized(pieces, self._piece_bytes)) as resized:
            async for piece in resized:
                for chunk in await asyncio.to_thread(self._feed, piece):
                    yield chunk
        # Before the last row is believed: in a file that was cut off it is half a key.
        self._arrival.demand_whole(self._reader.bytes_seen, self._reader.digest_so_far())
        for chunk in await asyncio.to_thread(self._finish):
            yield chunk

    def _feed(self, piece: memoryview) -> list[Chunk]:
        checkpoint = self._arrival.checkpoint
        room = checkpoint.bytes_done - self._reader.bytes_seen
        if room <= 0:
            self._chunker.add(self._reader.feed(piece))
            return self._full_chunks()
        try:
            self._chunker.add(self._reader.feed(piece[:room]))
        except KeyFileRefused as error:
            # These bytes were read without refusal the first time.
            raise self._arrival.another_file() from error
        if len(piece) < room:
            return []
        if self._reader.digest_so_far() != checkpoint.sha256:
            raise self._arrival.another_file()
        return self._feed(piece[room:]) if len(piece) > room else self._full_chunks()

    def _full_chunks(self) -> list[Chunk]:
        return self._chunker.full(bytes_done=self._reader.bytes_seen, sha256=self._reader.digest_so_far())

    def _finish(self) -> list[Chunk]:
        self._chunker.add(self._reader.finish())
        return self._chunker.rest(bytes_done=self._reader.bytes_seen, sha256=self._reader.digest_so_far())


def _octets(row: KeyRow | MalformedRow) -> int:
    return len(row.octets) if isinstance(row, KeyRow) and row.octets is not None else 0


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
