"""Keys that a person or a publisher gives in JSON: a text, labelled parts, or a file, each as the publisher has issued it."""

import base64
import binascii
from typing import Annotated, Final

from pydantic import Field, field_validator

from keyservice.api.asking import StrictModel
from keyservice.connectors.extracting import FILE_BYTES_MAX, NAME_CHARACTERS_MAX, is_media_type
from keyservice.domain.connector import DeliveredKey
from keyservice.domain.errors import Invalid
from keyservice.domain.key import KeyText
from keyservice.domain.key_parts import LABEL_CHARACTERS_MAX, PARTS_MAX, PARTS_MIME, KeyPart, encode_parts

KEYS_MAX: Final = 1_000
_BASE64_CHARACTERS_MAX: Final = 4 * (FILE_BYTES_MAX // 3 + 1)

GivenText = Annotated[str, Field(min_length=1, max_length=4_096)]


class GivenPart(StrictModel):
    """One value of a key of several parts."""

    label: Annotated[str, Field(min_length=1, max_length=LABEL_CHARACTERS_MAX)]
    value: GivenText


class GivenParts(StrictModel):
    """A key of several parts."""

    parts: Annotated[list[GivenPart], Field(min_length=1, max_length=PARTS_MAX)]


class GivenFile(StrictModel):
    """A key that is a file."""

    mime: Annotated[str, Field(min_length=3, max_length=127)]
    base64: Annotated[str, Field(min_length=4, max_length=_BASE64_CHARACTERS_MAX)]
    """The file's bytes, in base64 with padding."""

    name: Annotated[str | None, Field(min_length=1, max_length=NAME_CHARACTERS_MAX)] = None

    @field_validator("mime")
    @classmethod
    def _is_media_type(cls, mime: str) -> str:
        if not is_media_type(mime):
            raise ValueError("must be a media type, such as application/octet-stream")
        return mime

    @field_validator("name")
    @classmethod
    def _is_file_name(cls, name: str | None) -> str | None:
        if name is not None and (not name.isprintable() or "/" in name or "\\" in name):
            raise ValueError("must be the name of a file")
        return name


GivenKey = GivenText | GivenParts | GivenFile
GivenKeys = Annotated[list[GivenKey], Field(max_length=KEYS_MAX)]


def delivered_keys(given: list[GivenKey]) -> list[DeliveredKey]:
    """Raises Invalid, without repeating any, for a file that is not in base64."""
    return [_delivered(one) for one in given]


def _delivered(given: GivenKey) -> DeliveredKey:
    match given:
        case GivenParts():
            parts = [KeyPart(part.label, part.value) for part in given.parts]
            return DeliveredKey(KeyText(encode_parts(parts)), PARTS_MIME)
        case GivenFile():
            try:
                raw = base64.b64decode(given.base64, validate=True)
            except binascii.Error:
                raise Invalid("a file is not in base64 with padding", field="keys") from None
            return DeliveredKey(KeyText(raw), given.mime, given.name)
        case _:
            return DeliveredKey(KeyText(given.encode()))
