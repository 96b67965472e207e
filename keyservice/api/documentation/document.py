"""The OpenAPI 3.1 document, made from the routes of the application: nothing is in it that is not served."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from aiohttp import hdrs, web

from keyservice.api.connect.described import ConnectRefusal
from keyservice.api.documentation.refusals import described_headers, refusal, refusals_of
from keyservice.api.documentation.schemas import Schema, Schemas, Side, parameters_of
from keyservice.api.documentation.security import security, security_schemes
from keyservice.api.documentation.words import AUDIENCES, DESCRIPTION, TITLE, path_name
from keyservice.api.iam.errors import TokenError
from keyservice.api.operation import FILE_FORM, FORM, JSON, Answer, Content, Credential, FileForm, Form, Operation
from keyservice.api.problem_document import Problem
from keyservice.domain.caller import Scope

OPENAPI: Final = "3.1.0"
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_REQUEST_ID: Final = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}


@dataclass(frozen=True, slots=True)
class DescribedRoute:
    """A route with what it says of itself. The HEAD that goes with a GET is the same without content."""

    method: str
    path: str
    operation: Operation
    credential: Credential
    scopes: tuple[Scope, ...]

    @property
    def tag(self) -> str:
        return self.operation.tag or self.path.split("/")[1]

    @property
    def operation_id(self) -> str:
        return f"{self.operation.operation_id}_head" if self.method == hdrs.METH_HEAD else self.operation.operation_id


def described_routes(application: web.Application) -> list[DescribedRoute]:
    """Every route of the application that carries an operation."""
    found = []
    for route in application.router.routes():
        operation = getattr(route.handler, "operation", None)
        if route.resource is not None and operation is not None:
            credential = getattr(route.handler, "credential", Credential.BEARER)
            scopes = (getattr(route.handler, "scope", None), getattr(route.handler, "also", None))
            needed = tuple(scope for scope in scopes if scope is not None)
            found.append(DescribedRoute(route.method, route.resource.canonical, operation, credential, needed))
    return found


def build_document(application: web.Application) -> dict[str, Any]:
    routes = described_routes(application)
    schemas = Schemas(_sides(routes))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    tags = sorted({route.tag for route in routes}, key=[*AUDIENCES].index)
    return {
        "openapi": OPENAPI,
        "info": {
            "title": TITLE,
            "version": version("keyservice"),
            "summary": "License keys, delivered exactly once.",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The service that gave this document."}],
        "tags": [{"name": tag, "description": AUDIENCES[tag]} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": security_schemes({route.credential for route in routes}),
            "headers": {
                "X-Request-Id": {
                    "description": "The id of the request, which is also in the log.",
                    "schema": {"type": "string", "pattern": "^[0-9a-f-]{32,36}$"},
                }
            },
        },
    }


def _sides(routes: list[DescribedRoute]) -> Iterator[Side]:
    yield Side(Problem, "serialization")
    yield Side(ConnectRefusal, "serialization")
    yield Side(TokenError, "serialization")
    for route in routes:
        body = route.operation.body
        if _is_model(body):
            yield Side(body.model if isinstance(body, Form) else body, "validation")
        for answer in route.operation.answers.values():
            content = answer.content if isinstance(answer, Answer) else answer
            if _is_model(content):
                yield Side(content, "serialization")


def _is_model(kind: object) -> bool:
    return kind is not None and not isinstance(kind, Content | FileForm)


def _operation(route: DescribedRoute, schemas: Schemas) -> dict[str, Any]:
    operation = route.operation
    found: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": operation.summary,
        "tags": [route.tag],
        "responses": _responses(route, schemas),
        "security": security(route.credential, route.scopes),
    }
    if operation.description:
        found["description"] = operation.description
    parameters = [
        *(
            {"name": name, "in": "path", "required": True, **path_name(name)}
            for name in _PLACEHOLDER.findall(route.path)
        ),
        *(parameters_of(operation.query, "query") if operation.query else ()),
        *(parameters_of(operation.headers, "header") if operation.headers else ()),
    ]
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        found["requestBody"] = {"required": True, "content": _content(operation.body, schemas, is_read=True)}
        if isinstance(operation.body, Content | FileForm):
            found["requestBody"]["description"] = operation.body.description
    return found


def _responses(route: DescribedRoute, schemas: Schemas) -> dict[str, Any]:
    answers = sorted(route.operation.answers.items())
    found = {str(status): _answer(status, answer, schemas) for status, answer in answers}
    for status, reason in refusals_of(route.operation, route.credential, route.path).items():
        found[str(status)] = refusal(status, reason, route.credential)
    for response in found.values():
        response["headers"] = {**response.get("headers", {}), **_REQUEST_ID}
        if route.method == hdrs.METH_HEAD:
            response.pop("content", None)
    return found


def _answer(status: int, answer: Any, schemas: Schemas) -> dict[str, Any]:
    if not isinstance(answer, Answer):
        answer = Answer(answer)
    content = answer.content
    words = content.description if isinstance(content, Content) else (getattr(content, "__doc__", None) or "")
    found: dict[str, Any] = {"description": answer.description or words.strip() or HTTPStatus(status).phrase}
    if content is not None:
        found["content"] = _content(content, schemas, is_read=False)
    if answer.headers:
        found["headers"] = described_headers(dict(answer.headers))
    return found


def _content(content: Any, schemas: Schemas, *, is_read: bool) -> Mapping[str, Any]:
    if isinstance(content, Content):
        schema: Schema = {"type": "string", "format": "binary"} if content.is_binary else {"type": "string"}
        with_example = {} if content.example is None else {"example": content.example}
        return {
            media_type: {"schema": schema, **(with_example if media_type.startswith("text/") else {})}
            for media_type in content.media_types
        }
    if isinstance(content, FileForm):
        file = {
            "type": "object",
            "properties": {"file": {"type": "string", "format": "binary"}},
            "required": ["file"],
            "additionalProperties": False,
        }
        encoding = {"file": {"contentType": content.media_type}}
        return {FILE_FORM: {"schema": file, "encoding": encoding, "example": {"file": content.example}}}
    if isinstance(content, Form):
        return {FORM: {"schema": schemas.of(content.model, "validation")}}
    return {JSON: {"schema": schemas.of(content, "validation" if is_read else "serialization")}}
