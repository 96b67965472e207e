"""An upload from the sender's side: the file that goes, the report that comes back, and how both look on a terminal."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from keyservice.domain.batch import NOTHING_ACCEPTED, BatchState, Verdict
from keyservice.domain.errors import Invalid

PLAIN_SECONDS: Final = 2.0
"""How often a progress line is written where no bar can be drawn."""

_MEANINGS: Final[dict[Verdict, str]] = {
    Verdict.ACCEPTED: "new keys",
    Verdict.DUPLICATE_IN_FILE: "stands earlier in this file",
    Verdict.DUPLICATE_IN_STOCK: "in stock already",
    Verdict.ALREADY_ISSUED: "sold already",
    Verdict.REVOKED: "sold and revoked",
    Verdict.WITHDRAWN: "withdrawn before",
    Verdict.IN_UNFINISHED_UPLOAD: "in another unfinished upload",
    Verdict.MALFORMED: "no usable key in it",
    Verdict.BLANK: "nothing in it",
    Verdict.HEADER: "names of columns",
}


@dataclass(frozen=True, slots=True)
class FileToSend:
    """A file on disk, with the digest that proves its arrival."""

    path: Path
    size: int
    sha256: bytes = field(repr=False)

    @classmethod
    def measured(cls, path: Path) -> Self:
        """Reads the file once. Raises Invalid when it cannot be read."""
        with _opened(path) as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
            return cls(path, stream.tell(), digest)

    def opened(self) -> BufferedReader:
        """From its beginning. Raises Invalid when it cannot be read any more."""
        return _opened(self.path)


class Refusal(BaseModel):
    """Why nothing of a file became stock."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    reason: str
    detail: str


class Report(BaseModel):
    """What an upload came to, or how far it is, as the service tells it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    batch_id: UUID
    state: BatchState
    rows: int
    accepted: int
    refused: int
    verdicts: Mapping[Verdict, int]
    bytes: int
    refusal: Refusal | None
    rows_per_second: float | None = None
    seconds_left: float | None = None

    @property
    def is_over(self) -> bool:
        return self.state is not BatchState.RECEIVING

    @property
    def has_verdicts(self) -> bool:
        """Whether every row has one; a file that was refused as a whole has none."""
        return self.refusal is None or self.refusal.reason == NOTHING_ACCEPTED


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know how an upload goes."""

    progressed: Callable[[Report], None] = lambda _: None
    repeats: Callable[[int, str], None] = lambda _number, _reason: None
    """Another attempt follows: its number, and why."""


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from error


def report_table(reports: Mapping[str, Report], *, has_zeros: bool = True) -> Table:
    """Reports side by side: each verdict with its count, and their sum, which is the number of rows in the file."""
    table = Table(box=None, pad_edge=False, show_footer=True, padding=(0, 3, 0, 0))
    table.add_column("verdict", "rows in the file")
    for name, report in reports.items():
        table.add_column(name, f"{report.rows:,}", justify="right")
    table.add_column("")
    for verdict, meaning in _MEANINGS.items():
        counts = [report.verdicts.get(verdict, 0) for report in reports.values()]
        is_accepted = verdict is Verdict.ACCEPTED
        if is_accepted or has_zeros or any(counts):
            style = "green" if is_accepted else None if any(counts) else "dim"
            table.add_row(verdict.replace("_", " "), *(f"{count:,}" for count in counts), meaning, style=style)
    return table


@contextmanager
def shown_progress(console: Console, file: FileToSend) -> Iterator[Listener]:
    """A bar on a terminal, a line now and then anywhere else."""
    if console.is_terminal:
        with _bar(console, file) as listener:
            yield listener
    else:
        yield _Lines(console).listener()


@contextmanager
def _bar(console: Console, file: FileToSend) -> Iterator[Listener]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(file.path.name, total=file.size or None, told="")

        def progressed(report: Report) -> None:
            progress.update(task, completed=report.bytes, told=_told(report))

        yield Listener(progressed, lambda number, reason: console.print(_resumes(number, reason), highlight=False))


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_at = 0.0

    def listener(self) -> Listener:
        return Listener(self._progressed, lambda number, reason: self._print(_resumes(number, reason)))

    def _progressed(self, report: Report) -> None:
        now = time.monotonic()
        if report.rows and not report.is_over and now >= self._next_at:
            self._next_at = now + PLAIN_SECONDS
            self._print(_told(report))

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _told(report: Report) -> str:
    parts = [f"{report.rows:,} rows"]
    if report.rows_per_second is not None:
        parts.append(f"{report.rows_per_second:,.0f} rows/s")
    if report.seconds_left is not None:
        parts.append(f"{report.seconds_left:,.0f} s left")
    return ", ".join(parts)


def _resumes(number: int, reason: str) -> str:
    return f"the connection broke ({reason}); the upload goes on where it stopped, attempt {number}"
