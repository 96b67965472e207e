"""What is searched for, and how a found key is shown. It travels in a body because URLs end up in logs."""

import base64
import binascii
from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from keyservice.api.answering import AnswerModel
from keyservice.api.asking import StrictModel
from keyservice.domain.key import KEY_CHARACTERS_MAX
from keyservice.domain.key_parts import LABEL_CHARACTERS_MAX, PARTS_MAX, KeyPart, encode_parts
from keyservice.domain.key_state import KeyState


def _base64(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64 with padding") from None
    return text


KeyValue = Annotated[str, Field(min_length=1, max_length=KEY_CHARACTERS_MAX)]


class SoughtPart(StrictModel):
    """One value of a key of several parts."""

    label: Annotated[str, Field(max_length=LABEL_CHARACTERS_MAX)]
    value: Annotated[KeyValue, Field(repr=False)]


class SoughtKey(StrictModel):
    """A key in full, to the letter: as text, as all of its parts in their order, or as the file that it is."""

    key: Annotated[KeyValue | None, Field(repr=False)] = None
    parts: Annotated[list[SoughtPart] | None, Field(min_length=1, max_length=PARTS_MAX)] = None
    file_base64: Annotated[str | None, Field(min_length=1, repr=False), AfterValidator(_base64)] = None

    @model_validator(mode="after")
    def _is_one(self) -> "SoughtKey":
        if [self.key, self.parts, self.file_base64].count(None) != 2:
            raise ValueError("give key, parts or file_base64, one of the three")
        return self

    @property
    def raw(self) -> bytes:
        """The bytes that are fingerprinted when such a key is stored."""
        if self.parts is not None:
            return encode_parts([KeyPart(part.label, part.value) for part in self.parts])
        if self.file_base64 is not None:
            return base64.b64decode(self.file_base64)
        assert self.key is not None
        return self.key.encode()


class FoundKeyDocument(AnswerModel):
    """A stored key: where it lies and what has become of it. Neither its text nor anything about a buyer."""

    pool_id: UUID
    pool_name: str
    batch_id: UUID
    row_number: int
    """The row of the batch's file."""

    publisher_key_id: str | None
    """The publisher's own id of the key, where the file had one."""

    expires_on: date | None
    state: KeyState
    uploaded_at: datetime
    claimed_at: datetime | None
    """When it was taken; null while nobody has it."""

    disclosed_at: datetime | None
    """When its text first left the service."""

    ended_at: datetime | None
    """When it was revoked, replaced or withdrawn."""
