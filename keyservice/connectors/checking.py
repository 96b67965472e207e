"""Whether a document can be used: everything that would fail in the moment of a sale is found when it is written."""

import re
import ssl
from collections.abc import Iterator
from typing import Final

import jsonpath
import re2
from defusedxml.ElementTree import fromstring

from keyservice.connectors.document import (
    Condition,
    ConnectorDocument,
    FormBody,
    KeySelector,
    OAuth2Authentication,
    Operation,
    Selector,
    Signature,
    TextBody,
)
from keyservice.connectors.egress import EgressPolicy, UrlRefused, check_url
from keyservice.connectors.encoding import FRAMING_HEADERS
from keyservice.connectors.extracting import compiled_pattern
from keyservice.connectors.rendering import compiled
from keyservice.connectors.selecting import NotReadable, compiled_path, in_xml
from keyservice.domain.connector import ConnectorOperation, ConnectorRefused

_SOME_XML: Final = fromstring("<a x='1'><b><c>1</c></b><b/></a>")
_TAG: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,199}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
# A regular expression in a path would be Python's, which may take for ever.
_PATTERN_IN_PATH: Final = re.compile(r"=~|\b(match|search)\s*\(")


def check_document(document: ConnectorDocument, policy: EgressPolicy) -> None:
    """Raises ConnectorRefused, which says where and what to change. What is still to be filled in is not looked at here."""
    _check_url("base_url", document.base_url, policy)
    if isinstance(document.authentication, OAuth2Authentication):
        _check_url("authentication.token_url", document.authentication.token_url, policy)
    _check_certificates(document)
    _check_capabilities(document)
    _check_surplus(document)
    law = document.key_law
    if law.characters_min > law.characters_max:
        raise _refused("key_law.characters_min", "it is more than characters_max")
    if law.pattern is not None:
        _check_pattern("key_law.pattern", law.pattern)
    for at, pattern in enumerate(document.permanent_errors.error_messages):
        _check_pattern(f"permanent_errors.error_messages.{at}", pattern)
    for name, operation in document.operations.items():
        _check_operation(f"operations.{name}", name, operation, document)


def _check_operation(place: str, name: ConnectorOperation, operation: Operation, document: ConnectorDocument) -> None:
    for field, template in _templates(place, operation):
        compiled(template, field)
    for at, header in enumerate(operation.headers):
        if not _HEADER.fullmatch(header.name) or header.name.lower() in FRAMING_HEADERS:
            raise _refused(f"{place}.headers.{at}.name", "a connector cannot set this header")
    for field, selector in _selectors(place, operation):
        _check_selector(field, selector)
    for field, condition in _conditions(place, operation):
        _check_condition(field, condition)
    if operation.signature is not None:
        _check_signature(f"{place}.signature", operation.signature, operation)
    delivers_later = document.capabilities.is_asynchronous or document.capabilities.pushes_back
    if name is ConnectorOperation.CREATE and not operation.keys and not delivers_later:
        raise _refused(f"{place}.keys", "say where the keys stand in the answer")


def _check_url(field: str, url: str, policy: EgressPolicy) -> None:
    try:
        check_url(url, policy)
    except UrlRefused as refused:
        raise _refused(field, str(refused)) from None


def _check_certificates(document: ConnectorDocument) -> None:
    transport = document.transport
    for field, pem in (
        ("transport.ca_certificate", transport.ca_certificate),
        ("transport.client_certificate", transport.client_certificate),
    ):
        if pem is None:
            continue
        try:
            ssl.create_default_context(cadata=pem)
        except (ssl.SSLError, ValueError):
            raise _refused(field, "it is no certificate in PEM") from None


def _check_capabilities(document: ConnectorDocument) -> None:
    able, operations = document.capabilities, document.operations
    if ConnectorOperation.CREATE not in operations:
        raise _refused("operations", "there is no create, without which nothing is sold")
    if able.can_look_up and ConnectorOperation.LOOK_UP not in operations:
        raise _refused("capabilities.can_look_up", "there is no operation look_up")
    if able.can_void and ConnectorOperation.CANCEL not in operations:
        raise _refused("capabilities.can_void", "there is no operation cancel")
    if able.is_asynchronous and ConnectorOperation.LOOK_UP not in operations and not able.pushes_back:
        raise _refused("capabilities.is_asynchronous", "there is no operation look_up, and it does not push back")
    if able.keys_are_shared:
        raise _refused("capabilities.keys_are_shared", "a key that several buyers share cannot be delivered here")


def _check_surplus(document: ConnectorDocument) -> None:
    if document.surplus == "pool" and document.surplus_pool is None:
        raise _refused("surplus_pool", "name the pool that surplus keys are sold from")
    if document.surplus == "void" and ConnectorOperation.CANCEL not in document.operations:
        raise _refused("surplus", "without an operation cancel, surplus keys are for a pool or held")


