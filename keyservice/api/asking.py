"""Reading JSON bodies as models, the types of what stands in them, and the ids in paths."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar, cast
from uuid import UUID

from aiohttp import web
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from keyservice.api.operation import PRINTABLE
from keyservice.api.reading import read_json
from keyservice.domain.errors import NotFound
from keyservice.services import SERVICES

_NAME_CHARACTERS_MAX: Final = 200

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INSTANT: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:Z|[+-]\d{2}:\d{2})", re.ASCII)


class StrictModel(BaseModel):
    """A body: nothing is converted, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


def shown_as(**example: object) -> ConfigDict:
    """The configuration of a body with an example of it, for the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": [cast(JsonValue, example)]})


Model = TypeVar("Model", bound=BaseModel)


def _named(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be printable and must not begin or end with a space")
    return text


def _uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise ValueError("must be a UUID")
    return text


def _instant(text: object) -> datetime:
    if not isinstance(text, str) or not _INSTANT.fullmatch(text):
        raise ValueError("must be a time with its zone, such as 2026-11-22T15:19:21+00:00")
    moment = datetime.fromisoformat(text)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie within the years 1 to 9999 in UTC") from None


Name = Annotated[
    str,
    Field(min_length=1, max_length=_NAME_CHARACTERS_MAX),
    AfterValidator(_named),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": _NAME_CHARACTERS_MAX, "format": PRINTABLE}),
]
UuidText = Annotated[str, AfterValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]

Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment as RFC 3339 writes it, with its time zone; the same moment in another zone is the same value."""


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
