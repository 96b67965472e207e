"""Where a template's text and values go: each language escapes the values that are put in, none the template's own text."""

import json
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Final, Protocol
from urllib.parse import quote

from keyservice.connectors.go_text import Pieces, json_float, printed
from keyservice.connectors.template_functions import JsonText, XmlText


class Escaping(StrEnum):
    NONE = "none"
    """Go's text/template to the byte."""

    JSON = "json"
    """Inside quotes a value becomes part of the string; outside of them it is a JSON value of its own."""

    XML = "xml"
    PATH = "path"
    """Every value is percent-encoded, slashes as well: it stays inside its segment."""


class Writer(Protocol):
    def text(self, text: str) -> None: ...

    def value(self, value: Any) -> None: ...

    def finished(self) -> str: ...


class PlainWriter:
    def __init__(self) -> None:
        self._pieces = Pieces()

    def text(self, text: str) -> None:
        self._pieces.add(text)

    def value(self, value: Any) -> None:
        self._pieces.add(printed(value))

    def finished(self) -> str:
        return self._pieces.joined()


class PathWriter(PlainWriter):
    def value(self, value: Any) -> None:
        self._pieces.add(quote(printed(value).encode(), safe=""))


_XML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlWriter(PlainWriter):
    """XML has no way to say most control characters: U+FFFD stands in their place."""

    def value(self, value: Any) -> None:
        text = printed(value)
        if not isinstance(value, XmlText):
            text = text.translate(_XML)
        self._pieces.add(_NOT_XML.sub("\ufffd", text))


_STRING_ENDS = re.compile(r'"|\\.', re.DOTALL)


class JsonWriter(PlainWriter):
    """Follows the template's own text to know whether a value stands inside of a string."""

    def __init__(self) -> None:
        super().__init__()
        self._is_in_string = False
        self._is_escaping = False

    def text(self, text: str) -> None:
        super().text(text)
        behind = _behind_piece if len(text) <= _PIECE_CHARACTERS_MAX else _behind
        self._is_in_string, self._is_escaping = behind(text, self._is_in_string, self._is_escaping)

    def value(self, value: Any) -> None:
        if self._is_in_string:
            self._is_escaping = False
            self._pieces.add(encode_basestring(printed(value))[1:-1])
        elif isinstance(value, JsonText):
            self._pieces.add(value)
        else:
            json_into(self._pieces, value)


def _behind(text: str, is_in_string: bool, is_escaping: bool) -> tuple[bool, bool]:
    """Whether a string of JSON is open behind this text, and whether its last character was a backslash that escapes."""
    # A backslash at the end of a piece takes the first character of the next one with it.
    start = 1 if is_escaping and text else 0
    is_escaping = is_escaping and not text
    while True:
        if not is_in_string:
            start = text.find('"', start) + 1
            if not start:
                return False, is_escaping
            is_in_string = True
        found = _STRING_ENDS.search(text, start)
        while found is not None and found.group() != '"':
            start = found.end()
            found = _STRING_ENDS.search(text, start)
        if found is None:
            return True, text.endswith("\\") and start < len(text)
        start, is_in_string = found.end(), False


# A template's own texts are short, few, and the same in every run.
_PIECE_CHARACTERS_MAX: Final = 256
_behind_piece = lru_cache(maxsize=8_192)(_behind)


def json_into(pieces: Pieces, value: Any) -> None:
    match value:
        case str():
            pieces.add(encode_basestring(value))
        case None | bool() | int():
            pieces.add(json.dumps(value))
        case float():
            pieces.add(json_float(value))
        case Mapping():
            pieces.add("{")
            for number, (name, member) in enumerate(sorted(value.items())):
                pieces.add(f"{',' if number else ''}{encode_basestring(name)}:")
                json_into(pieces, member)
            pieces.add("}")
        case _:
            pieces.add("[")
            for number, member in enumerate(value):
                pieces.add("," if number else "")
                json_into(pieces, member)
            pieces.add("]")


WRITERS: Final[Mapping[Escaping, Callable[[], Writer]]] = {
    Escaping.NONE: PlainWriter,
    Escaping.JSON: JsonWriter,
    Escaping.XML: XmlWriter,
    Escaping.PATH: PathWriter,
}
