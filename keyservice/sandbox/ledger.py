"""The sandbox publisher's own books: what was asked, what was issued and what was cancelled, kept apart from ours."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(slots=True)
class Issue:
    """Keys that were issued together. They stay on record when they are cancelled."""

    license_id: str
    keys: tuple[str, ...] = field(repr=False)
    issued_at: datetime
    is_test: bool
    cancelled_at: datetime | None = None


@dataclass(slots=True)
class Entry:
    """All that happened under one reference."""

    reference: str
    family: str
    times_asked: int = 0
    times_cancelled: int = 0
    times_polled: int = 0
    reserved: int = 0
    issues: list[Issue] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    """Renewals, upgrades, pauses and resumptions, in their order."""

    @property
    def last(self) -> Issue | None:
        return self.issues[-1] if self.issues else None


@dataclass(slots=True)
class SeenRequest:
    """One request that reached the publisher."""

    sequence: int
    family: str
    arrived_at: datetime
    operation: str = "?"
    reference: str = ""
    misbehaviour: str = ""
    outcome: str = "under way"
    """`done`, `refused: <why>`, or what a misbehaviour made of it."""


@dataclass(slots=True)
class Ledger:
    """Entries by reference, and every request in the order of arrival."""

    entries: dict[str, Entry] = field(default_factory=dict)
    requests: list[SeenRequest] = field(default_factory=list)

    def saw(self, family: str, at: datetime) -> SeenRequest:
        seen = SeenRequest(len(self.requests) + 1, family, at)
        self.requests.append(seen)
        return seen

    def entry(self, reference: str, family: str) -> Entry:
        return self.entries.setdefault(reference, Entry(reference, family))

    def of_license(self, license_id: str) -> tuple[Entry, Issue] | None:
        for entry in self.entries.values():
            for issue in entry.issues:
                if issue.license_id == license_id:
                    return entry, issue
        return None

    def issues(self) -> Iterator[Issue]:
        for entry in self.entries.values():
            yield from entry.issues

    @property
    def issued(self) -> int:
        """Keys that ever went out of the publisher's books, test or not."""
        return sum(len(issue.keys) for issue in self.issues())

    @property
    def voided(self) -> int:
        """Keys among them that were cancelled."""
        return sum(len(issue.keys) for issue in self.issues() if issue.cancelled_at is not None)

    def keys_of(self, reference: str) -> tuple[str, ...]:
        """Every key issued under a reference, cancelled or not, in the order of issue."""
        entry = self.entries.get(reference)
        return () if entry is None else tuple(key for issue in entry.issues for key in issue.keys)

    def live_keys_of(self, reference: str) -> tuple[str, ...]:
        """Those that are not cancelled."""
        entry = self.entries.get(reference)
        issues = [] if entry is None else [issue for issue in entry.issues if issue.cancelled_at is None]
        return tuple(key for issue in issues for key in issue.keys)

    def document(self) -> dict[str, Any]:
        """For JSON, keys included: they open nothing."""
        return {
            "issued": self.issued,
            "voided": self.voided,
            "references": {reference: _entry(entry) for reference, entry in self.entries.items()},
            "requests": [
                {**{name: getattr(seen, name) for name in _SEEN}, "arrived_at": seen.arrived_at.isoformat()}
                for seen in self.requests
            ],
        }


_SEEN = ("sequence", "family", "operation", "reference", "misbehaviour", "outcome")


def _entry(entry: Entry) -> dict[str, Any]:
    names = ("family", "times_asked", "times_cancelled", "times_polled", "reserved", "operations")
    issues = [
        {
            "license_id": issue.license_id,
            "keys": issue.keys,
            "is_test": issue.is_test,
            "issued_at": issue.issued_at.isoformat(),
            "cancelled_at": None if issue.cancelled_at is None else issue.cancelled_at.isoformat(),
        }
        for issue in entry.issues
    ]
    return {**{name: getattr(entry, name) for name in names}, "issues": issues}
