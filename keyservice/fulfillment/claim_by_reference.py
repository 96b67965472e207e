"""Claiming by reference: keys for a pipeline that keeps its own orders. The same reference again is the same claim."""

from collections.abc import Mapping
from uuid import UUID

from pydantic_core import to_json

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.domain.caller import Caller
from keyservice.domain.catalogue import Product
from keyservice.domain.claim import ClaimRequest
from keyservice.domain.errors import Invalid
from keyservice.domain.purchase import Purchase
from keyservice.fulfillment.accept_order import OrderDesk, draft_line
from keyservice.fulfillment.catalogue import Catalogue
from keyservice.fulfillment.order_draft import OrderDraft
from keyservice.fulfillment.plan_requests import Asking


async def claim_by_reference(
    orders: OrderDesk, catalogue: Catalogue, fingerprints: Fingerprints, caller: Caller, asked: ClaimRequest
) -> Purchase:
    """The claim with its keys, or held, or with units that wait. A repetition is answered from what is stored.

    Raises Invalid for a product that is not sold or a hold that would wait, TooManyUnits, OutOfStock (nothing is stored),
    ReferenceReused.
    """
    if asked.may_wait and asked.hold_seconds is not None:
        raise Invalid("keys that are not there cannot be held; claim without a hold, or without waiting", field="wait")
    products = await catalogue.products({line.product_ref for line in asked.lines})
    for line in asked.lines:
        if line.product_ref not in products:
            raise Invalid("there is no such product for sale", field=f"lines.{line.line_number - 1}.product_ref")
    orders.demand_units((line.line_number, products[line.product_ref], line.quantity) for line in asked.lines)
    # What is kept for a payment has to be there: publishers are asked at the moment of sale.
    askings = {} if asked.hold_seconds is not None else await orders.askings(products, is_sandbox=caller.is_sandbox)
    return await orders.place(caller, _draft(fingerprints, caller, asked, products, askings))


def claim_id_of(fingerprints: Fingerprints, caller: Caller, reference: str) -> UUID:
    """The order's id behind a caller's reference."""
    return fingerprints.order_id(caller.caller_id, "lean", reference)


def _draft(
    fingerprints: Fingerprints,
    caller: Caller,
    asked: ClaimRequest,
    products: Mapping[int, Product],
    askings: Mapping[int, Asking],
) -> OrderDraft:
    order_id = claim_id_of(fingerprints, caller, asked.reference)
    lines = [{"product_ref": line.product_ref, "quantity": line.quantity} for line in asked.lines]
    told = {"lines": lines, "hold_seconds": asked.hold_seconds, "wait": asked.may_wait, "paid_at": asked.paid_at}
    people = None if asked.email is None else to_json({"customer": {"email": asked.email}})
    return OrderDraft(
        order_id=order_id,
        caller_id=caller.caller_id,
        kind="lean",
        reference=asked.reference,
        body_fingerprint=fingerprints.body(to_json(told) + (people or b"")),
        shopper_ref=None if asked.email is None else fingerprints.shopper(asked.email),
        people=people,
        lines=tuple(
            draft_line(
                *(fingerprints, caller, order_id, line.line_number),
                product=products[line.product_ref],
                quantity=line.quantity,
                document="{}",
                may_wait=asked.may_wait,
                asking=askings.get(line.product_ref),
            )
            for line in asked.lines
        ),
        document="{}",
        is_test=caller.is_sandbox,
        hold_seconds=asked.hold_seconds,
        paid_at=asked.paid_at,
    )
