"""Documents that cannot be used are refused with the place and what to change; beside each stands the one that can."""

from copy import deepcopy
from typing import Any

import pytest

from keyservice.connectors.checking import check_document
from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.egress import EgressPolicy
from keyservice.connectors.linting import buyer_fields
from keyservice.domain.connector import ConnectorRefused

GOOD: dict[str, Any] = {
    "base_url": "https://licenses.example.com",
    "authentication": {"kind": "oauth2", "token_url": "https://login.example.com/token", "client_id": "c"},
    "operations": {
        "create": {
            "path": "/new/{{.LicenseID}}",
            "query": [{"name": "q", "value": "{{.KeyCount}}"}],
            "headers": [{"name": "X-Own", "value": "{{.Order.Number}}"}],
            "body": {"kind": "form", "fields": [{"name": "email", "value": "{{.User.Email}}"}]},
            "signature": {"values": "form-values", "algorithm": "sha256", "place": "form", "name": "hash"},
            "keys": [{"source": "json", "path": "$.keys[*]", "all": True}],
            "errors": [
                {"when": {"value": {"source": "json", "path": "$.code"}, "matches": "E[0-9]+"}, "means": "permanent"}
            ],
        },
        "cancel": {"path": "/cancel"},
        "look_up": {"method": "GET", "path": "/{{.LicenseID}}"},
    },
    "capabilities": {"can_look_up": True, "can_void": True},
    "key_law": {"pattern": "[A-Z-]+", "characters_min": 2, "characters_max": 3},
    "permanent_errors": {"error_messages": ["never.*"]},
}


def changed(path: str, value: Any) -> ConnectorDocument:
    document = deepcopy(GOOD)
    *folders, name = path.split(".")
    place: Any = document
    for folder in folders:
        place = place[int(folder)] if isinstance(place, list) else place.setdefault(folder, {})
    if value is None:
        del place[name]
    else:
        place[name] = value
    return ConnectorDocument.model_validate(document)


