"""From facts to the request that is sent: escaped where values are put in, and nothing that does not parse leaves the house."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyservice.connectors.calls import RequestParts
from keyservice.connectors.context import template_context
from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.encoding import NotSendable, encode
from keyservice.connectors.rendering import render
from keyservice.connectors.templates import Escaping, compile_template
from keyservice.domain.connector import ConnectorOperation, TemplateFailed
from tests.connectors.test_presets import facts_of

CREATE = ConnectorOperation.CREATE


def rendered(
    context: dict[str, Any] | None = None, base_url: str = "https://publisher.test/api", **create: Any
) -> RequestParts:
    document = ConnectorDocument.model_validate({"base_url": base_url, "operations": {"create": create}})
    return render(document, CREATE, context or {})


def test_a_value_stays_in_its_segment_of_the_path() -> None:
    parts = rendered({"Id": "a/b?c#d e"}, path="/licenses/{{.Id}}/cancel")
    assert parts.url == "https://publisher.test/api/licenses/a%2Fb%3Fc%23d%20e/cancel"


@pytest.mark.parametrize("value", ["..", ".", "%2e%2e"])
def test_a_value_does_not_name_another_place(value: str) -> None:
    if value.startswith("%"):
        assert "%252e" in rendered({"Id": value}, path="/licenses/{{.Id}}/x").url
        return
    with pytest.raises(TemplateFailed):
        rendered({"Id": value}, path="/licenses/{{.Id}}/x")


def test_a_base_url_keeps_its_host_whatever_the_path_is() -> None:
    assert rendered(path="//evil.test/x").url == "https://publisher.test/api/evil.test/x"
    assert rendered(path="@evil.test").url == "https://publisher.test/api/@evil.test"
    with pytest.raises(TemplateFailed):
        rendered(path="/x\\y")


def test_optional_members_are_left_out_when_they_are_empty() -> None:
    pairs = [{"name": "a", "value": "{{.A}}"}, {"name": "b", "value": "{{.B}}", "is_optional": True}]
    body = {"kind": "form", "fields": pairs}
    parts = rendered({"A": "", "B": ""}, query=pairs, headers=pairs, body=body)
    assert parts.query == parts.headers == parts.form == [("a", "")]
    assert rendered({"A": "1", "B": "2"}, query=pairs).query == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize("value", ["x\r\nEvil: 1", "x\ny", "x\0y"])
def test_a_header_is_one_line(value: str) -> None:
    with pytest.raises(TemplateFailed):
        rendered({"V": value}, headers=[{"name": "X-Own", "value": "{{.V}}"}])


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Cookie"])
def test_how_a_message_is_framed_is_not_a_templates_to_say(name: str) -> None:
    parts = rendered(headers=[{"name": name, "value": "x"}])
    with pytest.raises(NotSendable):
        encode(parts)


@pytest.mark.parametrize(
    ("body", "context"),
    [
        ({"kind": "json", "template": '{"a":{{.A}}'}, {"A": 1}),
        ({"kind": "json", "template": '{"a":"{{.A}}"}', "is_escaped": False}, {"A": '"'}),
        ({"kind": "json", "template": '{"a":NaN}'}, {}),
        ({"kind": "xml", "template": "<a>{{.A}}</b>"}, {"A": 1}),
        ({"kind": "xml", "template": "<a>{{.A}}</a>", "is_escaped": False}, {"A": "<"}),
        ({"kind": "soap", "template": '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'}, {}),
    ],
)
def test_what_does_not_parse_is_not_sent(body: dict[str, Any], context: dict[str, Any]) -> None:
    with pytest.raises(TemplateFailed) as failed:
        rendered(context, body=body)
    assert failed.value.field == "operations.create.body.template"


def test_each_kind_of_body_has_its_media_type() -> None:
    kinds = {"json": "application/json", "xml": "application/xml; charset=utf-8", "soap": "text/xml; charset=utf-8"}
    for kind, media_type in kinds.items():
        template = '{"a":1}' if kind == "json" else "<a/>"
        assert rendered(body={"kind": kind, "template": template}).content_type == media_type
    own = rendered(body={"kind": "json", "template": "{}", "content_type": "application/vnd.api+json"})
    assert own.content_type == "application/vnd.api+json"


def test_a_template_that_was_written_for_go_gives_the_same_bytes() -> None:
    template = '{"id":"{{.LicenseID}}","price":{{.Checkout.Price.GrossPrice}},"op":"{{.Operation}}"}'
    facts = facts_of(CREATE, UUID(int=5))
    document = ConnectorDocument.model_validate(
        {
            "base_url": "https://publisher.test",
            "operations": {"create": {"body": {"kind": "json", "template": template, "is_escaped": False}}},
        }
    )
    parts = render(document, CREATE, template_context(facts, document))
    assert parts.body == b'{"id":"00000000-0000-0000-0000-000000000005","price":19.9,"op":"create"}'


def test_the_same_facts_give_the_same_context_and_test_parameters_come_in_tests_only() -> None:
    document = ConnectorDocument.model_validate(
        {
            "base_url": "https://publisher.test",
            "operations": {"create": {}},
            "parameters": {"mode": "live", "account": "a"},
            "test_parameters": {"mode": "test"},
        }
    )
    facts = facts_of(CREATE, UUID(int=5))
    assert template_context(facts, document) == template_context(facts, document)
    assert template_context(facts, document)["Parameters"] == {"mode": "live", "account": "a"}
    assert template_context(replace(facts, is_test=True), document)["Parameters"] == {"mode": "test", "account": "a"}


XML_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"))


@settings(max_examples=300, deadline=None)
@given(value=st.text(st.characters(exclude_categories=["Cs"])))
def test_in_json_a_value_is_read_as_what_was_put_in(value: str) -> None:
    template = compile_template('{"a":"{{.X}}","b":{{.X}},"c":["x{{.X}}y"]}', field="t")
    read = json.loads(template.render({"X": value}, Escaping.JSON))
    assert read == {"a": value, "b": value, "c": [f"x{value}y"]}


@settings(max_examples=300, deadline=None)
@given(value=XML_TEXT)
def test_in_xml_a_value_is_read_as_what_was_put_in(value: str) -> None:
    template = compile_template('<a b="{{.X}}">{{.X}}</a>', field="t")
    element = fromstring(template.render({"X": value}, Escaping.XML))  # noqa: S314 - our own text
    assert (element.text or "", element.get("b")) == (value, value)


@settings(max_examples=300, deadline=None)
@given(value=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_in_a_path_a_value_never_makes_another_segment(value: str) -> None:
    try:
        url = rendered({"X": value}, path="/a/{{.X}}/b").url
    except TemplateFailed:
        assert value in (".", "..")
        return
    assert url.count("/") == "https://publisher.test/api/a/x/b".count("/")
    assert "?" not in url
    assert "#" not in url
