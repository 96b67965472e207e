"""Pools, batches and reports as JSON documents."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from pydantic import Field

from keyservice.api.answering import AnswerModel
from keyservice.domain.batch import BatchReport, BatchState, ImportProgress, Verdict
from keyservice.domain.tape import Alarm, Policy
from keyservice.fulfillment.manage_batches import BatchView

PREFIX: Final = "/publisher"

Key = TypeVar("Key")


class PoolDocument(AnswerModel):
    """A pool with its exact level."""

    pool_id: UUID
    name: str
    policy: Policy
    """Which keys go first: those that came first, those that expire first, or those of the highest priority."""

    warning_level: int
    alert_level: int
    days_left_min: int
    """A key that expires sooner than in so many days is not for sale."""

    is_open: bool
    """Whether its keys are for sale at all."""

    is_sandbox: bool
    """Its keys are for trying out: only test orders get them."""

    left: int
    """Keys that could be sold now, those for who waits included."""

    backordered: int
    """Units that are paid for and wait for keys of this pool; they come before new orders."""

    alarm: Alarm
    """How what is left after those who wait stands to the two levels."""

    created_at: datetime


class BatchKeys(AnswerModel):
    """Where the accepted keys of a batch are now: the others add up to `accepted`."""

    accepted: int
    for_sale: int
    held: int
    near_expiry: int
    """They expire sooner than their pool sells."""

    expired: int
    withdrawn: int
    """With their batch, one by one, or as damaged: they will never be sold."""

    taken: int
    """Sold, held for a payment, revoked or replaced."""


class UploadRefusal(AnswerModel):
    """Why nothing of a file became stock."""

    reason: str
    """Stable; `detail` says it in words."""

    detail: str
    line: int | None
    byte_offset: int | None


class UploadLinks(AnswerModel):
    """Where to read on."""

    batch: str
    import_: Annotated[str, Field(alias="import")]
    refused_rows: str


class UploadReport(AnswerModel):
    """What an upload came to. The verdicts of a finished file add up to its rows."""

    batch_id: UUID
    pool_id: UUID
    state: BatchState
    is_dry_run: bool
    """Only checked: nothing of it was stored."""

    priority: int
    """In a pool of that policy, batches with a higher one are sold first."""

    file_name: str | None
    format: str
    bytes: int
    sha256: str | None
    """Over the bytes of the file, in hexadecimal digits; null while it is coming in."""

    rows: int
    accepted: int
    refused: int
    """Rows with a text that did not become a key."""

    verdicts: dict[Verdict, int]
    """How many rows have each verdict."""

    refusal: UploadRefusal | None
    """Why the file was refused as a whole, if it was."""

    created_at: datetime
    finished_at: datetime | None
    links: UploadLinks


class BatchDocument(UploadReport):
    """A batch: the report of its upload, and where its keys are now."""

    keys: BatchKeys


class ImportDocument(UploadReport):
    """How far an upload is, by what is stored, or what it came to."""

    rows_done: int
    bytes_done: int
    bytes_declared: int | None
    rows_per_second: float | None
    seconds_left: float | None
    """Null when nobody knows."""

    progressed_at: datetime


def behind(ids: list[Key], limit: int) -> Key | None:
    """What to ask for as `after` while there may be more behind a page of these ids."""
    return ids[-1] if len(ids) == limit else None


def batch_document(view: BatchView) -> BatchDocument:
    return BatchDocument(**_report(view.batch.report), keys=BatchKeys.model_validate(view.stock))


def report_document(report: BatchReport) -> UploadReport:
    return UploadReport(**_report(report))


def import_document(progress: ImportProgress) -> ImportDocument:
    report = progress.report
    return ImportDocument(
        **_report(report),
        rows_done=report.rows,
        bytes_done=report.bytes_done,
        bytes_declared=progress.declared_bytes,
        rows_per_second=progress.rows_per_second,
        seconds_left=progress.seconds_left,
        progressed_at=report.progressed_at,
    )


def _report(report: BatchReport) -> dict[str, Any]:
    refusal = report.refusal
    return {
        "batch_id": report.batch_id,
        "pool_id": report.pool_id,
        "state": report.state,
        "is_dry_run": report.is_dry_run,
        "priority": report.priority,
        "file_name": report.file_name,
        "format": report.file_format,
        "bytes": report.bytes_done,
        "sha256": None if report.sha256 is None or report.state is BatchState.RECEIVING else report.sha256.hex(),
        "rows": report.rows,
        "accepted": report.accepted,
        "refused": report.refused,
        "verdicts": _all_verdicts(report.counts),
        "refusal": refusal
        and UploadRefusal(
            reason=refusal.reason, detail=refusal.message, line=refusal.line, byte_offset=refusal.byte_offset
        ),
        "created_at": report.created_at,
        "finished_at": report.finished_at,
        "links": UploadLinks(
            batch=f"{PREFIX}/batches/{report.batch_id}",
            **{"import": f"{PREFIX}/imports/{report.batch_id}"},
            refused_rows=f"{PREFIX}/imports/{report.batch_id}/refused-rows",
        ),
    }


def _all_verdicts(counts: Mapping[Verdict, int]) -> dict[Verdict, int]:
    return {verdict: counts.get(verdict, 0) for verdict in Verdict}
