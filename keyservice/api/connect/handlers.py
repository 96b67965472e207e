"""The Connect services that resellers call: submit an order, ask for stock, read an order, cancel an order.

HTTP: 201 for an order, also when it is sent again; 200 for everything else that was understood, refusals included, since
the reference's clients read `responseCode`; 401 and 403 for credentials; 404 for an order that is not there; 400, 408, 413
and 415 for a body that cannot be read; 503 with Retry-After when it is worth repeating.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from aiohttp import web

from keyservice.api.access import described_route, identify
from keyservice.api.connect import answers, operations
from keyservice.api.connect.answers import AnsweredLine, AnsweredOrder, AnsweredUnit, ProductStock
from keyservice.api.connect.codes import (
    AnswerCode,
    CancelOrderCode,
    CreateOrderCode,
    OrderDataCode,
    StockCode,
    StockStatus,
)
from keyservice.api.connect.errors import answer, refused
from keyservice.api.connect.requests import Profile, Refusal, Refused
from keyservice.api.connect.validation import read_cancel_request, read_order, read_stock_request
from keyservice.api.operation import Credential, Operation
from keyservice.api.reading import read_json
from keyservice.domain.caller import Caller, CallerKind, Scope
from keyservice.domain.catalogue import Product, TooManyUnits
from keyservice.domain.errors import Forbidden, NotFound, OutOfStock, ReferenceReused, Unauthenticated
from keyservice.domain.order import NewOrder, NewOrderLine
from keyservice.domain.purchase import Purchase, PurchasedLine
from keyservice.domain.tape import Alarm
from keyservice.fulfillment.cancel_order import AlreadyCanceled, CancelPeriodExpired, cancel_order
from keyservice.fulfillment.watch_pools import read_levels
from keyservice.services import SERVICES, Services

DOWNLOAD_DAYS: Final = 21
"""Document 000: products can be downloaded during 21 days after the purchase."""

Handler = Callable[[web.Request, Caller], Awaitable[web.Response]]
_STATUS_OF_ALARM: Final = {
    Alarm.NONE: StockStatus.ENOUGH,
    Alarm.WARNING: StockStatus.ALMOST_OUT,
    Alarm.ALERT: StockStatus.ALMOST_OUT,
}


def routes() -> list[web.RouteDef]:
    return [
        _route("POST", "/order/new", Scope.ORDERS_SUBMIT, create_order, operations.SUBMIT),
        _route("POST", "/stock", Scope.STOCK_READ, read_stock, operations.STOCK),
        _route("PUT", "/order/cancel", Scope.ORDERS_CANCEL, cancel, operations.CANCEL),
        _route("GET", "/order/{partnerOrderNumber}", Scope.ORDERS_READ, read_order_data, operations.READ),
    ]


async def create_order(request: web.Request, caller: Caller) -> web.Response:
    """createOrder (document 003)."""
    services = request.config_dict[SERVICES]
    order = read_order(
        await _body(request),
        profile=Profile(caller.validation_profile),
        lines_max=services.settings.order_lines_max,
        quantity_max=services.settings.line_quantity_max,
    )
    if isinstance(order, Refused):
        return answer(answers.refusal_answer(order))
    products = await services.catalogue.products({line.product_ref for line in order.lines})
    unknown = [
        _refuse(CreateOrderCode.PRODUCT_UNKNOWN, line) for line in order.lines if line.product_ref not in products
    ]
    if unknown:
        return _refuse_order(order, *unknown)
    try:
        purchase = await services.orders.accept(caller, order, products)
    except TooManyUnits as error:
        return _refuse_order(order, _refuse(CreateOrderCode.QUANTITY_NOT_VALID, order.lines[error.line_number - 1]))
    except OutOfStock as short:
        return _refuse_order(order, _refuse(CreateOrderCode.OUT_OF_STOCK, order.lines[short.line_number - 1]))
    except ReferenceReused:
        return _refuse_order(order, Refusal.at(CreateOrderCode.ORDER_ALREADY_CREATED, "/partnerOrderNumber"))
    return answer(answers.order_answer(_answered(purchase)), status=201)


async def read_order_data(request: web.Request, caller: Caller) -> web.Response:
    """getData: the answer that createOrder gave, with what has become of the keys since."""
    services = request.config_dict[SERVICES]
    try:
        purchase, _ = await services.purchases.read(
            _order_id(services, caller, request.match_info["partnerOrderNumber"]), caller, source="connect", reveal=True
        )
    except NotFound:
        return answer(refused(OrderDataCode.ORDER_NOT_FOUND), status=404)
    return answer(answers.order_answer(_answered(purchase)))


async def read_stock(request: web.Request, caller: Caller) -> web.Response:
    """getStockStatus."""
    services = request.config_dict[SERVICES]
    asked = read_stock_request(await _body(request)).products
    products = await services.catalogue.products({one.product_ref for one in asked if one.product_ref is not None})
    status = {
        ref: await _stock_status(services, product, is_sandbox=caller.is_sandbox) for ref, product in products.items()
    }
    return answer(
        answers.stock_answer(
            ProductStock(one.product_ref, StockStatus.OUT, one.code)
            if one.product_ref is None
            else ProductStock(one.product_ref, status[one.product_ref])
            if one.product_ref in status
            else ProductStock(one.product_ref, StockStatus.OUT, StockCode.PRODUCT_UNKNOWN)
            for one in asked
        )
    )


async def cancel(request: web.Request, caller: Caller) -> web.Response:
    """cancelOrder: every key of the order is dead when this answers."""
    services = request.config_dict[SERVICES]
    asked = read_cancel_request(await _body(request))
    if isinstance(asked, Refused):
        return answer(answers.cancel_refusal_answer(asked))
    number = asked.partner_order_number
    try:
        done = await cancel_order(
            services.database,
            services.shopper_keys,
            caller,
            _order_id(services, caller, number),
            reason=asked.reason,
            comment=asked.comment,
        )
    except NotFound:
        return answer(answers.cancel_answer(number, None, CancelOrderCode.ORDER_NOT_FOUND), status=404)
    except AlreadyCanceled:
        return answer(answers.cancel_answer(number, None, CancelOrderCode.ALREADY_CANCELLED))
    except CancelPeriodExpired:
        return answer(answers.cancel_answer(number, None, CancelOrderCode.CANCEL_PERIOD_EXPIRED))
    return answer(answers.cancel_answer(number, done.order_number))


def _route(method: str, path: str, scope: Scope, handler: Handler, operation: Operation) -> web.RouteDef:
    """A route that a reseller reaches with its `secret` header, as the specification has it."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        secrets = request.headers.getall("secret", [])
        if len(secrets) != 1 or not secrets[0]:
            raise Unauthenticated("send one header `secret`")
        caller = await identify(request, secrets[0])
        if caller.kind is not CallerKind.RESELLER:
            raise Forbidden("Connect is for resellers")
        caller.require(scope)
        return await handler(request, caller)

    guarded.scope = scope  # type: ignore[attr-defined]
    return described_route(method, path, guarded, operation, Credential.CONNECT_SECRET)


