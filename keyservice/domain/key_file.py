"""Reads a publisher's key file as it arrives: CSV, TSV, or text with one key a line.

Accepted, malformed and blank rows and the header are together the rows of the file. Rows are counted as a spreadsheet
shows them: the header is row 1, blank rows count, and a quoted cell with line breaks does not add rows. A row is blank,
and a cell empty, when it holds nothing but spaces and tabs. No cell is ever altered; formulas, markup and the like are
inert text, which the check of the key's text may refuse.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import date
from typing import Final

from keyservice.domain.errors import Invalid
from keyservice.domain.key_columns import ColumnMapping, Columns, check_mapping, delimiter_of, find_columns
from keyservice.domain.key_format import KeyFileFormat, guess_format
from keyservice.domain.key_records import RecordReader, Records
from keyservice.domain.key_rows import KeyFileLimits, KeyFileRefused, KeyRow, MalformedRow

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

_BLANK: Final = " \t"
_ISO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONTROL_IN_NOTES: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class KeyFileReader:
    """Fed with pieces of any size; a piece may complete no row or many. Nothing of a refused file may be kept.

    `default_expires_on` holds for rows without a date of their own. A key that expires `today` is still good.
    `key_column_check` says why a text cannot be a key, or None.
    """

    def __init__(
        self,
        file_format: KeyFileFormat,
        mapping: ColumnMapping,
        *,
        limits: KeyFileLimits,
        default_expires_on: date | None,
        today: date,
        key_column_check: Callable[[str], str | None],
    ) -> None:
        check_mapping(mapping, file_format)
        if default_expires_on is not None and default_expires_on < today:
            raise Invalid("the batch's expiry date is past", field="expires_on")
        self.rows_seen = 0
        self.blank_rows = 0
        self.bytes_seen = 0
        self.columns: Columns | None = None
        self._format = file_format
        self._mapping = mapping
        self._limits = limits
        self._default_expires_on = default_expires_on
        self._today = today
        self._check = key_column_check
        self._records = RecordReader(delimiter=delimiter_of(mapping, file_format), limits=limits)
        self._digest = hashlib.sha256()
        self._last_row = limits.rows_max
        self._accepted_dates: dict[str, date] = {}
        self._expiries: set[date | None] = set()
        self._is_open = True

    def feed(self, data: bytes | bytearray | memoryview) -> list[KeyRow | MalformedRow]:
        """The rows completed so far, at latest one block after their last byte. Raises KeyFileRefused."""
        self._close()
        view = memoryview(data)
        room = max(self._limits.bytes_max - self.bytes_seen, 0)
        self._digest.update(view)
        self.bytes_seen += len(view)
        found: list[KeyRow | MalformedRow] = []
        for records in self._records.push(view[:room]):
            found += self._read(records)
        if len(view) > room:
            # What is wrong earlier in the file is said first, so that the answer does not depend on the pieces.
            self._read(self._records.take())
            raise KeyFileRefused(
                f"the file is larger than {self._limits.bytes_max} bytes; split it", reason="file-too-large"
            )
        self._is_open = True
        return found

    def finish(self) -> list[KeyRow | MalformedRow]:
        """The last rows. Raises KeyFileRefused for what only the end can show: an open quote, or no keys at all."""
        self._close()
        found = self._read(self._records.take(is_end=True))
        if self.rows_seen == self.blank_rows + self.header_rows:
            raise KeyFileRefused("the file has no keys; upload one with a key in each row", reason="no-rows")
        return found

    @property
    def header_rows(self) -> int:
        return 0 if self.columns is None or self.columns.header_key is None else 1

    def digest_so_far(self) -> bytes:
        """SHA-256 over the bytes as they came."""
        return self._digest.digest()

    def _close(self) -> None:
        # A piece that is refused leaves the reader closed; one that goes through opens it again.
        if not self._is_open:
            raise RuntimeError("this key file is finished or refused; read another one with a new reader")
        self._is_open = False

    def _read(self, records: Records) -> list[KeyRow | MalformedRow]:
        found: list[KeyRow | MalformedRow] = []
        for line, cells in zip(records.lines, records.rows, strict=True):
            row = self._row(line, cells, None if cells else records.defects.get(line))
            if row is not None:
                found.append(row)
        if records.refusal is not None:
            raise records.refusal
        return found

    def _row(self, line: int, cells: list[str], defect: str | None) -> KeyRow | MalformedRow | None:
        """None for a blank row and for the header."""
        self.rows_seen += 1
        if self.rows_seen > self._last_row:
            raise KeyFileRefused(
                f"the file has more than {self._limits.rows_max} rows; split it", reason="too-many-rows", line=line
            )
        if defect is not None:
            return self._defective(line, defect)
        columns = self.columns
        has_key = columns is not None and len(cells) == columns.width and bool(cells[columns.key].strip(_BLANK))
        if not has_key and not any(cell.strip(_BLANK) for cell in cells):
            self.blank_rows += 1
            return None
        if columns is None:
            columns = self._begin(line, cells)
            if columns.header_key is not None:
                return None
        if len(cells) != columns.width:
            reason = "too-few-columns" if len(cells) < columns.width else "too-many-columns"
            return MalformedRow(self.rows_seen, reason, None)
        return self._judged(line, cells, columns)

    def _defective(self, line: int, defect: str) -> MalformedRow:
        is_headless = self._format is KeyFileFormat.TXT and self._mapping.has_header is None
        if self.columns is None and self._mapping.has_header is not False and not is_headless:
            raise KeyFileRefused(f"the header cannot be read: {defect}; correct it", reason="wrong-header", line=line)
        return MalformedRow(self.rows_seen, defect, None)

    def _begin(self, line: int, cells: list[str]) -> Columns:
        columns = find_columns(self._mapping, cells, file_format=self._format, line=line, limits=self._limits)
        self.columns = columns
        self._last_row += self.header_rows
        return columns

    def _judged(self, line: int, cells: list[str], columns: Columns) -> KeyRow | MalformedRow:
        text = cells[columns.key]
        expiry = _cell(cells, columns.expires_on)
        publisher_key_id = _cell(cells, columns.publisher_key_id)
        notes = _cell(cells, columns.notes)
        expires_on = self._default_expires_on if expiry is None else self._date(expiry)
        id_fault = self._id_fault(publisher_key_id)
        fault = self._key_fault(text, columns) or self._expiry_fault(expiry, expires_on) or id_fault
        fault = fault or self._notes_fault(notes)
        if fault is not None:
            detail = self._check(text) if fault == "invalid-key" else None
            return MalformedRow(self.rows_seen, fault, None if id_fault else publisher_key_id, detail)
        if expires_on not in self._expiries:
            self._add_expiry(expires_on, expiry, line)
        return KeyRow(self.rows_seen, text, expires_on, publisher_key_id, notes)

    def _key_fault(self, text: str, columns: Columns) -> str | None:
        if not text.strip(_BLANK):
            return "empty-key"
        if text == columns.header_key:
            return "repeated-header"
        if "\n" in text or "\r" in text:
            return "line-break-in-key"
        bytes_max = self._limits.key_bytes_max
        if len(text) > bytes_max or (not text.isascii() and len(text.encode()) > bytes_max):
            return "key-too-long"
        return None if self._check(text) is None else "invalid-key"

    def _date(self, cell: str) -> date | None:
        known = self._accepted_dates.get(cell)
        if known is not None or _ISO_DATE.fullmatch(cell) is None:
            return known
        try:
            return date.fromisoformat(cell)
        except ValueError:
            return None

    def _expiry_fault(self, cell: str | None, expires_on: date | None) -> str | None:
        if cell is None or cell in self._accepted_dates:
            return None
        if expires_on is None:
            return "invalid-expiry"
        return "already-expired" if expires_on < self._today else None

    def _id_fault(self, publisher_key_id: str | None) -> str | None:
        if publisher_key_id is None:
            return None
        is_sound = len(publisher_key_id) <= self._limits.publisher_key_id_characters_max
        return None if is_sound and publisher_key_id.isprintable() else "invalid-publisher-key-id"

    def _notes_fault(self, notes: str | None) -> str | None:
        if notes is None:
            return None
        if len(notes) > self._limits.notes_characters_max:
            return "notes-too-long"
        return "control-character-in-notes" if _CONTROL_IN_NOTES.search(notes) else None

    def _add_expiry(self, expires_on: date | None, cell: str | None, line: int) -> None:
        if len(self._expiries) == self._limits.expiry_dates_max:
            raise KeyFileRefused(
                f"the keys expire on more than {self._limits.expiry_dates_max} different dates; split the file by date",
                reason="too-many-expiry-dates",
                line=line,
            )
        self._expiries.add(expires_on)
        if cell is not None and expires_on is not None:
            self._accepted_dates[cell] = expires_on


def _cell(cells: list[str], at: int | None) -> str | None:
    return None if at is None or not cells[at].strip(_BLANK) else cells[at]
