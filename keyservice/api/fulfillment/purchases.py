"""Purchase history for those who sold and those who oversee: a shopper's purchases, one purchase, its keys with their states."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from aiohttp import web
from pydantic import Field

from keyservice.api.access import route
from keyservice.api.answering import NEXT_PAGE, WHERE_THERE_IS_ONE, CamelAnswer, json_answer
from keyservice.api.asking import StrictModel, path_id, read_model, shown_as
from keyservice.api.connect import values
from keyservice.api.fulfillment.claim_documents import Reinstatement
from keyservice.api.fulfillment.claims import REINSTATEMENT
from keyservice.api.key_document import KeyDocument, key_document
from keyservice.api.operation import Operation
from keyservice.api.parameters import Nothing, read_parameters
from keyservice.api.reading import read_json
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.errors import Invalid
from keyservice.domain.key_parts import telling_text
from keyservice.domain.purchase import Purchase, PurchasedLine, PurchasedUnit, UnitState
from keyservice.fulfillment.read_purchases import PURCHASES_PAGE_MAX
from keyservice.fulfillment.reinstate_units import reinstate_units
from keyservice.services import SERVICES


class PurchaseSearch(StrictModel):
    """Whose purchases. The address travels in a body because URLs end up in logs."""

    model_config = shown_as(email="ada@example.com")

    email: values.Email
    size: Annotated[int, Field(ge=1, le=PURCHASES_PAGE_MAX)] = 20
    after: Annotated[str | None, Field(max_length=200)] = None
    """What the page before gave as `after`."""


class ListedPurchase(CamelAnswer):
    """One purchase without its keys."""

    id: UUID
    order_number: int
    partner_order_number: str
    status: str
    currency: str | None
    """None where keys were claimed by a pipeline that keeps its own orders."""

    ordered_at: datetime
    """As the reseller said."""

    created_at: datetime
    canceled_at: datetime | None


class PurchasePage(CamelAnswer):
    """A page of a shopper's purchases, newest first."""

    purchases: list[ListedPurchase]
    after: Annotated[str | None, NEXT_PAGE]


class UnitDocument(CamelAnswer):
    """One wanted key. Its key is shown while it is issued: its end to everyone, its text to whoever sold it."""

    id: UUID
    unit_number: int
    state: UnitState
    ended_at: Annotated[datetime | None, WHERE_THERE_IS_ONE] = None
    key_ends_with: Annotated[str | None, WHERE_THERE_IS_ONE] = None
    key_document: Annotated[KeyDocument | None, WHERE_THERE_IS_ONE] = None
    key: Annotated[str | None, WHERE_THERE_IS_ONE] = None
    """The text of a key that is a text."""


class PurchaseLineDocument(CamelAnswer):
    """One product of a purchase."""

    line_number: int
    product_ref: int
    quantity: int
    units: list[UnitDocument]


class PurchaseDocument(ListedPurchase):
    """One purchase with its keys."""

    lines: list[PurchaseLineDocument]


_SEARCH: Final = Operation(
    operation_id="search_purchases",
    summary="Find what a shopper bought",
    description="Newest first, without keys: those that the caller sold, or all for admins and auditors.",
    body=PurchaseSearch,
    query=Nothing,
    answers={200: PurchasePage},
)
_READ: Final = Operation(
    operation_id="read_purchase",
    summary="Read a purchase with its keys",
    description="Who sold it sees the keys; admins and auditors see how they end. Each reading is an event.",
    query=Nothing,
    answers={200: PurchaseDocument},
)
_REINSTATE: Final = Operation(
    operation_id="reinstate_purchase",
    summary="Reverse a cancellation: units that have ended are wanted again",
    description=f"{REINSTATEMENT} For whoever sold it, and for admins.",
    body=Reinstatement,
    query=Nothing,
    refusals={
        404: "There is no such purchase, or it has no such unit.",
        409: "The cancellation is still under way, or no other key is left; nothing has changed.",
    },
    answers={200: PurchaseDocument},
)


def routes() -> list[web.RouteDef]:
    return [
        route("POST", "/purchases/search", Scope.PURCHASES_READ, search, _SEARCH),
        # Of the length of an id, so that `search` is none: its path has no GET.
        route("GET", "/purchases/{purchase_id:[^/]{36}}", Scope.PURCHASES_READ, read_one, _READ),
        route("POST", "/purchases/{purchase_id:[^/]{36}}/reinstate", Scope.ORDERS_CANCEL, reinstate, _REINSTATE),
    ]


