"""The form of a refusal outside Connect: RFC 9457."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ProblemError(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pointer: Annotated[str, Field(description="Where: a JSON pointer in the form of a URI fragment.")]
    detail: Annotated[str, Field(description="What is wrong there, and what would be right.")]


class Problem(BaseModel):
    """A refusal (RFC 9457). Kinds of problem add members of their own, which are facts about this one."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:keyservice:problem:not-found",
                    "title": "There is no such thing here",
                    "status": 404,
                    "detail": "there is no such pool",
                    "instance": "019ab0c2-4f5e-7d31-8a51-3a0f5ad2c9b7",
                }
            ]
        },
    )

    type: Annotated[str, Field(pattern="^urn:keyservice:problem:[a-z-]+$", description="What kind of problem; stable.")]
    title: Annotated[str, Field(description="The kind of problem in words.")]
    status: Annotated[int, Field(ge=400, le=599, description="The HTTP status.")]
    detail: Annotated[str, Field(description="What is wrong with this request, and what to do.")]
    instance: Annotated[str | None, Field(description="The request's id, also in the header X-Request-Id.")]
    errors: list[ProblemError] = Field(default_factory=list, description="Where the request breaks a rule.")
