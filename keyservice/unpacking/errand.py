"""What the child is told on its standard input: one line of JSON."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Errand:
    """A file, open for reading under this number, and the limits within which it is read."""

    file_number: int
    kind: str
    """xlsx or zip."""

    sheet: str | int | None = None
    memory_bytes_max: int = 384 * 1024 * 1024
    processor_seconds_max: int = 120
    entries_max: int = 20_000
    unpacked_bytes_max: int = 200 * 1024 * 1024
    entry_bytes_max: int = 64 * 1024
    columns_max: int = 100
    cell_characters_max: int = 4 * 1024

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Errand":
        return cls(**json.loads(line))