async def search(request: web.Request, caller: Caller) -> web.Response:
    """A page of a shopper's purchases, newest first, without keys."""
    services = request.config_dict[SERVICES]
    read_parameters(request, Nothing)
    asked = PurchaseSearch.model_validate(await read_json(request, bytes_max=4_096))
    rows = await services.purchases.list_of_shopper(
        services.fingerprints.shopper(asked.email), caller, before=_read_cursor(asked.after), size=asked.size
    )
    purchases = [
        ListedPurchase(
            id=row["order_id"],
            order_number=row["order_number"],
            partner_order_number=row["partner_order_number"],
            status=row["status"],
            currency=row["currency"],
            ordered_at=row["ordered_at"],
            created_at=row["created_at"],
            canceled_at=row["canceled_at"],
        )
        for row in rows
    ]
    is_full = len(rows) == asked.size
    after = _write_cursor(rows[-1]["created_at"], rows[-1]["order_id"]) if is_full else None
    return json_answer(PurchasePage(purchases=purchases, after=after))


async def read_one(request: web.Request, caller: Caller) -> web.Response:
    """One purchase with its keys: their text for whoever sold them, their last characters for admins and auditors."""
    services = request.config_dict[SERVICES]
    read_parameters(request, Nothing)
    order_id = path_id(request, "purchase_id", thing="order")
    is_theirs = not caller.is_overseer
    purchase, _ = await services.purchases.read(order_id, caller, source="purchase history", reveal=is_theirs)
    return json_answer(_shown(purchase, with_text=is_theirs))


async def reinstate(request: web.Request, caller: Caller) -> web.Response:
    """The purchase as it stands when the cancellation was reversed."""
    services = request.config_dict[SERVICES]
    read_parameters(request, Nothing)
    order_id = path_id(request, "purchase_id", thing="order")
    asked = await read_model(request, Reinstatement)
    await reinstate_units(
        *(services.database, services.opener, services.connectors, caller, order_id),
        unit_ids=None if asked.units is None else [UUID(unit) for unit in asked.units],
        reason=asked.reason,
    )
    is_theirs = not caller.is_overseer
    purchase, _ = await services.purchases.read(order_id, caller, source="purchase history", reveal=is_theirs)
    return json_answer(_shown(purchase, with_text=is_theirs))


def _shown(purchase: Purchase, *, with_text: bool) -> PurchaseDocument:
    return PurchaseDocument(
        id=purchase.order_id,
        order_number=purchase.order_number,
        partner_order_number=purchase.partner_order_number,
        status=purchase.status,
        currency=purchase.currency,
        ordered_at=purchase.ordered_at,
        created_at=purchase.created_at,
        canceled_at=purchase.canceled_at,
        lines=[_shown_line(line, with_text=with_text) for line in purchase.lines],
    )


def _shown_line(line: PurchasedLine, *, with_text: bool) -> PurchaseLineDocument:
    return PurchaseLineDocument(
        line_number=line.line_number,
        product_ref=line.product_ref,
        quantity=line.quantity,
        units=[_shown_unit(unit, with_text=with_text) for unit in line.units],
    )


def _shown_unit(unit: PurchasedUnit, *, with_text: bool) -> UnitDocument:
    document = None if unit.key is None or not with_text else key_document(unit.key, unit.mime, unit.name)
    return UnitDocument(
        id=unit.unit_id,
        unit_number=unit.unit_number,
        state=unit.state,
        ended_at=unit.ended_at,
        key_ends_with=None if unit.key is None else telling_text(unit.key, unit.mime).tail,
        key_document=document,
        key=None if document is None else document.text,
    )


def _write_cursor(at: datetime, order_id: UUID) -> str:
    return base64.urlsafe_b64encode(
        json.dumps([(at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1), str(order_id)]).encode()
    ).decode()


def _read_cursor(text: str | None) -> tuple[datetime, UUID] | None:
    if text is None:
        return None
    try:
        microseconds, order_id = json.loads(base64.urlsafe_b64decode(text))
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds), UUID(order_id)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise Invalid("is not a cursor that this service gave out", field="after") from None
