"""Purchase history for resellers and admins: a shopper's purchases, one purchase, its keys with their states."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from keyservice.api.access import route
from keyservice.api.asking import path_id
from keyservice.api.connect import values
from keyservice.api.reading import read_json
from keyservice.domain.caller import Caller, CallerKind, Scope
from keyservice.domain.errors import Invalid
from keyservice.domain.purchase import Purchase, PurchasedLine, PurchasedUnit
from keyservice.fulfillment.read_purchases import PURCHASES_PAGE_MAX
from keyservice.services import SERVICES


class PurchaseSearch(BaseModel):
    """Whose purchases. The address travels in a body because URLs end up in logs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    email: values.Email
    size: Annotated[int, Field(ge=1, le=PURCHASES_PAGE_MAX)] = 20
    after: Annotated[str | None, Field(max_length=200)] = None


def routes() -> list[web.RouteDef]:
    return [
        route("POST", "/purchases/search", Scope.PURCHASES_READ, search),
        route("GET", "/purchases/{purchase_id}", Scope.PURCHASES_READ, read_one),
    ]


async def search(request: web.Request, caller: Caller) -> web.Response:
    """A page of a shopper's purchases, newest first, without keys."""
    services = request.config_dict[SERVICES]
    asked = PurchaseSearch.model_validate(await read_json(request, bytes_max=4_096))
    rows = await services.purchases.list_of_shopper(
        services.fingerprints.shopper(asked.email), caller, before=_read_cursor(asked.after), size=asked.size
    )
    purchases = [
        {
            "id": str(row["order_id"]),
            "orderNumber": row["order_number"],
            "partnerOrderNumber": row["partner_order_number"],
            "status": row["status"],
            "currency": row["currency"],
            "orderedAt": row["ordered_at"].isoformat(),
            "createdAt": row["created_at"].isoformat(),
            "canceledAt": row["canceled_at"].isoformat() if row["canceled_at"] else None,
        }
        for row in rows
    ]
    is_full = len(rows) == asked.size
    after = _write_cursor(rows[-1]["created_at"], rows[-1]["order_id"]) if is_full else None
    return web.json_response({"purchases": purchases, "after": after})


async def read_one(request: web.Request, caller: Caller) -> web.Response:
    """One purchase with its keys: their text for the reseller who sold them, their last characters for an admin."""
    services = request.config_dict[SERVICES]
    order_id = path_id(request, "purchase_id", thing="order")
    is_reseller = caller.kind is CallerKind.RESELLER
    purchase, _ = await services.purchases.read(order_id, caller, source="purchase history", reveal=is_reseller)
    return web.json_response(_shown(purchase, with_text=is_reseller))


def _shown(purchase: Purchase, *, with_text: bool) -> dict[str, object]:
    return {
        "id": str(purchase.order_id),
        "orderNumber": purchase.order_number,
        "partnerOrderNumber": purchase.partner_order_number,
        "status": purchase.status,
        "currency": purchase.currency,
        "orderedAt": purchase.ordered_at.isoformat(),
        "createdAt": purchase.created_at.isoformat(),
        "canceledAt": purchase.canceled_at.isoformat() if purchase.canceled_at else None,
        "lines": [_shown_line(line, with_text=with_text) for line in purchase.lines],
    }


def _shown_line(line: PurchasedLine, *, with_text: bool) -> dict[str, object]:
    return {
        "lineNumber": line.line_number,
        "productRef": line.product_ref,
        "quantity": line.quantity,
        "units": [_shown_unit(unit, with_text=with_text) for unit in line.units],
    }


def _shown_unit(unit: PurchasedUnit, *, with_text: bool) -> dict[str, object]:
    shown: dict[str, object] = {"id": str(unit.unit_id), "unitNumber": unit.unit_number, "state": unit.state}
    if unit.ended_at is not None:
        shown["endedAt"] = unit.ended_at.isoformat()
    if unit.key is not None:
        shown["keyEndsWith"] = unit.key.tail
        if with_text:
            shown["key"] = unit.key.reveal()
    return shown


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
