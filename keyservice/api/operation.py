"""What a route says of itself: what it takes, what it answers, what it refuses. The OpenAPI document is made from this.

The models named here are the ones that validate and that answers are written from, so the document cannot drift away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
FILE_FORM: Final = "multipart/form-data"
PRINTABLE: Final = "printable"
"""The JSON Schema format of a text that people read: no controls, and of all blanks only the space, and that only inside.

No pattern that every tool understands says which characters are printable.
"""


class Credential(StrEnum):
    """How a route is told who calls."""

    NONE = "none"
    BEARER = "bearer"
    CONNECT_SECRET = "connect-secret"  # noqa: S105 - the name of a header's use, not a secret
    CLIENT = "client"
    """The client id and secret of OAuth2, which the route itself looks at."""


@dataclass(frozen=True, slots=True)
class Content:
    """A body that is not JSON, or not only: media types, and what is in it in words."""

    media_types: tuple[str, ...]
    description: str
    is_binary: bool = True
    example: str | None = None
    """For those media types that are text."""


@dataclass(frozen=True, slots=True)
class Form:
    """A body that comes as application/x-www-form-urlencoded; the model's fields are its parameters."""

    model: type[BaseModel]


@dataclass(frozen=True, slots=True)
class FileForm:
    """A body that comes as multipart/form-data with one file: its media type, and what is in it in words."""

    media_type: str
    description: str
    example: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with more to say of it than its content does: why it comes, and headers of its own, each in words."""

    content: Any = None
    description: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as its callers see it.

    `body` and the values of `answers` are pydantic models, or types that a TypeAdapter takes, for JSON; a Form for an HTML
    form; a FileForm for a form with a file; a Content for anything else; None for no content; an Answer around any of these.
    `query` and `headers` are models whose fields are the parameters. Refusals that follow from the kind of route
    (credentials, reading of the body, limits) are added by whoever makes the document; `refusals` names the statuses beyond
    those, each with the reason in words.
    """

    summary: str
    answers: Mapping[int, Any]
    body: Any = None
    query: type[BaseModel] | None = None
    headers: type[BaseModel] | None = None
    refusals: Mapping[int, str] = field(default_factory=dict)
    description: str = ""
    tag: str | None = None
    """The audience; None for the name of the sub-application."""

    operation_id: str = field(kw_only=True)
    """What generated clients call it, so it never changes."""
