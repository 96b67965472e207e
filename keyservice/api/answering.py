"""Writing answers: each is a model, and the model is what the OpenAPI document shows."""

from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

JSON: Final = "application/json"


class AnswerModel(BaseModel):
    """A JSON answer, made from what the verbs return; every member is there, also when it is null."""

    model_config = ConfigDict(from_attributes=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


class CamelAnswer(AnswerModel):
    """An answer beside those of the reference, whose members are in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


NEXT_PAGE: Final[Any] = Field(description="Give it as `after` for the next page; null on the last one.")


def _never_null(schema: dict[str, Any]) -> None:
    kinds = schema.pop("anyOf", ())
    schema.pop("default", None)
    schema.update(next((kind for kind in kinds if kind != {"type": "null"}), {}))


WHERE_THERE_IS_ONE: Final[Any] = Field(exclude_if=lambda value: value is None, json_schema_extra=_never_null)
"""For a member that is left out instead of being null."""

LOCATION: Final = "Where the new thing is."


def json_answer(answer: BaseModel, *, status: int = 200, location: str | None = None) -> web.Response:
    headers = None if location is None else {"Location": location}
    return web.Response(body=answer.model_dump_json(by_alias=True), status=status, headers=headers, content_type=JSON)
