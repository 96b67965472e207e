"""The lean API for order pipelines that keep their own orders: keys by reference, at once, on hold, or when there are some."""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from aiohttp import web

from keyservice.api.access import GuardedHandler, route
from keyservice.api.answering import LOCATION, json_answer
from keyservice.api.asking import StrictModel, read_model
from keyservice.api.fulfillment.claim_documents import (
    ClaimDocument,
    ClaimedLine,
    ClaimedUnit,
    HoldExtension,
    KeyReplacement,
    NewClaim,
    Reinstatement,
    UnitRevocation,
)
from keyservice.api.key_document import key_document
from keyservice.api.operation import Answer, Operation
from keyservice.api.parameters import Nothing, read_parameters
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.claim import ClaimLine, ClaimRequest
from keyservice.domain.errors import Invalid, NotFound
from keyservice.domain.purchase import Purchase, PurchasedLine, PurchasedUnit
from keyservice.fulfillment.claim_by_reference import claim_by_reference, claim_id_of
from keyservice.fulfillment.hold_keys import commit_hold, extend_hold, release_hold
from keyservice.fulfillment.reinstate_units import reinstate_units
from keyservice.fulfillment.replace_key import replace_key
from keyservice.fulfillment.revoke_units import revoke_units
from keyservice.services import SERVICES, Services

PREFIX: Final = "/fulfillment/claims"
REINSTATEMENT: Final = (
    "A key that its publisher was asked for lives again when the publisher has enabled its license, where its connector has an"
    " operation `resume`. Any other key that somebody has seen stays dead: the unit gets another one, from wherever its"
    " product's keys come from today, at once, later, or not at all. Units that live stay as they are."
)


_ANSWERS: Final = {200: ClaimDocument}
_ON_HOLD: Final = {
    404: "The caller has no claim of this reference.",
    409: "It is not on hold (any more), or the hold has expired.",
}


def routes() -> list[web.RouteDef]:
    return [
        route(
            "POST",
            "/claims",
            Scope.CLAIMS_WRITE,
            claim,
            Operation(
                "Claim keys by a reference of your own",
                {201: Answer(ClaimDocument, "Also when the same claim is sent again.", {"Location": LOCATION})},
                body=NewClaim,
                refusals={409: "Fewer keys are left than the claim wants; nothing was taken."},
                operation_id="claim_keys",
            ),
        ),
        route(
            "GET",
            "/claims/{reference}",
            Scope.CLAIMS_READ,
            read_one,
            Operation("Read a claim again, with its keys", _ANSWERS, query=Nothing, operation_id="read_claim"),
        ),
        _changing("extend", _extend, "Hold the keys longer", HoldExtension, _ON_HOLD, "extend_hold"),
        _changing("commit", _commit, "Sell the keys that are on hold, and show them", None, _ON_HOLD, "commit_hold"),
        _changing("release", _release, "Put the keys that are on hold back on sale", None, _ON_HOLD, "release_hold"),
        _changing(
            "revoke",
            _revoke,
            "Revoke units: a key that was shown is dead for good",
            UnitRevocation,
            {404: "There is no such claim, or it has no such unit."},
            "revoke_units",
        ),
        _changing(
            "reinstate",
            _reinstate,
            "Reverse a cancellation: units that have ended are wanted again",
            Reinstatement,
            {
                404: "There is no such claim, or it has no such unit.",
                409: "The cancellation is still under way, or no other key is left; nothing has changed.",
            },
            "reinstate_units",
            description=REINSTATEMENT,
        ),
        _changing(
            "replace",
            _replace,
            "Replace a key that does not work: the new one first, the old one dead",
            KeyReplacement,
            {
                404: "There is no such claim or unit.",
                409: "The unit holds no key, or none is left; it keeps what it has.",
            },
            "replace_key",
        ),
    ]


async def claim(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, Nothing)
    asked = await read_model(request, NewClaim)
    _demand_within_limits(services, asked)
    purchase = await claim_by_reference(
        services.orders, services.catalogue, services.fingerprints, caller, _claim_request(asked)
    )
    return json_answer(_document(purchase), status=201, location=f"{PREFIX}/{asked.reference}")


async def read_one(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, Nothing)
    purchase, _ = await services.purchases.read(_order_id(request, caller), caller, source="fulfillment", reveal=True)
    return json_answer(_document(purchase))


Change = Callable[[web.Request, Services, Caller, UUID], Awaitable[Purchase]]


def _changing(
    verb: str,
    change: Change,
    summary: str,
    body: type[StrictModel] | None,
    refusals: dict[int, str],
    operation_id: str,
    *,
    description: str = "",
) -> web.RouteDef:
    operation = Operation(
        summary,
        _ANSWERS,
        body=body,
        query=Nothing,
        refusals=refusals,
        operation_id=operation_id,
        description=description,
    )
    return route("POST", f"/claims/{{reference}}/{verb}", Scope.CLAIMS_WRITE, _handler(change), operation)