async def _body(request: web.Request) -> object:
    settings = request.config_dict[SERVICES].settings
    return await read_json(request, bytes_max=settings.body_bytes_max, seconds_max=settings.body_seconds)


def _order_id(services: Services, caller: Caller, partner_order_number: str) -> UUID:
    return services.fingerprints.order_id(caller.caller_id, "connect", partner_order_number)


async def _stock_status(services: Services, product: Product, *, is_sandbox: bool) -> StockStatus:
    """The best of the product's sources: its plan goes on to the next one where one is empty."""
    askings = await services.orders.askings({product.product_ref: product}, is_sandbox=is_sandbox)
    if askings:
        # Its publisher has what it has: that is known when it is asked.
        return StockStatus.ENOUGH
    async with services.database.reading() as connection:
        levels = await read_levels(connection, product.publisher_id, product.template.pool_ids)
    in_stock = [
        _STATUS_OF_ALARM[level.alarm] for level in levels.values() if level.free and level.is_sandbox is is_sandbox
    ]
    return min(in_stock, default=StockStatus.OUT)


def _refuse(code: AnswerCode, line: NewOrderLine) -> Refusal:
    pointer = f"/orderLines/{line.line_number - 1}"
    return Refusal(code, code.message, pointer, line_number=line.line_number, product_ref=line.product_ref)


def _refuse_order(order: NewOrder, *refusals: Refusal) -> web.Response:
    return answer(answers.refusal_answer(Refused(order.partner_order_number, refusals)))


def _answered(purchase: Purchase) -> AnsweredOrder:
    until = (purchase.created_at + timedelta(days=DOWNLOAD_DAYS)).date()
    return AnsweredOrder(
        purchase.partner_order_number,
        purchase.order_number,
        tuple(_answered_line(line, until) for line in purchase.lines),
    )


def _answered_line(line: PurchasedLine, download_until: Any) -> AnsweredLine:
    units = tuple(AnsweredUnit(unit.key, unit.state, unit.mime, unit.name) for unit in line.units)
    return AnsweredLine(line.product_ref, units, download_until=download_until)
