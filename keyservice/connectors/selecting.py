"""Finding values in an answer of bytes that anybody may have sent: strict, bounded, and never an exception of a parser."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, Final, Protocol
from xml.etree.ElementTree import Element, ParseError

import jsonpath
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from keyservice.connectors.document import Selector
from keyservice.connectors.rendering import compiled
from keyservice.domain.connector import TemplateFailed

VALUES_MAX: Final = 1_000
DEPTH_MAX: Final = 64

_SPLITS: Final = {
    "lines": re.compile(r"\r\n|\r|\n"),
    "comma": re.compile(r","),
    "comma-tab": re.compile(r"[,\t]"),
    "semicolon": re.compile(r";"),
    "white-space": re.compile(r"\s+"),
}
_HTML: Final = re.compile(
    r"\s*(<\?xml[^>]{0,200}>\s*)?(<!--.{0,1000}?-->\s*)*(<!doctype\s+html|<html|<head|<body)", re.IGNORECASE | re.DOTALL
)
_BYTE_ORDER_MARKS: Final = b"\xef\xbb\xbf\xff\xfe"
# Others are slow for whoever wants them to be, or hide what is written.
_CHARSETS: Final = frozenset(
    {
        *(
            "utf-8",
            "utf8",
            "us-ascii",
            "ascii",
            "iso-8859-1",
            "latin-1",
            "latin1",
            "iso-8859-15",
            "windows-1252",
            "cp1252",
        ),
        *("utf-16", "utf-16le", "utf-16be"),
    }
)
_CHARSET: Final = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9._-]{1,40})", re.IGNORECASE)


class NotReadable(Exception):
    """The answer is not of the form in which a value is looked for; the code says how."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class AnswerBytes:
    """An answer. It is decoded and parsed when that is first asked for."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @cached_property
    def text(self) -> str:
        """By the charset that the answer names. Raises NotReadable."""
        named = _CHARSET.search(self.header("content-type"))
        charset = named[1].lower() if named else "utf-8"
        if charset not in _CHARSETS:
            raise NotReadable("unreadable-text")
        try:
            return self.body.decode("utf-8-sig" if charset in ("utf-8", "utf8") else charset)
        except (UnicodeError, LookupError):
            raise NotReadable("unreadable-text") from None

    @cached_property
    def json(self) -> Any:
        """Raises NotReadable, for members that come twice too: nobody can tell which one is meant."""
        try:
            found = _JSON.decode(self.text)
        except (ValueError, ArithmeticError, RecursionError):
            raise NotReadable("unreadable-json") from None
        _demand_shallow(found)
        return found

    @cached_property
    def xml(self) -> Element:
        """Raises NotReadable."""
        try:
            root: Element = fromstring(self.body, forbid_dtd=True)
        except (ParseError, DefusedXmlException, ValueError, LookupError):
            raise NotReadable("unreadable-xml") from None
        return root

    @property
    def is_html(self) -> bool:
        """A page for people, whatever it says."""
        if self.header("content-type").lower().partition(";")[0].strip() in ("text/html", "application/xhtml+xml"):
            return True
        return looks_like_a_page(self.body)

    def header(self, name: str) -> str:
        return next((value for given, value in self.headers.items() if given.lower() == name.lower()), "")


def looks_like_a_page(raw: bytes) -> bool:
    """Whether these bytes begin as HTML does, in whatever encoding."""
    return _HTML.match(raw[:4_096].replace(b"\0", b"").lstrip(_BYTE_ORDER_MARKS).decode("latin-1")) is not None


def find(selector: Selector, answer: AnswerBytes, *, place: str) -> list[str]:
    """The values that are there, in their order; one at the most unless several are allowed. Raises NotReadable."""
    return [_text(value) for value in find_raw(selector, answer, place=place)]


def find_raw(selector: Selector, answer: AnswerBytes, *, place: str, takes_all: bool = False) -> list[Any]:
    """As they stand in the answer: of JSON also numbers and objects. Raises NotReadable."""
    found: list[Any] = _found(selector, answer)
    if selector.split != "none":
        pieces = (piece.strip() for value in found for piece in _SPLITS[selector.split].split(_text(value)))
        found = [piece for piece in pieces if piece]
    if not takes_all and not selector.all and selector.split == "none":
        found = found[:1]
    if len(found) > VALUES_MAX:
        raise NotReadable("too-many-values")
    if selector.convert is not None:
        found = [_converted(selector.convert, _text(value), place) for value in found]
    for value in found:
        demand_sound(value)
    return found


def demand_sound(value: Any) -> None:
    """Half of a surrogate pair is no text: neither PostgreSQL nor anybody's screen takes it. Raises NotReadable."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotReadable("unreadable-text") from None


