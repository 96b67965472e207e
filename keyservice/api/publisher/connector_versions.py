"""What a connector was before: the versions of its document, each with what its last handshake came to."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from aiohttp import web

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import NEXT_PAGE, AnswerModel, json_answer
from keyservice.api.asking import path_id
from keyservice.api.operation import Operation
from keyservice.api.parameters import NumberedPage, OfPublisher, read_parameters
from keyservice.api.publisher.connector_documents import HandshakeStepDocument
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.errors import NotFound
from keyservice.fulfillment.manage_connectors import VERSIONS_MAX, list_versions, read_connector_version
from keyservice.fulfillment.stored_connector import ConnectorVersion
from keyservice.services import SERVICES


class ListedVersion(AnswerModel):
    """A version without its document."""

    version: int
    created_by: int
    """The caller."""

    created_at: datetime
    handshake_at: datetime | None
    is_handshake_good: bool


class VersionPage(AnswerModel):
    """A page of versions, the newest first."""

    versions: list[ListedVersion]
    after: Annotated[int | None, NEXT_PAGE]


class VersionDocument(ListedVersion):
    """A version as it was written. It never changes."""

    document: dict[str, Any]
    steps: list[HandshakeStepDocument]
    """Of its last handshake, with every secret masked."""

    advice: str


_LIST: Final = Operation(
    operation_id="list_connector_versions",
    summary="List the versions of a connector's document",
    query=NumberedPage,
    answers={200: VersionPage},
)
_READ: Final = Operation(
    operation_id="read_connector_version",
    summary="Read a version of a connector's document, and what its last handshake came to",
    query=OfPublisher,
    answers={200: VersionDocument},
)


def routes() -> list[web.RouteDef]:
    return [
        route("GET", "/connectors/{connector_id}/versions", Scope.CONNECTORS_READ, show_all, _LIST),
        route("GET", "/connectors/{connector_id}/versions/{version}", Scope.CONNECTORS_READ, show_one, _READ),
    ]


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    """Newest first."""
    asked = read_parameters(request, NumberedPage)
    publisher_id = await publisher_of(request, caller)
    database = request.config_dict[SERVICES].database
    found = await list_versions(
        database, publisher_id, _connector(request), before=asked.after or None, limit=asked.limit
    )
    after = found[-1].version if len(found) == asked.limit and found[-1].version > 1 else None
    return json_answer(VersionPage(versions=[ListedVersion.model_validate(one) for one in found], after=after))


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    database = request.config_dict[SERVICES].database
    number = request.match_info["version"]
    if not number.isascii() or not number.isdecimal() or not 1 <= int(number[:9]) <= VERSIONS_MAX:
        raise NotFound("the connector has no such version")
    version = await read_connector_version(database, publisher_id, _connector(request), int(number[:9]))
    return json_answer(_document(version))


def _connector(request: web.Request) -> UUID:
    return path_id(request, "connector_id", thing="connector")


def _document(version: ConnectorVersion) -> VersionDocument:
    handshake = version.handshake or {}
    return VersionDocument(
        version=version.version,
        created_by=version.created_by,
        created_at=version.created_at,
        handshake_at=version.handshake_at,
        is_handshake_good=version.is_handshake_good,
        document=version.document.model_dump(mode="json", exclude_defaults=True),
        steps=[_step(step) for step in handshake.get("steps", ())],
        advice=str(handshake.get("advice", "")),
    )


def _step(stored: dict[str, Any]) -> HandshakeStepDocument:
    sent = stored["sent"]
    if sent is not None:
        sent = {**sent, "headers": [{"name": name, "value": value} for name, value in sent["headers"]]}
    return HandshakeStepDocument.model_validate({**stored, "sent": sent})
