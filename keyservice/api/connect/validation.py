"""From the parsed JSON of a Connect request to what can be served, or to all that is wrong with it.

Null, blank text, an empty array and an empty object count as missing: clients in the wild send each of them for what
they do not have. pydantic judges single values, `laws` those that belong together.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from keyservice.api.connect import requests
from keyservice.api.connect.acceptance import new_order
from keyservice.api.connect.bodies import CancelBody, LineBody, OrderBody
from keyservice.api.connect.codes import CreateOrderCode as Code
from keyservice.api.connect.codes import StockCode
from keyservice.api.connect.laws import Laws
from keyservice.api.connect.requests import (
    AskedProduct,
    CancelRequest,
    Profile,
    Refusal,
    Refused,
    Rule,
    Shape,
    StockRequest,
)
from keyservice.api.connect.values import ProductRef
from keyservice.domain.order import NewOrder

Body = TypeVar("Body")


def read_order(
    body: object,
    *,
    profile: Profile = Profile.STRICT,
    lines_max: int = requests.LINES_MAX,
    quantity_max: int = requests.QUANTITY_MAX,
) -> NewOrder | Refused:
    """createOrder (document 003). `body` comes from a strict JSON reader that makes every fraction a Decimal."""
    if type(body) is not dict or not body:
        return Refused(None, (Refusal.at(Code.ORDER_MISSING, "", "must be an object"),))
    refusals: list[Refusal] = []
    lines = body.get("orderLines")
    if type(lines) is list and len(lines) > lines_max:
        refusals.append(Refusal.at(Code.ORDER_LINES_MISSING, "/orderLines", f"must be at most {lines_max}"))
        body = {**body, "orderLines": None}
    order = _read(body, requests.ORDER, _order_validator(), refusals)
    if order is None:
        return Refused(None, _in_order(refusals, {}))
    Laws(profile, quantity_max, refusals).check_order(order)
    if refusals:
        return Refused(order.get("partnerOrderNumber"), _in_order(refusals, order))
    return new_order(order)


def read_stock_request(body: object, *, product_refs_max: int = requests.PRODUCT_REFS_MAX) -> StockRequest:
    """getStockStatus. Never refused as a whole: the answer has no code but those of its products."""
    asked = body.get("productRefs") if type(body) is dict else None
    if _is_missing(asked):
        return StockRequest((AskedProduct(None, StockCode.PRODUCT_REF_MISSING),))
    if type(asked) is not list or len(asked) > product_refs_max:
        return StockRequest((AskedProduct(None, StockCode.PRODUCT_REF_NOT_VALID),))
    return StockRequest(tuple(map(_asked_product, asked)))


def _asked_product(asked: object) -> AskedProduct:
    if _is_missing(asked):
        return AskedProduct(None, StockCode.PRODUCT_REF_MISSING)
    try:
        return AskedProduct(_product_ref_validator()(asked), StockCode.OK)
    except ValidationError:
        return AskedProduct(None, StockCode.PRODUCT_REF_NOT_VALID)


def read_cancel_request(body: object) -> CancelRequest | Refused:
    """cancelOrder; no profile makes a difference."""
    refusals: list[Refusal] = []
    cancel = _read(body if type(body) is dict else {}, requests.CANCEL, _cancel_validator(), refusals) or {}
    Laws(Profile.STRICT, 0, refusals).demand(cancel, requests.CANCEL, "")
    if refusals:
        return Refused(cancel.get("partnerOrderNumber"), _in_order(refusals, {}))
    return CancelRequest(cancel["partnerOrderNumber"], cancel["reasonCode"], cancel.get("comment"))


def _read(
    body: dict[str, Any], shape: Shape, validate: Callable[[object], Body], refusals: list[Refusal]
) -> Body | None:
    """The valid members; the others go to the refusals. None where more is wrong than is worth listing."""
    try:
        return validate(body)
    except ValidationError:
        return _salvage(_without_missing(body, shape), shape, validate, refusals)


def _salvage(
    body: dict[str, Any], shape: Shape, validate: Callable[[object], Body], refusals: list[Refusal]
) -> Body | None:
    try:
        return validate(body)
    except ValidationError as failure:
        errors = failure.errors(include_url=False, include_context=False, include_input=False)
    for error in errors[: requests.REFUSALS_MAX]:
        refusals.append(_refusal(error, shape))
        _take_out(body, error["loc"])
    return None if len(errors) > requests.REFUSALS_MAX else validate(body)


def _without_missing(body: dict[str, Any], shape: Shape) -> dict[str, Any]:
    rest = {}
    for name, rule in shape.rules.items():
        value = _nested_without_missing(body.get(name), rule)
        if not _is_missing(value):
            rest[name] = value
    return rest


def _nested_without_missing(value: object, rule: Rule) -> object:
    if rule.shape is None:
        return value
    if type(value) is list and rule.is_list:
        # Entries keep their places, so that pointers stay true.
        return [_without_missing(entry, rule.shape) if type(entry) is dict else entry for entry in value]
    if type(value) is dict and not rule.is_list:
        return _without_missing(value, rule.shape)
    return value


def _is_missing(value: object) -> bool:
    return value is None or (type(value) is str and not value.strip()) or (type(value) in (dict, list) and not value)


def _refusal(error: ErrorDetails, shape: Shape) -> Refusal:
    names = [part for part in error["loc"] if type(part) is str]
    for name in names[:-1]:
        nested = shape.rules[name].shape
        assert nested is not None
        shape = nested
    # A rule with a code of its own names it as the type of its error; pydantic's own types are lower case.
    code = Code.__members__.get(error["type"], shape.rules[names[-1]].invalid)
    return Refusal.at(code, "".join(f"/{part}" for part in error["loc"]), _DETAILS.get(error["type"], error["msg"]))


_DETAILS: Final = {
    "dict_type": "must be an object",
    "list_type": "must be an array",
    "string_pattern_mismatch": "has a form or a character that is not allowed",
}


def _take_out(body: Any, place: tuple[str | int, ...]) -> None:
    *parents, last = place
    for part in parents:
        body = body[part]
    if type(last) is int:
        body[last] = {}
    else:
        del body[last]


def _in_order(refusals: list[Refusal], order: OrderBody) -> tuple[Refusal, ...]:
    """Document 003 lists its members alphabetically on every level, so the sorted pointers stand in its order."""
    lines = order.get("orderLines", [])
    return tuple(_with_line(refusal, lines) for refusal in sorted(refusals, key=_place_in_document_003))


def _place_in_document_003(refusal: Refusal) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in refusal.pointer.split("/")]


def _with_line(refusal: Refusal, lines: list[LineBody]) -> Refusal:
    _, *parts = refusal.pointer.split("/")
    if parts[:1] != ["orderLines"] or len(parts) == 1:
        return refusal
    index = int(parts[1])
    product_ref = lines[index].get("productRef") if index < len(lines) else None
    return replace(refusal, line_number=index + 1, product_ref=product_ref)


# A validator takes some milliseconds to build: at its first use, since importing does no work.


@cache
def _order_validator() -> Callable[[object], OrderBody]:
    return TypeAdapter(OrderBody).validator.validate_python


@cache
def _cancel_validator() -> Callable[[object], CancelBody]:
    return TypeAdapter(CancelBody).validator.validate_python


@cache
def _product_ref_validator() -> Callable[[object], int]:
    return TypeAdapter(ProductRef).validator.validate_python
