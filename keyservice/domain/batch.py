"""A batch: keys uploaded together, what became of each row of their file, and how far an upload is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID

from keyservice.domain.errors import Conflict, Invalid


class Verdict(StrEnum):
    """What became of one row of a key file. Every row has exactly one."""

    ACCEPTED = "accepted"
    DUPLICATE_IN_FILE = "duplicate_in_file"
    DUPLICATE_IN_STOCK = "duplicate_in_stock"
    ALREADY_ISSUED = "already_issued"
    REVOKED = "revoked"
    WITHDRAWN = "withdrawn"
    IN_UNFINISHED_UPLOAD = "in_unfinished_upload"
    MALFORMED = "malformed"
    BLANK = "blank"
    HEADER = "header"


WITHOUT_KEY: Final = frozenset({Verdict.BLANK, Verdict.HEADER})


class BatchState(StrEnum):
    """Where a batch stands. Only a released one is for sale."""

    RECEIVING = "receiving"
    CHECKED = "checked"
    """A dry run that is over."""

    HELD = "held"
    RELEASED = "released"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that did not become a key. It never carries the key's text."""

    row_number: int
    verdict: Verdict
    reason: str | None = None
    earlier_row: int | None = None
    publisher_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing of a file became stock. `reason` is stable and public."""

    reason: str
    message: str
    line: int | None = None
    byte_offset: int | None = None


PRIORITY_MAX: Final = 1_000_000
"""Of a batch; the lowest is its negative."""

NOTHING_ACCEPTED: Final = "nothing-accepted"


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What an upload came to. The counts of a finished file add up to its rows."""

    batch_id: UUID
    pool_id: UUID
    state: BatchState
    is_dry_run: bool
    priority: int
    file_name: str | None
    file_format: str
    bytes_done: int
    sha256: bytes | None
    counts: Mapping[Verdict, int]
    refusal: Refusal | None
    created_at: datetime
    progressed_at: datetime
    finished_at: datetime | None

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    @property
    def accepted(self) -> int:
        return self.counts.get(Verdict.ACCEPTED, 0)

    @property
    def refused(self) -> int:
        return self.rows - self.accepted - sum(self.counts.get(verdict, 0) for verdict in WITHOUT_KEY)


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an upload is, by what is committed. The speed is the average since the upload began."""

    report: BatchReport
    declared_bytes: int | None

    @property
    def rows_per_second(self) -> float | None:
        seconds = self._seconds
        return round(self.report.rows / seconds, 1) if seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """None when nobody knows: no declared size, nothing committed yet, or nothing under way any more."""
        report = self.report
        if report.state is not BatchState.RECEIVING or self.declared_bytes is None or report.bytes_done == 0:
            return None
        left = max(self.declared_bytes - report.bytes_done, 0)
        return round(self._seconds * left / report.bytes_done, 1)

    @property
    def _seconds(self) -> float:
        return (self.report.progressed_at - self.report.created_at).total_seconds()


@dataclass(frozen=True, slots=True)
class BatchStock:
    """Where a batch's accepted keys are now: the others add up to `accepted`."""

    accepted: int = 0
    for_sale: int = 0
    held: int = 0
    near_expiry: int = 0
    """Released, and closer to their last day than their pool sells."""

    expired: int = 0
    withdrawn: int = 0
    """With their batch, one by one, or as damaged: they will never be sold."""

    taken: int = 0
    """Issued, held for a payment, revoked or replaced."""


class UploadRefused(Invalid):
    """The file was refused as a whole and everything of it was discarded; correct it and upload it under a new id."""

    code: ClassVar[str] = "key-file-refused"

    def __init__(self, refusal: Refusal, *, batch_id: UUID | None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.batch_id = batch_id

    @property
    def facts(self) -> dict[str, object]:
        facts = {
            "reason": self.refusal.reason,
            "line": self.refusal.line,
            "byte_offset": self.refusal.byte_offset,
            "import_id": self.batch_id and str(self.batch_id),
        }
        return {name: fact for name, fact in facts.items() if fact is not None}


class UploadConflict(Conflict):
    """What arrives does not continue the upload of this id; nothing of it was stored.

    Reasons: another-file, other-options, other-pool, discarded, written-elsewhere.
    """

    code: ClassVar[str] = "upload-conflict"

    def __init__(self, message: str, *, reason: str, batch_id: UUID) -> None:
        super().__init__(message)
        self.reason = reason
        self.batch_id = batch_id

    @property
    def facts(self) -> dict[str, object]:
        return {"reason": self.reason, "import_id": str(self.batch_id)}


class UploadIncomplete(Invalid):
    """The file ended before its announced end; what was stored waits for the same file under the same id."""

    code: ClassVar[str] = "upload-incomplete"

    def __init__(self, message: str, *, batch_id: UUID) -> None:
        super().__init__(message)
        self.batch_id = batch_id

    @property
    def facts(self) -> dict[str, object]:
        return {"import_id": str(self.batch_id)}
