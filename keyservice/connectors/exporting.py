"""A connector's document said again as the reference's license manager would keep it: the way back from `importing`."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import ValidationError

from keyservice.connectors.document import BasicAuthentication, ConnectorDocument, Operation, Selector, TextBody
from keyservice.connectors.importing import LicenseProviderDefinition, imported
from keyservice.domain.connector import ConnectorOperation, ConnectorRefused

_KNOWN: Final = {"success_flag": "successFlag", "error_code": "errorCode", "error_message": "errorMessage"}
_TEXT_KEYS: Final = ("activationCode", "activationLink")


def exported(
    name: str, document: ConnectorDocument, *, status: Literal["Enable", "Disable", "TestMode"]
) -> LicenseProviderDefinition:
    """The definition from which this document would be made again, member for member.

    Raises ConnectorRefused for a document that says more than a definition can.
    """
    bodies = {one.body.kind for one in document.operations.values() if isinstance(one.body, TextBody)}
    authentication = document.authentication
    told = {
        name: document.operations[name]
        for name in ConnectorOperation
        if name in document.operations and name is not ConnectorOperation.LOOK_UP
    }
    try:
        definition = LicenseProviderDefinition.model_validate(
            {
                "name": name,
                "baseUrl": document.base_url,
                "bodyType": "xml" if bodies == {"xml"} else "json",
                "status": status,
                "supportedOperations": [str(one) for one in told],
                "operationDefinitions": {str(called): _operation(one) for called, one in told.items()},
                "permanentErrorsDefinition": {
                    "errorCodes": list(document.permanent_errors.error_codes),
                    "errorMessages": list(document.permanent_errors.error_messages),
                    "httpStatusCodes": [int(one) for one in document.permanent_errors.http_statuses if one.isdigit()],
                },
                "testModeParameters": dict(document.test_parameters),
                "user": authentication.user if isinstance(authentication, BasicAuthentication) else "",
            }
        )
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise ConnectorRefused(f"{place}: a definition of the reference cannot say this", field=place) from None
    # Nothing is left out in silence: what comes back from it has to be the same document.
    again = imported(definition).model_copy(update={"preset": document.preset})
    if again != document:
        ours, theirs = document.model_dump(), again.model_dump()
        member = next(called for called in ours if ours[called] != theirs[called])
        raise ConnectorRefused(
            f"{member}: it says more than a definition of the reference can; read the connector's document",
            field=member,
        )
    return definition


def _operation(operation: Operation) -> Mapping[str, Any]:
    paths = {called: _path(one) for called, one in operation.additional.items()}
    found = {theirs: getattr(operation, ours) for ours, theirs in _KNOWN.items()}
    paths |= {called: _path(one) for called, one in found.items() if one is not None}
    texts = iter(_TEXT_KEYS)
    for key in operation.keys:
        called = "activationFileContent" if key.encoding == "base64" else next(texts, "activationCode")
        paths[called] = _path(key)
    return {
        "urlComplement": operation.path,
        "bodyTemplate": operation.body.template if isinstance(operation.body, TextBody) else "",
        "httpHeaders": {one.name: one.value for one in operation.headers},
        "responsePaths": paths,
    }


def _path(selector: Selector) -> Mapping[str, Any]:
    return {"path": f"{selector.path}{'+' if selector.all else ''}", "conversionTemplate": selector.convert}
