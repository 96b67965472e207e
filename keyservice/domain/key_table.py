"""From rows of cells to keys: the header, blank rows, rows of the wrong width."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from keyservice.domain.key_columns import ColumnMapping, Columns, find_columns
from keyservice.domain.key_format import KeyFileFormat
from keyservice.domain.key_parts import KeyPart
from keyservice.domain.key_rows import KeyFileLimits, KeyFileRefused, KeyRow, MalformedRow
from keyservice.domain.row_law import BLANK, Beside, Fault, RowLaw

_REPEATED_HEADER: Final = Fault("repeated-header")
_HIDDEN: Final = Fault("hidden-row")
# By the column's number, what a cell holds that is no text.
Oddities = Mapping[int, str]
_NOTHING_ODD: Final[Oddities] = MappingProxyType({})


class RowCount:
    """How many rows of a file were read. The header does not count against the limit."""

    def __init__(self, rows_max: int) -> None:
        self.rows_seen = 0
        self.blank_rows = 0
        self.header_rows = 0
        self._rows_max = rows_max

    def add(self, line: int | None, rows: int = 1) -> None:
        """Raises KeyFileRefused when there are too many."""
        self.rows_seen += rows
        if self.rows_seen > self._rows_max + self.header_rows:
            raise KeyFileRefused(
                f"the file has more than {self._rows_max} rows; split it", reason="too-many-rows", line=line
            )

    def demand_keys(self) -> None:
        if self.rows_seen == self.blank_rows + self.header_rows:
            raise KeyFileRefused("the file has no keys; upload one with a key in each row", reason="no-rows")


class TableReader:
    """One table. The first row that is not blank is its header, or says that there is none."""

    def __init__(
        self, file_format: KeyFileFormat, mapping: ColumnMapping, law: RowLaw, count: RowCount, *, limits: KeyFileLimits
    ) -> None:
        self.columns: Columns | None = None
        self._format = file_format
        self._mapping = mapping
        self._law = law
        self._count = count
        self._limits = limits
        self._is_sheet = file_format is KeyFileFormat.XLSX

    def row(
        self,
        line: int,
        cells: list[str],
        defect: str | None,
        *,
        odd: Oddities = _NOTHING_ODD,
        is_hidden: bool = False,
    ) -> KeyRow | MalformedRow | None:
        """None for a blank row and for the header. A row with a defect has no usable cells."""
        count = self._count
        count.add(line)
        if defect is not None:
            return self._defective(line, defect)
        columns = self.columns
        has_key = columns is not None and len(cells) == columns.width and bool(cells[columns.key].strip(BLANK))
        if not has_key and not any(cell.strip(BLANK) for cell in cells):
            count.blank_rows += 1
            return None
        if columns is None:
            columns = self._begin(line, cells)
            if columns.header_key is not None:
                return None
        if self._is_sheet:
            cells = _fitted(cells, columns.width)
        if len(cells) != columns.width:
            reason = "too-few-columns" if len(cells) < columns.width else "too-many-columns"
            return MalformedRow(count.rows_seen, reason, None)
        return self._judged(line, cells, columns, _HIDDEN if is_hidden else _odd_key(columns, odd))

    def _defective(self, line: int, defect: str) -> MalformedRow:
        is_headless = self._format is KeyFileFormat.TXT and self._mapping.has_header is None
        if self.columns is None and self._mapping.has_header is not False and not is_headless:
            raise KeyFileRefused(f"the header cannot be read: {defect}; correct it", reason="wrong-header", line=line)
        return MalformedRow(self._count.rows_seen, defect, None)

    def _begin(self, line: int, cells: list[str]) -> Columns:
        columns = find_columns(self._mapping, cells, file_format=self._format, line=line, limits=self._limits)
        self.columns = columns
        self._count.header_rows = 0 if columns.header_key is None else 1
        return columns

    def _judged(self, line: int, cells: list[str], columns: Columns, fault: Fault | None) -> KeyRow | MalformedRow:
        beside = Beside(
            _cell(cells, columns.expires_on), _cell(cells, columns.publisher_key_id), _cell(cells, columns.notes)
        )
        text = cells[columns.key]
        number = self._count.rows_seen
        if fault is None and text == columns.header_key and text.strip(BLANK):
            fault = _REPEATED_HEADER
        if fault is not None:
            return self._law.judged(number, line, text, fault, beside)
        if not columns.parts:
            return self._law.text(number, line, text, beside)
        parts = [KeyPart(label, cells[at]) for label, at in zip(columns.labels, columns.parts, strict=True)]
        return self._law.parts(number, line, parts, beside)


def _fitted(cells: list[str], width: int) -> list[str]:
    """In a sheet a row ends with its last cell that is not empty, and behind the table there may be spaces."""
    if len(cells) < width:
        return cells + [""] * (width - len(cells))
    return cells if any(cell.strip(BLANK) for cell in cells[width:]) else cells[:width]


def _odd_key(columns: Columns, odd: Oddities) -> Fault | None:
    if not odd:
        return None
    kind = next((odd[at] for at in columns.parts or (columns.key,) if at in odd), None)
    return None if kind is None else Fault(f"{kind}-in-key")


def _cell(cells: list[str], at: int | None) -> str | None:
    return None if at is None or not cells[at].strip(BLANK) else cells[at]