def test_a_document_that_can_be_used_is_taken() -> None:
    check_document(ConnectorDocument.model_validate(GOOD), EgressPolicy())


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("base_url", "http://licenses.example.com", "base_url"),
        ("base_url", "https://10.0.0.1/", "base_url"),
        ("authentication.token_url", "https://localhost/token", "authentication.token_url"),
        ("transport.ca_certificate", "no certificate", "transport.ca_certificate"),
        ("transport.client_certificate", "no certificate", "transport.client_certificate"),
        ("operations.create", None, "operations"),
        ("operations.look_up", None, "capabilities.can_look_up"),
        ("operations.cancel", None, "capabilities.can_void"),
        ("capabilities.keys_are_shared", True, "capabilities.keys_are_shared"),
        ("capabilities", {"is_asynchronous": True, "can_look_up": False}, ""),
        ("surplus", "pool", "surplus_pool"),
        ("key_law.characters_min", 4, "key_law.characters_min"),
        ("key_law.pattern", "(", "key_law.pattern"),
        ("key_law.pattern", r"(a)\1", "key_law.pattern"),
        ("permanent_errors.error_messages", ["("], "permanent_errors.error_messages.0"),
        ("operations.create.path", "/{{.LicenseID", "operations.create.path"),
        ("operations.create.query", [{"name": "q", "value": "{{nobody .X}}"}], "operations.create.query.0.value"),
        ("operations.create.headers", [{"name": "Host", "value": "x"}], "operations.create.headers.0.name"),
        ("operations.create.keys", [], "operations.create.keys"),
        ("operations.create.keys", [{"source": "json", "path": "$["}], "operations.create.keys.0.path"),
        (
            "operations.create.keys",
            [{"source": "json", "path": "$[?match(@.a, '(a+)+')]"}],
            "operations.create.keys.0.path",
        ),
        ("operations.create.keys", [{"source": "tag", "path": "a b"}], "operations.create.keys.0.path"),
        ("operations.create.keys", [{"source": "xml", "path": "b["}], "operations.create.keys.0.path"),
        ("operations.create.keys", [{"source": "xml", "path": "/b"}], "operations.create.keys.0.path"),
        ("operations.create.keys", [{"source": "xml", "path": ".//ns:key"}], "operations.create.keys.0.path"),
        ("operations.create.keys", [{"source": "xml", "path": ".//{urn:a}key/@id"}], ""),
        ("operations.create.keys", [{"source": "header", "path": "a b"}], "operations.create.keys.0.path"),
        (
            "operations.create.keys",
            [{"source": "json", "path": "$.k", "label_path": "$.l"}],
            "operations.create.keys.0",
        ),
        ("operations.create.signature.place", "header", ""),
        ("operations.create.body", {"kind": "json", "template": "{}"}, "operations.create.signature.place"),
        ("operations.create.signature.values", "listed", "operations.create.signature.listed"),
        ("operations.create.success", [{"equals": "x"}], "operations.create.success.0.value"),
        (
            "operations.create.success",
            [{"value": {"source": "json", "path": "$.a"}}],
            "operations.create.success.0",
        ),
        (
            "operations.create.errors",
            [{"when": {"value": {"source": "body"}, "matches": "("}, "means": "permanent"}],
            "operations.create.errors.0.when.matches",
        ),
    ],
)
def test_one_that_cannot_says_where(path: str, value: Any, field: str) -> None:
    document = changed(path, value)
    if not field:
        check_document(document, EgressPolicy())
        return
    with pytest.raises(ConnectorRefused) as refused:
        check_document(document, EgressPolicy())
    assert refused.value.field == field
    assert str(refused.value).startswith(field)


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{{.LicenseID}}", set()),
        ("{{.User.Email}}", {"Email"}),
        ("{{$.User.City}}", {"City"}),
        ("{{with .User}}{{.FirstName}}{{end}}", {"FirstName"}),
        ("{{with .User}}{{.}}{{end}}", "all"),
        ("{{.User}}", "all"),
        ("{{.}}", "all"),
        ("{{$}}", "all"),
        ("{{$u := .User}}{{$u.Email}}", "all"),
        ("{{if .User.Email}}x{{end}}", {"Email"}),
        ("{{if .User.CompanyName}}{{.Product.ID}}{{end}}", {"CompanyName"}),
        ('{{index .User "ZipCode"}}', "all"),
        ("{{range .AdditionalData.X}}{{.}}{{end}}", set()),
        ("{{.Product.Name}}{{.Product.ID}}", set()),
        ("{{convertToJson .User}}", "all"),
        ("{{range $k, $v := .User}}{{$v}}{{end}}", "all"),
        ("{{with $u := .User}}{{$u}}{{end}}", "all"),
        ("{{if $u := .User}}{{$u}}{{end}}", "all"),
        ('{{with index . "User"}}{{.}}{{end}}', "all"),
        ("{{with or .User .Product}}{{.}}{{end}}", "all"),
        ("{{with $x := $}}{{$x}}{{end}}", "all"),
        ("{{range $k, $v := .}}{{$v}}{{end}}", "all"),
        ("{{with .User.ID}}{{.}}{{end}}", {"ID"}),
        ("{{range .}}{{.ID}}{{end}}", {"ID"}),
        ('{{printf "%s" .User.Phone}}', {"Phone"}),
    ],
)
def test_what_a_template_tells_of_the_buyer_is_found(template: str, names: Any) -> None:
    document = ConnectorDocument.model_validate(
        {"base_url": "https://a.example", "operations": {"create": {"path": template}}}
    )
    found = {field.name for field in buyer_fields(document)}
    if names == "all":
        assert len(found) == 13
    else:
        assert found == names
    assert all(field.path == "operations.create.path" for field in buyer_fields(document))
