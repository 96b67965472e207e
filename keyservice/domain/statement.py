"""A statement: lines of JSON that a publisher can show to anyone. Each line is bound to all before it, the last one signs.

    {"kind":"statement", …}    what it is about, whose, when it was made
    {"kind":"batch", …}        of a month: the batches whose upload ended in it
    {"kind":"key", …}          each key with its place, its state and its times; never its text
    {"kind":"counts", …}       how many keys are in each state
    {"lines": …, "sha256": …, "signature": …}

A line is JSON in the canonical form with a last member `check`: the first 16 digits of the running hash, so that a reader can
tell at which line something is wrong. The signature covers the whole hash and the number of lines.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime
from typing import Any, Final

from keyservice.domain.canonical import canonical_json, framed
from keyservice.domain.errors import NotFound
from keyservice.domain.revocation import RevocationKind

STATEMENT_FORMAT: Final = 1
STATEMENT_PURPOSE: Final = "keyservice statement 1"
"""What a signature under a statement is for; its number goes up with the form."""

_CHECK_DIGITS: Final = 16
_LINE: Final = re.compile(rb'(?P<members>\{.*),"check":"(?P<check>[0-9a-f]{16})"\}\n', re.DOTALL)
_MONTH: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)


class RunningHash:
    """SHA-256 over the hash so far and the next line, each framed."""

    def __init__(self) -> None:
        self.lines = 0
        self._hash = bytes(32)

    def add(self, members: bytes) -> str:
        """The check digits of this line."""
        self._hash = hashlib.sha256(framed(self._hash, members)).digest()
        self.lines += 1
        return self._hash.hex()[:_CHECK_DIGITS]

    @property
    def hex(self) -> str:
        return self._hash.hex()

    @property
    def signed_content(self) -> bytes:
        return framed(str(self.lines).encode(), self._hash)


def written_line(running: RunningHash, members: Mapping[str, Any]) -> bytes:
    """The next line of a statement."""
    content = canonical_json(members)
    return content[:-1] + b',"check":"' + running.add(content).encode() + b'"}\n'


def split_line(line: bytes) -> tuple[bytes, str] | None:
    """A line's content and its check digits, or None for what is no such line."""
    found = _LINE.fullmatch(line)
    return None if found is None else (found["members"] + b"}", found["check"].decode())


@dataclass(slots=True)
class Tally:
    """How many keys a statement lists in each state, and how many of them changed in its period."""

    period: tuple[str, str] | None
    """First instant and the first behind the last one, as texts; None for a statement that is about no period."""

    states: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)

    def add(self, key: Mapping[str, Any]) -> None:
        self.states[key["state"]] += 1
        if self._is_within(key["claimed_at"]):
            self.changes["withdrawn" if key["state"] == "withdrawn" else "claimed"] += 1
        if self._is_within(key["disclosed_at"]):
            self.changes["disclosed"] += 1
        if self._is_within(key["ended_at"]) and key["state"] in tuple(RevocationKind):
            self.changes[key["state"]] += 1

    def members(self) -> dict[str, Any]:
        members = {"kind": "counts", "keys": self.states.total(), "states": dict(self.states)}
        return members if self.period is None else {**members, "changes": dict(self.changes)}

    def _is_within(self, instant: str | None) -> bool:
        # Instants of one form and one zone stand in the order of their texts.
        return self.period is not None and instant is not None and self.period[0] <= instant < self.period[1]


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC."""

    name: str
    begins: datetime
    ends: datetime

    @classmethod
    def named(cls, name: str) -> "Month":
        """Raises NotFound for what is no month in the form YYYY-MM."""
        found = _MONTH.fullmatch(name)
        if found is None or int(found[1]) < 1:
            raise NotFound("there is no such month: name it as YYYY-MM")
        year, month = int(found[1]), int(found[2])
        if year == MAXYEAR:
            raise NotFound("this month has not begun")
        ends = (year + 1, 1) if month == 12 else (year, month + 1)
        return cls(name, datetime(year, month, 1, tzinfo=UTC), datetime(*ends, 1, tzinfo=UTC))
