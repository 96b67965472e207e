"""Packages as the reference writes them."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from keyservice.api.answering import AnswerModel, CamelAnswer
from keyservice.api.asking import Name, StrictModel, UuidText
from keyservice.domain.package import PRODUCTS_MAX, Package

PREFIX: Final = "/license-keys-provider"
PRODUCT_REF_MAX: Final = 9_007_199_254_740_991
HANDLE_CHARACTERS_MAX: Final = 63
_DIGITS_MAX: Final = len(str(PRODUCT_REF_MAX))
_REF_PATTERN: Final = rf"^[1-9][0-9]{{0,{_DIGITS_MAX - 1}}}$"

Status = Literal["ENABLED", "DISABLED"]


def _product_ref(text: str) -> str:
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and not text.startswith("0")
    if not is_number or int(text) > PRODUCT_REF_MAX:
        raise ValueError("must be the number of a product, without leading zeros")
    return text


def _once(texts: list[str]) -> list[str]:
    if len(set(texts)) < len(texts):
        raise ValueError("must name each once")
    return texts


ProductRefText = Annotated[
    str, AfterValidator(_product_ref), WithJsonSchema({"type": "string", "pattern": _REF_PATTERN})
]
Handle = Annotated[str, Field(min_length=1, max_length=HANDLE_CHARACTERS_MAX)]
Count = Annotated[int, Field(ge=0, le=9_223_372_036_854_775_807)]
Threshold = Annotated[int, Field(ge=0, le=1_000_000_000_000)]


class ShownStock(StrictModel):
    """The stock of an answer, sent back."""

    available: Count
    occupied: Count
    canceled: Count
    renewed: Count
    blacklisted: Count


class _CamelBody(StrictModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_alias=True, validate_by_name=False)


class NewPackage(_CamelBody):
    """The body that opens a package."""

    name: Name
    nexway_product_id: Annotated[
        list[ProductRefText],
        Field(min_length=1, max_length=PRODUCTS_MAX, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_once),
    ]
    """The numbers under which resellers order the products that are sold from it. One that is not there yet is made, under
    the package's name; one of the publisher's own is sold from this package from now on."""

    publisher_product_id: Annotated[list[Name], Field(max_length=PRODUCTS_MAX)] | None = None
    """The publisher's own ids of these products, as many and in the same order; or none."""

    status: Status | None = None
    """DISABLED sells nothing until it is ENABLED."""

    threshold: Threshold | None = None
    """An alarm is raised when so many keys are available, or fewer."""

    publisher_id: Handle | None = None
    """The publisher's handle; a publisher need not name itself."""


class ChangedPackage(NewPackage):
    """The body that says what a package is to be. An answer with its changes may be sent back as it is."""

    id: UuidText | None = None
    """That of the path."""

    stock: ShownStock | None = None
    """Passed over: stock changes by imports and sales."""


class PackageStockDocument(AnswerModel):
    """Where the keys of a package are. Keys of a batch on hold, near expiry or expired are in none of these."""

    available: int
    """For sale, once the package is ENABLED."""

    occupied: int
    """Issued, or held for a payment."""

    canceled: int
    """Revoked."""

    renewed: int
    """Replaced by another key."""

    blacklisted: int
    """Withdrawn with their batch or one by one, or damaged."""


class ShortPackageDocument(CamelAnswer):
    """A package by its name."""

    id: UUID
    publisher_id: str
    name: str
    status: Status


class PackageDocument(ShortPackageDocument):
    """A pool as the reference's batch store shows it."""

    nexway_product_id: list[str]
    """The numbers of the products that are sold from it."""

    publisher_product_id: list[str]
    """The publisher's own ids of those of them that have one, in the same order."""

    threshold: int
    stock: PackageStockDocument


class _PageEnvelope(CamelAnswer):
    last: bool
    """Whether nothing comes behind this page."""

    number: int
    """Of this page, from 0."""

    size: int
    total_items: int
    total_pages: int


class PackagePageDocument(_PageEnvelope):
    """A page of packages, in the reference's envelope."""

    items: list[PackageDocument] | list[ShortPackageDocument]


def package_document(package: Package) -> PackageDocument:
    assert package.stock is not None
    ids = [product.publisher_product_id for product in package.products]
    return PackageDocument(
        **_short(package),
        nexway_product_id=[str(product.product_ref) for product in package.products],
        publisher_product_id=[text for text in ids if text is not None],
        threshold=package.threshold,
        stock=PackageStockDocument.model_validate(package.stock),
    )


def page_document(
    packages: list[Package], total: int, *, number: int, size: int, is_short: bool
) -> PackagePageDocument:
    pages = -(-total // size)
    items: Any = (
        [ShortPackageDocument(**_short(package)) for package in packages]
        if is_short
        else [package_document(package) for package in packages]
    )
    return PackagePageDocument(
        items=items, last=number + 1 >= pages, number=number, size=size, total_items=total, total_pages=pages
    )


def _short(package: Package) -> dict[str, Any]:
    status: Status = "ENABLED" if package.is_enabled else "DISABLED"
    return {"id": package.package_id, "publisher_id": package.publisher, "name": package.name, "status": status}
