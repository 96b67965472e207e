"""Compares what clients were told with what the database holds. It shares no query and no opinion with the service."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.crypto.keyring import Keyring
from keyservice.crypto.sealing import DataKey, key_aad
from keyservice.crypto.wrapping import KeyringWrapper
from keyservice.domain.errors import Tampered
from keyservice.domain.key import KeyPlace
from keyservice.fulfillment.open_keys import data_key_context
from tests.lab.history import Attempt, History, Operation, Outcome

_LIVE: Final = frozenset({"held", "issued"})

_UNITS: Final = """
SELECT o.partner_order_number, o.canceled_at IS NOT NULL AS is_canceled, d.line_item_data_id,
       c.unit_id, c.state, k.publisher_id, k.segment_id, k.position, k.sealed
  FROM orders o
  LEFT JOIN line_item_data d ON d.order_id = o.order_id AND d.unit_number > 0
  LEFT JOIN claims c ON c.publisher_id = d.publisher_id AND c.claim_id = d.claim_id
  LEFT JOIN keys k ON k.publisher_id = c.publisher_id AND k.segment_id = c.segment_id AND k.position = c.position
 WHERE starts_with(o.partner_order_number, $1)
 ORDER BY o.order_id, d.line_number, d.unit_number
"""
_DOUBLED: Final = """
SELECT partner_order_number, count(*) AS times FROM orders
 WHERE starts_with(partner_order_number, $1) GROUP BY partner_order_number HAVING count(*) > 1
"""
_CLAIMS: Final = """
SELECT count(*) FROM claims c JOIN orders o ON o.order_id = c.order_id
 WHERE c.unit_id IS NOT NULL AND starts_with(o.partner_order_number, $1)
"""
_BATCH_KEYS: Final = """
SELECT k.publisher_id, k.segment_id, k.position, k.sealed FROM keys k
  JOIN segments s ON s.publisher_id = k.publisher_id AND s.segment_id = k.segment_id WHERE s.batch_id = $1
"""
_HALF_DONE: Final = """
SELECT (SELECT count(*) FROM batches WHERE state = 'receiving')
     + (SELECT count(*) FROM segments s JOIN batches b USING (publisher_id, batch_id)
         WHERE b.state IN ('refused', 'discarded', 'checked'))
     + (SELECT count(*) FROM keys k LEFT JOIN segments s USING (publisher_id, segment_id) WHERE s.batch_id IS NULL)
"""
_STOCK: Final = """
SELECT (SELECT count(*) FROM keys k JOIN segments s USING (publisher_id, segment_id)
         WHERE s.pool_id = $1 AND s.state IN ('open', 'exhausted')) AS accepted,
       (SELECT count(*) FROM claims c JOIN segments s USING (publisher_id, segment_id)
         WHERE s.pool_id = $1 AND s.state IN ('open', 'exhausted') AND c.state <> 'released') AS taken,
       (SELECT coalesce(sum(s.loaded - s.next_position + 1 - s.withdrawn_ahead + s.returned_count), 0) FROM segments s
         WHERE s.pool_id = $1 AND s.state IN ('open', 'exhausted')) AS by_cursor
"""


@dataclass(frozen=True, slots=True)
class StoredUnit:
    """A unit of a stored order: the claim it names, and the text of the key that claim points at."""

    is_its_claims: bool
    claim_state: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order as the tables tell it, its units in the order of the answer."""

    is_canceled: bool
    units: tuple[StoredUnit, ...]

    @property
    def texts(self) -> tuple[str | None, ...]:
        return tuple(unit.text for unit in self.units)


@dataclass(frozen=True, slots=True)
class Stock:
    """The same level counted in two ways: keys without a claim, and what lies ahead of the cursors."""

    accepted: int
    taken: int
    by_cursor: int

    @property
    def left(self) -> int:
        return self.accepted - self.taken


class EndState:
    """Reads and opens what is stored, with the keyring alone: all of it, or the orders whose numbers begin alike."""

    def __init__(
        self, connection: "asyncpg.Connection[asyncpg.Record]", keyring: Keyring, *, numbers: str = ""
    ) -> None:
        self._connection = connection
        self._numbers = numbers
        self._wrapper = KeyringWrapper(keyring)
        self._data_keys: dict[tuple[int, int], DataKey] = {}

    async def orders(self) -> dict[str, list[StoredOrder]]:
        """By partner order number; a list, because two of one number is what must be noticed."""
        await self._load_data_keys()
        grouped: dict[str, list[asyncpg.Record]] = defaultdict(list)
        for row in await self._connection.fetch(_UNITS, self._numbers):
            grouped[row["partner_order_number"]].append(row)
        doubled = await self._connection.fetch(_DOUBLED, self._numbers)
        times = {row["partner_order_number"]: row["times"] for row in doubled}
        return {number: [self._order(rows)] * times.get(number, 1) for number, rows in grouped.items()}

    async def texts_of_batch(self, batch_id: str) -> list[str]:
        await self._load_data_keys()
        rows = await self._connection.fetch(_BATCH_KEYS, UUID(batch_id))
        return [self._open(row) or "" for row in rows]

    async def stock(self, pool_id: str) -> Stock:
        row = await self._connection.fetchrow(_STOCK, UUID(pool_id))
        assert row is not None
        return Stock(int(row["accepted"]), int(row["taken"]), int(row["by_cursor"]))

    async def claim_count(self) -> int:
        return int(await self._connection.fetchval(_CLAIMS, self._numbers))

    async def half_done_uploads(self) -> int:
        """Uploads that are not over, and remains of those that were given up."""
        return int(await self._connection.fetchval(_HALF_DONE))

    async def _load_data_keys(self) -> None:
        for row in await self._connection.fetch("SELECT publisher_id, data_key_id, batch_id, wrapped FROM data_keys"):
            name = (row["publisher_id"], row["data_key_id"])
            if name not in self._data_keys:
                raw = await self._wrapper.unwrap(row["wrapped"], data_key_context(name[0], row["batch_id"]))
                self._data_keys[name] = DataKey(name[1], raw)

    def _order(self, rows: Sequence[asyncpg.Record]) -> StoredOrder:
        units = tuple(
            StoredUnit(row["unit_id"] == row["line_item_data_id"], row["state"], self._open(row))
            for row in rows
            if row["line_item_data_id"] is not None
        )
        return StoredOrder(rows[0]["is_canceled"], units)

    def _open(self, row: asyncpg.Record) -> str | None:
        if row["sealed"] is None:
            return None
        place = KeyPlace(row["publisher_id"], row["segment_id"], row["position"])
        data_key_id = int.from_bytes(row["sealed"][1:9])
        try:
            return self._data_keys[place.publisher_id, data_key_id].open(row["sealed"], key_aad(place)).decode()
        except (KeyError, Tampered):
            return None


