"""A publisher's existing definition, as the reference's license manager keeps it, made into a connector's document.

The names are those of the reference's LicenseProviderDefinition (`order-api.md` 4.5). Its templates are Go's text/template and
are taken as they are: they render the same bytes.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.connector import ConnectorRefused

_KNOWN: Final = {
    "successFlag": "success_flag",
    "errorCode": "error_code",
    "errorMessage": "error_message",
    "PublisherLicenseID": "license_id",
}
_KEYS: Final = ("activationCode", "activationFileContent", "activationLink")
ShortText = Annotated[str, Field(max_length=1_024)]


class _Part(BaseModel):
    """Unknown members are refused: whoever wrote them meant something by them."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class ResponsePath(_Part):
    """Where a value stands in an answer, and what is made of it."""

    path: ShortText
    """JSONPath; a `+` at its end takes all matches."""

    conversion_template: Annotated[str, Field(max_length=65_536)] | None = None


class OperationDefinition(_Part):
    """One request to the publisher."""

    url_complement: ShortText = ""
    body_template: Annotated[str, Field(max_length=65_536)] = ""
    http_headers: Annotated[dict[ShortText, ShortText], Field(max_length=50)] = Field(default_factory=dict)
    response_paths: Annotated[dict[ShortText, ResponsePath | ShortText], Field(max_length=50)] = Field(
        default_factory=dict
    )


class PermanentErrorsDefinition(_Part):
    """What is never tried again."""

    error_codes: Annotated[list[ShortText], Field(max_length=200)] = Field(default_factory=list)
    error_messages: Annotated[list[ShortText], Field(max_length=50)] = Field(default_factory=list)
    http_status_codes: Annotated[list[int], Field(max_length=50)] = Field(default_factory=list)


class LicenseProviderDefinition(_Part):
    """A publisher's API, as the reference keeps it."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    base_url: ShortText
    body_type: Literal["json", "xml"] = "json"
    status: Literal["Enable", "Disable", "TestMode"] = "Disable"
    """It comes as a draft in any case: a connector is enabled after a good handshake."""

    supported_operations: Annotated[
        list[Literal["create", "cancel", "renew", "upgrade", "pause", "resume"]], Field(max_length=6)
    ]
    operation_definitions: Annotated[
        dict[Literal["create", "cancel", "renew", "upgrade", "pause", "resume", "default"], OperationDefinition],
        Field(max_length=7),
    ]
    """By operation; the one that is called `default` serves those that have none of their own."""

    permanent_errors_definition: PermanentErrorsDefinition = PermanentErrorsDefinition()
    test_mode_parameters: Annotated[dict[ShortText, ShortText], Field(max_length=50)] = Field(default_factory=dict)
    user: ShortText = "nexway"
    """Under HTTP Basic; the password is given as the connector's secret `password`."""


def imported(definition: LicenseProviderDefinition) -> ConnectorDocument:
    """The document; raises ConnectorRefused for what cannot be said in one."""
    operations = {}
    for name in definition.supported_operations:
        found = definition.operation_definitions.get(name) or definition.operation_definitions.get("default")
        if found is None:
            field = f"operationDefinitions.{name}"
            raise ConnectorRefused(f"{field}: the operation is supported, and not defined", field=field)
        operations[name] = _operation(name, found, definition.body_type)
    permanent = definition.permanent_errors_definition
    return ConnectorDocument.model_validate(
        {
            "preset": "imported",
            "base_url": definition.base_url,
            "authentication": {"kind": "basic", "user": definition.user},
            "operations": operations,
            "test_parameters": definition.test_mode_parameters,
            "permanent_errors": {
                "error_codes": permanent.error_codes,
                "error_messages": permanent.error_messages,
                "http_statuses": [str(status) for status in permanent.http_status_codes],
            },
            "surplus": "void" if "cancel" in operations else "hold",
        }
    )


def _operation(name: str, found: OperationDefinition, body_type: str) -> Mapping[str, Any]:
    selectors = {
        called: _selector(path if isinstance(path, ResponsePath) else ResponsePath(path=path))
        for called, path in found.response_paths.items()
    }
    made: dict[str, Any] = {
        "method": "POST",
        "path": found.url_complement,
        "headers": [{"name": called, "value": value} for called, value in found.http_headers.items()],
    }
    if found.body_template:
        made["body"] = {"kind": body_type, "template": found.body_template, "is_escaped": False}
    made |= {ours: selectors[theirs] for theirs, ours in _KNOWN.items() if theirs in selectors}
    if name in ("create", "renew", "upgrade"):
        made["keys"] = [
            {**selectors[one], **({"encoding": "base64"} if one == "activationFileContent" else {})}
            for one in _KEYS
            if one in selectors
        ]
    # The key is the first of these that comes; the others are not lost, but kept beside it, sealed as it is.
    beside = [one for one in _KEYS if one in selectors][1:]
    kept = {called: one for called, one in selectors.items() if called not in (*_KNOWN, *_KEYS) or called in beside}
    if "PublisherLicenseID" in selectors:
        kept["PublisherLicenseID"] = selectors["PublisherLicenseID"]
    return {**made, "additional": kept}


def _selector(found: ResponsePath) -> dict[str, Any]:
    takes_all = found.path.endswith("+")
    return {
        "source": "json",
        "path": found.path.removesuffix("+"),
        "all": takes_all,
        "convert": found.conversion_template,
    }
