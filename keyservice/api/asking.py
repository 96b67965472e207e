"""Reading what a request asks for beside its body: names in the path, the query, idempotency and digest headers.

A query name that nobody knows is refused: a mistyped `dry_run` would be a real upload.
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from datetime import date
from typing import Annotated, Final, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from keyservice.api.reading import read_json
from keyservice.domain.errors import Invalid, NotFound
from keyservice.services import SERVICES

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 500
_NAME_CHARACTERS_MAX: Final = 200
_SHA256_BYTES: Final = 32
_EVERYWHERE: Final = frozenset({"publisher"})

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)
_DIGEST: Final = re.compile(r"\s*([a-z0-9*._-]+)\s*=\s*:([A-Za-z0-9+/=]*):\s*")


class StrictModel(BaseModel):
    """A body: nothing is converted, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Model = TypeVar("Model", bound=StrictModel)


def _named(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be printable and must not begin or end with a space")
    return text


def _uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise ValueError("must be a UUID")
    return text


Name = Annotated[str, Field(min_length=1, max_length=_NAME_CHARACTERS_MAX), AfterValidator(_named)]
UuidText = Annotated[str, AfterValidator(_uuid)]


async def read_model(request: web.Request, kind: type[Model]) -> Model:
    """The JSON body as this model. Raises BodyRefused, and pydantic's ValidationError for the error bridge."""
    settings = request.config_dict[SERVICES].settings
    body = await read_json(request, bytes_max=settings.body_bytes_max, seconds_max=settings.body_seconds)
    return kind.model_validate(body)


def path_id(request: web.Request, name: str, *, thing: str) -> UUID:
    """What is no UUID names nothing that exists."""
    text = request.match_info[name]
    if not _UUID.fullmatch(text):
        raise NotFound(f"there is no such {thing}")
    return UUID(text)


def read_query(request: web.Request, known: Collection[str]) -> Mapping[str, str]:
    """Each name at the most once, and only known ones. Raises Invalid."""
    for name in request.query:
        if name not in known and name not in _EVERYWHERE:
            raise Invalid(f"the query knows: {', '.join(sorted({*known, *_EVERYWHERE}))}", field="query")
        if len(request.query.getall(name)) > 1:
            raise Invalid("give it once", field=name)
    return request.query


def uuid_in(query: Mapping[str, str], name: str) -> UUID | None:
    text = query.get(name)
    if text is None:
        return None
    if not _UUID.fullmatch(text):
        raise Invalid("must be a UUID", field=name)
    return UUID(text)


def page_size(query: Mapping[str, str]) -> int:
    size = number_in(query, "limit", default=PAGE_DEFAULT)
    if not 1 <= size <= PAGE_MAX:
        raise Invalid(f"must be between 1 and {PAGE_MAX}", field="limit")
    return size


def number_in(query: Mapping[str, str], name: str, *, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise Invalid("must be a whole number", field=name)
    return int(text)


def switch_in(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "false")
    if text not in ("true", "false"):
        raise Invalid("must be true or false", field=name)
    return text == "true"


def date_in(query: Mapping[str, str], name: str) -> date | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise Invalid("must be a date in the form YYYY-MM-DD", field=name)


def idempotency_key(request: web.Request) -> UUID | None:
    """A UUID, bare or as the quoted string of the IETF draft; the same one again means the same upload."""
    values = request.headers.getall("Idempotency-Key", [])
    if not values:
        return None
    text = values[0].strip()
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = text[1:-1]
    if len(values) > 1 or not _UUID.fullmatch(text):
        raise Invalid("send one header Idempotency-Key with a UUID", field="Idempotency-Key")
    return UUID(text)


def declared_sha256(request: web.Request) -> bytes | None:
    """Repr-Digest (RFC 9530, section 3): a dictionary of byte sequences, of which only sha-256 is looked at."""
    values = request.headers.getall("Repr-Digest", [])
    if not values:
        return None
    found: bytes | None = None
    for member in ",".join(values).split(","):
        parsed = _DIGEST.fullmatch(member)
        if parsed is None:
            raise _wrong_digest()
        if parsed[1] == "sha-256":
            found = _sha256(parsed[2])
    return found


def _sha256(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _wrong_digest() from None
    if len(raw) != _SHA256_BYTES:
        raise _wrong_digest()
    return raw


def _wrong_digest() -> Invalid:
    return Invalid("send it as sha-256=:BASE64: over the bytes of the file", field="Repr-Digest")
