"""Connectors to a publisher's own API: documents, secrets, handshakes, and whether they are used."""

import re
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from aiohttp import web
from pydantic import ValidationError

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import LOCATION, json_answer
from keyservice.api.asking import path_id, read_model
from keyservice.api.operation import Answer, Operation
from keyservice.api.parameters import OfPublisher, Page, read_parameters
from keyservice.api.publisher.connector_documents import (
    ConnectorDocumentAnswer,
    ConnectorListedDocument,
    ConnectorPage,
    ConnectorSwitch,
    Document,
    FillInDocument,
    HandshakeDocument,
    NewConnector,
    NewHandshake,
    NewSecrets,
    NewVersion,
    PresetDocument,
    PresetList,
    PreviewWanted,
    RequestDocument,
    connector_answer,
    handshake_document,
    request_document,
)
from keyservice.api.publisher.documents import PREFIX, behind
from keyservice.connectors.calls import Connector
from keyservice.connectors.checking import check_document
from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.presets import preset, preset_names
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.connector import ConnectorOperation, ConnectorRefused
from keyservice.domain.errors import Invalid, NotFound
from keyservice.fulfillment.keep_connector_secrets import delete_secret, keep_secrets
from keyservice.fulfillment.manage_connectors import add_version, create_connector, list_connectors, read_connector
from keyservice.fulfillment.shake_hands import example_facts, preview_of, shake_hands
from keyservice.fulfillment.stored_connector import ConnectorState
from keyservice.fulfillment.switch_connector import switch_connector
from keyservice.services import SERVICES, Services

_SECRET_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MAKE: Final = Operation(
    operation_id="create_connector",
    summary="Make a connector to a publisher's own API",
    description="It is a draft: give it its secrets, shake hands, then enable it.",
    body=NewConnector,
    query=OfPublisher,
    answers={201: Answer(ConnectorDocumentAnswer, "The new connector.", {"Location": LOCATION})},
    refusals={409: "There is a connector of this name.", 422: "The document cannot be used; `field` says where."},
)
_LIST: Final = Operation(
    operation_id="list_connectors", summary="List connectors", query=Page, answers={200: ConnectorPage}
)
_READ: Final = Operation(
    operation_id="read_connector",
    summary="Read a connector, and what about the buyer it would send out",
    query=OfPublisher,
    answers={200: ConnectorDocumentAnswer},
)
_CHANGE: Final = Operation(
    operation_id="change_connector",
    summary="Make a new version of a connector's document",
    description="An enabled connector goes on with the version in use until the new one is enabled too.",
    body=NewVersion,
    query=OfPublisher,
    answers={200: ConnectorDocumentAnswer},
    refusals={409: "Somebody else has made a version meanwhile.", 422: "The document cannot be used."},
)
_SECRETS: Final = Operation(
    operation_id="give_connector_secrets",
    summary="Give a connector its secrets",
    body=NewSecrets,
    query=OfPublisher,
    answers={200: ConnectorDocumentAnswer},
    refusals={422: "The document names no such secret."},
)
_FORGET: Final = Operation(
    operation_id="forget_connector_secret",
    summary="Delete a connector's secret",
    description="One that is not there is gone already.",
    query=OfPublisher,
    answers={200: ConnectorDocumentAnswer},
    refusals={409: "The version in use needs it: disable the connector first."},
)
_SHAKE: Final = Operation(
    operation_id="shake_hands",
    summary="Try a connector with real calls",
    body=NewHandshake,
    query=OfPublisher,
    answers={200: HandshakeDocument},
    refusals={409: "Something is missing: secrets, or what is to be filled in.", 422: "The document cannot be used."},
)
_SWITCH: Final = Operation(
    operation_id="switch_connector",
    summary="Enable a connector, test with it, or disable it",
    body=ConnectorSwitch,
    query=OfPublisher,
    answers={200: ConnectorDocumentAnswer},
    refusals={409: "Something is missing: secrets, or a good handshake.", 422: "The document cannot be used."},
)
_PREVIEW: Final = Operation(
    operation_id="preview_connector",
    summary="Look at the exact request that a connector would send",
    body=PreviewWanted,
    query=OfPublisher,
    answers={200: RequestDocument},
    refusals={422: "The document has no such operation, or its templates do not come to a request."},
)
_PRESETS: Final = Operation(
    operation_id="list_connector_presets",
    summary="List the protocols that are known",
    query=OfPublisher,
    answers={200: PresetList},
)


def routes() -> list[web.RouteDef]:
    read, write = Scope.CONNECTORS_READ, Scope.CONNECTORS_WRITE
    return [
        route("POST", "/connectors", write, make, _MAKE),
        route("GET", "/connectors", read, show_all, _LIST),
        route("GET", "/connector-presets", read, show_presets, _PRESETS),
        route("GET", "/connectors/{connector_id}", read, show_one, _READ),
        route("PUT", "/connectors/{connector_id}/document", write, change, _CHANGE),
        route("PUT", "/connectors/{connector_id}/secrets", write, put_secrets, _SECRETS),
        route("DELETE", "/connectors/{connector_id}/secrets/{secret_name}", write, forget_secret, _FORGET),
        route("POST", "/connectors/{connector_id}/handshake", write, shake, _SHAKE),
        route("POST", "/connectors/{connector_id}/preview", write, show_preview, _PREVIEW),
        route("PATCH", "/connectors/{connector_id}", write, switch, _SWITCH),
    ]


