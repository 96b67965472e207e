"""The parts of an XLSX workbook that say where its cells are: sheets, shared strings, the styles that make dates.

By hand, and not with openpyxl: version 3.1.5 reads the shared string `AAx005F_BB` as `AABB`, which is another key, and
its read-only rows do not say that they are hidden.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from keyservice.unpacking.archive import Archive, Entry
from keyservice.unpacking.frames import Unreadable
from keyservice.unpacking.xml_events import Attributes, parse

SHEETS_MAX: Final = 255
PART_BYTES_MAX: Final = 16 * 1024 * 1024
"""For each part but the sheet and the shared strings."""

_RELATION_ID: Final = re.compile(r".* id")
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_SURROGATES: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NOT_OF_A_DATE: Final = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.|_.|\*.')
# ECMA-376, part 1, section 18.8.30, with those of East Asian locales; times alone are not among them.
_DATE_FORMATS: Final = frozenset({*range(14, 18), 22, *range(27, 32), *range(34, 37), *range(50, 59)})


@dataclass(frozen=True, slots=True)
class Sheet:
    """A worksheet as the workbook lists it; its name is not shown to anybody who does not know it."""

    number: int
    name: str
    is_hidden: bool
    path: str


@dataclass(slots=True)
class Workbook:
    """What has to be known before a sheet is read."""

    sheets: list[Sheet] = field(default_factory=list)
    is_of_1904: bool = False
    strings: list[str | None] = field(default_factory=list)
    """None for one that is longer than a cell may be."""

    date_styles: set[int] = field(default_factory=set)


class Parts:
    """The parts of a package by their names, which do not tell capitals from small letters."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._entries = {(entry.name or "").casefold(): entry for entry in archive.entries if entry.is_plain_file}
        if len(self._entries) != sum(entry.is_plain_file for entry in archive.entries):
            raise Unreadable("ambiguous-archive", "the workbook has two parts of the same name; save it again")

    def entry(self, path: str) -> Entry:
        """Raises Unreadable."""
        found = self._entries.get(path.lstrip("/").casefold())
        if found is None:
            raise Unreadable(
                "broken-workbook", "the file is no XLSX workbook, or a part of it is missing; save it again"
            )
        return found

    def __contains__(self, path: str) -> bool:
        return path.lstrip("/").casefold() in self._entries

    def stream(self, path: str, *, bytes_max: int = PART_BYTES_MAX) -> Iterator[bytes]:
        entry = self.entry(path)
        if entry.size > bytes_max:
            raise Unreadable("unpacks-too-far", "a part of the workbook is too large; copy the keys into a new one")
        return self._archive.read(entry)


@dataclass(frozen=True, slots=True)
class _Relation:
    kind: str
    path: str


def open_workbook(parts: Parts, *, strings_bytes_max: int, cell_characters_max: int) -> Workbook:
    """Everything but the cells themselves. Raises Unreadable."""
    _demand_workbook(parts)
    path = next((one.path for one in _relations(parts, "").values() if one.kind == "officeDocument"), "xl/workbook.xml")
    relations = _relations(parts, path)
    workbook = Workbook()
    _read_sheets(parts, path, relations, workbook)
    for relation in relations.values():
        if relation.kind == "sharedStrings" and relation.path in parts:
            strings = parts.stream(relation.path, bytes_max=strings_bytes_max)
            workbook.strings = _strings(strings, cell_characters_max)
        elif relation.kind == "styles" and relation.path in parts:
            workbook.date_styles = _date_styles(parts.stream(relation.path))
    return workbook


def chosen(sheets: list[Sheet], wanted: str | int | None) -> Sheet:
    """The sheet of this name or number, or the only one. Raises Unreadable."""
    if wanted is None:
        if len(sheets) == 1:
            return sheets[0]
        raise Unreadable("sheet-undeclared", f"the workbook has {_told(sheets)}; say which one with sheet")
    # A sheet may be called 2027, and a name says more than a number.
    named = [sheet for sheet in sheets if sheet.name.casefold() == str(wanted).casefold()]
    for sheet in named or [sheet for sheet in sheets if sheet.number == wanted]:
        return sheet
    raise Unreadable("unknown-sheet", f"the workbook has no such sheet; it has {_told(sheets)}")


