"""Verifying a statement offline: no database and no service, only the file and the keys that were pinned."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NoReturn

import jiter

from keyservice.domain.canonical import canonical_json, instant_text
from keyservice.domain.errors import NotFound
from keyservice.domain.statement import STATEMENT_FORMAT, STATEMENT_PURPOSE, Month, RunningHash, Tally, split_line
from keyservice.fulfillment.pinned_keys import NotAuthentic, PinnedKey, verify_signature

LINE_BYTES_MAX: Final = 1_048_576
# What may stand behind a line of each kind; None is the beginning.
_NEXT: Final[dict[str | None, frozenset[str]]] = {
    None: frozenset({"statement"}),
    "statement": frozenset({"batch", "key", "counts"}),
    "batch": frozenset({"batch", "key", "counts"}),
    "key": frozenset({"key", "counts"}),
    "counts": frozenset(),
}


@dataclass(frozen=True, slots=True)
class VerifiedStatement:
    """What a statement says of itself, signed by this key."""

    about: Mapping[str, Any]
    keys: int
    key_id: str

    def __str__(self) -> str:
        about = self.about
        what = f"batch {about['batch']['batch_id']}" if about["of"] == "batch" else f"month {about['month']}"
        return f"statement of {what} of {about['publisher']}, made at {about['made_at']}: {self.keys:,} keys"


def verify_statement(stream: BinaryIO, pinned: Mapping[str, PinnedKey]) -> VerifiedStatement:
    """Read the file line by line. Raises NotAuthentic with the first line at which something is wrong."""
    reading = _Reading()
    line = stream.readline(LINE_BYTES_MAX)
    while following := stream.readline(LINE_BYTES_MAX):
        reading.take(line)
        line = following
    return reading.end(line, pinned)


@dataclass(slots=True)
class _Reading:
    """How far a file is read, and what it came to so far."""

    running: RunningHash = field(default_factory=RunningHash)
    kind: str | None = None
    about: dict[str, Any] = field(default_factory=dict)
    tally: Tally = field(default_factory=lambda: Tally(None))

    def take(self, line: bytes) -> None:
        parts = split_line(line)
        if parts is None:
            self._refuse("this is no line of a statement: it was altered, or something was added behind the signature")
        content, check = parts
        if self.running.add(content) != check:
            self._refuse("this line does not follow from those before it: one was altered, removed, added or moved", 0)
        self._understand(
            _parsed(content) or self._refuse("this line is not in the form in which statements are written", 0)
        )

    def end(self, line: bytes, pinned: Mapping[str, PinnedKey]) -> VerifiedStatement:
        last = _parsed(line[:-1]) if line.endswith(b"\n") else None
        if last is None or set(last) != {"lines", "sha256", "signature"}:
            self._refuse("the signature is not here: the end of the file is missing or was altered")
        if (last["lines"], last["sha256"]) != (self.running.lines, self.running.hex):
            self._refuse("the signature is one over other lines: some were altered, removed, added or moved")
        place = f"line {self.running.lines + 1}"
        signed, made_at = self.running.signed_content, self.about.get("made_at")
        key_id = verify_signature(pinned, STATEMENT_PURPOSE, signed, last["signature"], made_at, place=place)
        if self.kind != "counts":
            self._refuse("the statement ends before its counts")
        return VerifiedStatement(self.about, self.tally.states.total(), key_id)

    def _understand(self, members: dict[str, Any]) -> None:
        kind = members.get("kind")
        if not isinstance(kind, str) or kind not in _NEXT[self.kind]:
            self._refuse("a line of this kind does not belong here", 0)
        self.kind = kind
        try:
            if kind == "statement":
                self._begin(members)
            elif kind == "key":
                self.tally.add(members)
            elif kind == "counts" and members != self.tally.members():
                self._refuse("the counts are not those of the keys that are listed", 0)
        except (KeyError, TypeError, NotFound):
            self._refuse("this line lacks what it should say", 0)

    def _begin(self, members: dict[str, Any]) -> None:
        if members["format"] != STATEMENT_FORMAT:
            self._refuse("this statement has a form that is newer than this program", 0)
        if members["of"] == "month":
            month = Month.named(members["month"])
            self.tally = Tally((instant_text(month.begins), instant_text(month.ends)))
        self.about = members

    def _refuse(self, wrong: str, ahead: int = 1) -> NoReturn:
        raise NotAuthentic(f"line {self.running.lines + ahead}", wrong)


def _parsed(content: bytes) -> dict[str, Any] | None:
    """None for what is no JSON object, or not in the one form in which it is written."""
    try:
        value = jiter.from_json(content, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        return None
    return value if isinstance(value, dict) and canonical_json(value) == content else None
