"""From the bytes of a key file, in whatever pieces they arrive, to rows of cells or why there are no more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from keyservice.domain.key_cells import (
    Cut,
    cut_lines,
    cut_quoted,
    cut_unquoted,
    is_well_quoted,
    line_breaks,
    lines_before_open_quote,
)
from keyservice.domain.key_format import HEAD_BYTES, foreign_format
from keyservice.domain.key_rows import KeyFileLimits, KeyFileRefused

_BOM: Final = b"\xef\xbb\xbf"
_UTF_8_CHARACTER_BYTES_MAX: Final = 4


@dataclass(slots=True, repr=False)
class Records:
    """Rows in the order of the file and the line on which each begins."""

    rows: list[list[str]] = field(default_factory=list)
    lines: Sequence[int] = ()
    defects: dict[int, str] = field(default_factory=dict)
    """By line, why the row that begins there has no usable cells; the row is empty then."""

    refusal: KeyFileRefused | None = None
    """Why nothing can be read after these rows."""


class RecordReader:
    """Holds one unfinished row and one block at most. What it reads depends on the bytes alone, not on their pieces.

    A wrong quotation mark must never swallow rows unseen: a row that spans lines and breaks the rules of quoting
    refuses the file, and so does a quote that is still open when the row reaches its limit.
    """

    def __init__(self, *, delimiter: str | None, limits: KeyFileLimits) -> None:
        self._delimiter = delimiter
        self._limits = limits
        self._pending = bytearray()
        self._offset = 0
        self._line = 1
        self._block_left = limits.block_bytes
        self._is_begun = False

    def push(self, data: memoryview) -> Iterator[Records]:
        while data:
            piece = data[: self._block_left]
            data = data[len(piece) :]
            self._pending += piece
            self._block_left -= len(piece)
            is_first = not self._is_begun and len(self._pending) >= HEAD_BYTES
            if self._block_left == 0 or is_first:
                self._block_left = self._limits.block_bytes
                yield self.take()

    def take(self, *, is_end: bool = False) -> Records:
        """Every row that is complete; at the end of the file the last one is, with or without a line end."""
        if not self._is_begun:
            if len(self._pending) < HEAD_BYTES and not is_end:
                return Records()
            refusal = self._begin()
            if refusal is not None:
                return Records(refusal=refusal)
        text, wrong_at = _decoded(self._pending[: None if is_end else _end_of_lines(self._pending)])
        cut = self._cut(text)
        records = self._inspected(cut, text)
        bytes_read = len(text.encode()) - len(cut.rest.encode())
        del self._pending[:bytes_read]
        self._offset += bytes_read
        self._line += cut.lines_read
        if records.refusal is None:
            records.refusal = self._obstacle(None if wrong_at is None else wrong_at - bytes_read, is_end=is_end)
        return records

    def _begin(self) -> KeyFileRefused | None:
        self._is_begun = True
        head = bytes(self._pending[:HEAD_BYTES])
        if head.startswith(_BOM):
            del self._pending[: len(_BOM)]
            self._offset = len(_BOM)
        return foreign_format(head)

    def _cut(self, text: str) -> Cut:
        if self._delimiter is None:
            return cut_lines(text)
        return cut_quoted(text, self._delimiter) if '"' in text else cut_unquoted(text, self._delimiter)

    def _inspected(self, cut: Cut, text: str) -> Records:
        records = Records(cut.rows, [self._line + start for start in cut.starts])
        characters = max(map(len, cut.lines), default=0)
        is_large = characters * _UTF_8_CHARACTER_BYTES_MAX > min(
            self._limits.cell_bytes_max, self._limits.row_bytes_max
        )
        for row in range(len(cut.rows)) if is_large or "\0" in text else cut.suspects:
            line = records.lines[row]
            defect = self._defect(cut, row, line)
            if isinstance(defect, KeyFileRefused):
                return Records(cut.rows[:row], records.lines[:row], records.defects, defect)
            if defect is not None:
                records.defects[line] = defect
                cut.rows[row] = []
        return records

    def _defect(self, cut: Cut, row: int, line: int) -> str | KeyFileRefused | None:
        raw = cut.raw(row)
        size = len(raw.encode())
        if size > self._limits.row_bytes_max:
            return self._overlong(raw.encode(), line)
        is_broken = row in cut.broken
        if is_broken or (self._delimiter is not None and not is_well_quoted(raw, self._delimiter)):
            if cut.spans_lines(row):
                return _refused_quote(line)
            return "text-after-quote" if is_broken else "stray-quote"
        if "\0" in raw:
            return "nul-character"
        cell_bytes_max = self._limits.cell_bytes_max
        if size > cell_bytes_max and any(len(cell.encode()) > cell_bytes_max for cell in cut.rows[row]):
            return "cell-too-long"
        return None

    def _obstacle(self, wrong_at: int | None, *, is_end: bool) -> KeyFileRefused | None:
        """Why the unfinished row that is left over cannot be finished, if it cannot."""
        row_bytes_max = self._limits.row_bytes_max
        # A character that begins inside the limit may end beyond it; it is judged first, wherever the piece ends.
        room = row_bytes_max + (0 if is_end else _UTF_8_CHARACTER_BYTES_MAX)
        is_overlong = wrong_at is not None or len(self._pending) > room
        if wrong_at is None and is_overlong:
            wrong_at = _wrong_utf_8(self._pending[: row_bytes_max + _UTF_8_CHARACTER_BYTES_MAX])
        if wrong_at is not None and wrong_at < row_bytes_max:
            return self._not_utf_8(wrong_at)
        if is_overlong:
            return self._overlong(self._pending, self._line)
        if is_end and self._pending:
            return self._unclosed_quote(self._pending.decode(), self._line)
        return None

    def _not_utf_8(self, wrong_at: int) -> KeyFileRefused:
        line = self._line + line_breaks(self._pending[:wrong_at].decode())
        return KeyFileRefused(
            f"byte {self._offset + wrong_at} of the file (counted from 0) is not UTF-8; save the file as UTF-8",
            reason="not-utf8",
            line=line,
            byte_offset=self._offset + wrong_at,
        )

    def _overlong(self, raw: bytes | bytearray, line: int) -> KeyFileRefused:
        head = raw[: self._limits.row_bytes_max].decode(errors="ignore")
        if line_breaks(head):
            return self._unclosed_quote(head, line)
        return KeyFileRefused(
            f"the row is longer than {self._limits.row_bytes_max} bytes; split it or take it out",
            reason="row-too-long",
            line=line,
        )

    def _unclosed_quote(self, raw: str, line: int) -> KeyFileRefused:
        opened = lines_before_open_quote(raw, self._delimiter or "")
        return KeyFileRefused(
            "a quoted cell begins here and does not end; close it, or double a quotation mark that belongs to the cell",
            reason="unclosed-quote",
            line=line + opened,
        )


def _refused_quote(line: int) -> KeyFileRefused:
    return KeyFileRefused(
        "a row with a misplaced quotation mark begins here and runs over several lines; double a quotation mark that"
        " belongs to a cell, and quote the cell",
        reason="misplaced-quote",
        line=line,
    )


def _end_of_lines(data: bytearray) -> int:
    # A CR at the very end may be half of a CRLF.
    return max(data.rfind(b"\n"), data.rfind(b"\r", 0, max(len(data) - 1, 0))) + 1


def _decoded(data: bytearray) -> tuple[str, int | None]:
    """The text of the lines before the first that is not UTF-8, and where that one is wrong."""
    wrong_at = _wrong_utf_8(data)
    if wrong_at is None:
        return data.decode(), None
    line_starts_at = max(data.rfind(b"\n", 0, wrong_at), data.rfind(b"\r", 0, wrong_at)) + 1
    return data[:line_starts_at].decode(), wrong_at


def _wrong_utf_8(data: bytearray) -> int | None:
    # The decoder's exception carries the data with it, so it ends here.
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None
