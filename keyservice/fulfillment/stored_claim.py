"""A stored claim that is about to change: its order's row is locked first, and its states are derived anew afterwards."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from pydantic_core import to_json

from keyservice.domain.caller import Caller
from keyservice.domain.errors import NotFound
from keyservice.domain.notice import ToldUnit
from keyservice.domain.order_state import DEAD, OrderState, UnitStatus, line_status, order_state
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.record_notices import ChangedOrder, tell_of_orders
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


@dataclass(frozen=True, slots=True)
class StoredClaim:
    """An order's row, which this transaction holds, and the rows of its lines and units."""

    order: asyncpg.Record
    rows: tuple[asyncpg.Record, ...]

    @property
    def order_id(self) -> UUID:
        order_id: UUID = self.order["order_id"]
        return order_id

    @property
    def now(self) -> datetime:
        """By the database's clock, read behind the lock."""
        now: datetime = self.order["now"]
        return now

    @property
    def units(self) -> list[asyncpg.Record]:
        return [row for row in self.rows if row["unit_number"] > 0]

    def units_in(self, *statuses: UnitStatus) -> list[asyncpg.Record]:
        return [unit for unit in self.units if unit["fulfillment_status"] in statuses]


@dataclass(frozen=True, slots=True)
class UnitChange:
    """What becomes of one unit; a claim of None stays what it was."""

    unit_id: UUID
    status: UnitStatus
    claim_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of units of one locked claim, and of the order that they make up."""

    claim: StoredClaim
    units: Sequence[UnitChange]
    held_until: datetime | None = None
    """Where its deadline is moved to. It lasts as long as a unit is on hold."""

    paid_at: datetime | None = None

    @property
    def statuses(self) -> dict[UUID, UnitStatus]:
        """Of all its units, changed or not."""
        changed = {change.unit_id: change.status for change in self.units}
        return {
            unit["line_item_data_id"]: changed.get(unit["line_item_data_id"], UnitStatus(unit["fulfillment_status"]))
            for unit in self.claim.units
        }

    @property
    def order_state(self) -> OrderState:
        return order_state(set(self.statuses.values()), was_sold=self._paid_at is not None)

    def unit_rows(self) -> list[tuple[object, ...]]:
        """Parameters of orders.set_unit_state: the units, and the lines of several units with what these come to."""
        order_id, now = self.claim.order_id, self.claim.now
        rows: list[tuple[object, ...]] = [(order_id, one.unit_id, one.status, one.claim_id, now) for one in self.units]
        rows += [(order_id, line, status, None, now) for line, status in _lines(self.claim, self.statuses).items()]
        return rows

    def order_row(self) -> tuple[object, ...]:
        """Parameters of orders.set_order_state."""
        claim, left = self.claim, set(self.statuses.values())
        held_until = (self.held_until or claim.order["held_until"]) if UnitStatus.HELD in left else None
        # An order whose cancellation was reversed is not cancelled any more.
        canceled_at = (claim.order["canceled_at"] or claim.now) if left <= DEAD else None
        return (claim.order_id, *self.order_state, held_until, self._paid_at, canceled_at, claim.now)

    @property
    def _paid_at(self) -> datetime | None:
        paid_at: datetime | None = self.paid_at or self.claim.order["paid_at"]
        return paid_at


async def lock_claim(connection: Connection, order_id: UUID, caller: Caller | None) -> StoredClaim:
    """The order first, before anything of the tape. Raises NotFound, for somebody else's too; None is the service itself."""
    claims = await lock_claims(connection, [order_id])
    claim = claims.get(order_id)
    if claim is None or (caller is not None and caller.caller_id != claim.order["caller_id"]):
        raise NotFound("there is no such claim")
    return claim


async def lock_claims(connection: Connection, order_ids: Iterable[UUID]) -> dict[UUID, StoredClaim]:
    """Those of these orders that are there, locked in ascending order."""
    asked = [(order_id,) for order_id in sorted(set(order_ids))]
    orders = await connection.fetchmany(statement("orders.lock_order"), asked)
    rows: dict[UUID, list[asyncpg.Record]] = {}
    for row in await connection.fetchmany(statement("orders.all_line_item_data"), asked):
        rows.setdefault(row["order_id"], []).append(row)
    return {order["order_id"]: StoredClaim(order, tuple(rows[order["order_id"]])) for order in orders}


async def write_changes(connection: Connection, changes: Sequence[Change]) -> None:
    """Write what becomes of units, of their lines and of their orders, and tell who sold them."""
    await connection.executemany(
        statement("orders.set_unit_state"), [row for one in changes for row in one.unit_rows()]
    )
    await connection.executemany(statement("orders.set_order_state"), [one.order_row() for one in changes])
    await tell_of_orders(connection, [_told(one) for one in changes])


def _told(change: Change) -> ChangedOrder:
    lines: dict[int, list[ToldUnit]] = {}
    statuses = change.statuses
    for unit in change.claim.units:
        unit_id = unit["line_item_data_id"]
        lines.setdefault(unit["line_number"], []).append(ToldUnit(unit_id, statuses[unit_id]))
    return ChangedOrder(change.claim.order, change.order_state.status, lines)


async def change_units(connection: Connection, change: Change) -> str:
    """The same for one claim; the order's status."""
    await write_changes(connection, [change])
    return change.order_state.status


async def write_event(
    connection: Connection,
    claim: StoredClaim,
    name: str,
    status: str,
    facts: Mapping[str, object],
    *,
    caller_id: int | None,
    unit_id: UUID | None = None,
) -> None:
    """State and its event change together."""
    row = event_row(claim, name, status, facts, caller_id=caller_id, unit_id=unit_id)
    await connection.execute(statement("orders.insert_event"), *row)


def event_row(
    claim: StoredClaim,
    name: str,
    status: str,
    facts: Mapping[str, object],
    *,
    caller_id: int | None,
    unit_id: UUID | None = None,
) -> tuple[object, ...]:
    """Parameters of orders.insert_event."""
    event = (claim.order_id, new_id(), unit_id, caller_id, name, status, "fulfillment", None)
    return (*event, to_json(facts).decode(), claim.now)


def _lines(claim: StoredClaim, statuses: Mapping[UUID, UnitStatus]) -> dict[UUID, UnitStatus]:
    """The rows of lines of several units, each with what its units come to."""
    by_line: dict[int, Collection[UnitStatus]] = {}
    for unit in claim.units:
        by_line[unit["line_number"]] = {*by_line.get(unit["line_number"], ()), statuses[unit["line_item_data_id"]]}
    return {
        row["line_item_data_id"]: line_status(by_line[row["line_number"]])
        for row in claim.rows
        if row["unit_number"] == 0
    }
