"""The keys of an answer, and the law that they have to keep: what breaks it is nobody's key."""

import base64
import binascii
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import re2

from keyservice.connectors.document import ConnectorDocument, KeySelector
from keyservice.connectors.selecting import (
    AnswerBytes,
    NotReadable,
    compiled_path,
    demand_sound,
    find,
    find_raw,
    looks_like_a_page,
)
from keyservice.domain.connector import DeliveredKey
from keyservice.domain.key import KeyText, check_key_text
from keyservice.domain.key_parts import PARTS_MAX, PARTS_MIME, KeyPart, decode_parts, encode_parts

FILE_BYTES_MAX: Final = 65_536
MIME_CHARACTERS_MAX: Final = 127
NAME_CHARACTERS_MAX: Final = 200

_MARKUP: Final = re.compile(r"<\s*[!/?a-zA-Z]")
_MIME: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", re.IGNORECASE)


def extract_keys(selectors: Sequence[KeySelector], answer: AnswerBytes, *, place: str) -> tuple[DeliveredKey, ...]:
    """What the first selector finds that finds something. Raises NotReadable."""
    for at, selector in enumerate(selectors):
        here = f"{place}.{at}"
        if selector.label_path is not None:
            keys = _of_parts(selector, answer, here)
        elif selector.encoding == "base64":
            keys = _files(selector, answer, here)
        else:
            keys = _texts(selector, answer, here)
        if keys:
            return keys
    return ()


def refuse_keys(document: ConnectorDocument, keys: Sequence[DeliveredKey]) -> str | None:
    """Why these are no keys of this publisher, or None; in words that never repeat one."""
    for key in keys:
        texts = _texts_of(key)
        if texts is None:
            if len(key.text.raw) > FILE_BYTES_MAX:
                return f"a file has more than {FILE_BYTES_MAX} bytes"
            if looks_like_a_page(key.text.raw):
                return "a file is a page for people"
            continue
        for text in texts:
            reason = _refusal(document, text)
            if reason is not None:
                return reason
    distinct = {key.text.raw for key in keys}
    if len(distinct) < len(keys) and not document.capabilities.keys_are_shared:
        return "a key comes twice"
    return None


def is_media_type(text: str) -> bool:
    """Of somebody's file: those that the service has made up for itself are nobody else's."""
    is_ours = text.lower().startswith("application/vnd.keyservice.")
    return not is_ours and len(text) <= MIME_CHARACTERS_MAX and _MIME.fullmatch(text) is not None


@lru_cache(maxsize=1_024)
def compiled_pattern(pattern: str) -> Any:
    """Linear in the text whatever the pattern. Raises re2.error."""
    return re2.compile(pattern)


def _refusal(document: ConnectorDocument, text: str) -> str | None:
    law = document.key_law
    if not law.characters_min <= len(text) <= law.characters_max:
        return f"a key has not {law.characters_min} to {law.characters_max} characters"
    if _MARKUP.search(text):
        return "a key looks like a page"
    if (reason := check_key_text(text)) is not None:
        return f"a key {reason}"
    if law.pattern is not None and compiled_pattern(law.pattern).fullmatch(text) is None:
        return "a key does not match the connector's pattern"
    return None


def _texts_of(key: DeliveredKey) -> list[str] | None:
    """What is to be a text in it; None of a file."""
    if key.mime == PARTS_MIME:
        return [part.value for part in decode_parts(key.text)]
    return None if key.mime is not None else [key.text.reveal()]


def _texts(selector: KeySelector, answer: AnswerBytes, place: str) -> tuple[DeliveredKey, ...]:
    found = _matches(selector, answer, place)
    if any(not isinstance(value, str) for value in found if value is not None):
        raise NotReadable("wrong-types")
    texts = [value for value in found if value]
    mimes = _beside(selector, answer, place, len(texts))
    return tuple(DeliveredKey(KeyText(text.encode()), *mimes[at]) for at, text in enumerate(texts))


def _matches(selector: KeySelector, answer: AnswerBytes, place: str) -> list[Any]:
    """Where one key is expected, several are not the first of them: the others would be nobody's."""
    found = find_raw(selector, answer, place=place, takes_all=True)
    if not selector.all and selector.split == "none" and len(found) > 1:
        raise NotReadable("wrong-key-count")
    return found


def _files(selector: KeySelector, answer: AnswerBytes, place: str) -> tuple[DeliveredKey, ...]:
    contents = [value for value in _matches(selector, answer, place) if value]
    if any(not isinstance(value, str) for value in contents):
        raise NotReadable("wrong-types")
    try:
        raws = [base64.b64decode("".join(value.split()), validate=True) for value in contents]
    except (binascii.Error, ValueError):
        raise NotReadable("not-base64") from None
    beside = _beside(selector, answer, place, len(raws))
    return tuple(
        DeliveredKey(KeyText(raw), beside[at][0] or "application/octet-stream", beside[at][1])
        for at, raw in enumerate(raws)
        if raw
    )


def _beside(selector: KeySelector, answer: AnswerBytes, place: str, count: int) -> list[tuple[str | None, str | None]]:
    """Media type and name of each; one that is given once is everybody's."""
    mimes = [] if selector.mime_path is None else find(selector.mime_path, answer, place=f"{place}.mime_path")
    names = [] if selector.name_path is None else find(selector.name_path, answer, place=f"{place}.name_path")
    mime = mimes[0].strip() if mimes else selector.mime
    if mime is not None and not is_media_type(mime):
        raise NotReadable("no-media-type")
    told = [name.strip()[:NAME_CHARACTERS_MAX] for name in names]
    if any(not name.isprintable() or "/" in name or "\\" in name for name in told):
        raise NotReadable("no-file-name")
    return [(mime, told[at] if at < len(told) else None) for at in range(count)]


def _of_parts(selector: KeySelector, answer: AnswerBytes, place: str) -> tuple[DeliveredKey, ...]:
    matches = find_raw(selector.model_copy(update={"all": True}), answer, place=place)
    if not matches:
        return ()
    if len(matches) > PARTS_MAX:
        raise NotReadable("too-many-parts")
    parts = [KeyPart(_below(selector.label_path, match), _below(selector.value_path, match)) for match in matches]
    return (DeliveredKey(KeyText(encode_parts(parts)), PARTS_MIME),)


def _below(path: str | None, match: Any) -> str:
    found = compiled_path(path or "$").findall(match)
    if len(found) != 1 or not isinstance(found[0], str):
        raise NotReadable("wrong-types")
    demand_sound(found[0])
    return found[0]
