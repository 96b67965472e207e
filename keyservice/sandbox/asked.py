"""What a caller asks of the sandbox publisher, whatever protocol it came in, and what the publisher makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from keyservice.domain.errors import KeyserviceError


class State(StrEnum):
    """How far something is that was asked for."""

    ISSUED = "issued"
    PROCESSING = "processing"
    RESERVED = "reserved"
    CANCELLED = "cancelled"
    ALREADY_CANCELLED = "already-cancelled"
    ACKNOWLEDGED = "acknowledged"
    """Of renewals, upgrades, pauses and resumptions."""


class Reason(StrEnum):
    """Why something is refused."""

    UNAUTHORIZED = "unauthorized"
    BAD_REQUEST = "bad-request"
    OUT_OF_STOCK = "out-of-stock"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    CANCELLED = "cancelled"
    """What was cancelled is not issued again under its reference."""


class Refused(KeyserviceError):
    """The publisher does not do it. The message holds no key."""

    code = "sandbox-refused"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as the protocol's rules read it."""

    operation: str
    """As in `domain.connector.ConnectorOperation`, or `token`."""

    reference: str = ""
    """Ours, when the protocol carries it in this call."""

    license_id: str = ""
    """The publisher's, when the protocol names a license by that instead."""

    count: int = 1
    is_test: bool = False
    extra: str = ""
    """What the answer has to repeat or depends on, by the protocol."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What was done."""

    state: State
    reference: str
    license_id: str
    keys: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it goes out, if nothing was told to go wrong."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