class FoundBy(Protocol):
    """A path that has been read."""

    def findall(self, value: Any) -> list[Any]:
        """Everything that it leads to, in the order of the document."""
        ...


class _Members:
    """A path of members only, as nearly all are: the library takes fifteen times as long for what two look-ups do."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def findall(self, value: Any) -> list[Any]:
        for name in self._names:
            if not isinstance(value, dict) or name not in value:
                return []
            value = value[name]
        return [value]


_MEMBERS: Final = re.compile(r"\$((?:\.[A-Za-z_][A-Za-z0-9_]*)*)")


@lru_cache(maxsize=2_048)
def compiled_path(path: str) -> FoundBy:
    """A JSONPath. Raises jsonpath.JSONPathError."""
    found_by: FoundBy = jsonpath.compile(path)
    if (members := _MEMBERS.fullmatch(path)) is not None:
        return _Members(members[1].split(".")[1:])
    return found_by


def _found(selector: Selector, answer: AnswerBytes) -> list[Any]:
    match selector.source:
        case "json":
            return list(_flat(compiled_path(selector.path).findall(answer.json)))
        case "xml":
            return in_xml(selector.path, answer.xml)
        case "body":
            return [answer.text] if answer.body else []
        case "tag":
            return list(_tagged(selector.path, answer.text))
        case "header":
            value = answer.header(selector.path)
            return [value] if value else []


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def in_xml(path: str, root: Element) -> list[str]:
    """Texts of the elements at an ElementTree path, or of the attribute behind its `@`. Raises NotReadable."""
    elements, _, attribute = path.rpartition("@") if "@" in path.rpartition("/")[2] else (path, "", "")
    try:
        found = root.findall(elements.rstrip("/") or ".")
    except (SyntaxError, LookupError, ValueError, TypeError, RuntimeError):
        raise NotReadable("path-refused") from None
    if attribute:
        return [value for one in found if (value := one.get(attribute)) is not None]
    return ["".join(one.itertext()).strip() for one in found]


def _tagged(name: str, text: str) -> Iterable[str]:
    """Between `<name>` and `</name>`, wherever they stand. Read once from the beginning to the end."""
    begin, end = f"<{name}>", f"</{name}>"
    at = text.find(begin)
    while at >= 0:
        closed = text.find(end, at + len(begin))
        if closed < 0:
            return
        yield text[at + len(begin) : closed].strip()
        at = text.find(begin, closed + len(end))


def _converted(template: str, value: str, place: str) -> str:
    try:
        return compiled(template, f"{place}.convert").render({"Value": value})
    except TemplateFailed:
        raise NotReadable("conversion-failed") from None


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | Decimal():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member comes twice")
    return members


def _no_constant(_: str) -> None:
    raise ValueError("NaN and the infinities are not JSON")


_JSON: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_constant, parse_float=Decimal)


def _demand_shallow(value: Any) -> None:
    """Paths are followed by recursion."""
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [
            member
            for one in level
            if isinstance(one, (dict, list))
            for member in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise NotReadable("too-deep")
