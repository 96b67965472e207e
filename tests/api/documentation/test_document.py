import re
from collections.abc import Iterator
from typing import Any

import pytest
from annotated_types import Ge, Le, MinLen
from openapi_spec_validator import OpenAPIV31SpecValidator

from keyservice.api.application import build_application
from keyservice.api.documentation.document import described_routes
from keyservice.domain.caller import Scope
from keyservice.services import Services
from tests.api.authorization_matrix import also_of, routes_of
from tests.api.documented import Documented

# What pydantic makes of two models of one name: the name is no longer one that can stay as it is.
_MANGLED = re.compile(r"__|-Input$|-Output$")
_SENTENCES = re.compile(r"(?!.*\. [a-z])[A-Z0-9`*].*\.", re.DOTALL)


@pytest.fixture(scope="module")
def documented(services: Services) -> Documented:
    return Documented(build_application(services))


def test_the_document_is_valid_openapi(documented: Documented) -> None:
    faults = [error.message for error in OpenAPIV31SpecValidator(documented.document).iter_errors()]
    assert not faults
    assert documented.document["openapi"] == "3.1.0"


def test_a_document_that_is_not_valid_is_told_so(documented: Documented) -> None:
    broken = {**documented.document, "paths": {"/pools": {"get": {"responses": {"200": {}}}}}}
    assert [error.message for error in OpenAPIV31SpecValidator(broken).iter_errors()]


def test_every_route_is_in_the_document_and_nothing_else_is(documented: Documented, services: Services) -> None:
    assert set(documented.operations) == set(routes_of(build_application(services)))


def test_every_operation_has_a_name_that_stays(documented: Documented) -> None:
    names = [operation["operationId"] for operation in documented.operations.values()]
    assert len(set(names)) == len(names)
    made = [name for name in names if re.match(r"(get|head|post|put|patch|delete)_", name)]
    assert not made, f"give these operations an operation_id: {made}"


def test_every_schema_has_a_name_that_stays(documented: Documented) -> None:
    assert not [name for name in documented.document["components"]["schemas"] if _MANGLED.search(name)]


def test_everything_is_described_in_whole_sentences(documented: Documented) -> None:
    """Schemas, parameters, answers and tags must have a description; what else has one has sentences too."""
    document = documented.document
    wrong = [where for where, text in _descriptions(document) if not _SENTENCES.fullmatch(text)]
    required = [(f"schema {name}", schema) for name, schema in document["components"]["schemas"].items()]
    required += [(f"tag {tag['name']}", tag) for tag in document["tags"]]
    for (method, path), operation in documented.operations.items():
        required += [(f"{method} {path} {one['name']}", one) for one in operation.get("parameters", ())]
        required += [(f"{method} {path} {status}", one) for status, one in operation["responses"].items()]
        if not re.fullmatch(r"[A-Z].*[^.]", operation["summary"]):
            wrong.append(f"{method} {path}: summary")
    assert not wrong
    assert not [where for where, part in required if not part.get("description")]


def test_every_bound_of_a_parameter_is_in_the_document(services: Services, documented: Documented) -> None:
    """pydantic shows no bound that stands behind the function that reads the text."""
    hidden: list[str] = []
    bounds = {Ge: ("ge", "minimum"), Le: ("le", "maximum"), MinLen: ("min_length", "minLength")}
    for route in described_routes(build_application(services)):
        shown = {
            one["name"]: one["schema"]
            for one in documented.operations[(route.method, route.path)].get("parameters", ())
        }
        for model in filter(None, (route.operation.query, route.operation.headers)):
            for name, field in model.model_fields.items():
                schema = shown[field.alias or name]
                for bound in field.metadata:
                    attribute, keyword = bounds.get(type(bound), ("", ""))
                    if keyword and schema.get(keyword) != getattr(bound, attribute):
                        hidden.append(f"{route.method} {route.path}: {keyword} of {name}")
    assert not hidden


def test_a_map_whose_names_have_a_pattern_takes_no_others(documented: Documented) -> None:
    secrets = documented.document["components"]["schemas"]["NewSecrets"]
    assert not list(documented.schema_faults(secrets, {"secrets": {"password": "p"}}))
    assert list(documented.schema_faults(secrets, {"secrets": {"No Name": "p"}}))


def test_every_path_names_the_parameters_that_it_has(documented: Documented) -> None:
    for (method, path), operation in documented.operations.items():
        named = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
        assert named == re.findall(r"\{(\w+)\}", path), f"{method} {path}"


def test_every_example_obeys_its_schema(documented: Documented) -> None:
    found = list(_with_examples(documented.document))
    faults = [
        f"{where}: {fault}"
        for where, schema in found
        for example in schema["examples"]
        for fault in documented.schema_faults(schema, example)
    ]
    assert not faults
    assert len(found) > 5


def test_every_operation_says_how_it_is_told_who_calls(documented: Documented) -> None:
    schemes = documented.document["components"]["securitySchemes"]
    for (method, path), operation in documented.operations.items():
        needed = [name for alternative in operation["security"] for name in alternative]
        assert set(needed) <= set(schemes)
        assert bool(needed) is ("401" in operation["responses"]), f"{method} {path}"
        if path.startswith("/connect"):
            assert needed == ["connectSecret"]


def test_every_scope_is_told_and_every_operation_names_the_one_that_it_demands(
    documented: Documented, services: Services
) -> None:
    flow = documented.document["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    assert set(flow["scopes"]) == set(Scope)
    assert ("POST", flow["tokenUrl"]) in documented.operations
    application = build_application(services)
    also = also_of(application)
    for name, scope in routes_of(application).items():
        needed = {one for way in documented.operations[name]["security"] for scopes in way.values() for one in scopes}
        assert needed == {one for one in (scope, also.get(name)) if one is not None}, name


def _descriptions(part: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every description of the document, and where it stands; a property may be called so too."""
    if isinstance(part, dict):
        if isinstance(part.get("description"), str):
            yield where, part["description"].strip()
        for name, inner in part.items():
            yield from _descriptions(inner, f"{where}/{name}")
    elif isinstance(part, list):
        for number, inner in enumerate(part):
            yield from _descriptions(inner, f"{where}/{number}")


def _with_examples(part: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of the document that has examples, and where it stands."""
    if isinstance(part, dict):
        if isinstance(part.get("examples"), list):
            yield where, part
        for name, inner in part.items():
            yield from _with_examples(inner, f"{where}/{name}")
    elif isinstance(part, list):
        for number, inner in enumerate(part):
            yield from _with_examples(inner, f"{where}/{number}")
