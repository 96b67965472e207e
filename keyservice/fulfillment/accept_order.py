"""Accepting an order: derive its id, claim its keys with the group, and answer; a repetition is answered from what is stored."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from pydantic_core import to_json

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.crypto.sealing import people_aad
from keyservice.domain.caller import Caller
from keyservice.domain.catalogue import Product, demand_units_within
from keyservice.domain.errors import OutOfStock, ReferenceReused
from keyservice.domain.key_request import RequestState
from keyservice.domain.order import NewOrder
from keyservice.domain.purchase import Purchase
from keyservice.domain.tape import Short, Wanted
from keyservice.fulfillment.ask_publishers import KeyAsker
from keyservice.fulfillment.claim_keys import (
    draw_keys,
    lock_tapes,
    put_keys_back,
    record_claims,
)
from keyservice.fulfillment.connector_shelf import ConnectorShelf
from keyservice.fulfillment.end_requests import insert_requests
from keyservice.fulfillment.group_commit import GroupCommit
from keyservice.fulfillment.listeners import Listeners
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.order_draft import DraftLine, OrderDraft, Placement
from keyservice.fulfillment.plan_requests import Asking, asking_of
from keyservice.fulfillment.queue_units import join_queues
from keyservice.fulfillment.read_purchases import PurchaseReader
from keyservice.fulfillment.record_notices import record_notices
from keyservice.fulfillment.shopper_keys import ShopperKeys
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement

_SOURCES = {"connect": "connect", "lean": "fulfillment", "cart": "orders"}


class Stored:
    """The order is there already: answer from what is stored."""


class ComeAgain:
    """Nothing was decided in this group; the next one will."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The order is there, and publishers have to be asked for some of its keys."""

    purchase: Purchase
    requests: tuple[KeyRequest, ...]
    """Those that this process sends itself."""

    since: float
    """By the monotonic clock, before they were stored: their leases are no older."""


Placed = Purchase | Asked | Stored | ComeAgain


class OrderGroups:
    """What a claim group does with its orders."""

    def __init__(self, opener: KeyOpener, shopper_keys: ShopperKeys) -> None:
        self._opener = opener
        self._shopper_keys = shopper_keys

    async def serve(self, connection: Connection, drafts: Sequence[OrderDraft]) -> Sequence[Placed | Exception]:
        """Place the drafts in order of arrival, each whole, as far as it may wait, or not at all, in the open transaction."""
        begun = time.monotonic()
        tapes = await lock_tapes(connection, (wanted for draft in drafts for wanted in draft.wanted))
        leaders = {draft.order_id: draft for draft in reversed(drafts)}
        known = await _known_before(connection, drafts)
        fresh = [draft for draft in drafts if leaders[draft.order_id] is draft and draft.order_id not in known]
        drawn = await draw_keys(connection, tapes, [draft.wanted for draft in fresh], self._opener)
        served = {
            draft.order_id: Placement(draft, keys, tapes.now)
            for draft, keys in zip(fresh, drawn, strict=True)
            if isinstance(keys, list)
        }
        numbers = await self._insert_orders(connection, list(served.values()))
        accepted = [one for order_id, one in sorted(served.items()) if order_id in numbers]
        replayed = [key for order_id, one in served.items() if order_id not in numbers for key in one.keys]
        put_keys_back(tapes, replayed)
        if accepted:
            await self._write_parts(connection, accepted, tapes.now)
            queued = [place for one in accepted for place in one.queued(tapes, numbers[one.draft.order_id])]
            await join_queues(connection, tapes, queued)
            await _tell(connection, accepted, numbers)
        await record_claims(connection, tapes, [claim for one in accepted for claim in one.claims()])
        short = {draft.order_id: keys for draft, keys in zip(fresh, drawn, strict=True) if isinstance(keys, Short)}
        stored = known | await _stored(connection, short)
        await insert_requests(connection, [request for one in accepted for request in one.requests])
        results: dict[int, Placed | Exception] = {
            id(one.draft): _placed(one, numbers[one.draft.order_id], begun) for one in accepted
        }
        for draft in drafts:
            if draft.order_id in stored or (draft.order_id in served and draft.order_id not in numbers):
                results[id(draft)] = Stored()
            elif draft.order_id in short and leaders[draft.order_id] is draft and not replayed:
                results[id(draft)] = _out_of_stock(short[draft.order_id])
        # Copies of an order in the group, and orders that were short only of keys which replays have given back.
        return [results.get(id(draft), ComeAgain()) for draft in drafts]

    async def _insert_orders(self, connection: Connection, placements: Sequence[Placement]) -> dict[UUID, int]:
        """The numbers of those that were not there yet; the others are replays. The primary key decides."""
        if not placements:
            return {}
        in_order = sorted(placements, key=lambda one: one.draft.order_id)
        rows = await connection.fetchmany(
            statement("orders.insert_order"), [placement.order_row() for placement in in_order]
        )
        return {row["order_id"]: row["order_number"] for row in rows}

    async def _write_parts(self, connection: Connection, accepted: Sequence[Placement], now: datetime) -> None:
        people = [(one.draft.order_id, one.draft.shopper_ref, one.draft.people) for one in accepted]
        known = [(order_id, ref, told) for order_id, ref, told in people if ref is not None and told is not None]
        if known:
            keys = await self._shopper_keys.ensure(connection, {ref for _, ref, _ in known}, now)
            await connection.executemany(
                statement("orders.insert_people"),
                [(order_id, ref, keys[ref].seal(told, people_aad(order_id))) for order_id, ref, told in known],
            )
        await connection.executemany(
            statement("orders.insert_line_item"), [row for one in accepted for row in one.line_rows()]
        )
        await connection.executemany(
            statement("orders.insert_line_item_data"), [row for one in accepted for row in one.unit_rows()]
        )
        await connection.executemany(
            statement("orders.insert_event"), [one.event_row(source=_SOURCES[one.draft.kind]) for one in accepted]
        )


