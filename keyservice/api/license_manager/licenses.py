"""Licenses that publishers' own APIs have issued, and what is asked about them: paths and members of the reference."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from aiohttp import web
from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import NEXT_PAGE, CamelAnswer, json_answer
from keyservice.api.asking import StrictModel, UuidText, path_id, read_model
from keyservice.api.operation import Operation
from keyservice.api.parameters import OfPublisher, Page, read_parameters
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.errors import NotFound
from keyservice.domain.key_request import OPEN, RequestState
from keyservice.fulfillment.ask_operation import ask_operation, end_license, read_license, read_operations
from keyservice.fulfillment.decide_request import Decision, NotDecidable, decide_request
from keyservice.fulfillment.read_requests import list_licenses, read_request
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.services import SERVICES

_REASON: Final = "asked of the license manager"


class OperationRequest(StrictModel):
    """The body that asks for something about a license."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        json_schema_extra={"examples": [{"operation": "renew", "licenseId": "01a214e1-79e7-7120-acec-110d7eb348ac"}]},
    )

    operation: Literal["cancel", "renew", "upgrade", "pause", "resume"]
    license_id: UuidText
    """Of the license, as the list of licenses has it."""


class LicenseOperation(CamelAnswer):
    """One thing that was asked about a license."""

    id: UUID
    license_id: UUID
    operation: ConnectorOperation
    status: RequestState
    """How far it is, in this service's words: the reference does not say which there are."""

    is_success: bool
    is_scheduled: bool
    execution_error: str | None
    http_response_status: int | None
    created_at: datetime
    timestamp: datetime
    """When something was last heard of it."""


class License(CamelAnswer):
    """What a publisher has issued for one order line or unit."""

    id: UUID
    status: Literal["Scheduled", "Running", "Paused", "Canceled"]
    publisher_license_id: str | None
    order_id: UUID
    line_number: int
    last_failure_timestamp: datetime | None
    processing_in_progress: bool
    operation_executions: list[LicenseOperation]
    """Oldest first."""


class LicensePage(CamelAnswer):
    """A page of licenses, newest first."""

    licenses: list[License]
    after: Annotated[UUID | None, NEXT_PAGE]


_LIST: Final = Operation(
    operation_id="list_licenses", summary="List licenses, newest first", query=Page, answers={200: LicensePage}
)
_READ: Final = Operation(
    operation_id="read_license", summary="Read a license", query=OfPublisher, answers={200: License}
)
_END: Final = Operation(
    operation_id="end_license",
    summary="Cancel a license",
    description="Its keys are dead here at once; the publisher is asked to take them back. Saying it again changes nothing.",
    query=OfPublisher,
    answers={200: License},
)
_ASK: Final = Operation(
    operation_id="ask_license_operation",
    summary="Ask the publisher to do something about a license",
    description="What is under way already is not asked for twice.",
    query=OfPublisher,
    body=OperationRequest,
    answers={200: License},
    refusals={404: "There is no such license.", 409: "The license has ended, or its connector has no such operation."},
)
_READ_ONE: Final = Operation(
    operation_id="read_license_operation",
    summary="Read an operation",
    query=OfPublisher,
    answers={200: LicenseOperation},
)
_READ_EXECUTION: Final = Operation(
    operation_id="read_operation_of_license",
    summary="Read an operation of this license",
    query=OfPublisher,
    answers={200: LicenseOperation},
)
_REPLAY: Final = Operation(
    operation_id="replay_license_operation",
    summary="Have an operation done again: the last one of its license, and only if it has failed",
    query=OfPublisher,
    answers={200: LicenseOperation},
    refusals={409: "It is not the last one, or has not failed."},
)


def routes() -> list[web.RouteDef]:
    read, decide = Scope.KEY_REQUESTS_READ, Scope.KEY_REQUESTS_DECIDE
    return [
        route("GET", "/license", read, show_all, _LIST),
        route("GET", "/license/{license_id}", read, show_one, _READ),
        route("DELETE", "/license/{license_id}", decide, end, _END),
        route("GET", "/license/{license_id}/{execution_id}", read, show_execution, _READ_EXECUTION),
        route("POST", "/operations", decide, ask, _ASK),
        route("GET", "/operation/{operation_id}", read, show_operation, _READ_ONE),
        route("POST", "/operation/{operation_id}", decide, replay, _REPLAY),
    ]


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    """Newest first."""
    database = request.config_dict[SERVICES].database
    asked = read_parameters(request, Page)
    publisher_id = await publisher_of(request, caller)
    found = await list_licenses(database, publisher_id, after=asked.after, limit=asked.limit)
    licenses = [_license(one, await read_operations(database, publisher_id, one.license_ref)) for one in found]
    after = found[-1].key_request_id if len(found) == asked.limit else None
    return json_answer(LicensePage(licenses=licenses, after=after))


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    publisher_id = await _publisher(request, caller)
    return await _shown(request, publisher_id, path_id(request, "license_id", thing="license"))


