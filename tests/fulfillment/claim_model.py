"""What claims, holds, queues and revocations mean, in memory and without a tape: keys, and units that have one or wait."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

KeyState = Literal["stock", "held", "issued", "dead", "withdrawn"]
UnitState = Literal["held", "issued", "pending", "released", "revoked"]
Plan = tuple[int, ...]
Turn = tuple[int, int, int, int]


@dataclass(eq=False)
class Key:
    """A key of a batch. `came_back`: it was claimed before, and nobody has seen it."""

    text: str
    state: KeyState = "stock"
    came_back: bool = False
    was_seen: bool = False


@dataclass(eq=False)
class Batch:
    pool: int
    keys: list[Key]
    state: Literal["released", "held", "withdrawn"] = "released"


@dataclass(eq=False)
class Unit:
    plan: Plan
    state: UnitState = "pending"
    key: Key | None = None
    turn: Turn = (0, 0, 0, 0)


@dataclass(eq=False)
class Order:
    """`lines` are numbers of products with their quantities, as they were asked for."""

    lines: tuple[tuple[int, int], ...]
    units: list[Unit]
    is_hold: bool
    may_wait: bool
    paid_hours_ago: int
    is_late: bool = False
    was_paid: bool = True

    @property
    def is_held(self) -> bool:
        return any(unit.state == "held" for unit in self.units)

    @property
    def texts(self) -> list[str]:
        """Of the keys that an answer shows."""
        return [unit.key.text for unit in self.units if unit.state == "issued" and unit.key is not None]

    @property
    def states(self) -> list[str]:
        return [unit.state for unit in self.units]

    @property
    def status(self) -> str:
        left = set(self.states)
        if "held" in left:
            return "PAYMENT_PENDING"
        if "pending" in left:
            return "PARTIAL_COMPLETED" if "issued" in left else "PENDING"
        if "issued" in left:
            return "COMPLETED" if left == {"issued"} else "PARTIAL_CANCELED"
        return "CANCELED" if self.was_paid else "ABORTED"

    def see(self) -> None:
        """Its keys were shown."""
        for unit in self.units:
            if unit.state == "issued" and unit.key is not None:
                unit.key.was_seen = True


@dataclass
class Model:
    """Pools and products are numbers; a product is a plan of pools."""

    plans: Sequence[Plan]
    batches: list[Batch] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)

    def stock(self, pool: int) -> list[Key]:
        """In the order in which they are sold: batch after batch, and in each what came back first."""
        if pool in self.closed:
            return []
        return [
            key
            for batch in self.batches
            if batch.pool == pool and batch.state == "released"
            for came_back in (True, False)
            for key in batch.keys
            if key.state == "stock" and key.came_back is came_back
        ]

    def waiting(self, pool: int) -> list[Unit]:
        """In the order in which they are served."""
        every = (unit for order in self.orders.values() for unit in order.units)
        return sorted(
            (unit for unit in every if unit.state == "pending" and pool in unit.plan), key=lambda one: one.turn
        )

    def place(self, reference: str, order: Order) -> bool:
        """Whether it could be served: a claim that may wait always can."""
        good: Literal["held", "issued"] = "held" if order.is_hold else "issued"
        kept = {pool: len(self.waiting(pool)) for plan in self.plans for pool in plan}
        for line, (product, quantity) in enumerate(order.lines, start=1):
            for number in range(1, quantity + 1):
                plan = self.plans[product]
                unit = Unit(plan, turn=(-order.paid_hours_ago, len(self.orders), line, number))
                order.units.append(unit)
                free = [pool for pool in plan if len(self.stock(pool)) > kept[pool]]
                if free:
                    unit.key = self.stock(free[0])[0]
                    unit.state = unit.key.state = good
        if not order.may_wait and any(unit.key is None for unit in order.units):
            for unit in order.units:
                if unit.key is not None:
                    unit.key.state = "stock"
            return False
        order.was_paid = not order.is_hold
        self.orders[reference] = order
        return True

    def commit(self, order: Order) -> None:
        for unit in order.units:
            if unit.state == "held" and unit.key is not None:
                unit.state = unit.key.state = "issued"
        order.was_paid = True

    def end(self, units: Iterable[Unit]) -> None:
        """What was seen is dead, what was not goes back, and who waits waits no more."""
        for unit in units:
            if unit.state == "pending":
                unit.state = "released"
            elif unit.state in ("held", "issued") and unit.key is not None:
                unit.state = "revoked" if unit.key.was_seen else "released"
                if unit.key.was_seen:
                    unit.key.state = "dead"
                else:
                    unit.key.state, unit.key.came_back = "stock", True

    def expire(self) -> int:
        late = [order for order in self.orders.values() if order.is_late and order.is_held]
        for order in late:
            self.end(unit for unit in order.units if unit.state == "held")
        return len(late)

    def replace(self, unit: Unit) -> bool:
        """Whether there was another key."""
        for pool in unit.plan:
            stock = self.stock(pool)
            if len(stock) > len(self.waiting(pool)) and unit.key is not None:
                unit.key.state = "dead"
                unit.key = stock[0]
                unit.key.state = "issued"
                return True
        return False

    def serve(self) -> int:
        """Pool by pool, who has paid first at each of them, until nothing is left to be done."""
        served = 0
        for pool in sorted({pool for plan in self.plans for pool in plan}):
            for unit, key in zip(self.waiting(pool), self.stock(pool), strict=False):
                unit.key, unit.state, key.state = key, "issued", "issued"
                served += 1
        return served

    def find(self, text: str) -> tuple[Batch, Key]:
        return next((batch, key) for batch in self.batches for key in batch.keys if key.text == text)

    @property
    def seen(self) -> set[str]:
        return {key.text for batch in self.batches for key in batch.keys if key.was_seen}
