"""Reads a publisher's key file as it arrives: CSV, TSV, JSON Lines, or text with one key a line, each with gzip or without.

Accepted, malformed and blank rows and the header are together the rows of the file. Rows are counted as a spreadsheet
shows them: the header is row 1, blank rows count, and a quoted cell with line breaks does not add rows. A row is blank,
and a cell empty, when it holds nothing but spaces and tabs. No cell is ever altered; formulas, markup and the like are
inert text, which the check of the key's text may refuse.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from keyservice.domain.key_columns import ColumnMapping, Columns, check_mapping, delimiter_of
from keyservice.domain.key_format import KeyFileFormat, guess_format
from keyservice.domain.key_gzip import Gunzip
from keyservice.domain.key_objects import ObjectReader, RowReader
from keyservice.domain.key_records import RecordReader, Records
from keyservice.domain.key_rows import KeyFileLimits, KeyFileRefused, KeyRow, MalformedRow
from keyservice.domain.key_table import RowCount, TableReader
from keyservice.domain.row_law import RowLaw

__all__ = [
    "ColumnMapping",
    "KeyFileFormat",
    "KeyFileLimits",
    "KeyFileReader",
    "KeyFileRefused",
    "KeyRow",
    "MalformedRow",
    "guess_format",
]


class KeyFileReader:
    """Fed with pieces of any size; a piece may complete no row or many. Nothing of a refused file may be kept.

    Bytes and digest are those of the file as it comes.
    """

    def __init__(
        self,
        file_format: KeyFileFormat,
        mapping: ColumnMapping,
        *,
        law: RowLaw,
        limits: KeyFileLimits,
        is_gzip: bool = False,
    ) -> None:
        check_mapping(mapping, file_format)
        self.bytes_seen = 0
        self._limits = limits
        self._count = RowCount(limits.rows_max)
        self._table: TableReader | None = None
        self._rows: RowReader
        if file_format is KeyFileFormat.JSONL:
            self._rows = ObjectReader(mapping, law, self._count)
            # The one cell of a line is the line.
            limits = replace(limits, cell_bytes_max=limits.row_bytes_max)
        else:
            self._rows = self._table = TableReader(file_format, mapping, law, self._count, limits=limits)
        self._records = RecordReader(delimiter=delimiter_of(mapping, file_format), limits=limits)
        self._gunzip = Gunzip() if is_gzip else None
        self._text_bytes = 0
        self._digest = hashlib.sha256()
        self._is_open = True

    @property
    def rows_seen(self) -> int:
        return self._count.rows_seen

    @property
    def blank_rows(self) -> int:
        return self._count.blank_rows

    @property
    def header_rows(self) -> int:
        return self._count.header_rows

    @property
    def columns(self) -> Columns | None:
        return None if self._table is None else self._table.columns

    def feed(self, data: bytes | bytearray | memoryview) -> list[KeyRow | MalformedRow]:
        """The rows completed so far, at latest one block after their last byte. Raises KeyFileRefused."""
        self._close()
        view = memoryview(data)
        self._digest.update(view)
        self.bytes_seen += len(view)
        found: list[KeyRow | MalformedRow] = []
        texts: Iterable[memoryview] = (view,) if self._gunzip is None else self._gunzip.unpacked(view)
        for text in texts:
            found += self._take_in(text)
        if self.bytes_seen > self._limits.bytes_max:
            raise self._too_large()
        self._is_open = True
        return found

    def finish(self) -> list[KeyRow | MalformedRow]:
        """The last rows. Raises KeyFileRefused for what only the end can show: an open quote, or no keys at all."""
        self._close()
        if self._gunzip is not None:
            self._gunzip.demand_end()
        found = self._read(self._records.take(is_end=True))
        self._count.demand_keys()
        return found

    def digest_so_far(self) -> bytes:
        """SHA-256 over the bytes as they came."""
        return self._digest.digest()

    def _close(self) -> None:
        # A piece that is refused leaves the reader closed; one that goes through opens it again.
        if not self._is_open:
            raise RuntimeError("this key file is finished or refused; read another one with a new reader")
        self._is_open = False

    def _take_in(self, text: memoryview) -> list[KeyRow | MalformedRow]:
        room = max(self._limits.bytes_max - self._text_bytes, 0)
        self._text_bytes += len(text)
        found: list[KeyRow | MalformedRow] = []
        for records in self._records.push(text[:room]):
            found += self._read(records)
        if len(text) > room:
            # What is wrong earlier in the file is said first, so that the answer does not depend on the pieces.
            self._read(self._records.take())
            raise self._too_large()
        return found

    def _too_large(self) -> KeyFileRefused:
        what = "the file is" if self._gunzip is None else "the file, or what it unpacks to, is"
        return KeyFileRefused(f"{what} larger than {self._limits.bytes_max} bytes; split it", reason="file-too-large")

    def _read(self, records: Records) -> list[KeyRow | MalformedRow]:
        found: list[KeyRow | MalformedRow] = []
        for line, cells in zip(records.lines, records.rows, strict=True):
            row = self._rows.row(line, cells, None if cells else records.defects.get(line))
            if row is not None:
                found.append(row)
        if records.refusal is not None:
            raise records.refusal
        return found
