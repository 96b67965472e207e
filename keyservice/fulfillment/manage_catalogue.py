"""Publishers, their fulfillment templates and the products that resellers order."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.domain.catalogue import (
    STEPS_MAX,
    BackorderStep,
    ConnectorStep,
    FulfillmentTemplate,
    PoolStep,
    QuantityMode,
    SourcePlan,
)
from keyservice.domain.errors import Conflict, Invalid
from keyservice.fulfillment.catalogue import read_source_plan, write_source_plan
from keyservice.fulfillment.ids import new_id
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

CATALOGUE_PAGE_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who makes software and owns its keys."""

    publisher_id: int
    handle: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ListedProduct:
    """A product as its publisher manages it."""

    product_ref: int
    template_id: UUID
    name: str
    publisher_product_id: str | None
    is_active: bool


async def add_publisher(database: Database, *, handle: str, name: str) -> Publisher:
    """Raises Conflict for a handle that is taken, Invalid for one that is no slug."""
    async with database.transaction() as connection:
        try:
            publisher_id = await connection.fetchval(statement("callers.insert_publisher"), handle, name)
        except asyncpg.UniqueViolationError as error:
            raise Conflict("there is a publisher of this handle; choose another") from error
        except asyncpg.CheckViolationError as error:
            raise Invalid("a handle has small letters and digits, joined by single hyphens", field="handle") from error
        row = await connection.fetchrow(statement("pools.publisher"), publisher_id)
    assert row is not None
    return Publisher(**row)


async def list_publishers(database: Database, *, after: int, limit: int) -> list[Publisher]:
    async with database.reading() as connection:
        page = min(limit, CATALOGUE_PAGE_MAX)
        rows = await connection.fetch(statement("pools.publishers"), after, page)
    return [Publisher(**row) for row in rows]


async def create_template(
    database: Database,
    publisher_id: int,
    *,
    name: str,
    quantity_mode: QuantityMode,
    block_size: int,
    plan: SourcePlan,
) -> FulfillmentTemplate:
    """Raises Invalid for a plan that breaks a rule or names what is somebody else's, Conflict for a name that is taken."""
    _demand_sensible(plan)
    if quantity_mode is not QuantityMode.BLOCK and block_size != 1:
        raise Invalid("only the quantity mode block has a block size", field="block_size")
    template = FulfillmentTemplate(new_id(), publisher_id, name, quantity_mode, block_size, plan)
    async with database.of_publisher(publisher_id).transaction() as connection:
        await _demand_own_sources(connection, publisher_id, plan)
        values = (template.template_id, publisher_id, name, quantity_mode, block_size, write_source_plan(plan))
        try:
            await connection.execute(statement("pools.insert_template"), *values)
        except asyncpg.UniqueViolationError as error:
            raise Conflict("there is a template of this name; choose another") from error
    return template


async def list_templates(
    database: Database, publisher_id: int, *, after: UUID | None, limit: int
) -> list[FulfillmentTemplate]:
    async with database.of_publisher(publisher_id).reading() as connection:
        page = min(limit, CATALOGUE_PAGE_MAX)
        rows = await connection.fetch(statement("pools.templates"), publisher_id, after, page)
    return [
        FulfillmentTemplate(
            row["template_id"],
            row["publisher_id"],
            row["name"],
            QuantityMode(row["quantity_mode"]),
            row["block_size"],
            read_source_plan(row["source_plan"]),
        )
        for row in rows
    ]


async def create_product(
    database: Database,
    publisher_id: int,
    *,
    product_ref: int,
    name: str,
    template_id: UUID,
    publisher_product_id: str | None,
) -> ListedProduct:
    """Raises Invalid for a template that the publisher does not have, Conflict for a reference that is taken."""
    async with database.of_publisher(publisher_id).transaction() as connection:
        if await connection.fetchrow(statement("pools.template"), publisher_id, template_id) is None:
            raise Invalid("there is no such template", field="template_id")
        values = (product_ref, publisher_id, template_id, name, publisher_product_id)
        try:
            await connection.execute(statement("pools.insert_product"), *values)
        except asyncpg.UniqueViolationError as error:
            raise Conflict("this product reference is taken; choose another") from error
    return ListedProduct(product_ref, template_id, name, publisher_product_id, is_active=True)


async def list_products(database: Database, publisher_id: int, *, after: int, limit: int) -> list[ListedProduct]:
    async with database.of_publisher(publisher_id).reading() as connection:
        page = min(limit, CATALOGUE_PAGE_MAX)
        rows = await connection.fetch(statement("pools.products"), publisher_id, after, page)
    return [
        ListedProduct(
            row["product_ref"], row["template_id"], row["name"], row["publisher_product_id"], row["state"] == "active"
        )
        for row in rows
    ]


def _demand_sensible(plan: SourcePlan) -> None:
    if not 1 <= len(plan.steps) <= STEPS_MAX:
        raise Invalid(f"a source plan has 1 to {STEPS_MAX} steps", field="source_plan.steps")
    if len(set(plan.steps)) < len(plan.steps):
        raise Invalid("a source plan names each source once", field="source_plan.steps")
    if plan.may_wait and not isinstance(plan.steps[-1], BackorderStep):
        raise Invalid("a backorder is the last step of its plan", field="source_plan.steps")
    if plan.may_wait and not plan.pool_ids:
        raise Invalid("a backorder waits for a pool; name one before it", field="source_plan.steps")


async def _demand_own_sources(connection: Connection, publisher_id: int, plan: SourcePlan) -> None:
    pools = await connection.fetch(statement("pools.own_pools"), publisher_id, list(plan.pool_ids))
    named = [step.connector_id for step in plan.steps if isinstance(step, ConnectorStep)]
    connectors = await connection.fetch(statement("connectors.own_connectors"), publisher_id, named)
    own = {row["pool_id"] for row in pools} | {row["connector_id"] for row in connectors}
    for number, step in enumerate(plan.steps):
        if isinstance(step, PoolStep) and step.pool_id not in own:
            raise Invalid("there is no such pool", field=f"source_plan.steps.{number}.pool")
        if isinstance(step, ConnectorStep) and step.connector_id not in own:
            raise Invalid("there is no such connector", field=f"source_plan.steps.{number}.connector")