def _check_signature(place: str, signature: Signature, operation: Operation) -> None:
    is_form = isinstance(operation.body, FormBody)
    if signature.place == "form" and not is_form:
        raise _refused(f"{place}.place", "the body is no form")
    if signature.values in ("form-values", "php-serialized-form") and not is_form:
        raise _refused(f"{place}.values", "the body is no form")
    if signature.values == "body" and operation.body is None:
        raise _refused(f"{place}.values", "there is no body")
    if (signature.values == "listed") is not bool(signature.listed):
        raise _refused(f"{place}.listed", "list the values that are signed, and only with values `listed`")
    if signature.place == "header" and not _HEADER.fullmatch(signature.name):
        raise _refused(f"{place}.name", "it is no header's name")


def _check_selector(field: str, selector: Selector) -> None:
    match selector.source:
        case "json":
            _check_path(f"{field}.path", selector.path)
        case "xml":
            _check_xml_path(f"{field}.path", selector.path)
        case "tag" if not _TAG.fullmatch(selector.path):
            raise _refused(f"{field}.path", "it is no tag's name")
        case "header" if not _HEADER.fullmatch(selector.path):
            raise _refused(f"{field}.path", "it is no header's name")
        case _:
            pass
    if isinstance(selector, KeySelector):
        if (selector.label_path is None) is not (selector.value_path is None):
            raise _refused(field, "label_path and value_path go together")
        if selector.label_path is not None and selector.source != "json":
            raise _refused(field, "parts are taken from JSON only")
        for name, path in (("label_path", selector.label_path), ("value_path", selector.value_path)):
            if path is not None:
                _check_path(f"{field}.{name}", path)


def _check_xml_path(field: str, path: str) -> None:
    try:
        in_xml(path, _SOME_XML)
    except NotReadable:
        raise _refused(field, "it is no path of ElementTree, such as .//key or .//key/@id") from None


def _check_path(field: str, path: str) -> None:
    if _PATTERN_IN_PATH.search(path):
        raise _refused(field, "a path has no regular expressions here")
    try:
        compiled_path(path)
    except jsonpath.JSONPathError as error:
        raise _refused(field, f"it is no JSONPath: {str(error)[:200]}") from None


def _check_condition(field: str, condition: Condition) -> None:
    compares = (condition.equals, condition.matches, condition.is_empty)
    if condition.value is None and any(one is not None for one in compares):
        raise _refused(f"{field}.value", "say which value is compared")
    if condition.value is not None and all(one is None for one in compares):
        raise _refused(field, "say what the value has to be: equals, matches or is_empty")
    if condition.matches is not None:
        _check_pattern(f"{field}.matches", condition.matches)


def _check_pattern(field: str, pattern: str) -> None:
    try:
        compiled_pattern(pattern)
    except re2.error as error:
        raise _refused(field, f"it is no regular expression of RE2: {str(error)[:200]}") from None


def _templates(place: str, operation: Operation) -> Iterator[tuple[str, str]]:
    """Every template with its place, as rendering names it."""
    yield f"{place}.path", operation.path
    for part in ("query", "headers"):
        for at, one in enumerate(getattr(operation, part)):
            yield f"{place}.{part}.{at}.value", one.value
    yield from _body_templates(place, operation)
    if operation.signature is not None:
        for one in (*operation.signature.listed, operation.signature.value):
            # The mark where the secret goes is no action of a template.
            yield f"{place}.signature", one.replace("{{secret}}", "")
    for field, selector in _selectors(place, operation):
        if selector.convert is not None:
            yield f"{field}.convert", selector.convert


def _body_templates(place: str, operation: Operation) -> Iterator[tuple[str, str]]:
    match operation.body:
        case FormBody():
            for at, one in enumerate(operation.body.fields):
                yield f"{place}.body.fields.{at}.value", one.value
        case TextBody():
            yield f"{place}.body.template", operation.body.template
        case None:
            pass


def templates_of(document: ConnectorDocument) -> Iterator[tuple[str, str]]:
    """Every template of a document that leaves the house, with its place."""
    for name, operation in document.operations.items():
        for field, template in _templates(f"operations.{name}", operation):
            if not field.endswith(".convert"):
                yield field, template


def _selectors(place: str, operation: Operation) -> Iterator[tuple[str, Selector]]:
    for at, key in enumerate(operation.keys):
        yield f"{place}.keys.{at}", key
        for name, beside in (("mime_path", key.mime_path), ("name_path", key.name_path)):
            if beside is not None:
                yield f"{place}.keys.{at}.{name}", beside
    for name in ("success_flag", "error_code", "error_message", "license_id", "echo"):
        selector = getattr(operation, name)
        if selector is not None:
            yield f"{place}.{name}", selector
    for name, selector in operation.additional.items():
        yield f"{place}.additional.{name}", selector
    for field, condition in _conditions(place, operation):
        if condition.value is not None:
            yield f"{field}.value", condition.value


def _conditions(place: str, operation: Operation) -> Iterator[tuple[str, Condition]]:
    for at, condition in enumerate(operation.success):
        yield f"{place}.success.{at}", condition
    for at, rule in enumerate(operation.errors):
        yield f"{place}.errors.{at}.when", rule.when


def _refused(field: str, message: str) -> ConnectorRefused:
    return ConnectorRefused(f"{field}: {message}", field=field)