async def check(history: History, state: EndState) -> list[str]:
    """Every contradiction between the history and the end state, in words; empty when there is none."""
    stored = await state.orders()
    told = _by_order(history)
    findings = [*_issued_twice(stored, told), *_invented(stored, told)]
    for number, attempts in told.items():
        findings += _check_order(number, attempts, stored.get(number, []))
    units = sum(len(order.units) for orders in stored.values() for order in orders)
    if (claims := await state.claim_count()) != units:
        findings.append(f"{units} units of orders are stored and {claims} claims of units")
    return findings


def refused_too_early(history: History) -> list[str]:
    """For orders of one unit from a pool that is never refilled: nobody gets a key who asked after a refusal was out."""
    refusals = [one.ended_at for one in history.of(Operation.ORDER, Outcome.REFUSED)]
    first = min(refusals, default=float("inf"))
    served = (one for one in history.of(Operation.ORDER, Outcome.OK) if one.invoked_at > first)
    return [f"{one.name} got a key after another order had been told there is none" for one in served]


def _by_order(history: History) -> Mapping[str, list[Attempt]]:
    told: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in history.attempts:
        if attempt.operation is not Operation.UPLOAD:
            told[attempt.name].append(attempt)
    return told


def _issued_twice(stored: Mapping[str, Iterable[StoredOrder]], told: Mapping[str, list[Attempt]]) -> list[str]:
    owners: dict[str, set[str]] = defaultdict(set)
    for number, attempts in told.items():
        for attempt in attempts:
            for text in attempt.keys:
                owners[text].add(number)
    findings = [f"one key was told to {sorted(numbers)}" for numbers in owners.values() if len(numbers) > 1]
    uses = Counter(unit.text for orders in stored.values() for order in orders for unit in order.units)
    findings += [f"one key is stored for {count} units" for text, count in uses.items() if text and count > 1]
    return findings


def _invented(stored: Mapping[str, Sequence[StoredOrder]], told: Mapping[str, list[Attempt]]) -> list[str]:
    findings = [f"{number} is stored and was never sent" for number in stored.keys() - told.keys()]
    return findings + [
        f"{number} is stored {len(orders)} times" for number, orders in stored.items() if len(orders) > 1
    ]


def _check_order(number: str, attempts: Sequence[Attempt], orders: Sequence[StoredOrder]) -> list[str]:
    answers = [one for one in attempts if one.outcome is Outcome.OK and one.operation is not Operation.CANCEL]
    cancels = [one for one in attempts if one.operation is Operation.CANCEL]
    if not orders:
        # An order whose outcome nobody knows may be there or not; told and then gone is the loss that must not be.
        return [f"{number} was acknowledged and is not stored"] if answers else []
    findings = _check_stored(number, orders[0], cancels)
    submits = [one for one in attempts if one.operation is Operation.ORDER]
    if submits and all(one.outcome is Outcome.REFUSED for one in submits):
        findings.append(f"{number} was refused and is stored")
    with_keys = [one for one in answers if one.keys]
    if any(one.keys != orders[0].texts for one in with_keys):
        findings.append(f"{number} was told other keys than are stored for it")
    if not cancels and len({one.digest for one in answers}) > 1:
        findings.append(f"{number} was answered differently when it was sent again")
    if not cancels and any(not one.keys for one in answers):
        findings.append(f"{number} was answered without its keys")
    dead_since = min((one.ended_at for one in cancels if one.outcome is Outcome.OK), default=float("inf"))
    if any(one.invoked_at > dead_since for one in with_keys):
        findings.append(f"{number} showed a key after its cancellation was acknowledged")
    return findings


def _check_stored(number: str, order: StoredOrder, cancels: Sequence[Attempt]) -> list[str]:
    findings = []
    if not order.units or None in order.texts or not all(unit.is_its_claims for unit in order.units):
        findings.append(f"{number} has a unit without a key that opens")
    if any((unit.claim_state in _LIVE) == order.is_canceled for unit in order.units):
        findings.append(f"{number} and its claims disagree on whether it is cancelled")
    outcomes = {one.outcome for one in cancels}
    if order.is_canceled and not outcomes & {Outcome.OK, Outcome.UNKNOWN}:
        findings.append(f"{number} is cancelled and nobody was told so")
    if not order.is_canceled and Outcome.OK in outcomes:
        findings.append(f"{number} was acknowledged as cancelled and is not")
    return findings
