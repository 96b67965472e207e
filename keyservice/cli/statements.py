"""`keyservice statements keys|fetch|verify`: what a publisher can prove, and how anyone checks it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from keyservice.cli.publisher_client import PublisherClient, connected
from keyservice.domain.errors import Invalid, KeyserviceError
from keyservice.fulfillment.pinned_keys import NotAuthentic, PinnedKey, read_pinned_keys
from keyservice.fulfillment.verify_feed import VerifiedPage, demand_whole, verify_page
from keyservice.fulfillment.verify_statement import VerifiedStatement, verify_statement

PAGE_BYTES_MAX: Final = 67_108_864
_FEED_ENTRIES: Final = 500

app = typer.Typer(help="Signed statements and the feed of dead keys.", no_args_is_help=True)

Token = Annotated[str, typer.Option(envvar="KEYSERVICE_TOKEN", help="a publisher's, an auditor's or an admin's token")]
Url = Annotated[str, typer.Option(envvar="KEYSERVICE_URL")]
Publisher = Annotated[str | None, typer.Option(help="for admins and auditors: the publisher's handle")]
_HERE: Final = "http://127.0.0.1:8080"


class NotAllAuthentic(KeyserviceError):
    """At least one file is not what the service signed; which and why has been told."""

    code = "not-authentic"


@app.command()
def keys(
    to: Annotated[Path, typer.Option(help="the file that the public keys go to")],
    token: Token,
    url: Url = _HERE,
    publisher: Publisher = None,
) -> None:
    """Save the public keys. Do it before anything is in dispute, and keep the file."""
    asyncio.run(_save(url, token, publisher, "statement-keys", to))


@app.command()
def fetch(
    to: Annotated[Path, typer.Option(help="the file, or for the feed the directory, that it goes to")],
    token: Token,
    batch: Annotated[UUID | None, typer.Option(help="the statement of this batch")] = None,
    month: Annotated[str | None, typer.Option(help="the statement of this month, YYYY-MM")] = None,
    feed: Annotated[bool, typer.Option("--feed", help="the feed of dead keys, behind what the directory has")] = False,
    url: Url = _HERE,
    publisher: Publisher = None,
) -> None:
    """Save a signed statement, or the pages of the feed that are new."""
    if [batch is not None, month is not None, feed].count(True) != 1:
        raise Invalid("say what to fetch: --batch, --month or --feed")
    if feed:
        asyncio.run(_fetch_feed(url, token, publisher, to, _continued(to)))
    else:
        path = f"statements/months/{month}" if batch is None else f"statements/batches/{batch}"
        asyncio.run(_save(url, token, publisher, path, to))


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="statements and pages of the feed, or directories of them")],
    key: Annotated[Path, typer.Option(help="the public keys, as `keyservice statements keys` saved them")],
) -> None:
    """Check files offline: that the service signed them, and that no page of the feed is missing between two."""
    pinned = read_pinned_keys(_read(key, PAGE_BYTES_MAX))
    pages: list[VerifiedPage] = []
    wrong = 0
    for file in _all_files(files, but=key):
        try:
            verified = _verified(file, pinned)
        except NotAuthentic as error:
            wrong += 1
            typer.echo(f"{file}: NOT VALID: {error}")
        else:
            typer.echo(f"{file}: valid {verified}, signed by {verified.key_id}")
            if isinstance(verified, VerifiedPage):
                pages.append(verified)
    try:
        demand_whole(pages)
    except NotAuthentic as error:
        wrong += 1
        typer.echo(f"NOT WHOLE: {error}")
    if wrong:
        raise NotAllAuthentic("what is said above to be not valid was not signed by the service as it stands")


def _all_files(named: list[Path], *, but: Path) -> list[Path]:
    found: list[Path] = []
    for path in named:
        inside = (file for file in sorted(path.glob("*.json*")) if not file.samefile(but))
        found += inside if path.is_dir() else [path]
    if not found:
        raise Invalid("there is no file to verify")
    return found


def _verified(file: Path, pinned: dict[str, PinnedKey]) -> VerifiedStatement | VerifiedPage:
    try:
        with file.open("rb") as stream:
            is_page = b'"feed":"revocations"' in stream.read(4_096).replace(b" ", b"")
            stream.seek(0)
            if not is_page:
                return verify_statement(stream, pinned)
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error
    return verify_page(_read(file, PAGE_BYTES_MAX), pinned, name=str(file))


def _read(file: Path, bytes_max: int) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(bytes_max + 1)
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > bytes_max:
        raise Invalid(f"{file} is larger than {bytes_max} bytes")
    return content


async def _save(url: str, token: str, publisher: str | None, path: str, to: Path) -> None:
    async with connected(url, token, publisher=publisher) as client:
        await _saved(client, path, to, {})


def _continued(directory: Path) -> int:
    """Behind which number to go on: full pages stay as they are; the last one, which was not full, is read anew."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Invalid(f"{directory} cannot be made: {error.strerror}") from error
    return max((page["last_sequence"] for page in _saved_pages(directory) if page["after"] is not None), default=0)


async def _fetch_feed(url: str, token: str, publisher: str | None, directory: Path, behind: int) -> None:
    async with connected(url, token, publisher=publisher) as client:
        while True:
            file = directory / f"feed-{behind + 1:012}.json"
            await _saved(client, "revocations", file, {"after": str(behind), "limit": str(_FEED_ENTRIES)})
            page = json.loads(_read(file, PAGE_BYTES_MAX))
            if page["after"] is None:
                return
            behind = page["after"]


def _saved_pages(directory: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(directory.glob("feed-*.json")):
        try:
            yield json.loads(_read(file, PAGE_BYTES_MAX))
        except ValueError as error:
            raise Invalid(f"{file} is no page of a feed: remove it to fetch it again") from error


async def _saved(client: PublisherClient, path: str, to: Path, query: dict[str, str]) -> None:
    await client.save(path, to, query)
    typer.echo(f"saved {to}")
