"""JSON Schemas of all that goes in and out, each model once and under its own name."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DictSchema

Schema = dict[str, Any]
Mode = Literal["validation", "serialization"]
REF = "#/components/schemas/{model}"


class Side(NamedTuple):
    """A type, and whether it is read or written: the two may differ."""

    kind: Any
    mode: Mode


class Schemas:
    """The schemas of these types; those with a name are components and are referred to."""

    def __init__(self, sides: Iterable[Side]) -> None:
        unique = list(dict.fromkeys(sides))
        found, definitions = TypeAdapter.json_schemas(
            [(index, side.mode, TypeAdapter(side.kind)) for index, side in enumerate(unique)],
            ref_template=REF,
            schema_generator=_Generator,
        )
        self._schemas = {side: found[(index, side.mode)] for index, side in enumerate(unique)}
        self.components: dict[str, Schema] = definitions.get("$defs", {})

    def of(self, kind: Any, mode: Mode) -> Schema:
        return self._schemas[Side(kind, mode)]


def parameters_of(model: type[BaseModel], place: Literal["query", "header"]) -> list[Schema]:
    """One parameter for each field. That it may be left out is said by `required`, so no schema says null."""
    schema = model.model_json_schema(schema_generator=_Generator)
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": place,
            "required": name in required,
            "description": member.pop("description", ""),
            "schema": _inlined(_without_null(member), schema.get("$defs", {})),
        }
        for name, member in schema.get("properties", {}).items()
    ]


class _Generator(GenerateJsonSchema):
    """pydantic's, where it says too much or too little."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Each member would be titled with its own name, which says nothing; generated clients name classes after titles."""
        return False

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        """Names that do not match a map's pattern are refused, so the schema does not leave them open."""
        found = super().dict_schema(schema)
        return {**found, "additionalProperties": False} if "patternProperties" in found else found


def _inlined(member: Schema, definitions: dict[str, Schema]) -> Schema:
    named = definitions.get(member.get("$ref", "").rpartition("/")[2])
    if named is None:
        return member
    rest = {name: value for name, value in member.items() if name != "$ref"}
    return {**{name: value for name, value in named.items() if name != "title"}, **rest}


def _without_null(member: Schema) -> Schema:
    if "default" in member and member["default"] is None:
        del member["default"]
    kinds = [kind for kind in member.pop("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return {**kinds[0], **member}
    return {**member, "anyOf": kinds} if kinds else member
