"""An order that is ready to be placed, and the rows that it becomes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from pydantic_core import to_json

from keyservice.crypto.fingerprints import OrderKind
from keyservice.domain.catalogue import Product
from keyservice.domain.notice import NewNotice, ToldLine, ToldOrder, ToldUnit, order_notices
from keyservice.domain.order_state import UnitStatus, line_status, order_state
from keyservice.domain.purchase import Purchase, PurchasedLine, PurchasedUnit, UnitState
from keyservice.domain.tape import Wanted
from keyservice.fulfillment.claim_keys import IssuedKey, LockedTapes, NewClaim
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.plan_requests import Asking
from keyservice.fulfillment.queue_units import Queued
from keyservice.fulfillment.stored_request import KeyRequest

Row = tuple[object, ...]
_SHOWN_AS = {
    UnitStatus.ISSUED: UnitState.ISSUED,
    UnitStatus.HELD: UnitState.HELD,
    UnitStatus.WAITING: UnitState.PENDING,
    UnitStatus.REQUESTED: UnitState.PENDING,
}


@dataclass(frozen=True, slots=True)
class DraftLine:
    """An order line with what it wants from the tape."""

    product: Product
    quantity: int
    line_item_id: UUID
    wanted: Wanted
    document: str
    asking: Asking | None = None
    """The connector that units without a key are asked of."""

    @property
    def line_number(self) -> int:
        return self.wanted.line_number


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """An order that is ready to be placed; everything that costs time was worked out before the group."""

    order_id: UUID
    caller_id: int
    kind: OrderKind
    reference: str
    body_fingerprint: bytes
    lines: tuple[DraftLine, ...]
    document: str
    shopper_ref: UUID | None = None
    people: bytes | None = field(default=None, repr=False)
    currency: str | None = None
    total_amount: Decimal | None = None
    ordered_at: datetime | None = None
    """None: when it is placed."""

    is_test: bool = False
    hold_seconds: int | None = None
    paid_at: datetime | None = None
    """None: when it is placed."""

    is_told: bool = True
    """Whether its caller may have an endpoint for notices."""

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        return tuple(line.wanted for line in self.lines)

    @property
    def answer_seconds(self) -> float:
        """How long the answer waits for publishers: as long as the most patient line."""
        return max((line.asking.plan.answer_seconds for line in self.lines if line.asking is not None), default=0.0)

    @property
    def unit_count(self) -> int:
        return sum(len(line.wanted.unit_ids) for line in self.lines)


class Placement:
    """A draft with the keys that were drawn for it: all of them, or as many as there were when it may wait."""

    __slots__ = ("_keys", "_statuses", "draft", "keys", "now", "requests", "state")

    def __init__(self, draft: OrderDraft, keys: Sequence[IssuedKey], now: datetime) -> None:
        self.draft = draft
        self.keys = keys
        self.now = now
        self._keys = {key.unit_id: key for key in keys}
        good = UnitStatus.ISSUED if draft.hold_seconds is None else UnitStatus.HELD
        self._statuses = {
            unit: good if unit in self._keys else UnitStatus.WAITING if line.asking is None else UnitStatus.REQUESTED
            for line in draft.lines
            for unit in line.wanted.unit_ids
        }
        self.requests: list[KeyRequest] = [request for line in draft.lines for request in self._requests(line)]
        self.state = order_state(set(self._statuses.values()))

    def order_row(self) -> Row:
        """Parameters of orders.insert_order."""
        draft, now = self.draft, self.now
        status, life_cycle_status = self.state
        return (
            *(draft.order_id, draft.caller_id, draft.kind, draft.reference, draft.body_fingerprint, draft.shopper_ref),
            *(status, life_cycle_status, draft.currency, draft.total_amount, draft.is_test),
            *(draft.ordered_at or now, now, self.held_until, self.paid_at, draft.document),
        )

    @property
    def held_until(self) -> datetime | None:
        seconds = self.draft.hold_seconds
        return None if seconds is None else self.now + timedelta(seconds=seconds)

    @property
    def paid_at(self) -> datetime | None:
        """A payment that lies ahead of the database's clock is one of this moment."""
        if self.draft.hold_seconds is not None:
            return None
        return min(self.draft.paid_at or self.now, self.now)

    def claims(self) -> list[NewClaim]:
        """What is held is not shown; everything else is disclosed by the answer that follows the commit."""
        is_held = self.draft.hold_seconds is not None
        return [
            NewClaim(self.draft.order_id, key, "held" if is_held else "issued", None if is_held else self.now)
            for key in self.keys
        ]

    def line_rows(self) -> list[Row]:
        """Parameters of orders.insert_line_item."""
        return [
            (
                *(self.draft.order_id, line.line_number, line.line_item_id, line.product.publisher_id),
                *(line.product.product_ref, line.product.template.template_id, line.quantity),
                *(len(line.wanted.unit_ids), line.document),
            )
            for line in self.draft.lines
        ]

    def unit_rows(self) -> list[Row]:
        """Parameters of orders.insert_line_item_data: a row for each unit, and one for a line of several."""
        keys, statuses = self._keys, self._statuses
        rows: list[Row] = []
        for line in self.draft.lines:
            order_id, number, publisher_id = self.draft.order_id, line.line_number, line.product.publisher_id
            units = line.wanted.unit_ids
            if len(units) > 1:
                # The LineItemData of the line itself; its units are then the sub line item data.
                whole = line_status({statuses[unit] for unit in units})
                rows.append((order_id, line.line_item_id, number, 0, publisher_id, None, whole, self.now))
            rows += [
                (order_id, unit, number, at, publisher_id, _claim_id(keys.get(unit)), statuses[unit], self.now)
                for at, unit in enumerate(units, start=1)
            ]
        return rows

    def queued(self, tapes: LockedTapes, order_number: int) -> list[Queued]:
        """The units that wait, once for each pool that could ever serve them."""
        paid_at = self.paid_at or self.now
        return [
            Queued(
                *(line.product.publisher_id, pool_id, unit, self.draft.order_id),
                *(paid_at, order_number, line.line_number, number),
            )
            for line in self.draft.lines
            for pool_id in line.wanted.pool_ids
            if pool_id in tapes.pools and tapes.pools[pool_id].is_sandbox is line.wanted.is_sandbox
            for number, unit in enumerate(line.wanted.unit_ids, start=1)
            if self._statuses[unit] is UnitStatus.WAITING
        ]

    def _requests(self, line: DraftLine) -> list[KeyRequest]:
        """What publishers are asked for the units that found no key; this process sends the first ones itself."""
        missing = [unit for unit in line.wanted.unit_ids if unit not in self._keys]
        if line.asking is None or not missing:
            return []
        at_once = line.asking.shelved.connector.document.concurrency if line.asking.plan.answer_seconds else 0
        return line.asking.requests(
            *(line.product.publisher_id, self.draft.order_id, line.line_number, missing, self.now), sent_at_once=at_once
        )

    def event_row(self, *, source: str) -> Row:
        """Accepted and disclosed are one fact here: the answer that follows the commit carries the keys."""
        facts = {"disclosed": 0 if self.draft.hold_seconds is not None else len(self.keys)}
        if self.draft.hold_seconds is not None:
            facts["held"] = len(self.keys)
        for name, status in (("backordered", UnitStatus.WAITING), ("requested", UnitStatus.REQUESTED)):
            if count := sum(one is status for one in self._statuses.values()):
                facts[name] = count
        return (
            *(self.draft.order_id, new_id(), None, self.draft.caller_id),
            *("order.accepted", self.state.status, source, None),
            *(to_json(facts).decode(), self.now),
        )

    def purchase(self, order_number: int) -> Purchase:
        """The answer: the order as it is about to be stored."""
        draft = self.draft
        return Purchase(
            order_id=draft.order_id,
            order_number=order_number,
            caller_id=draft.caller_id,
            partner_order_number=draft.reference,
            shopper_ref=draft.shopper_ref,
            status=self.state.status,
            currency=draft.currency,
            ordered_at=draft.ordered_at or self.now,
            created_at=self.now,
            canceled_at=None,
            lines=self._purchased_lines(),
            held_until=self.held_until,
        )

    def notices(self, order_number: int) -> list[NewNotice]:
        """What is told of it to whoever sold it."""
        draft = self.draft
        lines = tuple(
            ToldLine(
                *(line.wanted.line_number, line.line_item_id, line.product.product_ref, line.quantity),
                tuple(ToldUnit(unit, self._statuses[unit]) for unit in line.wanted.unit_ids),
            )
            for line in draft.lines
        )
        told = ToldOrder(
            *(draft.order_id, order_number, draft.caller_id, draft.reference, self.state.status, draft.is_test, lines)
        )
        return order_notices(told, before=None, occurred_at=self.now)

    def _purchased_lines(self) -> tuple[PurchasedLine, ...]:
        return tuple(
            PurchasedLine(
                line.line_number,
                line.product.product_ref,
                line.quantity,
                tuple(
                    _purchased_unit(unit, at, _SHOWN_AS[self._statuses[unit]], self._keys.get(unit))
                    for at, unit in enumerate(line.wanted.unit_ids, start=1)
                ),
                line.product.publisher_id,
            )
            for line in self.draft.lines
        )


def _purchased_unit(unit_id: UUID, number: int, state: UnitState, key: IssuedKey | None) -> PurchasedUnit:
    if key is None:
        return PurchasedUnit(unit_id, number, state, None, None, None)
    if state is not UnitState.ISSUED:
        return PurchasedUnit(unit_id, number, state, None, None, None, claim_id=key.claim_id)
    return PurchasedUnit(unit_id, number, state, key.key.text, key.key.mime, key.key.name, claim_id=key.claim_id)


def _claim_id(key: IssuedKey | None) -> UUID | None:
    return None if key is None else key.claim_id
