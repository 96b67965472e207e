"""From a workbook or an archive to chunks of rows. Its directory is at its end, so all of it comes before its first row.

Checkpoints count the rows: `bytes_done` is the share of the file that is behind them, and the digest is the whole file's.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

from keyservice.domain.key_columns import check_mapping
from keyservice.domain.key_entries import EntryReader
from keyservice.domain.key_file import ColumnMapping, KeyFileFormat, KeyFileLimits, KeyFileRefused, KeyRow, MalformedRow
from keyservice.domain.key_format import foreign_container
from keyservice.domain.key_table import RowCount, TableReader
from keyservice.domain.row_law import RowLaw
from keyservice.fulfillment.read_upload import Arrival, Chunk, Chunker, Totals
from keyservice.unpacking.errand import Errand
from keyservice.unpacking.frames import ArchiveEntry, Frame, SheetRow, Unreadable
from keyservice.unpacking.process import Spool, Unpacker, spooled

Rows = list[KeyRow | MalformedRow]


class ContainerReading:
    """One pass over a workbook or an archive. It holds the packed file, the rows of one chunk and one frame."""

    def __init__(
        self,
        unpacker: Unpacker,
        file_format: KeyFileFormat,
        mapping: ColumnMapping,
        law: RowLaw,
        chunker: Chunker,
        arrival: Arrival,
        *,
        limits: KeyFileLimits,
    ) -> None:
        check_mapping(mapping, file_format)
        self._unpacker = unpacker
        self._format = file_format
        self._mapping = mapping
        self._chunker = chunker
        self._arrival = arrival
        self._limits = limits
        self._count = RowCount(limits.rows_max)
        self._table = TableReader(file_format, mapping, law, self._count, limits=limits)
        self._entries = EntryReader(law, self._count)
        self._digest = hashlib.sha256()
        self._size = 0
        self._received = 0

    @property
    def totals(self) -> Totals:
        count = self._count
        return Totals(count.rows_seen, count.blank_rows, count.header_rows, self._size, self._digest.digest())

    async def chunks(self, pieces: AsyncIterable[bytes]) -> AsyncGenerator[Chunk, None]:
        """Raises KeyFileRefused, UploadConflict (another file under the same id), UploadIncomplete."""
        with spooled() as spool:
            await self._fill(spool, pieces)
            errand = self._errand(spool.seal())
            try:
                async with aclosing(self._unpacker.frames(errand)) as frames:
                    async for frame in frames:
                        for chunk in await asyncio.to_thread(self._read, frame):
                            yield chunk
            except Unreadable as refusal:
                raise KeyFileRefused(str(refusal), reason=refusal.reason) from None

    async def _fill(self, spool: Spool, pieces: AsyncIterable[bytes]) -> None:
        async for piece in pieces:
            if self._size == 0 and (refusal := foreign_container(piece)) is not None:
                raise refusal
            self._size += len(piece)
            if self._size > self._limits.packed_bytes_max:
                raise KeyFileRefused(
                    f"the file is larger than {self._limits.packed_bytes_max} bytes; split it", reason="file-too-large"
                )
            self._digest.update(piece)
            spool.write(piece)
        self._arrival.demand_whole(self._size, self._digest.digest())
        stored = self._arrival.checkpoint.sha256
        if stored is not None and stored != self._digest.digest():
            raise self._arrival.another_file()
        if self._size == 0:
            self._count.demand_keys()

    def _errand(self, file_number: int) -> Errand:
        limits, child = self._limits, self._unpacker.limits
        return Errand(
            file_number=file_number,
            kind=self._format,
            sheet=self._mapping.sheet,
            memory_bytes_max=child.memory_bytes_max,
            processor_seconds_max=child.processor_seconds_max,
            entries_max=min(limits.entries_max, limits.rows_max),
            unpacked_bytes_max=limits.bytes_max,
            entry_bytes_max=limits.entry_bytes_max,
            columns_max=limits.columns_max,
            cell_characters_max=limits.cell_bytes_max,
        )

    def _read(self, frame: Frame) -> list[Chunk]:
        self._received += len(frame.rows) + len(frame.entries)
        rows: Rows = []
        for one in (*map(self._row, frame.rows), *map(self._entry, frame.entries)):
            if one is not None:
                rows.append(one)
        self._chunker.add(rows)
        sha256 = self._digest.digest()
        if not frame.is_end:
            return self._chunker.full(bytes_done=int(frame.share * self._size), sha256=sha256)
        if frame.count != self._received:
            raise AssertionError(f"{self._received} rows came of {frame.count}")
        self._count.demand_keys()
        return self._chunker.rest(bytes_done=self._size, sha256=sha256)

    def _row(self, row: SheetRow) -> KeyRow | MalformedRow | None:
        """Rows that are not told are blank."""
        blank = row.number - self._count.rows_seen - 1
        if blank < 0:
            raise AssertionError("the rows of a sheet came out of order")
        if blank:
            self._count.add(row.number, blank)
            self._count.blank_rows += blank
        cells = [cell if isinstance(cell, str) else cell[1] for cell in row.cells]
        odd = {at: cell[0] for at, cell in enumerate(row.cells) if not isinstance(cell, str)}
        defect = row.defect
        if defect is None and sum(map(len, cells)) > self._limits.row_bytes_max:
            defect = "cell-too-long"
        return self._table.row(row.number, cells, defect, odd=odd, is_hidden=row.is_hidden)

    def _entry(self, entry: ArchiveEntry) -> KeyRow | MalformedRow | None:
        return self._entries.entry(entry.name, entry.content, is_folder=entry.is_folder, defect=entry.defect)
