"""Cuts whole lines of a key file into rows of cells, by RFC 4180 (TSV the same with tabs, as spreadsheets write it).

A cell with delimiters, quotation marks or line breaks is quoted, a quotation mark inside is doubled, and nothing stands
beside the quotes. LF, CRLF and CR end a line, mixed too.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain


@dataclass(slots=True, repr=False)
class Cut:
    """Rows of cells over lines of text. What stands after the last complete row is its `rest`: a cell still open."""

    rows: list[list[str]]
    lines: list[str]
    starts: Sequence[int]
    lines_read: int
    broken: set[int] = field(default_factory=set)
    """Rows with text beside a quoted cell."""

    suspects: list[int] = field(default_factory=list)
    """Rows that span lines or show a quotation mark, and may break the rules of quoting."""

    def raw(self, row: int) -> str:
        return "".join(self.lines[self.starts[row] : self._end(row)]).rstrip("\r\n")

    def spans_lines(self, row: int) -> bool:
        return self._end(row) - self.starts[row] > 1

    @property
    def rest(self) -> str:
        return "".join(self.lines[self.lines_read :])

    def _end(self, row: int) -> int:
        return self.starts[row + 1] if row + 1 < len(self.starts) else self.lines_read


def cut_lines(text: str) -> Cut:
    lines = _split_lines(text)
    return Cut([[line] for line in lines], lines, range(len(lines)), len(lines))


def cut_unquoted(text: str, delimiter: str) -> Cut:
    """The same as `cut_quoted` for a text without quotation marks, and faster."""
    lines = _split_lines(text)
    return Cut([line.split(delimiter) for line in lines], lines, range(len(lines)), len(lines))


def cut_quoted(text: str, delimiter: str) -> Cut:
    lines = list(io.StringIO(text, newline=""))
    cut = Cut([], lines, starts := [], 0)
    is_exhausted = False

    def end_of_lines() -> Iterator[str]:
        nonlocal is_exhausted
        is_exhausted = True
        yield from ()

    reader = csv.reader(chain(lines, end_of_lines()), delimiter=delimiter, strict=True)
    while (start := reader.line_num) < len(lines):
        row = len(cut.rows)
        try:
            cells = next(reader)
        except csv.Error:
            if is_exhausted:
                break
            cut.broken.add(row)
            cells = []
        if row in cut.broken or reader.line_num - start > 1 or '"' in "".join(cells):
            cut.suspects.append(row)
        cut.rows.append(cells)
        starts.append(start)
        cut.lines_read = reader.line_num
    return cut


def _split_lines(text: str) -> list[str]:
    # Not str.splitlines(): it also splits at characters that may stand inside a key.
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def line_breaks(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def is_well_quoted(raw: str, delimiter: str) -> bool:
    """Whether a row follows RFC 4180; the csv module lets a quotation mark stand in an unquoted cell."""
    cell = rf'(?:"(?:[^"]++|"")*+"|[^"{re.escape(delimiter)}]*+)'
    return re.fullmatch(rf"{cell}(?:{re.escape(delimiter)}{cell})*+", raw) is not None


def lines_before_open_quote(raw: str, delimiter: str) -> int:
    """How many lines of an unfinished row come before the line on which its last quoted cell begins."""
    mark = re.escape(delimiter)
    cells = re.match(rf'(?:(?:"(?:[^"]++|"")*+"|[^"{mark}\r\n][^{mark}\r\n]*+|){mark})*+', raw)
    return 0 if cells is None else line_breaks(raw[: cells.end()])