class OrderDesk:
    """Where orders are handed in: small ones share transactions, a large one has its own."""

    def __init__(
        self,
        *,
        groups: GroupCommit[OrderDraft, Placed],
        large: GroupCommit[OrderDraft, Placed],
        group_units_max: int,
        order_units_max: int,
        fingerprints: Fingerprints,
        purchases: PurchaseReader,
        listeners: Listeners,
        shelf: ConnectorShelf,
        asker: KeyAsker,
    ) -> None:
        self._shelf = shelf
        self._asker = asker
        self._groups = groups
        self._large = large
        self._group_units_max = group_units_max
        self._order_units_max = order_units_max
        self._fingerprints = fingerprints
        self._purchases = purchases
        self._listeners = listeners

    async def accept(self, caller: Caller, order: NewOrder, products: Mapping[int, Product]) -> Purchase:
        """The accepted order with its keys.

        Raises TooManyUnits, OutOfStock (nothing is stored), ReferenceReused (the number came with another body).
        """
        self.demand_units((line.line_number, products[line.product_ref], line.quantity) for line in order.lines)
        askings = await self.askings(products, is_sandbox=caller.is_sandbox)
        return await self.place(caller, prepare(self._fingerprints, caller, order, products, askings))

    async def askings(self, products: Mapping[int, Product], *, is_sandbox: bool) -> dict[int, Asking]:
        """By product, the connector that its keys are asked of, of those that have one."""
        found = {
            ref: await asking_of(self._shelf, product, is_sandbox=is_sandbox)
            for ref, product in products.items()
            if product.template.source_plan.connector_at(0) is not None
        }
        return {ref: asking for ref, asking in found.items() if asking is not None}

    def demand_units(self, lines: Iterable[tuple[int, Product, int]]) -> None:
        """Before anything is worked out for each of them. Raises TooManyUnits."""
        demand_units_within(self._order_units_max, lines)

    async def place(self, caller: Caller, draft: OrderDraft) -> Purchase:
        """The placed draft, or what is stored of an order that was placed before. Raises as `accept` does."""
        draft = replace(draft, is_told=await self._listeners.may_have(caller.caller_id))
        lane = self._groups if draft.unit_count <= self._group_units_max else self._large
        while True:
            placed = await lane.submit(draft)
            if isinstance(placed, Purchase):
                return placed
            if isinstance(placed, Asked):
                return await self._ask(caller, placed, draft.answer_seconds)
            if isinstance(placed, Stored):
                return await self._replay(caller, draft)

    async def _ask(self, caller: Caller, placed: Asked, seconds: float) -> Purchase:
        """Ask the publishers, and answer with what has come when the time is over. Nobody waits for the rest."""
        await self._asker.attempt_within(placed.requests, seconds, since=placed.since)
        if not placed.requests:
            return placed.purchase
        purchase, _ = await self._purchases.read(placed.purchase.order_id, caller, source="answer", reveal=True)
        return purchase

    async def _replay(self, caller: Caller, draft: OrderDraft) -> Purchase:
        # A replay writes before it answers: only a commit proves that the first answer survived a failover.
        purchase, body_fingerprint = await self._purchases.read(draft.order_id, caller, source="replay", reveal=True)
        if body_fingerprint != draft.body_fingerprint:
            raise ReferenceReused(
                "this order number was used for another order; use a number of its own for each order"
            )
        return purchase