async def make(request: web.Request, caller: Caller) -> web.Response:
    """A draft."""
    services = request.config_dict[SERVICES]
    publisher_id = await _publisher(request, caller)
    asked = await read_model(request, NewConnector)
    document = preset(asked.preset, fill_in=asked.fill_in) if asked.preset is not None else _document(asked.document)
    _check(services, document)
    view = await create_connector(
        services.database,
        publisher_id,
        name=asked.name,
        document=document,
        caller_id=caller.caller_id,
        now=datetime.now(UTC),
    )
    return json_answer(connector_answer(view), status=201, location=f"{PREFIX}/connectors/{view.listed.connector_id}")


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    """Oldest first."""
    asked = read_parameters(request, Page)
    publisher_id = await publisher_of(request, caller)
    found = await list_connectors(
        request.config_dict[SERVICES].database, publisher_id, after=asked.after, limit=asked.limit
    )
    documents = [ConnectorListedDocument.model_validate(one) for one in found]
    after = behind([one.connector_id for one in found], asked.limit)
    return json_answer(ConnectorPage(connectors=documents, after=after))


async def show_presets(request: web.Request, caller: Caller) -> web.Response:
    await _publisher(request, caller)
    presets = []
    for name in preset_names():
        document = preset(name)
        presets.append(
            PresetDocument(
                name=name,
                to_fill_in=[FillInDocument(path=part.path, hint=part.hint) for part in document.to_fill_in],
                secrets=sorted(document.secret_names),
                operations=list(document.operations),
            )
        )
    return json_answer(PresetList(presets=presets))


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    publisher_id = await _publisher(request, caller)
    view = await read_connector(request.config_dict[SERVICES].database, publisher_id, _id(request))
    return json_answer(connector_answer(view))


async def change(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    publisher_id = await _publisher(request, caller)
    await read_connector(services.database, publisher_id, _id(request))
    asked = await read_model(request, NewVersion)
    document = _document(asked.document)
    _check(services, document)
    view = await add_version(
        services.database,
        publisher_id,
        _id(request),
        document=document,
        edited_version=asked.edited_version,
        caller_id=caller.caller_id,
        now=datetime.now(UTC),
    )
    return json_answer(connector_answer(view))


async def put_secrets(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    publisher_id = await _publisher(request, caller)
    await read_connector(services.database, publisher_id, _id(request))
    asked = await read_model(request, NewSecrets)
    view = await keep_secrets(
        *(services.database, services.wrapper, publisher_id, _id(request), asked.secrets),
        caller_id=caller.caller_id,
        now=datetime.now(UTC),
    )
    return json_answer(connector_answer(view))


async def forget_secret(request: web.Request, caller: Caller) -> web.Response:
    publisher_id = await _publisher(request, caller)
    name = request.match_info["secret_name"]
    if not _SECRET_NAME.fullmatch(name):
        raise NotFound("no secret has such a name")
    view = await delete_secret(
        *(request.config_dict[SERVICES].database, publisher_id, _id(request), name),
        caller_id=caller.caller_id,
        now=datetime.now(UTC),
    )
    return json_answer(connector_answer(view))


async def shake(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    publisher_id = await _publisher(request, caller)
    await read_connector(services.database, publisher_id, _id(request))
    asked = await read_model(request, NewHandshake)
    handshake = await shake_hands(
        *(services.database, services.wrapper, services.engine, services.egress, publisher_id, _id(request)),
        issue_and_void=asked.issue_and_void,
        caller_id=caller.caller_id,
        now=datetime.now(UTC),
    )
    return json_answer(handshake_document(handshake))


async def show_preview(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    publisher_id = await _publisher(request, caller)
    view = await read_connector(services.database, publisher_id, _id(request))
    asked = await read_model(request, PreviewWanted)
    operation = ConnectorOperation(asked.operation)
    if operation not in view.newest.document.operations:
        raise Invalid("the document has no such operation", field="operation")
    connector = Connector(publisher_id, view.listed.connector_id, view.newest.version, view.newest.document, {})
    found = preview_of(connector, example_facts(operation, datetime.now(UTC)))
    if found is None:
        raise Invalid("the templates of this operation do not come to a request that can be sent", field="operation")
    return json_answer(request_document(found))


async def switch(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    publisher_id = await _publisher(request, caller)
    before = await read_connector(services.database, publisher_id, _id(request))
    asked = await read_model(request, ConnectorSwitch)
    if asked.state != "disabled":
        _check(services, before.newest.document)
    view = await switch_connector(
        *(services.database, publisher_id, _id(request), ConnectorState(asked.state)),
        caller_id=caller.caller_id,
        now=datetime.now(UTC),
    )
    return json_answer(connector_answer(view))


async def _publisher(request: web.Request, caller: Caller) -> int:
    read_parameters(request, OfPublisher)
    return await publisher_of(request, caller)


def _id(request: web.Request) -> UUID:
    return path_id(request, "connector_id", thing="connector")


def _document(given: Document | None) -> ConnectorDocument:
    """Raises ConnectorRefused, which names the place."""
    try:
        return ConnectorDocument.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise ConnectorRefused(f"{place}: {first['msg']}", field=f"document.{place}") from None


def _check(services: Services, document: ConnectorDocument) -> None:
    """What is still to be filled in cannot be looked at yet."""
    if not document.to_fill_in:
        check_document(document, services.egress)
