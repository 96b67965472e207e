"""Products, the fulfillment templates they bind to, and the source plans that say where a product's keys come from."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, assert_never
from uuid import UUID

STEPS_MAX: Final = 8


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
class FulfillmentTemplate:
    """How a product is fulfilled: how many keys, and from which sources in which order."""

    template_id: UUID
    publisher_id: int
    name: str
    quantity_mode: QuantityMode
    block_size: int
    source_plan: tuple[PoolStep, ...]

    @property
    def pool_ids(self) -> tuple[UUID, ...]:
        return tuple(step.pool_id for step in self.source_plan)

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
