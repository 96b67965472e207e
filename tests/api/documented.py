"""Answers held against the OpenAPI document: the status is named, the headers are there, the body has the form."""

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from aiohttp import web
from jsonschema_rs import Draft202012Validator
from pydantic_core import to_json

from keyservice.api.documentation.document import build_document
from tests.api.raw_http import Answer

METHODS = frozenset({"get", "head", "post", "put", "patch", "delete"})


class Documented:
    """The document of an application."""

    def __init__(self, application: web.Application) -> None:
        self.document: dict[str, Any] = json.loads(to_json(build_document(application)))
        self._validators: dict[str, Draft202012Validator] = {}

    @cached_property
    def operations(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {
            (method.upper(), path): operation
            for path, item in self.document["paths"].items()
            for method, operation in item.items()
            if method in METHODS
        }

    def faults(self, method: str, path: str, answer: Answer) -> Iterator[str]:
        """What the document does not say of this answer to the route of this name."""
        response = self.operations[(method, path)]["responses"].get(str(answer.status))
        if response is None:
            yield f"the status {answer.status} is not in the document"
            return
        for name in response.get("headers", {}):
            if name.lower() not in answer.headers:
                yield f"the header {name} of the document is not in the answer"
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        content = response.get("content", {})
        if not content:
            if answer.body:
                yield "the document shows no body"
        elif media_type not in content:
            yield f"the document shows {list(content)} and not {media_type or 'no type'}"
        elif media_type.endswith(("/json", "+json")):
            yield from self.schema_faults(content[media_type]["schema"], json.loads(answer.body))

    def schema_faults(self, schema: dict[str, Any], value: object) -> Iterator[str]:
        for error in self._validator(schema).iter_errors(value):
            yield f"{error.instance_path}: {error.message[:200]}"

    def _validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        """With formats checked; references are into the document."""
        text = json.dumps(schema, sort_keys=True)
        if text not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[text] = Draft202012Validator(whole, validate_formats=True)
        return self._validators[text]
