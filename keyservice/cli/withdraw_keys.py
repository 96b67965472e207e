"""`keyservice withdraw-keys`: single keys of a pool are taken off sale for ever, over HTTP."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import stamina.instrumentation
import typer
from rich.console import Console
from rich.table import Table

from keyservice.cli.publisher_client import WithdrawalAnswer, connected
from keyservice.domain.errors import Invalid, KeyserviceError
from keyservice.domain.key import KEY_CHARACTERS_MAX
from keyservice.domain.withdrawal import (
    PUBLISHER_KEY_ID_CHARACTERS_MAX,
    WITHDRAWN_AT_ONCE_MAX,
    NamedBy,
    Outcome,
)

_FILE_BYTES_MAX: Final = 64 * 1024 * 1024
_REQUEST_BYTES_MAX: Final = 500_000
_DONE: Final = (Outcome.WITHDRAWN, Outcome.ALREADY_WITHDRAWN)
_MEANINGS: Final[dict[Outcome, str]] = {
    Outcome.WITHDRAWN: "will never be sold",
    Outcome.ALREADY_WITHDRAWN: "were withdrawn before",
    Outcome.ISSUED: "sold or held; cancel their orders",
    Outcome.REVOKED: "sold and revoked",
    Outcome.IN_UNFINISHED_UPLOAD: "finish that upload, or discard it",
    Outcome.OTHER_POOL: "in another pool of this publisher",
    Outcome.AMBIGUOUS: "several living keys have this id",
    Outcome.NOT_FOUND: "this publisher has no such key",
}


class NotWithdrawn(KeyserviceError):
    """Some of the keys that were named can still be sold, or were sold."""

    code = "not-withdrawn"


@dataclass(frozen=True, slots=True, repr=False)
class _Entry:
    """A key by its text or its publisher's id, and where the command was told of it."""

    named_by: NamedBy
    name: str
    origin: str


def withdraw_keys(
    pool: Annotated[str, typer.Option(help="the pool's id or its name")],
    reason: Annotated[str, typer.Option(help="kept with each key; must not contain one")],
    token: Annotated[str, typer.Option(envvar="KEYSERVICE_TOKEN", help="a publisher's or an admin's token")],
    file: Annotated[Path | None, typer.Argument(help="text with one key a line")] = None,
    publisher_key_id: Annotated[list[str] | None, typer.Option(help="the publisher's own id; may be repeated")] = None,
    ids: Annotated[bool, typer.Option("--ids", help="the file's lines are the publisher's ids, not the keys")] = False,
    url: Annotated[str, typer.Option(envvar="KEYSERVICE_URL")] = "http://127.0.0.1:8080",
    publisher: Annotated[str | None, typer.Option(help="for admins: the publisher's handle")] = None,
    json: Annotated[bool, typer.Option("--json", help="print how many entries have each outcome as JSON")] = False,
) -> None:
    """Withdraw unsold keys; what is withdrawn already stays so, and the same command may be run again."""
    entries = [_Entry(NamedBy.PUBLISHER_KEY_ID, name, f"id {n}") for n, name in enumerate(publisher_key_id or [], 1)]
    if file is not None:
        entries += _entries_of(file, NamedBy.PUBLISHER_KEY_ID if ids else NamedBy.KEY)
    if not entries:
        raise Invalid("name at least one key: in a file, or with --publisher-key-id")
    # What stamina would log about another attempt is of no use to whoever runs the command.
    stamina.instrumentation.set_on_retry_hooks([])
    asyncio.run(_run(entries, url=url, token=token, publisher=publisher, pool=pool, reason=reason, is_json=json))


def _entries_of(file: Path, named_by: NamedBy) -> list[_Entry]:
    """Its lines without those that are empty. Raises Invalid without quoting the file."""
    try:
        if file.stat().st_size > _FILE_BYTES_MAX:
            raise Invalid(f"{file} is larger than {_FILE_BYTES_MAX} bytes; split it")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise Invalid(f"{file} is not text in UTF-8") from None
    entries = [_Entry(named_by, line, f"line {number}") for number, line in enumerate(text.split("\n"), 1) if line]
    longest = KEY_CHARACTERS_MAX if named_by is NamedBy.KEY else PUBLISHER_KEY_ID_CHARACTERS_MAX
    if too_long := next((one for one in entries if len(one.name) > longest), None):
        raise Invalid(
            f"{too_long.origin} of {file} has more than {longest} characters: is it text with one key a line?"
        )
    return entries


async def _run(
    entries: Sequence[_Entry],
    *,
    url: str,
    token: str,
    publisher: str | None,
    pool: str,
    reason: str,
    is_json: bool,
) -> None:
    """Raises NotWithdrawn when an entry is not withdrawn in the end."""
    told: list[tuple[_Entry, Outcome]] = []
    try:
        async with connected(url, token, publisher=publisher) as client:
            pool_id = await client.pool_id(pool)
            for some in _slices(entries):
                by_kind = {kind: [one for one in some if one.named_by is kind] for kind in NamedBy}
                answer = await client.withdraw(
                    pool_id,
                    keys=[one.name for one in by_kind[NamedBy.KEY]],
                    publisher_key_ids=[one.name for one in by_kind[NamedBy.PUBLISHER_KEY_ID]],
                    reason=reason,
                )
                told += _matched(by_kind, answer)
    finally:  # also when a later request fails: what was withdrawn before it is
        if told:
            _tell(told, is_json=is_json)
    if left := sum(outcome not in _DONE for _, outcome in told):
        raise NotWithdrawn(f"{left} of {len(told)} entries are not withdrawn; the others are")


def _matched(by_kind: dict[NamedBy, list[_Entry]], answer: WithdrawalAnswer) -> Iterator[tuple[_Entry, Outcome]]:
    for entry in answer.entries:
        yield by_kind[entry.named_by][entry.index], entry.outcome


def _slices(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """As many as one request may name and its body may hold."""
    some: list[_Entry] = []
    size = 0
    for entry in entries:
        weight = len(entry.name.encode()) + 8
        if some and (len(some) == WITHDRAWN_AT_ONCE_MAX or size + weight > _REQUEST_BYTES_MAX):
            yield some
            some, size = [], 0
        some.append(entry)
        size += weight
    yield some


def _tell(told: Sequence[tuple[_Entry, Outcome]], *, is_json: bool) -> None:
    counts = Counter(outcome for _, outcome in told)
    console = Console(highlight=False, markup=False)
    if is_json:
        console.print_json(data={outcome: counts[outcome] for outcome in Outcome})
        return
    table = Table("outcome", "entries", "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for outcome in Outcome:
        if counts[outcome]:
            table.add_row(outcome.replace("_", " "), f"{counts[outcome]:,}", _MEANINGS[outcome])
    console.print(table)
    for entry, outcome in told:
        if outcome not in _DONE:
            console.print(f"{entry.origin}: {outcome.replace('_', ' ')}", soft_wrap=True)
