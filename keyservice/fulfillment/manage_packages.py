"""Opening and changing a package: the pool, its fulfillment template and its products, in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
from pydantic_core import to_json

from keyservice.domain.catalogue import QuantityMode
from keyservice.domain.errors import Conflict
from keyservice.domain.package import Package, paired, template_name
from keyservice.domain.tape import Policy
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_pools import PoolChange, alter_pool, insert_pool, write_pool_event
from keyservice.fulfillment.read_packages import bound_products, package_of
from keyservice.fulfillment.settle_pool import lock_pool
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

_BLOCK_SIZE: Final = 1


@dataclass(frozen=True, slots=True)
class PackageTerms:
    """What a package is to be. A status, threshold or list of ids that is None stays as it is, or takes its default."""

    name: str
    product_refs: tuple[int, ...]
    publisher_product_ids: tuple[str, ...] | None = None
    is_enabled: bool | None = None
    threshold: int | None = None


async def create_package(database: Database, publisher_id: int, terms: PackageTerms, *, caller_id: int) -> Package:
    """A new pool whose products are sold from it. Products that are not there yet are made under the package's name.

    Raises Conflict for a name or the number of a product that is taken, Invalid for ids that fit no product.
    """
    threshold = terms.threshold or 0

    async def work(connection: Connection) -> Package:
        package_id = await insert_pool(
            connection,
            publisher_id,
            name=terms.name,
            policy=Policy.FIFO,
            warning_level=threshold,
            alert_level=threshold,
            caller_id=caller_id,
        )
        now = await lock_pool(connection, publisher_id, package_id)
        if terms.is_enabled is False:
            closing = PoolChange(is_open=False)
            await alter_pool(connection, publisher_id, package_id, closing, caller_id=caller_id, now=now)
        await _bind(connection, publisher_id, package_id, terms, {}, caller_id=caller_id, now=now)
        return await package_of(connection, publisher_id, package_id)

    return await short_transaction(database.of_publisher(publisher_id), work, is_repeatable=False)


async def change_package(
    database: Database, publisher_id: int, package_id: UUID, terms: PackageTerms, *, caller_id: int
) -> Package:
    """Make the package what the terms say. A product that they leave out cannot be ordered until a package takes it again.

    Raises NotFound, Conflict also for leaving out a product that a template of its own binds, Invalid as create_package.
    """

    async def work(connection: Connection) -> Package:
        now = await lock_pool(connection, publisher_id, package_id)
        before = await package_of(connection, publisher_id, package_id)
        change = _pool_change(before, terms)
        await alter_pool(connection, publisher_id, package_id, change, caller_id=caller_id, now=now)
        rows = await bound_products(connection, publisher_id, [package_id])
        bound = {row["product_ref"]: row["template_name"] for row in rows}
        await _bind(connection, publisher_id, package_id, terms, bound, caller_id=caller_id, now=now)
        return await package_of(connection, publisher_id, package_id)

    return await short_transaction(database.of_publisher(publisher_id), work)


def _pool_change(before: Package, terms: PackageTerms) -> PoolChange:
    is_same_level = terms.threshold is None or terms.threshold == before.threshold
    # A pool may have two levels, set elsewhere; they stay as long as the one that is shown here stays.
    level = None if is_same_level else terms.threshold
    return PoolChange(name=terms.name, warning_level=level, alert_level=level, is_open=terms.is_enabled)


async def _bind(
    connection: Connection,
    publisher_id: int,
    package_id: UUID,
    terms: PackageTerms,
    bound: Mapping[int, str],
    *,
    caller_id: int,
    now: datetime,
) -> None:
    """`bound` are the products of the package before, with the names of their templates."""
    added = sorted(set(terms.product_refs) - bound.keys())
    removed = sorted(bound.keys() - set(terms.product_refs))
    if any(bound[product_ref] != template_name(package_id) for product_ref in removed):
        raise Conflict(
            "a product that is left out is sold from here by a template of its own; bind it to another first"
        )
    rows = await connection.fetch(statement("packages.own_products"), publisher_id, list(terms.product_refs))
    known = {row["product_ref"]: row["publisher_product_id"] for row in rows}
    ids = paired(terms.product_refs, terms.publisher_product_ids, known)
    template_id = await _own_template(connection, publisher_id, package_id) if added else None
    for product_ref in sorted(terms.product_refs):
        if product_ref in known:
            binding = template_id if product_ref in added else None
            values = (publisher_id, product_ref, binding, ids[product_ref])
            await connection.execute(statement("packages.bind_product"), *values)
        else:
            await _insert_product(connection, publisher_id, product_ref, template_id, terms.name, ids[product_ref])
    await connection.executemany(
        statement("packages.disable_product"), [(publisher_id, product_ref) for product_ref in removed]
    )
    if added or removed:
        facts: dict[str, object] = {"added": added, "removed": removed}
        await write_pool_event(connection, publisher_id, package_id, caller_id, "pool.products_changed", facts, now)


async def _insert_product(
    connection: Connection,
    publisher_id: int,
    product_ref: int,
    template_id: UUID | None,
    name: str,
    publisher_product_id: str | None,
) -> None:
    values = (product_ref, publisher_id, template_id, name, publisher_product_id)
    try:
        await connection.execute(statement("pools.insert_product"), *values)
    except asyncpg.UniqueViolationError as error:
        raise Conflict("the number of a product is taken; choose another") from error


async def _own_template(connection: Connection, publisher_id: int, package_id: UUID) -> UUID:
    """The template that is made for the package, once."""
    name = template_name(package_id)
    found: UUID | None = await connection.fetchval(statement("packages.own_template"), publisher_id, name)
    if found is not None:
        return found
    template_id = new_id()
    plan = to_json({"steps": [{"source": "pool", "pool": package_id}]}).decode()
    values = (template_id, publisher_id, name, QuantityMode.QUANTITY, _BLOCK_SIZE, plan)
    await connection.execute(statement("pools.insert_template"), *values)
    return template_id
