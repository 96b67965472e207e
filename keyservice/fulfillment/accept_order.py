"""Accepting an order: derive its id, claim its keys with the group, and answer; a repetition is answered from what is stored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from pydantic_core import to_json

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.crypto.sealing import people_aad
from keyservice.domain.caller import Caller
from keyservice.domain.catalogue import Product
from keyservice.domain.errors import OutOfStock, ReferenceReused
from keyservice.domain.order import NewOrder, NewOrderLine
from keyservice.domain.purchase import Purchase, PurchasedLine, PurchasedUnit, UnitState
from keyservice.domain.tape import Short, Wanted
from keyservice.fulfillment.claim_keys import IssuedKey, draw_keys, lock_tapes, put_keys_back, record_claims
from keyservice.fulfillment.group_commit import GroupCommit
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.read_purchases import PurchaseReader
from keyservice.fulfillment.shopper_keys import ShopperKeys
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement

NATURAL_KEY: Final = "connect"


@dataclass(frozen=True, slots=True)
class DraftLine:
    """An order line with what it wants from the tape."""

    line: NewOrderLine
    product: Product
    line_item_id: UUID
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """An order that is ready to be placed; everything that costs time was worked out before the group."""

    order_id: UUID
    caller_id: int
    body_fingerprint: bytes
    shopper_ref: UUID
    order: NewOrder
    total_amount: Decimal | None
    lines: tuple[DraftLine, ...]
    document: str
    line_documents: tuple[str, ...]
    people: bytes

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        return tuple(line.wanted for line in self.lines)

    @property
    def unit_count(self) -> int:
        return sum(len(line.wanted.unit_ids) for line in self.lines)


class Stored:
    """The order is there already: answer from what is stored."""


class ComeAgain:
    """Nothing was decided in this group; the next one will."""


Placed = Purchase | Stored | ComeAgain


class OrderGroups:
    """What a claim group does with its orders."""

    def __init__(self, opener: KeyOpener, shopper_keys: ShopperKeys) -> None:
        self._opener = opener
        self._shopper_keys = shopper_keys

    async def serve(self, connection: Connection, drafts: Sequence[OrderDraft]) -> Sequence[Placed | Exception]:
        """Place the drafts in order of arrival, each whole or not at all, in the open transaction."""
        tapes = await lock_tapes(connection, (wanted for draft in drafts for wanted in draft.wanted))
        leaders = {draft.order_id: draft for draft in reversed(drafts)}
        fresh = [draft for draft in drafts if leaders[draft.order_id] is draft]
        drawn = await draw_keys(connection, tapes, [draft.wanted for draft in fresh], self._opener)
        served = {
            draft.order_id: (draft, keys) for draft, keys in zip(fresh, drawn, strict=True) if isinstance(keys, list)
        }
        numbers = await self._insert_orders(connection, [draft for draft, _ in served.values()], tapes.now)
        accepted = [one for order_id, one in sorted(served.items()) if order_id in numbers]
        replayed = [key for order_id, (_, keys) in served.items() if order_id not in numbers for key in keys]
        put_keys_back(tapes, replayed)
        if accepted:
            await self._write_parts(connection, accepted, tapes.now)
        await record_claims(
            connection, tapes, [(draft.order_id, key) for draft, keys in accepted for key in keys], state="issued"
        )
        short = {draft.order_id: keys for draft, keys in zip(fresh, drawn, strict=True) if isinstance(keys, Short)}
        stored = await _stored(connection, short)
        results: dict[int, Placed | Exception] = {
            id(draft): _purchase(draft, keys, numbers[draft.order_id], tapes.now) for draft, keys in accepted
        }
        for draft in fresh:
            if draft.order_id in stored or (draft.order_id in served and draft.order_id not in numbers):
                results[id(draft)] = Stored()
            elif draft.order_id in short and not replayed:
                results[id(draft)] = _out_of_stock(short[draft.order_id])
        # Copies of an order in the group, and orders that were short only of keys which replays have given back.
        return [results.get(id(draft), ComeAgain()) for draft in drafts]

    async def _insert_orders(
        self, connection: Connection, drafts: Sequence[OrderDraft], now: datetime
    ) -> dict[UUID, int]:
        """The numbers of those that were not there yet; the others are replays. The primary key decides."""
        if not drafts:
            return {}
        in_order = sorted(drafts, key=lambda draft: draft.order_id)
        rows = await connection.fetchmany(
            statement("orders.insert_order"), [_order_row(draft, now) for draft in in_order]
        )
        return {row["order_id"]: row["order_number"] for row in rows}

    async def _write_parts(
        self, connection: Connection, accepted: Sequence[tuple[OrderDraft, list[IssuedKey]]], now: datetime
    ) -> None:
        drafts = [draft for draft, _ in accepted]
        shopper_keys = await self._shopper_keys.ensure(connection, {draft.shopper_ref for draft in drafts}, now)
        await connection.executemany(
            statement("orders.insert_people"),
            [
                (
                    one.order_id,
                    one.shopper_ref,
                    shopper_keys[one.shopper_ref].seal(one.people, people_aad(one.order_id)),
                )
                for one in drafts
            ],
        )
        await connection.executemany(
            statement("orders.insert_line_item"), [row for one in drafts for row in _line_rows(one)]
        )
        await connection.executemany(
            statement("orders.insert_line_item_data"),
            [row for draft, keys in accepted for row in _line_item_data_rows(draft, keys, now)],
        )
        await connection.executemany(statement("orders.insert_event"), [_event_row(one, now) for one in drafts])


class OrderDesk:
    """Where orders are handed in: small ones share transactions, a large one has its own."""

    def __init__(
        self,
        *,
        groups: GroupCommit[OrderDraft, Placed],
        large: GroupCommit[OrderDraft, Placed],
        units_max: int,
        fingerprints: Fingerprints,
        purchases: PurchaseReader,
    ) -> None:
        self._groups = groups
        self._large = large
        self._units_max = units_max
        self._fingerprints = fingerprints
        self._purchases = purchases

    async def accept(self, caller: Caller, order: NewOrder, products: Mapping[int, Product]) -> Purchase:
        """The accepted order with its keys.

        Raises OutOfStock (nothing is stored), ReferenceReused (the number came with another body).
        """
        draft = prepare(self._fingerprints, caller, order, products)
        lane = self._groups if draft.unit_count <= self._units_max else self._large
        while True:
            placed = await lane.submit(draft)
            if isinstance(placed, Purchase):
                return placed
            if isinstance(placed, Stored):
                return await self._replay(caller, draft)

    async def _replay(self, caller: Caller, draft: OrderDraft) -> Purchase:
        # A replay writes before it answers: only a commit proves that the first answer survived a failover.
        purchase, body_fingerprint = await self._purchases.read(draft.order_id, caller, source="replay", reveal=True)
        if body_fingerprint != draft.body_fingerprint:
            raise ReferenceReused(
                "this order number was used for another order; use a number of its own for each order"
            )
        return purchase


def prepare(fingerprints: Fingerprints, caller: Caller, order: NewOrder, products: Mapping[int, Product]) -> OrderDraft:
    """Work out ids and rows. Same caller and same partner order number give the same ids, for ever."""
    whole, people = to_json(order.document), to_json(order.people)
    order_id = fingerprints.order_id(caller.caller_id, NATURAL_KEY, order.partner_order_number)
    document = {name: value for name, value in order.document.items() if name != "orderLines"}
    # Both are built member by member from the validated order, so equal orders give equal bytes however they were written.
    totals = [line.amount_total for line in order.lines]
    return OrderDraft(
        order_id=order_id,
        caller_id=caller.caller_id,
        body_fingerprint=fingerprints.body(whole + people),
        shopper_ref=fingerprints.shopper(order.people["customer"]["email"]),
        order=order,
        total_amount=None if None in totals else sum((total for total in totals if total is not None), Decimal(0)),
        lines=tuple(_draft_line(fingerprints, order_id, line, products[line.product_ref]) for line in order.lines),
        document=to_json(document).decode(),
        line_documents=tuple(to_json(line).decode() for line in order.document["orderLines"]),
        people=people,
    )


def _draft_line(fingerprints: Fingerprints, order_id: UUID, line: NewOrderLine, product: Product) -> DraftLine:
    count = product.template.units_of(line.quantity)
    units = tuple(fingerprints.unit_id(order_id, line.line_number, number) for number in range(1, count + 1))
    return DraftLine(
        line=line,
        product=product,
        line_item_id=fingerprints.line_item_id(order_id, line.line_number),
        wanted=Wanted(line.line_number, product.publisher_id, product.template.pool_ids, units),
    )


def _order_row(draft: OrderDraft, now: datetime) -> tuple[object, ...]:
    return (
        draft.order_id,
        draft.caller_id,
        draft.order.partner_order_number,
        draft.body_fingerprint,
        draft.shopper_ref,
        "COMPLETED",
        "COMPLETED",
        draft.order.currency,
        draft.total_amount,
        draft.order.ordered_at,
        now,
        draft.document,
    )


def _line_rows(draft: OrderDraft) -> list[tuple[object, ...]]:
    return [
        (
            draft.order_id,
            one.line.line_number,
            one.line_item_id,
            one.product.publisher_id,
            one.product.product_ref,
            one.product.template.template_id,
            one.line.quantity,
            len(one.wanted.unit_ids),
            document,
        )
        for one, document in zip(draft.lines, draft.line_documents, strict=True)
    ]


def _line_item_data_rows(draft: OrderDraft, keys: Sequence[IssuedKey], now: datetime) -> list[tuple[object, ...]]:
    claims = {key.unit_id: key.claim_id for key in keys}
    rows: list[tuple[object, ...]] = []
    for one in draft.lines:
        fixed = (one.line.line_number, one.product.publisher_id)
        if len(one.wanted.unit_ids) > 1:
            # The LineItemData of the line itself; its units are then the sub line item data.
            rows.append((draft.order_id, one.line_item_id, fixed[0], 0, fixed[1], None, "CREATION_ACCEPTED", now))
        for number, unit in enumerate(one.wanted.unit_ids, start=1):
            rows.append((draft.order_id, unit, fixed[0], number, fixed[1], claims[unit], "CREATION_ACCEPTED", now))
    return rows


def _event_row(draft: OrderDraft, now: datetime) -> tuple[object, ...]:
    """Accepted and disclosed are one fact here: the answer that follows the commit carries the keys."""
    facts = to_json({"disclosed": draft.unit_count}).decode()
    return (
        *(draft.order_id, new_id(), None, draft.caller_id),
        *("order.accepted", "COMPLETED", "connect", None, facts, now),
    )


async def _stored(connection: Connection, order_ids: Iterable[UUID]) -> set[UUID]:
    """Which of these orders are there already: one that was served while there was stock is no refusal now."""
    asked = [(order_id,) for order_id in sorted(order_ids)]
    if not asked:
        return set()
    return {row["order_id"] for row in await connection.fetchmany(statement("orders.existing_order"), asked)}


def _out_of_stock(short: Short) -> OutOfStock:
    return OutOfStock(line_number=short.line_number, wanted=short.wanted, left=short.left)


def _purchase(draft: OrderDraft, keys: Sequence[IssuedKey], order_number: int, now: datetime) -> Purchase:
    by_unit = {key.unit_id: key.key for key in keys}
    return Purchase(
        order_id=draft.order_id,
        order_number=order_number,
        caller_id=draft.caller_id,
        partner_order_number=draft.order.partner_order_number,
        shopper_ref=draft.shopper_ref,
        status="COMPLETED",
        currency=draft.order.currency,
        ordered_at=draft.order.ordered_at,
        created_at=now,
        canceled_at=None,
        lines=tuple(
            PurchasedLine(
                one.line.line_number,
                one.product.product_ref,
                one.line.quantity,
                tuple(
                    PurchasedUnit(
                        unit, number, UnitState.ISSUED, by_unit[unit].text, by_unit[unit].mime, by_unit[unit].name
                    )
                    for number, unit in enumerate(one.wanted.unit_ids, start=1)
                ),
            )
            for one in draft.lines
        ),
    )
