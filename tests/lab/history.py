"""What clients asked and what they were told, with monotonic times; the checker's one source besides the database."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class Operation(StrEnum):
    """What a client asks for."""

    ORDER = "order"
    READ = "read"
    CANCEL = "cancel"
    UPLOAD = "upload"


class Outcome(StrEnum):
    """What a client knows about one attempt."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Attempt:
    """One request. Unknown from the moment it is sent until an answer says more, and for ever when none comes."""

    operation: Operation
    name: str
    client: int
    invoked_at: float
    outcome: Outcome = Outcome.UNKNOWN
    ended_at: float = float("inf")
    code: int = 0
    reason: str = ""
    keys: tuple[str, ...] = ()
    digest: bytes = b""

    @property
    def is_known(self) -> bool:
        return self.outcome is not Outcome.UNKNOWN


@dataclass(slots=True)
class History:
    """Every attempt in the order of sending."""

    attempts: list[Attempt] = field(default_factory=list)

    def invoke(self, operation: Operation, name: str, client: int) -> Attempt:
        attempt = Attempt(operation, name, client, time.monotonic())
        self.attempts.append(attempt)
        return attempt

    def of(self, operation: Operation, outcome: Outcome | None = None) -> Iterator[Attempt]:
        return (
            one for one in self.attempts if one.operation is operation and (outcome is None or one.outcome is outcome)
        )

    def count(self, operation: Operation, outcome: Outcome | None = None) -> int:
        return sum(1 for _ in self.of(operation, outcome))


def settle(attempt: Attempt, outcome: Outcome, *, code: int, reason: str = "") -> Attempt:
    """An answer came; an attempt is settled once."""
    assert not attempt.is_known, "an attempt has one outcome"
    attempt.ended_at = time.monotonic()
    attempt.outcome, attempt.code, attempt.reason = outcome, code, reason
    return attempt
