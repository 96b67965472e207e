"""A package is what the reference calls a pool: its keys, the products they are sold as, and the level that raises an alarm."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from keyservice.domain.errors import Invalid

PRODUCTS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class PackageProduct:
    """A product whose keys come from the package."""

    product_ref: int
    publisher_product_id: str | None


@dataclass(frozen=True, slots=True)
class PackageStock:
    """Where the keys of a package are. Keys that are on hold with their batch, near expiry or expired are in none of these."""

    available: int
    occupied: int
    """Issued, or held for a payment."""

    canceled: int
    """Revoked."""

    renewed: int
    """Replaced by another key."""

    blacklisted: int
    """Withdrawn with their batch or one by one, or damaged."""


@dataclass(frozen=True, slots=True)
class Package:
    """A pool as the reference shows it."""

    package_id: UUID
    publisher: str
    name: str
    is_enabled: bool
    threshold: int
    products: tuple[PackageProduct, ...]
    stock: PackageStock | None
    """None where nobody asked for it."""


def template_name(package_id: UUID) -> str:
    """Of the fulfillment template that is made for a package; a person's template may have any other name."""
    return f"package {package_id}"


def paired(
    product_refs: tuple[int, ...], publisher_product_ids: tuple[str, ...] | None, known: dict[int, str | None]
) -> dict[int, str | None]:
    """The publisher's id of each product, None where it stays as it is.

    There are as many ids as products, in their order, or only ids that the products have already, as an answer shows them.
    Raises Invalid for anything else: which product an id is meant for would be a guess.
    """
    if publisher_product_ids is None:
        return dict.fromkeys(product_refs)
    if len(publisher_product_ids) == len(product_refs):
        return dict(zip(product_refs, publisher_product_ids, strict=True))
    is_shown = len(publisher_product_ids) < len(product_refs)
    if is_shown and set(publisher_product_ids) <= {known.get(product_ref) for product_ref in product_refs}:
        return dict.fromkeys(product_refs)
    raise Invalid("give one for each nexwayProductId, in the same order, or leave it out", field="publisherProductId")
