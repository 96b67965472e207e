"""The rows of one sheet, as they stand in its XML: what the sheet says of its own size is not looked at."""

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Final

from keyservice.unpacking.frames import Cell, SheetRow, Unreadable
from keyservice.unpacking.workbook import TextOfItem, Workbook, unescaped
from keyservice.unpacking.xml_events import Attributes, parse

ROWS_MAX: Final = 1_048_576
COLUMNS_MAX: Final = 16_384
_YES: Final = ("1", "true")
_MIDNIGHT: Final = "T00:00:00"
_BEGINS_1900: Final = date(1899, 12, 30)
_BEGINS_1904: Final = date(1904, 1, 1)
# Before it, the calendar of 1900 has a 29 February that never was.
_FIRST_SAFE_DAY: Final = 61
_LAST_DAY: Final = 2_958_465  # 9999-12-31
_FORMULA: Final = "formula"
_KINDS: Final = {"b": "boolean", "e": "error", "d": "date", "n": "number", "": "number"}


class SheetReader:
    """One pass over a sheet's XML. Rows that hold nothing are not told: their numbers are between those of the others."""

    def __init__(
        self,
        workbook: Workbook,
        *,
        on_row: Callable[[SheetRow], None],
        columns_max: int,
        cell_characters_max: int,
    ) -> None:
        self._workbook = workbook
        self._on_row = on_row
        self._columns_max = columns_max
        self._characters_max = cell_characters_max
        self._inline = TextOfItem(cell_characters_max)
        self._row = 0
        self._is_hidden = False
        self._defect: str | None = None
        self._cells: list[Cell] = []
        self._is_in_data = False
        self._is_in_row = False
        self._column = 0
        self._type = ""
        self._style = ""
        self._has_formula = False
        self._value: list[str] | None = None
        self._shown: list[str] = []
        self._shown_length = 0

    def read(self, pieces: Iterable[bytes]) -> None:
        """Raises Unreadable."""
        parse(pieces, on_start=self._started, on_end=self._ended, on_text=self._heard)

    def _started(self, name: str, attributes: Attributes) -> None:
        if name == "c":
            self._begin_cell(attributes)
        elif name == "v":
            self._value = self._shown
        elif name == "row":
            self._begin_row(attributes)
        elif name == "f":
            self._has_formula = True
        elif name == "sheetData":
            self._is_in_data = True
        else:
            self._inline.started(name)

    def _ended(self, name: str) -> None:
        if name == "c":
            self._end_cell()
        elif name == "v":
            self._value = None
        elif name == "row":
            self._end_row()
        elif name == "sheetData":
            self._is_in_data = False
        elif name != "f":
            self._inline.ended(name)

    def _heard(self, text: str) -> None:
        if self._value is None:
            self._inline.heard(text)
            return
        self._shown_length += len(text)
        if self._shown_length <= self._characters_max:
            self._value.append(text)

    def _begin_row(self, attributes: Attributes) -> None:
        given = attributes.get("r")
        number = self._row + 1 if given is None else _number(given)
        if not self._is_in_data or self._is_in_row or not self._row < number <= ROWS_MAX:
            raise _broken("its rows are not in order")
        self._row = number
        self._is_in_row = True
        self._is_hidden = attributes.get("hidden") in _YES
        self._defect = None
        self._cells = []
        self._column = 0

    def _end_row(self) -> None:
        self._is_in_row = False
        while self._cells and self._cells[-1] == "":
            self._cells.pop()
        if self._cells or self._defect:
            cells = [] if self._defect else self._cells
            self._on_row(SheetRow(self._row, cells, self._is_hidden, self._defect))

    def _begin_cell(self, attributes: Attributes) -> None:
        reference = attributes.get("r")
        column = self._column + 1 if reference is None else self._column_of(reference)
        if not self._is_in_row or not self._column < column <= COLUMNS_MAX:
            raise _broken("the cells of a row are not in order")
        self._column = column
        self._type = attributes.get("t", "")
        self._style = attributes.get("s", "")
        self._has_formula = False
        self._shown = []
        self._shown_length = 0
        self._inline.taken()

    def _end_cell(self) -> None:
        cell = self._cell()
        if cell is None:
            self._defect = self._defect or "cell-too-long"
        elif cell != "" and self._column > self._columns_max:
            # Not laid out: one cell in the last column would be sixteen thousand.
            self._defect = self._defect or "too-many-columns"
        elif cell != "" and self._defect is None:
            self._cells += [""] * (self._column - 1 - len(self._cells))
            self._cells.append(cell)

    def _cell(self) -> Cell | None:
        """None when it is too long."""
        inline = self._inline.taken()
        if self._type == "inlineStr":
            return inline if not self._has_formula or inline is None else (_FORMULA, inline)
        if self._shown_length > self._characters_max:
            return None
        shown = "".join(self._shown)
        if self._type == "s":
            text = self._shared(shown) if shown else ""
            return text if not self._has_formula or text is None else (_FORMULA, text)
        if self._type == "str":
            return (_FORMULA, unescaped(shown)) if self._has_formula else unescaped(shown)
        if self._has_formula:
            return _FORMULA, self._plain(shown)[1]
        return "" if not shown else self._plain(shown)

    def _shared(self, index: str) -> str | None:
        number = _number(index, least=0)
        if number >= len(self._workbook.strings):
            raise _broken("a cell names a text that is not there")
        return self._workbook.strings[number]

    def _plain(self, shown: str) -> tuple[str, str]:
        """What is no text, with what it shows."""
        kind = _KINDS.get(self._type)
        if kind is None:
            raise _broken("a cell is of an unknown type")
        if kind == "number" and self._style and _number(self._style, least=0) in self._workbook.date_styles:
            day = _day(shown, is_of_1904=self._workbook.is_of_1904)
            return "date", shown if day is None else day.isoformat()
        if kind == "boolean":
            return kind, {"0": "FALSE", "1": "TRUE"}.get(shown, shown)
        return kind, shown.removesuffix(_MIDNIGHT) if kind == "date" else shown

    def _column_of(self, reference: str) -> int:
        letters = reference.rstrip("0123456789")
        if not (letters.isascii() and letters.isalpha() and len(letters) <= 3) or reference != f"{letters}{self._row}":
            raise _broken("a cell is not in the row that it names")
        column = 0
        for letter in letters.upper():
            column = column * 26 + ord(letter) - 64
        return column


def _number(text: str, *, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or int(text) < least:
        raise _broken("a number in it is none")
    return int(text)


def _day(serial: str, *, is_of_1904: bool) -> date | None:
    """None for what is no whole day, or before the calendar can be trusted."""
    try:
        number = float(serial)
    except ValueError:
        return None
    first, begins = (0, _BEGINS_1904) if is_of_1904 else (_FIRST_SAFE_DAY, _BEGINS_1900)
    if number != number // 1 or not first <= number <= _LAST_DAY - (_BEGINS_1904 - _BEGINS_1900).days * is_of_1904:
        return None
    return begins + timedelta(days=int(number))


def _broken(why: str) -> Unreadable:
    return Unreadable("broken-workbook", f"the sheet is broken: {why}; save the workbook again")
