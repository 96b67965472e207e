"""What is read from a publisher's key file: its rows, its limits, and the refusal of a file as a whole."""

from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar, NamedTuple

from keyservice.domain.errors import KeyserviceError

_CSV_CELL_MAX = 131_072  # what the csv module reads as one cell; a longer row could not be told apart from a broken one


@dataclass(frozen=True, slots=True)
class KeyFileLimits:
    """Sizes in bytes are sizes in UTF-8. `block_bytes` is how much is read at a time, not a limit on the file.

    `bytes_max` holds for a file as it comes and once more for what it unpacks to.
    """

    bytes_max: int = 200 * 1024 * 1024
    rows_max: int = 2_000_000
    row_bytes_max: int = 8 * 1024
    cell_bytes_max: int = 4 * 1024
    columns_max: int = 100
    key_bytes_max: int = 1024
    expiry_dates_max: int = 1_000
    publisher_key_id_characters_max: int = 128
    notes_characters_max: int = 1024
    packed_bytes_max: int = 64 * 1024 * 1024
    """For a workbook or an archive, which is held in memory."""

    entries_max: int = 20_000
    entry_bytes_max: int = 64 * 1024
    block_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        if not 0 < self.row_bytes_max <= _CSV_CELL_MAX:
            raise ValueError(f"row_bytes_max must be between 1 and {_CSV_CELL_MAX}")
        if self.block_bytes < 1:
            raise ValueError("block_bytes must be at least 1")


class KeyRow(NamedTuple):
    """A row whose key can be laid down; `expires_on` is the row's own date or else the batch's.

    A tuple, because millions are made one after the other, and a frozen dataclass takes three times as long. A key that
    is a file has its bytes in `octets` and no text; a key of several parts is the text of their stored form.
    `mime` and `name` are stored beside the key; a text has neither.
    """

    row_number: int
    text: str
    expires_on: date | None
    publisher_key_id: str | None
    notes: str | None
    mime: str | None = None
    name: str | None = None
    octets: bytes | None = None

    @property
    def raw(self) -> bytes:
        """What is sealed."""
        return self.text.encode() if self.octets is None else self.octets

    def __repr__(self) -> str:
        return f"KeyRow(row_number={self.row_number})"


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A row that holds no usable key. `reason` is stable and public. `detail` says more, and never what the row holds.

    Reasons of every format: empty-key, line-break-in-key, key-too-long, invalid-key, key-not-text, invalid-expiry,
    already-expired, invalid-publisher-key-id, notes-too-long, control-character-in-notes.
    Of tables: too-few-columns, too-many-columns, text-after-quote, stray-quote, nul-character, cell-too-long,
    repeated-header.
    Of JSON Lines: invalid-json, repeated-member, not-an-object, ambiguous-member, invalid-parts, invalid-notes.
    Of workbooks: number-in-key, date-in-key, boolean-in-key, error-in-key, formula-in-key, hidden-row.
    Of archives: unusable-name, system-file, not-a-file, file-too-large, nested-archive.
    """

    row_number: int
    reason: str
    # In a file with shifted columns the id may be somebody's key, so a repr does not show it.
    publisher_key_id: str | None = field(repr=False)
    detail: str | None = None


class KeyFileRefused(KeyserviceError):
    """The file as a whole cannot be read with certainty; none of its rows may become stock.

    `line` counts lines as a text editor does; it differs from a row number below a cell with line breaks.
    """

    code: ClassVar[str] = "key-file-refused"

    def __init__(self, message: str, *, reason: str, line: int | None = None, byte_offset: int | None = None) -> None:
        place = "" if line is None else f"line {line}: "
        super().__init__(f"{place}{message}")
        self.reason = reason
        self.line = line
        self.byte_offset = byte_offset

    @property
    def facts(self) -> dict[str, object]:
        facts = {"reason": self.reason, "line": self.line, "byteOffset": self.byte_offset}
        return {name: fact for name, fact in facts.items() if fact is not None}
