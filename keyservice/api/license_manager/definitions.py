"""The reference's LicenseProviderDefinitions: taken over as connectors, and read back."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from aiohttp import web

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import LOCATION, NEXT_PAGE, CamelAnswer, json_answer
from keyservice.api.asking import path_id, read_model
from keyservice.api.operation import Answer, Operation
from keyservice.api.parameters import OfPublisher, Page, read_parameters
from keyservice.connectors.checking import check_document
from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.exporting import exported
from keyservice.connectors.importing import LicenseProviderDefinition, imported
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.errors import NotFound
from keyservice.fulfillment.manage_connectors import add_version, create_connector, list_connectors, read_connector
from keyservice.fulfillment.stored_connector import ConnectorListed, ConnectorState
from keyservice.fulfillment.switch_connector import switch_connector
from keyservice.services import SERVICES

Status = Literal["Enable", "Disable", "TestMode"]

_STATUSES: Final[dict[ConnectorState, Status]] = {
    ConnectorState.DRAFT: "Disable",
    ConnectorState.TESTING: "TestMode",
    ConnectorState.ENABLED: "Enable",
    ConnectorState.DISABLED: "Disable",
}


class DefinitionListed(CamelAnswer):
    """A connector, by the name of its definition."""

    id: UUID
    name: str
    status: Status


class DefinitionPage(CamelAnswer):
    """A page of connectors, in the order in which they were made."""

    definitions: list[DefinitionListed]
    after: Annotated[UUID | None, NEXT_PAGE]


_LIST: Final = Operation(
    operation_id="list_license_provider_definitions",
    summary="List definitions",
    description="Every connector of the publisher is listed, also one that only its own document can say in full.",
    query=Page,
    answers={200: DefinitionPage},
)
_READ: Final = Operation(
    operation_id="read_license_provider_definition",
    summary="Read a connector's newest version as a definition",
    description="What is read can be taken over again, and becomes the same connector.",
    query=OfPublisher,
    answers={200: LicenseProviderDefinition},
    refusals={422: "The connector says more than a definition can; `field` says which member."},
)
_IMPORT: Final = Operation(
    operation_id="import_license_provider_definition",
    summary="Take over a definition of the reference as a connector",
    description="Its templates render the same bytes. It is a draft: give it its password, shake hands, then enable it.",
    query=OfPublisher,
    body=LicenseProviderDefinition,
    answers={201: Answer(DefinitionListed, "The connector.", {"Location": LOCATION})},
    refusals={409: "There is a connector of this name.", 422: "The definition cannot be used; `field` says where."},
)
_CHANGE: Final = Operation(
    operation_id="change_license_provider_definition",
    summary="Make a new version of the connector that has the definition's name",
    description="An enabled connector goes on with the version in use until the new one is enabled too.",
    query=OfPublisher,
    body=LicenseProviderDefinition,
    answers={200: DefinitionListed},
    refusals={
        404: "There is no connector of this name.",
        409: "Somebody else has made a version meanwhile.",
        422: "The definition cannot be used; `field` says where.",
    },
)
_END: Final = Operation(
    operation_id="end_license_provider_definition",
    summary="Ask this publisher's API for nothing new",
    description="The connector is disabled and stays on record, as what was bought through it does. Again is no error.",
    query=OfPublisher,
    answers={200: DefinitionListed},
)


def routes() -> list[web.RouteDef]:
    path, read, write = "/license-provider-definitions", Scope.CONNECTORS_READ, Scope.CONNECTORS_WRITE
    return [
        route("GET", path, read, show_all, _LIST),
        route("GET", f"{path}/{{connector_id}}", read, show_one, _READ),
        route("POST", path, write, take_over, _IMPORT),
        route("PUT", path, write, change, _CHANGE),
        route("DELETE", f"{path}/{{connector_id}}", write, end, _END),
    ]


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    asked = read_parameters(request, Page)
    publisher_id = await publisher_of(request, caller)
    database = request.config_dict[SERVICES].database
    found = await list_connectors(database, publisher_id, after=asked.after, limit=asked.limit)
    after = found[-1].connector_id if len(found) == asked.limit else None
    return json_answer(DefinitionPage(definitions=[_listed(one) for one in found], after=after))


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    publisher_id = await _publisher(request, caller)
    view = await read_connector(request.config_dict[SERVICES].database, publisher_id, _id(request))
    return json_answer(exported(view.listed.name, view.newest.document, status=_STATUSES[view.listed.state]))


async def take_over(request: web.Request, caller: Caller) -> web.Response:
    publisher_id = await _publisher(request, caller)
    name, document = await _given(request)
    made = await create_connector(
        request.config_dict[SERVICES].database,
        publisher_id,
        name=name,
        document=document,
        caller_id=caller.caller_id,
        now=datetime.now(UTC),
    )
    location = f"/publisher/connectors/{made.listed.connector_id}"
    return json_answer(_listed(made.listed), status=201, location=location)


async def change(request: web.Request, caller: Caller) -> web.Response:
    publisher_id = await _publisher(request, caller)
    database = request.config_dict[SERVICES].database
    name, document = await _given(request)
    named = next((one for one in await list_connectors(database, publisher_id) if one.name == name), None)
    if named is None:
        raise NotFound("there is no connector of this name; take the definition over with POST")
    before = await read_connector(database, publisher_id, named.connector_id)
    view = await add_version(
        *(database, publisher_id, named.connector_id),
        document=document,
        edited_version=before.newest.version,
        caller_id=caller.caller_id,
        now=datetime.now(UTC),
    )
    return json_answer(_listed(view.listed))


async def end(request: web.Request, caller: Caller) -> web.Response:
    publisher_id = await _publisher(request, caller)
    view = await switch_connector(
        *(request.config_dict[SERVICES].database, publisher_id, _id(request), ConnectorState.DISABLED),
        caller_id=caller.caller_id,
        now=datetime.now(UTC),
    )
    return json_answer(_listed(view.listed))


async def _publisher(request: web.Request, caller: Caller) -> int:
    read_parameters(request, OfPublisher)
    return await publisher_of(request, caller)


def _id(request: web.Request) -> UUID:
    return path_id(request, "connector_id", thing="connector")


async def _given(request: web.Request) -> tuple[str, ConnectorDocument]:
    """The definition's name, and the document that it becomes. Raises ConnectorRefused, which names the place."""
    definition = await read_model(request, LicenseProviderDefinition)
    document = imported(definition)
    check_document(document, request.config_dict[SERVICES].egress)
    return definition.name, document


def _listed(connector: ConnectorListed) -> DefinitionListed:
    return DefinitionListed(id=connector.connector_id, name=connector.name, status=_STATUSES[connector.state])
