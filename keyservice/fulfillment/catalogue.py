"""What is sold: products and templates, remembered for a moment because every order asks."""

import json
import time
from collections.abc import Collection
from typing import assert_never
from uuid import UUID

import asyncpg
from pydantic_core import to_json

from keyservice.domain.catalogue import (
    ANSWER_SECONDS,
    BackorderStep,
    ConnectorStep,
    FulfillmentTemplate,
    PlanStep,
    PoolStep,
    Product,
    QuantityMode,
    SourcePlan,
)
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

_REMEMBERED_MAX = 100_000


class Catalogue:
    """Products by reference. A change is known everywhere within `remember_seconds`."""

    def __init__(self, database: Database, *, remember_seconds: float) -> None:
        self._database = database
        self._remember_seconds = remember_seconds
        self._products: dict[int, tuple[float, Product | None]] = {}

    async def products(self, product_refs: Collection[int]) -> dict[int, Product]:
        """The active ones among these; who is not in the answer is not known."""
        now = time.monotonic()
        missing = [ref for ref in product_refs if ref not in self._products or self._products[ref][0] < now]
        if missing:
            async with self._database.reading() as connection:
                found = await read_products(connection, missing)
            if len(self._products) >= _REMEMBERED_MAX:
                self._products.clear()
            until = time.monotonic() + self._remember_seconds
            self._products.update({ref: (until, found.get(ref)) for ref in missing})
        known = {ref: self._products[ref][1] for ref in product_refs}
        return {ref: product for ref, product in known.items() if product is not None}

    async def publisher_id(self, handle: str) -> int | None:
        """The publisher of this handle, or None."""
        async with self._database.reading() as connection:
            found: int | None = await connection.fetchval(statement("callers.publisher_by_handle"), handle)
        return found


async def read_products(connection: Connection, product_refs: Collection[int]) -> dict[int, Product]:
    """The active products of these references, with their templates."""
    rows = await connection.fetch(statement("callers.products_by_ref"), list(product_refs))
    return {row["product_ref"]: _product(row) for row in rows}


def read_source_plan(stored: str) -> SourcePlan:
    """A stored source plan: {"steps": [{"source": "pool", "pool": "<pool id>"}, …], "answer_seconds": 5, …}."""
    plan = json.loads(stored)
    return SourcePlan(
        tuple(_step(step) for step in plan["steps"]),
        answer_seconds=plan.get("answer_seconds", ANSWER_SECONDS),
        accepts_surplus=plan.get("accepts_surplus", False),
    )


def write_source_plan(plan: SourcePlan) -> str:
    """What `read_source_plan` reads."""
    steps = [_written(step) for step in plan.steps]
    told = {"steps": steps, "answer_seconds": plan.answer_seconds, "accepts_surplus": plan.accepts_surplus}
    return to_json(told).decode()


def _step(step: dict[str, str]) -> PlanStep:
    match step["source"]:
        case "connector":
            return ConnectorStep(UUID(step["connector"]))
        case "backorder":
            return BackorderStep()
        case _:
            return PoolStep(UUID(step["pool"]))


def _written(step: PlanStep) -> dict[str, object]:
    match step:
        case PoolStep():
            return {"source": step.source, "pool": step.pool_id}
        case ConnectorStep():
            return {"source": step.source, "connector": step.connector_id}
        case BackorderStep():
            return {"source": step.source}
        case _:
            assert_never(step)


def _product(row: asyncpg.Record) -> Product:
    template = FulfillmentTemplate(
        row["template_id"],
        row["publisher_id"],
        row["template_name"],
        QuantityMode(row["quantity_mode"]),
        row["block_size"],
        read_source_plan(row["source_plan"]),
    )
    return Product(row["product_ref"], row["publisher_id"], row["name"], row["publisher_product_id"], template)
