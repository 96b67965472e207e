"""What the commands for a publisher's API have in common: who asks whom, pages to their end, files, and how answers are shown."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from keyservice.cli.publisher_client import PublisherClient, connected
from keyservice.domain.errors import Invalid

Token = Annotated[str, typer.Option(envvar="KEYSERVICE_TOKEN", help="a publisher's or an admin's token")]
Url = Annotated[str, typer.Option(envvar="KEYSERVICE_URL")]
Publisher = Annotated[str | None, typer.Option(help="for admins: the publisher's handle")]
AsJson = Annotated[bool, typer.Option("--json", help="print what the service answers")]
HERE: Final = "http://127.0.0.1:8080"
_FILE_BYTES_MAX: Final = 4_194_304

Work = Callable[[PublisherClient], Awaitable[dict[str, Any]]]
Tell = Callable[[Console, dict[str, Any]], None]


def run_command(work: Work, tell: Tell, url: str, token: str, publisher: str | None, as_json: bool) -> dict[str, Any]:
    """The answer, which has been shown. Raises what a client raises."""

    async def run() -> dict[str, Any]:
        async with connected(url, token, publisher=publisher) as client:
            return await work(client)

    answer = asyncio.run(run())
    console = Console(highlight=False, markup=False)
    if as_json:
        console.print_json(data=answer)
    else:
        tell(console, answer)
    return answer


async def all_pages(
    client: PublisherClient, path: str, member: str, query: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """What stands in this member of all pages."""
    found: list[dict[str, Any]] = []
    asked = dict(query or {})
    while True:
        page = await client.ask("GET", path, query=asked)
        found += page[member]
        if page["after"] is None:
            return found
        asked["after"] = page["after"]


def show_table(console: Console, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Without borders. Nothing is cut off, however narrow the terminal: an id is there to be copied."""
    cells = [["" if value is None else str(value) for value in row] for row in rows]
    table = Table(box=None, pad_edge=False)
    for column, name in enumerate(names):
        width = max([len(name), *(len(row[column]) for row in cells)])
        table.add_column(name, no_wrap=True, min_width=width)
    for row in cells:
        table.add_row(*row)
    console.print(table, crop=False, soft_wrap=True)


def read_json_object(file: Path | None) -> dict[str, Any]:
    """Raises Invalid without quoting what stands there: it may be a secret."""
    try:
        found = json.loads(read_text(file))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Invalid(f"{file or 'standard input'} is not a JSON object")
    return found


def read_text(file: Path | None) -> str:
    """Of a file, or of standard input for none and for `-`. Raises Invalid."""
    try:
        raw = sys.stdin.buffer.read(_FILE_BYTES_MAX + 1) if file in (None, Path("-")) else file.read_bytes()
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error
    if len(raw) > _FILE_BYTES_MAX:
        raise Invalid(f"{file or 'standard input'} is larger than {_FILE_BYTES_MAX} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid(f"{file or 'standard input'} is not text in UTF-8") from None