def unescaped(text: str) -> str:
    """ST_Xstring (ECMA-376, part 1, section 22.9.2.19): a character that XML cannot carry is written as _xHHHH_."""
    if "_x" not in text:
        return text
    text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    text = _SURROGATES.sub(lambda match: match[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    return _LONE_SURROGATE.sub("\ufffd", text)


def _told(sheets: list[Sheet]) -> str:
    hidden = [str(sheet.number) for sheet in sheets if sheet.is_hidden]
    count = "no sheets" if not sheets else "one sheet" if len(sheets) == 1 else f"{len(sheets)} sheets"
    return count + (f", of which hidden: number {', '.join(hidden[:10])}" if hidden else "")


def _demand_workbook(parts: Parts) -> None:
    """Content types tell a workbook with macros, and one in another format, from what is read here."""
    types: list[str] = []

    def started(name: str, attributes: Attributes) -> None:
        if name in ("Override", "Default"):
            types.append(attributes.get("ContentType", "").casefold())

    parse(parts.stream("[Content_Types].xml"), on_start=started, on_end=_ignore, on_text=_ignore)
    if any("macroenabled" in one or "vbaproject" in one for one in types):
        raise Unreadable("format-not-accepted", "the workbook has macros (XLSM); save it as XLSX without them")
    if any("sheet.binary" in one for one in types):
        raise Unreadable("format-not-accepted", "the workbook is binary (XLSB); save it as XLSX")


def _relations(parts: Parts, path: str) -> dict[str, _Relation]:
    """By id, where the parts are that this one names. What lies outside of the package is left out."""
    folder, name = posixpath.split(path)
    source = posixpath.join(folder, "_rels", f"{name}.rels")
    found: dict[str, _Relation] = {}

    def started(name: str, attributes: Attributes) -> None:
        if name == "Relationship" and attributes.get("TargetMode") != "External":
            target = attributes.get("Target", "")
            where = target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
            kind = attributes.get("Type", "").rpartition("/")[2]
            found[attributes.get("Id", "")] = _Relation(kind, where)

    parse(parts.stream(source), on_start=started, on_end=_ignore, on_text=_ignore)
    return found


def _read_sheets(parts: Parts, path: str, relations: dict[str, _Relation], workbook: Workbook) -> None:
    count = 0

    def started(name: str, attributes: Attributes) -> None:
        nonlocal count
        if name == "workbookPr":
            workbook.is_of_1904 = attributes.get("date1904") in ("1", "true")
        elif name == "sheet":
            count += 1
            key = next((value for key, value in attributes.items() if _RELATION_ID.fullmatch(key)), "")
            relation = relations.get(key)
            if relation is None or count > SHEETS_MAX:
                raise Unreadable("broken-workbook", "the workbook's list of sheets is broken; save it again")
            if relation.kind == "worksheet":
                is_hidden = attributes.get("state", "visible") != "visible"
                workbook.sheets.append(Sheet(count, attributes.get("name", ""), is_hidden, relation.path))

    parse(parts.stream(path), on_start=started, on_end=_ignore, on_text=_ignore)


def _strings(pieces: Iterator[bytes], characters_max: int) -> list[str | None]:
    """The shared strings, each as it is shown: its runs joined, without the reading aids of East Asian scripts."""
    strings: list[str | None] = []
    text = TextOfItem(characters_max)

    def ended(name: str) -> None:
        if name == "si":
            strings.append(text.taken())
        else:
            text.ended(name)

    parse(pieces, on_start=lambda name, _: text.started(name), on_end=ended, on_text=text.heard)
    return strings


class TextOfItem:
    """Gathers the text of a shared or inline string, up to a length."""

    def __init__(self, characters_max: int) -> None:
        self._max = characters_max
        self._pieces: list[str] = []
        self._length = 0
        self._is_text = False
        self._is_aid = False

    def started(self, name: str) -> None:
        if name == "t":
            self._is_text = not self._is_aid
        elif name == "rPh":
            self._is_aid = True

    def ended(self, name: str) -> None:
        if name == "t":
            self._is_text = False
        elif name == "rPh":
            self._is_aid = False

    def heard(self, text: str) -> None:
        if self._is_text:
            self._length += len(text)
            if self._length <= self._max:
                self._pieces.append(text)

    def taken(self) -> str | None:
        """The text, and nothing again; None when it was too long."""
        text = "".join(self._pieces) if self._length <= self._max else None
        self._pieces, self._length = [], 0
        return None if text is None else unescaped(text)


def _date_styles(pieces: Iterator[bytes]) -> set[int]:
    """Which of the cell formats show a number as a date."""
    own: dict[str, bool] = {}
    styles: list[str] = []
    is_inside = False

    def started(name: str, attributes: Attributes) -> None:
        nonlocal is_inside
        if name == "numFmt":
            own[attributes.get("numFmtId", "")] = _shows_date(attributes.get("formatCode", ""))
        elif name == "cellXfs":
            is_inside = True
        elif name == "xf" and is_inside:
            styles.append(attributes.get("numFmtId", "0"))

    def ended(name: str) -> None:
        nonlocal is_inside
        if name == "cellXfs":
            is_inside = False

    parse(pieces, on_start=started, on_end=ended, on_text=_ignore)
    return {number for number, style in enumerate(styles) if own.get(style, _is_known_date(style))}


def _shows_date(code: str) -> bool:
    shown = _NOT_OF_A_DATE.sub("", code).casefold()
    return "y" in shown or "d" in shown


def _is_known_date(style: str) -> bool:
    return style.isascii() and style.isdigit() and len(style) < 4 and int(style) in _DATE_FORMATS


def _ignore(*_: object) -> None: ...
