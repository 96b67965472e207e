"""Pools, batches and reports as JSON documents."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web
from pydantic_core import to_json

from keyservice.domain.batch import BatchReport, BatchState, ImportProgress, Verdict
from keyservice.fulfillment.manage_batches import BatchView
from keyservice.fulfillment.manage_pools import PoolView

PREFIX: Final = "/publisher"

Document = dict[str, Any]


def json_answer(document: Document, *, status: int = 200, location: str | None = None) -> web.Response:
    headers = None if location is None else {"Location": location}
    return web.Response(body=to_json(document), status=status, headers=headers, content_type="application/json")


def page(name: str, documents: Sequence[Document], *, key: str, limit: int) -> Document:
    """A page and, while there may be more, what to ask for behind it."""
    return {name: documents, "after": documents[-1][key] if len(documents) == limit else None}


def pool_document(pool: PoolView) -> Document:
    return {
        "pool_id": pool.pool_id,
        "name": pool.name,
        "policy": pool.policy,
        "warning_level": pool.warning_level,
        "alert_level": pool.alert_level,
        "is_open": pool.is_open,
        "left": pool.left,
        "alarm": pool.alarm,
        "created_at": pool.created_at,
    }


def batch_document(view: BatchView) -> Document:
    return {
        **report_document(view.batch.report),
        "keys": {
            "accepted": view.stock.accepted,
            "for_sale": view.stock.for_sale,
            "held": view.stock.held,
            "expired": view.stock.expired,
            "withdrawn": view.stock.withdrawn,
            "taken": view.stock.taken,
        },
    }


def report_document(report: BatchReport) -> Document:
    refusal = report.refusal
    return {
        "batch_id": report.batch_id,
        "pool_id": report.pool_id,
        "state": report.state,
        "is_dry_run": report.is_dry_run,
        "file_name": report.file_name,
        "format": report.file_format,
        "bytes": report.bytes_done,
        "sha256": None if report.sha256 is None or report.state is BatchState.RECEIVING else report.sha256.hex(),
        "rows": report.rows,
        "accepted": report.accepted,
        "refused": report.refused,
        "verdicts": _all_verdicts(report.counts),
        "refusal": None
        if refusal is None
        else {
            "reason": refusal.reason,
            "detail": refusal.message,
            "line": refusal.line,
            "byte_offset": refusal.byte_offset,
        },
        "created_at": report.created_at,
        "finished_at": report.finished_at,
        "links": {
            "batch": f"{PREFIX}/batches/{report.batch_id}",
            "import": f"{PREFIX}/imports/{report.batch_id}",
            "refused_rows": f"{PREFIX}/imports/{report.batch_id}/refused-rows",
        },
    }


def progress_document(progress: ImportProgress) -> Document:
    report = progress.report
    return {
        **report_document(report),
        "rows_done": report.rows,
        "bytes_done": report.bytes_done,
        "bytes_declared": progress.declared_bytes,
        "rows_per_second": progress.rows_per_second,
        "seconds_left": progress.seconds_left,
        "progressed_at": report.progressed_at,
    }


def _all_verdicts(counts: Mapping[Verdict, int]) -> dict[str, int]:
    return {verdict: counts.get(verdict, 0) for verdict in Verdict}
