"""Keys of several parts, such as a serial number with its activation code: labelled values that are one key."""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from keyservice.domain.errors import Invalid
from keyservice.domain.key import KeyText

PARTS_MIME: Final = "application/vnd.keyservice.parts+json"
PARTS_MAX: Final = 10
LABEL_CHARACTERS_MAX: Final = 64


class KeyPart(NamedTuple):
    """One value of a key, and what its publisher calls it."""

    label: str
    value: str

    def __repr__(self) -> str:
        return "KeyPart()"


def encode_parts(parts: Sequence[KeyPart]) -> bytes:
    """What is sealed and fingerprinted: equal parts in the same order are the same bytes, for ever.

    A JSON array of objects with the members `label` and `value` in this order, without white space, in UTF-8.
    """
    members = [{"label": part.label, "value": part.value} for part in parts]
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def decode_parts(key: KeyText) -> tuple[KeyPart, ...]:
    """The opposite. Raises Invalid for a key that was not made by `encode_parts`."""
    parts = _parsed(key.raw)
    if not parts:
        raise Invalid("this key does not have parts")
    return parts


def telling_text(key: KeyText, mime: str | None) -> KeyText:
    """What a person recognises a key by at its end: of several parts the last one's value, otherwise the key itself."""
    if mime != PARTS_MIME:
        return key
    return KeyText(decode_parts(key)[-1].value.encode())


def _parsed(raw: bytes) -> tuple[KeyPart, ...] | None:
    # An exception of the parser would carry the whole key with it, so none leaves this function.
    try:
        return tuple(KeyPart(str(part["label"]), str(part["value"])) for part in json.loads(raw))
    except (ValueError, TypeError, KeyError):
        return None