def prepare(
    fingerprints: Fingerprints,
    caller: Caller,
    order: NewOrder,
    products: Mapping[int, Product],
    askings: Mapping[int, Asking],
) -> OrderDraft:
    """Work out ids and rows. Same caller and same partner order number give the same ids, for ever."""
    whole, people = to_json(order.document), to_json(order.people)
    order_id = fingerprints.order_id(caller.caller_id, "connect", order.partner_order_number)
    document = {name: value for name, value in order.document.items() if name != "orderLines"}
    # Both are built member by member from the validated order, so equal orders give equal bytes however they were written.
    totals = [line.amount_total for line in order.lines]
    return OrderDraft(
        order_id=order_id,
        caller_id=caller.caller_id,
        kind="connect",
        reference=order.partner_order_number,
        body_fingerprint=fingerprints.body(whole + people),
        shopper_ref=fingerprints.shopper(order.people["customer"]["email"]),
        currency=order.currency,
        ordered_at=order.ordered_at,
        total_amount=None if None in totals else sum((total for total in totals if total is not None), Decimal(0)),
        lines=tuple(
            draft_line(
                *(fingerprints, caller, order_id, line.line_number),
                product=products[line.product_ref],
                quantity=line.quantity,
                document=to_json(told).decode(),
                asking=askings.get(line.product_ref),
            )
            for line, told in zip(order.lines, order.document["orderLines"], strict=True)
        ),
        document=to_json(document).decode(),
        people=people,
        is_test=caller.is_sandbox,
    )


def draft_line(
    fingerprints: Fingerprints,
    caller: Caller,
    order_id: UUID,
    line_number: int,
    *,
    product: Product,
    quantity: int,
    document: str,
    may_wait: bool = False,
    asking: Asking | None = None,
) -> DraftLine:
    """A line with its units' ids, which follow from the order's id, the line's number and the unit's."""
    count = product.template.units_of(quantity)
    units = tuple(fingerprints.unit_id(order_id, line_number, number) for number in range(1, count + 1))
    return DraftLine(
        product=product,
        quantity=quantity,
        line_item_id=fingerprints.line_item_id(order_id, line_number),
        wanted=Wanted(
            *(line_number, product.publisher_id, asking.pool_ids if asking else product.template.pool_ids, units),
            is_sandbox=caller.is_sandbox,
            may_wait=may_wait,
            is_requested=asking is not None,
        ),
        document=document,
        asking=asking,
    )


async def _tell(connection: Connection, accepted: Sequence[Placement], numbers: Mapping[UUID, int]) -> None:
    told = [notice for one in accepted if one.draft.is_told for notice in one.notices(numbers[one.draft.order_id])]
    await record_notices(connection, told)


async def _known_before(connection: Connection, drafts: Sequence[OrderDraft]) -> set[UUID]:
    """Repetitions, where somebody in the group would wait: not for keys that they draw and do not need.

    Elsewhere the insert of the order tells, one look-up less for each: whoever is short comes again.
    """
    if not any(line.wanted.may_wait for draft in drafts for line in draft.lines):
        return set()
    return await _stored(connection, {draft.order_id for draft in drafts})


async def _stored(connection: Connection, order_ids: Iterable[UUID]) -> set[UUID]:
    """Which of these orders are there already: one that was served while there was stock is no refusal now."""
    asked = [(order_id,) for order_id in sorted(order_ids)]
    if not asked:
        return set()
    return {row["order_id"] for row in await connection.fetchmany(statement("orders.existing_order"), asked)}


def _placed(one: Placement, order_number: int, since: float) -> Purchase | Asked:
    purchase = one.purchase(order_number)
    if not one.requests:
        return purchase
    own = tuple(request for request in one.requests if request.state is RequestState.SENDING)
    return Asked(purchase, own, since)


def _out_of_stock(short: Short) -> OutOfStock:
    return OutOfStock(line_number=short.line_number, wanted=short.wanted, left=short.left)