async def end(request: web.Request, caller: Caller) -> web.Response:
    publisher_id = await _publisher(request, caller)
    license_ref = path_id(request, "license_id", thing="license")
    database = request.config_dict[SERVICES].database
    await end_license(database, publisher_id, license_ref, reason=_REASON, caller_id=caller.caller_id)
    return await _shown(request, publisher_id, license_ref)


async def ask(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    publisher_id = await _publisher(request, caller)
    asked = await read_model(request, OperationRequest)
    license_ref, operation = UUID(asked.license_id), ConnectorOperation(asked.operation)
    if operation is ConnectorOperation.CANCEL:
        await end_license(services.database, publisher_id, license_ref, reason=_REASON, caller_id=caller.caller_id)
    else:
        await ask_operation(
            *(services.database, services.connectors, publisher_id, license_ref, operation),
            reason=_REASON,
            caller_id=caller.caller_id,
        )
    return await _shown(request, publisher_id, license_ref)


async def show_operation(request: web.Request, caller: Caller) -> web.Response:
    publisher_id = await _publisher(request, caller)
    operation_id = path_id(request, "operation_id", thing="operation")
    return json_answer(
        _operation(await read_request(request.config_dict[SERVICES].database, publisher_id, operation_id))
    )


async def show_execution(request: web.Request, caller: Caller) -> web.Response:
    """As a part of its license: that of another one is not there."""
    publisher_id = await _publisher(request, caller)
    license_ref = path_id(request, "license_id", thing="license")
    operation_id = path_id(request, "execution_id", thing="operation")
    found = await read_request(request.config_dict[SERVICES].database, publisher_id, operation_id)
    if found.license_ref != license_ref:
        raise NotFound("this license has no such operation")
    return json_answer(_operation(found))


async def replay(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    publisher_id = await _publisher(request, caller)
    operation_id = path_id(request, "operation_id", thing="operation")
    found = await read_request(services.database, publisher_id, operation_id)
    last = (await read_operations(services.database, publisher_id, found.license_ref))[-1]
    if last.key_request_id != operation_id:
        raise NotDecidable("only the last operation of a license is done again")
    again = await decide_request(
        *(services.database, services.connectors, services.asker, publisher_id, operation_id),
        *(Decision.ASK_AGAIN, ()),
        caller_id=caller.caller_id,
    )
    return json_answer(_operation(again))


async def _publisher(request: web.Request, caller: Caller) -> int:
    read_parameters(request, OfPublisher)
    return await publisher_of(request, caller)


async def _shown(request: web.Request, publisher_id: int, license_ref: UUID) -> web.Response:
    database = request.config_dict[SERVICES].database
    created = await read_license(database, publisher_id, license_ref)
    return json_answer(_license(created, await read_operations(database, publisher_id, license_ref)))


def _license(created: KeyRequest, operations: list[KeyRequest]) -> License:
    failed = [one.updated_at for one in operations if one.error_code is not None and not _is_good(one)]
    return License(
        id=created.license_ref,
        status=_status(created, operations),
        publisher_license_id=created.publisher_license_id,
        order_id=created.order_id,
        line_number=created.line_number,
        last_failure_timestamp=max(failed, default=None),
        processing_in_progress=any(one.state in OPEN for one in operations),
        operation_executions=[_operation(one) for one in operations],
    )


def _status(created: KeyRequest, operations: list[KeyRequest]) -> Literal["Scheduled", "Running", "Paused", "Canceled"]:
    if created.state is RequestState.ABANDONED or any(one.operation is ConnectorOperation.CANCEL for one in operations):
        return "Canceled"
    if created.state is not RequestState.ISSUED:
        return "Scheduled"
    done = [one.operation for one in operations if one.state is RequestState.ACKNOWLEDGED]
    paused = [one for one in done if one in (ConnectorOperation.PAUSE, ConnectorOperation.RESUME)]
    return "Paused" if paused[-1:] == [ConnectorOperation.PAUSE] else "Running"


def _operation(request: KeyRequest) -> LicenseOperation:
    return LicenseOperation(
        id=request.key_request_id,
        license_id=request.license_ref,
        operation=request.operation,
        status=request.state,
        is_success=_is_good(request),
        is_scheduled=request.state in OPEN,
        execution_error=None if _is_good(request) else request.error_code,
        http_response_status=request.http_status,
        created_at=request.created_at,
        timestamp=request.updated_at,
    )


def _is_good(request: KeyRequest) -> bool:
    return request.state in (RequestState.ISSUED, RequestState.ACKNOWLEDGED)
