"""How a key is shown to whoever may have it: a text, labelled parts, or a file. Every answer that shows a key uses this."""

from base64 import b64encode
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from keyservice.domain.errors import Invalid
from keyservice.domain.key import KeyText
from keyservice.domain.key_entries import OCTETS
from keyservice.domain.key_parts import PARTS_MIME, decode_parts


class PartDocument(BaseModel):
    """One value of a key of several parts."""

    model_config = ConfigDict(frozen=True)

    label: str
    value: Annotated[str, Field(repr=False)]


class FileDocument(BaseModel):
    """A key that is a file."""

    model_config = ConfigDict(frozen=True)

    name: str | None
    mime: str
    base64: Annotated[str, Field(repr=False, description="The file's bytes, in base64 with padding.")]


class KeyDocument(BaseModel):
    """A key's content: the member that its kind names is there, the other two are null."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["text", "parts", "file"]
    text: Annotated[str | None, Field(repr=False)] = None
    parts: tuple[PartDocument, ...] | None = None
    file: FileDocument | None = None


def key_document(key: KeyText, mime: str | None, name: str | None) -> KeyDocument:
    """The opened key with the MIME type and the name that are stored beside it; a key without MIME type is a text."""
    if mime == PARTS_MIME:
        parts = tuple(PartDocument(label=part.label, value=part.value) for part in decode_parts(key))
        return KeyDocument(kind="parts", parts=parts)
    text = text_of(key) if mime is None else None
    if text is not None:
        return KeyDocument(kind="text", text=text)
    file = FileDocument(name=name, mime=mime or OCTETS, base64=b64encode(key.raw).decode())
    return KeyDocument(kind="file", file=file)


def text_of(key: KeyText) -> str | None:
    """None for bytes that are no text in UTF-8."""
    try:
        return key.reveal()
    except Invalid:
        return None
