"""A request as it arrived, read once, and taken apart by the protocol it came in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException, ElementTree

from keyservice.sandbox.asked import Reason, Refused


@dataclass(frozen=True, slots=True)
class Incoming:
    """Method, what stands behind the protocol's mount, and all bytes."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str] = field(repr=False)
    """Case does not matter in it."""

    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    @property
    def segments(self) -> list[str]:
        """Of the path, decoded."""
        return [unquote(segment) for segment in self.path.split("/") if segment]

    def require(self, method: str, path: str | None = None) -> None:
        """Raises Refused for any other method or path."""
        if self.method != method or (path is not None and self.path.rstrip("/") != path.rstrip("/")):
            raise Refused(Reason.BAD_REQUEST, f"wants {method} {path or ''}".rstrip())

    def form(self, charset: str = "utf-8") -> list[tuple[str, str]]:
        """Of a body that says it is a form. Raises Refused."""
        kind = self.header("Content-Type").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Refused(Reason.BAD_REQUEST, "the body is no form")
        try:
            text = self.body.decode("ascii")
            return parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), encoding=charset, errors="strict")
        except ValueError:
            raise Refused(Reason.BAD_REQUEST, "the form cannot be read") from None

    def json(self) -> dict[str, Any]:
        """Raises Refused for whatever is no JSON object, or has a member twice."""
        try:
            found = json.loads(self.body, object_pairs_hook=_object)
        except ValueError:
            raise Refused(Reason.BAD_REQUEST, "the body is no JSON") from None
        if not isinstance(found, dict):
            raise Refused(Reason.BAD_REQUEST, "the body is no JSON object")
        return found

    def xml(self) -> Element:
        """Raises Refused."""
        try:
            root: Element = ElementTree.fromstring(self.body, forbid_dtd=True)
        except (ElementTree.ParseError, DefusedXmlException, ValueError):
            raise Refused(Reason.BAD_REQUEST, "the body is no XML") from None
        return root


def member(document: Mapping[str, Any], *path: str) -> str:
    """A text in a JSON document. Raises Refused when it is missing or no text."""
    found: Any = document
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, str) or not found:
        raise Refused(Reason.BAD_REQUEST, f"{'.'.join(path)} is missing")
    return found


def parameter(pairs: Mapping[str, str], name: str) -> str:
    """A parameter that has to be there. Raises Refused."""
    if not pairs.get(name):
        raise Refused(Reason.BAD_REQUEST, f"{name} is missing")
    return pairs[name]


def whole_number(text: object, name: str) -> int:
    """A count from 1 to 1000. Raises Refused."""
    if isinstance(text, bool) or not str(text).isdecimal() or not 1 <= int(str(text)) <= 1_000:
        raise Refused(Reason.BAD_REQUEST, f"{name} is no count")
    return int(str(text))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a member stands twice")
    return dict(pairs)
