"""What a request asks for in its query and its headers, as models whose fields are the parameters.

Everything comes as text and is taken only in its plain form: no `+1`, `1_000` or ` 1`, no `yes`, no UUID in braces. A query
name that nobody knows is refused: a mistyped `dry_run` would be a real upload.
"""

import base64
import binascii
import re
from datetime import date
from typing import Annotated, Final, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from keyservice.domain.errors import Invalid

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 500
NUMBER_MAX: Final = 10**18 - 1
_SHA256_BYTES: Final = 32

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)
_DIGEST: Final = re.compile(r"\s*([a-z0-9*._-]+)\s*=\s*:([A-Za-z0-9+/=]*):\s*")


class Parameters(BaseModel):
    """The base of every such model."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


Asked = TypeVar("Asked", bound=Parameters)


def read_parameters(request: web.Request, kind: type[Asked]) -> Asked:
    """The query as this model, each name at the most once. Raises Invalid, and pydantic's ValidationError for the bridge."""
    known = {field.alias or name for name, field in kind.model_fields.items()}
    for name in request.query:
        if name not in known:
            knows = f"the query knows: {', '.join(sorted(known))}" if known else "there is no query here"
            raise Invalid(knows, field="query")
        if len(request.query.getall(name)) > 1:
            raise Invalid("give it once", field=name)
    return kind.model_validate(dict(request.query))


def read_headers(request: web.Request, kind: type[Asked]) -> Asked:
    """The headers that this model names. One that comes in several lines is their list (RFC 9110, section 5.3)."""
    names = [field.alias or name for name, field in kind.model_fields.items()]
    return kind.model_validate(
        {name: ",".join(request.headers.getall(name)) for name in names if name in request.headers}
    )


def _whole_number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("must be a whole number")
    return int(text)


def _signed_number(text: str) -> int:
    digits = text.removeprefix("-")
    if not _NUMBER.fullmatch(digits):
        raise ValueError("must be a whole number")
    return int(text)


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _uuid(text: str) -> UUID:
    if not _UUID.fullmatch(text):
        raise ValueError("must be a UUID")
    return UUID(text)


def _day(text: str) -> date:
    if not _DATE.fullmatch(text):
        raise ValueError("must be a date in the form YYYY-MM-DD")
    return date.fromisoformat(text)


def _idempotency_key(text: str) -> UUID:
    bare = text.strip()
    if len(bare) > 1 and bare.startswith('"') and bare.endswith('"'):
        bare = bare[1:-1]
    if not _UUID.fullmatch(bare):
        raise ValueError("send one header Idempotency-Key with a UUID")
    return UUID(bare)


def _sha256_of(text: str) -> bytes | None:
    """Repr-Digest (RFC 9530, section 3): a dictionary of byte sequences, of which only sha-256 is looked at."""
    found: bytes | None = None
    for member in text.split(","):
        parsed = _DIGEST.fullmatch(member)
        if parsed is None:
            raise ValueError(_WRONG_DIGEST)
        if parsed[1] == "sha-256":
            found = _decoded(parsed[2])
    return found


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(_WRONG_DIGEST) from None
    if len(raw) != _SHA256_BYTES:
        raise ValueError(_WRONG_DIGEST)
    return raw


_WRONG_DIGEST: Final = "send it as sha-256=:BASE64: over the bytes of the file"
_UUID_SHOWN: Final = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

# Bounds stand before the reading of the text: behind it, no schema would show them.
WHOLE_NUMBER: Final = BeforeValidator(_whole_number)
WholeNumber = Annotated[int, Field(ge=0, le=NUMBER_MAX), WHOLE_NUMBER]
SIGNED_NUMBER: Final = BeforeValidator(_signed_number)
PageSize = Annotated[int, Field(ge=1, le=PAGE_MAX, description="How many at the most on this page."), WHOLE_NUMBER]
Switch = Annotated[bool, BeforeValidator(_switch)]
Uuid = Annotated[UUID, BeforeValidator(_uuid)]
Day = Annotated[date, BeforeValidator(_day)]
IdempotencyKey = Annotated[
    UUID,
    BeforeValidator(_idempotency_key),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f'^("{_UUID_SHOWN}"|{_UUID_SHOWN})$',
            "examples": ["01a214e1-79e7-7120-acec-110d7eb348ac"],
        }
    ),
]
Sha256Digest = Annotated[
    bytes | None,
    BeforeValidator(_sha256_of),
    WithJsonSchema({"type": "string", "pattern": r"^sha-256=:[A-Za-z0-9+/]{43}=:$"}),
]


class Nothing(Parameters):
    """No parameter at all: whoever sends one means something that does not happen."""


class OfPublisher(Parameters):
    """A publisher's own things, or those of the publisher that an admin names."""

    publisher: str | None = Field(
        None, description="The publisher's handle: needed by admins; a publisher need not name itself."
    )


class Page(OfPublisher):
    """A page of a list: what comes behind the thing `after`."""

    after: Uuid | None = Field(None, description="What the page before gave as `after`; without it, the first page.")
    limit: PageSize = PAGE_DEFAULT


class NumberedPage(OfPublisher):
    """A page of a list whose things have numbers."""

    after: WholeNumber = Field(0, description="What the page before gave as `after`; without it, the first page.")
    limit: PageSize = PAGE_DEFAULT
