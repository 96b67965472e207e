"""What is read from a publisher's key file: its rows, its limits, and the refusal of a file as a whole."""

from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar

from keyservice.domain.errors import KeyserviceError

_CSV_CELL_MAX = 131_072  # what the csv module reads as one cell; a longer row could not be told apart from a broken one


@dataclass(frozen=True, slots=True)
class KeyFileLimits:
    """Sizes in bytes are sizes in UTF-8. `block_bytes` is how much is read at a time, not a limit on the file."""

    bytes_max: int = 200 * 1024 * 1024
    rows_max: int = 2_000_000
    row_bytes_max: int = 8 * 1024
    cell_bytes_max: int = 4 * 1024
    columns_max: int = 100
    key_bytes_max: int = 1024
    expiry_dates_max: int = 1_000
    publisher_key_id_characters_max: int = 128
    notes_characters_max: int = 1024
    block_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        if not 0 < self.row_bytes_max <= _CSV_CELL_MAX:
            raise ValueError(f"row_bytes_max must be between 1 and {_CSV_CELL_MAX}")
        if self.block_bytes < 1:
            raise ValueError("block_bytes must be at least 1")


@dataclass(frozen=True, slots=True, repr=False)
class KeyRow:
    """A row whose key can be laid down; `expires_on` is the row's own date or else the batch's."""

    row_number: int
    text: str
    expires_on: date | None
    publisher_key_id: str | None
    notes: str | None

    def __repr__(self) -> str:
        return f"KeyRow(row_number={self.row_number})"


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A row that holds no usable key. `reason` is stable and public.

    Reasons: too-few-columns, too-many-columns, text-after-quote, stray-quote, nul-character,
    cell-too-long, empty-key, repeated-header, line-break-in-key, key-too-long, invalid-expiry, already-expired,
    invalid-publisher-key-id, notes-too-long, control-character-in-notes, invalid-key. With the last one, `detail` is
    what the check of the key's text says.
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
