"""Products, the fulfillment templates they bind to, and the source plans that say where a product's keys come from."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, assert_never
from uuid import UUID

from keyservice.domain.errors import Invalid

STEPS_MAX: Final = 8
ANSWER_SECONDS: Final = 5.0
ANSWER_SECONDS_MAX: Final = 60.0


class QuantityMode(StrEnum):
    """How many keys a line of a given quantity wants."""

    QUANTITY = "quantity"
    ONE = "one"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class PoolStep:
    """Take the key from this pool of the product's own publisher."""

    pool_id: UUID
    source: Literal["pool"] = "pool"


@dataclass(frozen=True, slots=True)
class ConnectorStep:
    """Ask the product's own publisher by this connector."""

    connector_id: UUID
    source: Literal["connector"] = "connector"


@dataclass(frozen=True, slots=True)
class BackorderStep:
    """Wait for keys of the plan's pools, in order of payment. Nothing comes behind it."""

    source: Literal["backorder"] = "backorder"


PlanStep = PoolStep | ConnectorStep | BackorderStep


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """The sources of a product, in order. A plan never crosses publishers.

    What the first pools do not have is asked of the connector behind them. Only when that is out of stock, cannot be
    reached, or has not answered in time, the next source has its turn, and never while nobody knows whether the publisher
    has issued a key, unless the plan `accepts_surplus`.
    """

    steps: tuple[PlanStep, ...]
    answer_seconds: float = ANSWER_SECONDS
    """How long the answer to an order waits for publishers; what is not there then is answered as pending."""

    accepts_surplus: bool = False

    @property
    def pool_ids(self) -> tuple[UUID, ...]:
        """All pools, in order."""
        return tuple(step.pool_id for step in self.steps if isinstance(step, PoolStep))

    @property
    def may_wait(self) -> bool:
        """Whether it ends with a backorder."""
        return any(isinstance(step, BackorderStep) for step in self.steps)

    def connector_at(self, number: int) -> tuple[int, ConnectorStep] | None:
        """The first connector at or behind this step, with its own number."""
        for at, step in enumerate(self.steps[number:], start=number):
            if isinstance(step, ConnectorStep):
                return at, step
        return None

    def pools_before(self, number: int, *, after: int = 0) -> tuple[UUID, ...]:
        """The pools from step `after` up to this step."""
        return tuple(step.pool_id for step in self.steps[after:number] if isinstance(step, PoolStep))


@dataclass(frozen=True, slots=True)
class FulfillmentTemplate:
    """How a product is fulfilled: how many keys, and from which sources in which order."""

    template_id: UUID
    publisher_id: int
    name: str
    quantity_mode: QuantityMode
    block_size: int
    source_plan: SourcePlan

    @property
    def pool_ids(self) -> tuple[UUID, ...]:
        return self.source_plan.pool_ids

    def units_of(self, quantity: int) -> int:
        """How many keys a line of this quantity wants."""
        match self.quantity_mode:
            case QuantityMode.QUANTITY:
                return quantity
            case QuantityMode.ONE:
                return 1
            case QuantityMode.BLOCK:
                return quantity * self.block_size
            case _:
                assert_never(self.quantity_mode)


@dataclass(frozen=True, slots=True)
class Product:
    """What resellers sell under one reference, and the template that fulfills it."""

    product_ref: int
    publisher_id: int
    name: str
    publisher_product_id: str | None
    template: FulfillmentTemplate


class TooManyUnits(Invalid):
    """The lines come to more keys than one order may want."""

    code = "too-many-units"

    def __init__(self, *, units_max: int, line_number: int) -> None:
        super().__init__(f"an order has at most {units_max} keys; split it", field=f"lines.{line_number - 1}.quantity")
        self.line_number = line_number


def demand_units_within(units_max: int, lines: Iterable[tuple[int, Product, int]]) -> None:
    """Of lines with their number, product and quantity. Raises TooManyUnits for the one that is too much.

    A quantity is bounded before, but a template may want ten thousand keys for each of it.
    """
    wanted = 0
    for line_number, product, quantity in lines:
        wanted += product.template.units_of(quantity)
        if wanted > units_max:
            raise TooManyUnits(units_max=units_max, line_number=line_number)
