"""From a document's templates and a request's facts to the request that is sent: nothing that does not parse leaves the house."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from keyservice.connectors.calls import RequestParts
from keyservice.connectors.document import ConnectorDocument, FormBody, NamedTemplate, Operation, TextBody
from keyservice.connectors.templates import CompiledTemplate, Escaping, compile_template
from keyservice.domain.connector import ConnectorOperation, TemplateFailed

BODY_BYTES_MAX: Final = 1_048_576
URL_CHARACTERS_MAX: Final = 4_096
HEADER_CHARACTERS_MAX: Final = 8_192

_CONTENT_TYPES: Final = {
    "json": "application/json",
    "xml": "application/xml; charset=utf-8",
    "soap": "text/xml; charset=utf-8",
    "text": "text/plain; charset=utf-8",
}
_ESCAPINGS: Final = {"json": Escaping.JSON, "xml": Escaping.XML, "soap": Escaping.XML, "text": Escaping.NONE}
_NOT_IN_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DOT_SEGMENT: Final = re.compile(r"(^|/)(\.|%2e){1,2}(/|$)", re.IGNORECASE)


def render(document: ConnectorDocument, operation: ConnectorOperation, context: Mapping[str, Any]) -> RequestParts:
    """The request, unsigned. Raises TemplateFailed, and KeyError for an operation that the document does not have."""
    asked = document.operations[operation]
    place = f"operations.{operation}"
    parts = RequestParts(asked.method, _url(document, asked, place, context))
    parts.query = list(_named(asked.query, f"{place}.query", context))
    parts.headers = list(_headers(asked.headers, f"{place}.headers", context))
    match asked.body:
        case FormBody():
            parts.form = list(_named(asked.body.fields, f"{place}.body.fields", context))
            parts.form_charset = asked.body.charset
        case TextBody():
            parts.body = _text_body(asked.body, f"{place}.body.template", context)
            parts.content_type = asked.body.content_type or _CONTENT_TYPES[asked.body.kind]
        case None:
            pass
    return parts


def render_text(source: str, context: Mapping[str, Any], extra: Mapping[str, str], *, field: str) -> str:
    """A template of a signature, with members that are known only then. Raises TemplateFailed."""
    return compiled(source, field).render({**context, **extra})


@lru_cache(maxsize=4_096)
def compiled(source: str, field: str) -> CompiledTemplate:
    """Compiled once. Raises ConnectorRefused."""
    return compile_template(source, field=field)


def _url(document: ConnectorDocument, asked: Operation, place: str, context: Mapping[str, Any]) -> str:
    field = f"{place}.path"
    path = compiled(asked.path, field).render(context, Escaping.PATH)
    if _DOT_SEGMENT.search(path.partition("?")[0]):
        raise TemplateFailed(f"{field}: a segment of the path is a dot or two, which names another place", field=field)
    if "#" in path or "\\" in path:
        raise TemplateFailed(f"{field}: the path holds a # or a backslash", field=field)
    base = document.base_url.rstrip("/")
    url = f"{base}/{path.lstrip('/')}" if path else base
    if len(url) > URL_CHARACTERS_MAX:
        raise TemplateFailed(f"{field}: the URL is longer than {URL_CHARACTERS_MAX} characters", field=field)
    return url


def _named(templates: Iterable[NamedTemplate], place: str, context: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for at, one in enumerate(templates):
        value = compiled(one.value, f"{place}.{at}.value").render(context)
        if value or not one.is_optional:
            yield one.name, value


def _headers(templates: Iterable[NamedTemplate], place: str, context: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in _named(templates, place, context):
        if _NOT_IN_HEADER.search(value) or len(value) > HEADER_CHARACTERS_MAX:
            raise TemplateFailed(f"{place}: the value of {name} is no header's", field=place)
        yield name, value


def _text_body(body: TextBody, field: str, context: Mapping[str, Any]) -> bytes:
    escaping = _ESCAPINGS[body.kind] if body.is_escaped else Escaping.NONE
    text = compiled(body.template, field).render(context, escaping)
    raw = text.encode()
    if len(raw) > BODY_BYTES_MAX:
        raise TemplateFailed(f"{field}: the body has more than {BODY_BYTES_MAX} bytes", field=field)
    match body.kind:
        case "json":
            _demand_json(text, field)
        case "xml" | "soap":
            _demand_xml(raw, field)
        case "text":
            pass
    return raw


def _demand_json(text: str, field: str) -> None:
    try:
        _JSON.decode(text)
    except (ValueError, RecursionError):
        # Not the parser's own words: they may quote what was put in.
        raise TemplateFailed(f"{field}: what came out is not JSON", field=field) from None


def _no_constant(_: str) -> None:
    raise ValueError("NaN and the infinities are not JSON")


_JSON: Final = json.JSONDecoder(parse_constant=_no_constant)


def _demand_xml(raw: bytes, field: str) -> None:
    try:
        fromstring(raw, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise TemplateFailed(f"{field}: what came out is not XML", field=field) from None
