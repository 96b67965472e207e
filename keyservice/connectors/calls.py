"""What a call to a publisher is made of, and what a request looks like before it is signed and sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.connector import ConnectorOperation


@dataclass(frozen=True, slots=True)
class Connector:
    """One version of one publisher's connector, with its secrets opened."""

    publisher_id: int
    connector_id: UUID
    version: int
    document: ConnectorDocument
    secrets: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConnectorCall:
    """One call: an operation with the facts that its templates may use (plain dicts, lists and scalars)."""

    connector: Connector
    operation: ConnectorOperation
    context: Mapping[str, Any] = field(repr=False)
    key_count: int = 1
    """How many keys the answer of `create`, and of whatever tells of it, has to hold: exactly so many."""

    budget_seconds: float | None = None
    """Less than the connector's own budget, when less time is left."""

    send_before: float | None = None
    """By the monotonic clock: past it nothing is sent any more, because somebody else may have taken over."""

    same_as: bytes | None = None
    """The `request_sha256` of the attempt that this one repeats; other bytes are not sent."""

    is_test: bool = False


@dataclass(slots=True)
class RequestParts:
    """A rendered request that can still be signed: parameters are not encoded yet, a text body is final."""

    method: str
    url: str
    """Base URL and path, without the query."""

    query: list[tuple[str, str]] = field(default_factory=list, repr=False)
    headers: list[tuple[str, str]] = field(default_factory=list, repr=False)
    form: list[tuple[str, str]] | None = field(default=None, repr=False)
    form_charset: str = "utf-8"
    body: bytes | None = field(default=None, repr=False)
    content_type: str | None = None
