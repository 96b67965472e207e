"""What the child says over its standard output: frames of JSON, each behind its length in four bytes."""

import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

FRAME_BYTES_MAX: Final = 8 * 1024 * 1024
LENGTH: Final = struct.Struct(">I")
_FULL_BYTES: Final = 128 * 1024
_MESSAGE_CHARACTERS_MAX: Final = 500

Cell = str | tuple[str, str]
"""A text, or what else the cell holds (number, date, boolean, error, formula) with what it shows."""


class Unreadable(Exception):
    """The file as a whole cannot be read with certainty. The message is for its sender and quotes nothing of the file."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BrokenFrame(Exception):
    """What came from the child is not what a child says."""


@dataclass(frozen=True, slots=True, repr=False)
class SheetRow:
    """A row of a sheet that is not empty; a row with a defect has no usable cells."""

    number: int
    cells: Sequence[Cell]
    is_hidden: bool = False
    defect: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ArchiveEntry:
    """An entry of an archive. `name` is None when it is not text; one with a defect has no content."""

    number: int
    name: str | None
    content: bytes = b""
    is_folder: bool = False
    defect: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """Some rows or entries, and how much of the file is behind them, from 0 to 1."""

    rows: Sequence[SheetRow] = ()
    entries: Sequence[ArchiveEntry] = ()
    share: float = 0.0
    is_end: bool = False
    count: int = 0
    """In the last frame: how many rows or entries there were in all."""


@dataclass(slots=True)
class FrameWriter:
    """Gathers rows or entries until a frame is full."""

    stream: BinaryIO
    _items: list[list[Any]] = field(default_factory=list)
    _kind: str = "rows"
    _bytes: int = 0
    _count: int = 0

    def row(self, row: SheetRow, share: float) -> None:
        cells = [cell if isinstance(cell, str) else list(cell) for cell in row.cells]
        size = sum(len(cell if isinstance(cell, str) else cell[1]) for cell in row.cells)
        self._add("rows", [row.number, cells, row.is_hidden, row.defect], size + 20, share)

    def entry(self, entry: ArchiveEntry, share: float) -> None:
        content = base64.b64encode(entry.content).decode()
        item = [entry.number, entry.name, content, entry.is_folder, entry.defect]
        self._add("entries", item, len(content) + len(entry.name or "") + 20, share)

    def end(self) -> None:
        self._flush(1.0)
        self._write({"end": self._count})

    def refuse(self, refusal: Unreadable) -> None:
        self._write({"refusal": [refusal.reason, str(refusal)[:_MESSAGE_CHARACTERS_MAX]]})

    def _add(self, kind: str, item: list[Any], size: int, share: float) -> None:
        self._kind = kind
        self._items.append(item)
        self._count += 1
        self._bytes += size
        if self._bytes >= _FULL_BYTES:
            self._flush(share)

    def _flush(self, share: float) -> None:
        if self._items:
            self._write({self._kind: self._items, "share": round(share, 4)})
            self._items, self._bytes = [], 0

    def _write(self, told: dict[str, Any]) -> None:
        body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        self.stream.write(LENGTH.pack(len(body)) + body)
        self.stream.flush()


def read_frame(body: bytes) -> Frame:
    """Raises Unreadable when the child refuses the file, BrokenFrame when it says anything that it cannot mean."""
    try:
        told = json.loads(body)
        if "refusal" in told:
            reason, message = told["refusal"]
            raise Unreadable(str(reason), str(message))
        if "end" in told:
            return Frame(share=1.0, is_end=True, count=int(told["end"]))
        return Frame(
            rows=[_row(*item) for item in told.get("rows", ())],
            entries=[_entry(*item) for item in told.get("entries", ())],
            share=min(max(float(told["share"]), 0.0), 1.0),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        # Their messages quote the frame.
        raise BrokenFrame from None


def _row(number: int, cells: list[Any], is_hidden: bool, defect: str | None) -> SheetRow:
    return SheetRow(int(number), [_cell(cell) for cell in cells], bool(is_hidden), _text_or_none(defect))


def _cell(cell: Any) -> Cell:
    if isinstance(cell, str):
        return cell
    kind, shown = cell
    return str(kind), str(shown)


def _entry(number: int, name: str | None, content: str, is_folder: bool, defect: str | None) -> ArchiveEntry:
    octets = base64.b64decode(content, validate=True)
    return ArchiveEntry(int(number), _text_or_none(name), octets, bool(is_folder), _text_or_none(defect))


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)
