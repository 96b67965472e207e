"""`keyservice import-batch`: a key file from this machine's disk into a pool, over HTTP."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import stamina.instrumentation
import typer
from rich.console import Console

from keyservice.cli.import_report import FileToSend, Report, report_table, shown_progress
from keyservice.cli.publisher_client import PublisherClient, connected
from keyservice.cli.service_answers import ServiceUnreachable
from keyservice.domain.batch import BatchState
from keyservice.domain.errors import Invalid, KeyserviceError
from keyservice.domain.key_file import KeyFileFormat
from keyservice.fulfillment.ids import new_id


class NotAccepted(KeyserviceError):
    """The service received the file and made no key of it."""

    code = "not-accepted"


def import_batch(
    file: Annotated[
        Path, typer.Argument(help="CSV, TSV, XLSX, JSON Lines, text with a key a line (.gz too), or a ZIP of key files")
    ],
    pool: Annotated[str, typer.Option(help="the pool's id or its name")],
    token: Annotated[str, typer.Option(envvar="KEYSERVICE_TOKEN", help="a publisher's or an admin's token")],
    url: Annotated[str, typer.Option(envvar="KEYSERVICE_URL")] = "http://127.0.0.1:8080",
    publisher: Annotated[str | None, typer.Option(help="for admins: the publisher's handle")] = None,
    file_format: Annotated[KeyFileFormat | None, typer.Option("--format", help="default: by the file's name")] = None,
    key_column: Annotated[str | None, typer.Option(help="name or number, from 1; default: by a usual name")] = None,
    part_columns: Annotated[
        str | None, typer.Option(help="columns that are one key together, such as 'Serial,Activation code'")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="of a workbook, by name or number; default: the only one")] = None,
    expires_column: Annotated[str | None, typer.Option(help="column with the expiry date, YYYY-MM-DD")] = None,
    id_column: Annotated[str | None, typer.Option(help="column with the publisher's own id of the key")] = None,
    notes_column: Annotated[str | None, typer.Option(help="column with notes")] = None,
    header: Annotated[bool | None, typer.Option("--header/--no-header", help="default: seen from the columns")] = None,
    delimiter: Annotated[str | None, typer.Option(help="of a CSV file: , ; | or a tab")] = None,
    expires_on: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="for keys without a date of their own")
    ] = None,
    priority: Annotated[int, typer.Option(help="in a pool of that policy, a higher one is sold first")] = 0,
    hold: Annotated[bool, typer.Option("--hold", help="store the keys without putting them on sale")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only report what would become of each row")] = False,
    resume: Annotated[UUID | None, typer.Option(help="the import that was broken off, to go on with it")] = None,
    refused_rows: Annotated[Path | None, typer.Option(help="write the refused rows to this CSV file")] = None,
    json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
) -> None:
    """Upload a key file into a pool; a broken connection is taken up again where it stopped."""
    query = {
        "format": file_format,
        "key_column": key_column,
        "part_columns": part_columns,
        "sheet": sheet,
        "expires_column": expires_column,
        "id_column": id_column,
        "notes_column": notes_column,
        "header": None if header is None else "present" if header else "absent",
        "delimiter": delimiter,
        "expires_on": None if expires_on is None else f"{expires_on:%Y-%m-%d}",
        "priority": str(priority) if priority else None,
        "hold": "true" if hold else None,
        "dry_run": "true" if dry_run else None,
        "file_name": file.name,
    }
    options = {name: value for name, value in query.items() if value is not None}
    # What stamina would log about another attempt, the command tells in words of its own.
    stamina.instrumentation.set_on_retry_hooks([])
    errand = _Errand(
        url=url,
        token=token,
        publisher=publisher,
        file=file,
        pool=pool,
        options=options,
        batch_id=resume or new_id(),
        refused_rows=refused_rows,
        is_json=json,
    )
    asyncio.run(_run(errand))


@dataclass(frozen=True, slots=True, repr=False)
class _Errand:
    url: str
    token: str
    publisher: str | None
    file: Path
    pool: str
    options: dict[str, str]
    batch_id: UUID
    refused_rows: Path | None
    is_json: bool


async def _run(errand: _Errand) -> None:
    """Raises NotAccepted when the report says that nothing became a key."""
    # Beside the report, so that the report alone can be piped on.
    console = Console(stderr=True)
    file = await asyncio.to_thread(FileToSend.measured, errand.file)
    async with connected(errand.url, errand.token, publisher=errand.publisher) as client:
        pool_id = await client.pool_id(errand.pool)
        with shown_progress(console, file) as listener, _told_how_to_resume(console, errand.batch_id):
            report = await client.upload(file, pool_id, errand.options, batch_id=errand.batch_id, listener=listener)
        _tell(errand, client, report)
        if errand.refused_rows is not None and report.has_verdicts:
            await _save_refused_rows(client, report, errand.refused_rows)
    demand_accepted(report)


@contextmanager
def _told_how_to_resume(console: Console, batch_id: UUID) -> Iterator[None]:
    try:
        yield
    except (ServiceUnreachable, asyncio.CancelledError):
        text = f"what has arrived is kept for some hours; go on with the same command and --resume {batch_id}"
        console.print(text, highlight=False, soft_wrap=True)
        raise


async def _save_refused_rows(client: PublisherClient, report: Report, path: Path) -> None:
    try:
        await client.save_refused_rows(report.batch_id, path)
    except Invalid as error:
        raise Invalid(f"{error}; the upload itself is {report.state}") from error


def demand_accepted(report: Report) -> None:
    """Raise NotAccepted unless at least one row became a key, or would have."""
    if report.refusal is not None:
        raise NotAccepted(report.refusal.detail)
    if report.state is BatchState.DISCARDED:
        raise NotAccepted("the upload was discarded; send the file again")
    if report.accepted == 0:
        raise NotAccepted("no row of this file would become a key")


def _tell(errand: _Errand, client: PublisherClient, report: Report) -> None:
    console = Console(highlight=False, markup=False)
    if errand.is_json:
        facts = report.model_dump_json(exclude={"rows_per_second", "seconds_left"})
        console.print(facts, soft_wrap=True)
        return
    if not report.has_verdicts:
        return
    console.print(report_table({"rows": report}))
    console.print(f"\nbatch {report.batch_id} is {report.state}", soft_wrap=True)
    place = errand.refused_rows or client.refused_rows_url(report.batch_id)
    console.print(f"refused rows: {place}", soft_wrap=True)