def _handler(change: Change) -> GuardedHandler:
    async def handle(request: web.Request, caller: Caller) -> web.Response:
        services = request.config_dict[SERVICES]
        read_parameters(request, Nothing)
        purchase = await change(request, services, caller, _order_id(request, caller))
        return json_answer(_document(purchase))

    return handle


async def _extend(request: web.Request, services: Services, caller: Caller, order_id: UUID) -> Purchase:
    asked = await read_model(request, HoldExtension)
    _demand_hold(services, asked.seconds, "seconds")
    return await extend_hold(services.database, services.purchases, caller, order_id, seconds=asked.seconds)


async def _commit(_: web.Request, services: Services, caller: Caller, order_id: UUID) -> Purchase:
    return await commit_hold(services.database, services.purchases, caller, order_id)


async def _release(_: web.Request, services: Services, caller: Caller, order_id: UUID) -> Purchase:
    return await release_hold(services.database, services.purchases, caller, order_id)


async def _revoke(request: web.Request, services: Services, caller: Caller, order_id: UUID) -> Purchase:
    asked = await read_model(request, UnitRevocation)
    units = None if asked.units is None else [UUID(unit) for unit in asked.units]
    return await revoke_units(
        services.database, services.purchases, caller, order_id, unit_ids=units, reason=asked.reason
    )


async def _reinstate(request: web.Request, services: Services, caller: Caller, order_id: UUID) -> Purchase:
    asked = await read_model(request, Reinstatement)
    await reinstate_units(
        *(services.database, services.opener, services.connectors, caller, order_id),
        unit_ids=None if asked.units is None else [UUID(unit) for unit in asked.units],
        reason=asked.reason,
    )
    purchase, _ = await services.purchases.read(order_id, caller, source="fulfillment", reveal=True)
    return purchase


async def _replace(request: web.Request, services: Services, caller: Caller, order_id: UUID) -> Purchase:
    asked = await read_model(request, KeyReplacement)
    return await replace_key(
        services.database,
        services.purchases,
        services.opener,
        services.connectors,
        caller,
        order_id,
        unit_id=UUID(asked.unit_id),
        claim_id=UUID(asked.claim_id),
        reason=asked.reason,
    )


def _order_id(request: web.Request, caller: Caller) -> UUID:
    """Whatever is no reference names nothing that exists; neither does another caller's."""
    reference = request.match_info["reference"]
    if not reference.isascii():
        raise NotFound("there is no such claim")
    return claim_id_of(request.config_dict[SERVICES].fingerprints, caller, reference)


def _claim_request(asked: NewClaim) -> ClaimRequest:
    return ClaimRequest(
        reference=asked.reference,
        lines=tuple(
            ClaimLine(number, line.product_ref, line.quantity) for number, line in enumerate(asked.lines, start=1)
        ),
        email=asked.email,
        hold_seconds=asked.hold_seconds,
        may_wait=asked.wait,
        paid_at=asked.paid_at,
    )


def _demand_within_limits(services: Services, asked: NewClaim) -> None:
    settings = services.settings
    if len(asked.lines) > settings.order_lines_max:
        raise Invalid(f"at most {settings.order_lines_max} lines; split the claim", field="lines")
    for number, line in enumerate(asked.lines):
        if line.quantity > settings.line_quantity_max:
            raise Invalid(f"at most {settings.line_quantity_max}; split the line", field=f"lines.{number}.quantity")
    if asked.hold_seconds is not None:
        _demand_hold(services, asked.hold_seconds, "hold_seconds")


def _demand_hold(services: Services, seconds: int, field: str) -> None:
    if seconds > services.settings.hold_seconds_max:
        raise Invalid(f"keys are held for at most {services.settings.hold_seconds_max} seconds", field=field)


def _document(purchase: Purchase) -> ClaimDocument:
    return ClaimDocument(
        reference=purchase.partner_order_number,
        order_number=purchase.order_number,
        status=purchase.status,
        created_at=purchase.created_at,
        held_until=purchase.held_until,
        lines=[_line(line) for line in purchase.lines],
    )


def _line(line: PurchasedLine) -> ClaimedLine:
    return ClaimedLine(
        line_number=line.line_number,
        product_ref=line.product_ref,
        quantity=line.quantity,
        units=[_unit(unit) for unit in line.units],
    )


def _unit(unit: PurchasedUnit) -> ClaimedUnit:
    return ClaimedUnit(
        unit_id=unit.unit_id,
        unit_number=unit.unit_number,
        state=unit.state,
        claim_id=unit.claim_id,
        key=None if unit.key is None else key_document(unit.key, unit.mime, unit.name),
        ended_at=unit.ended_at,
    )
