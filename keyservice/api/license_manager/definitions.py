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
from keyservice.connectors.exporting import exported
from keyservice.connectors.importing import LicenseProviderDefinition, imported
from keyservice.domain.caller import Caller, Scope
from keyservice.fulfillment.manage_connectors import create_connector, list_connectors, read_connector
from keyservice.fulfillment.stored_connector import ConnectorState
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


def routes() -> list[web.RouteDef]:
    path, read = "/license-provider-definitions", Scope.CONNECTORS_READ
    return [
        route("GET", path, read, show_all, _LIST),
        route("GET", f"{path}/{{connector_id}}", read, show_one, _READ),
        route("POST", path, Scope.CONNECTORS_WRITE, take_over, _IMPORT),
    ]


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    asked = read_parameters(request, Page)
    publisher_id = await publisher_of(request, caller)
    database = request.config_dict[SERVICES].database
    found = await list_connectors(database, publisher_id, after=asked.after, limit=asked.limit)
    listed = [DefinitionListed(id=one.connector_id, name=one.name, status=_STATUSES[one.state]) for one in found]
    after = found[-1].connector_id if len(found) == asked.limit else None
    return json_answer(DefinitionPage(definitions=listed, after=after))


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    connector_id = path_id(request, "connector_id", thing="connector")
    view = await read_connector(request.config_dict[SERVICES].database, publisher_id, connector_id)
    return json_answer(exported(view.listed.name, view.newest.document, status=_STATUSES[view.listed.state]))


async def take_over(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    definition = await read_model(request, LicenseProviderDefinition)
    document = imported(definition)
    check_document(document, services.egress)
    made = await create_connector(
        services.database,
        publisher_id,
        name=definition.name,
        document=document,
        caller_id=caller.caller_id,
        now=datetime.now(UTC),
    )
    listed = made.listed
    return json_answer(
        DefinitionListed(id=listed.connector_id, name=listed.name, status=_STATUSES[listed.state]),
        status=201,
        location=f"/publisher/connectors/{listed.connector_id}",
    )
