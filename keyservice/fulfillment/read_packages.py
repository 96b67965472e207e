"""Pools as packages: with the products that they are bound to, and where their keys are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from keyservice.domain.errors import NotFound
from keyservice.domain.package import Package, PackageProduct, PackageStock
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

PACKAGES_PAGE_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class PackageFilter:
    """Which packages: of one publisher or of all, with a product of this number, of this publisher's id, or of both."""

    publisher_id: int | None
    product_ref: int | None = None
    publisher_product_id: str | None = None


class PackagePage(NamedTuple):
    """Some packages, and how many there are in all."""

    packages: list[Package]
    total: int


async def read_package(database: Database, publisher_id: int, package_id: UUID) -> Package:
    """Raises NotFound."""
    async with database.of_publisher(publisher_id).reading() as connection:
        return await package_of(connection, publisher_id, package_id)


async def package_of(connection: Connection, publisher_id: int, package_id: UUID) -> Package:
    row = await connection.fetchrow(statement("packages.package"), publisher_id, package_id)
    if row is None:
        raise NotFound("there is no such package")
    return (await _packages(connection, publisher_id, [row]))[0]


async def list_packages(
    database: Database, wanted: PackageFilter, *, sort: str, number: int, size: int, with_stock: bool = True
) -> PackagePage:
    """The page of this number from 0. `sort` is a field and a direction, as in "name,desc"."""
    terms = (wanted.publisher_id, wanted.product_ref, wanted.publisher_product_id)
    everyone = database if wanted.publisher_id is None else database.of_publisher(wanted.publisher_id)
    size = min(size, PACKAGES_PAGE_MAX)
    async with everyone.reading() as connection:
        rows = await connection.fetch(statement("packages.packages"), *terms, sort, size, number * size)
        total = await connection.fetchval(statement("packages.count_packages"), *terms)
    if not with_stock:
        return PackagePage([_package(row, (), None) for row in rows], total)
    found: dict[UUID, Package] = {}
    for publisher_id in sorted({row["publisher_id"] for row in rows}):
        own = [row for row in rows if row["publisher_id"] == publisher_id]
        async with database.of_publisher(publisher_id).reading() as connection:
            found |= {one.package_id: one for one in await _packages(connection, publisher_id, own)}
    return PackagePage([found[row["pool_id"]] for row in rows], total)


async def bound_products(connection: Connection, publisher_id: int, pool_ids: Sequence[UUID]) -> list[asyncpg.Record]:
    """Rows of pool_id, product_ref, publisher_product_id and template_name, by product."""
    return await connection.fetch(statement("packages.products_of_pools"), publisher_id, list(pool_ids))


async def _packages(connection: Connection, publisher_id: int, rows: Sequence[asyncpg.Record]) -> list[Package]:
    pool_ids = [row["pool_id"] for row in rows]
    products: dict[UUID, list[PackageProduct]] = {pool_id: [] for pool_id in pool_ids}
    for row in await bound_products(connection, publisher_id, pool_ids):
        products[row["pool_id"]].append(PackageProduct(row["product_ref"], row["publisher_product_id"]))
    stocks = {
        row["pool_id"]: _stock(row)
        for row in await connection.fetch(statement("packages.stock_of_pools"), publisher_id, pool_ids)
    }
    return [_package(row, tuple(products[row["pool_id"]]), stocks[row["pool_id"]]) for row in rows]


def _package(row: asyncpg.Record, products: tuple[PackageProduct, ...], stock: PackageStock | None) -> Package:
    return Package(
        package_id=row["pool_id"],
        publisher=row["handle"],
        name=row["name"],
        is_enabled=row["state"] == "open",
        threshold=row["warning_level"],
        products=products,
        stock=stock,
    )


def _stock(row: asyncpg.Record) -> PackageStock:
    revoked, replaced = int(row["revoked"]), int(row["replaced"])
    return PackageStock(
        available=int(row["available"]),
        occupied=int(row["taken"]) - revoked - replaced,
        canceled=revoked,
        renewed=replaced,
        blacklisted=int(row["withdrawn"]),
    )
