"""The reference's batch store: a package is a pool with the products that are sold from it."""

import re
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import BeforeValidator, Field, WithJsonSchema

from keyservice.api.access import publisher_named, route
from keyservice.api.answering import LOCATION, json_answer
from keyservice.api.asking import path_id, read_model
from keyservice.api.license_keys_provider.documents import (
    HANDLE_CHARACTERS_MAX,
    PREFIX,
    PRODUCT_REF_MAX,
    ChangedPackage,
    NewPackage,
    PackageDocument,
    PackagePageDocument,
    package_document,
    page_document,
)
from keyservice.api.operation import Answer, Operation
from keyservice.api.parameters import WHOLE_NUMBER, OfPublisher, PageSize, read_parameters
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.errors import Invalid
from keyservice.fulfillment.manage_packages import PackageTerms, change_package, create_package
from keyservice.fulfillment.read_packages import PackageFilter, list_packages, read_package
from keyservice.services import SERVICES

PAGE_DEFAULT: Final = 50
_PAGES_MAX: Final = 1_000_000
_SORT: Final = re.compile(r"(id|name|status|threshold)(?:,(asc|desc))?", re.ASCII)
_ID_CHARACTERS_MAX: Final = 200


def _sorting(text: str) -> str:
    found = _SORT.fullmatch(text)
    if found is None:
        raise ValueError("must be id, name, status or threshold, and behind it ,asc or ,desc")
    return f"{found[1]},{found[2] or 'asc'}"


Sorting = Annotated[
    str,
    BeforeValidator(_sorting),
    WithJsonSchema({"type": "string", "pattern": "^(id|name|status|threshold)(,(asc|desc))?$"}),
]


class PackageOwner(OfPublisher):
    """A publisher's own packages, or those of the publisher that an admin names in one way or the other."""

    publisher_id: str | None = Field(
        None,
        alias="publisherId",
        min_length=1,
        max_length=HANDLE_CHARACTERS_MAX,
        description="The same as `publisher`, by the reference's name.",
    )


class PackageQuery(PackageOwner):
    """Which packages, how many at once, and in which order."""

    nexway_product_id: Annotated[int, Field(ge=1, le=PRODUCT_REF_MAX), WHOLE_NUMBER] | None = Field(
        None, alias="nexwayProductId", description="Only those that sell the product of this number."
    )
    publisher_product_id: str | None = Field(
        None,
        alias="publisherProductId",
        min_length=1,
        max_length=_ID_CHARACTERS_MAX,
        description="Only those that sell the product that the publisher calls so.",
    )
    format: Literal["short"] | None = Field(
        None, description="`short` leaves out the products, the threshold and the stock."
    )
    page: Annotated[int, Field(ge=0, le=_PAGES_MAX), WHOLE_NUMBER] = Field(0, description="Which page, from 0.")
    size: PageSize = PAGE_DEFAULT
    sort: Sorting = Field("id,asc", description="A field and a direction; by `id` they are in order of their making.")


_ERRORS: Final = (
    " Refusals are problem documents, as everywhere behind this service's own doors: of the batch store the reference"
    " publishes no form of errors."
)
_TAKEN: Final = "There is a pool of this name, or the number of a product is taken."
_LIST: Final = Operation(
    operation_id="list_packages",
    summary="List packages",
    description="The publisher's own; for an admin or an auditor who names no publisher, those of all." + _ERRORS,
    query=PackageQuery,
    answers={200: PackagePageDocument},
)
_MAKE: Final = Operation(
    operation_id="create_package",
    summary="Open a package",
    description="A pool, and its products: resellers can order them as soon as this answers and keys are there."
    + _ERRORS,
    body=NewPackage,
    query=PackageOwner,
    answers={201: Answer(PackageDocument, "The new package, which is empty.", {"Location": LOCATION})},
    refusals={409: _TAKEN},
)
_READ: Final = Operation(
    operation_id="read_package",
    summary="Read a package with its stock",
    description="Every pool is a package, also one that was opened elsewhere." + _ERRORS,
    query=PackageOwner,
    answers={200: PackageDocument},
)
_CHANGE: Final = Operation(
    operation_id="change_package",
    summary="Change a package",
    description=(
        "A product that is left out cannot be ordered until a package takes it again. Status, threshold and the publisher's"
        " ids stay as they are when they are absent or null." + _ERRORS
    ),
    body=ChangedPackage,
    query=PackageOwner,
    answers={200: PackageDocument},
    refusals={409: _TAKEN + " Or a product that is left out is sold from this pool by a template of its own."},
)


def routes() -> list[web.RouteDef]:
    return [
        route("GET", "/packages", Scope.POOLS_READ, show_all, _LIST),
        route("POST", "/packages", Scope.POOLS_WRITE, make_one, _MAKE, also=Scope.CATALOGUE_WRITE),
        route("GET", "/packages/{package_id}", Scope.POOLS_READ, show_one, _READ),
        route("PUT", "/packages/{package_id}", Scope.POOLS_WRITE, change_one, _CHANGE, also=Scope.CATALOGUE_WRITE),
    ]


async def show_all(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    asked = read_parameters(request, PackageQuery)
    is_everyones = caller.is_overseer and asked.publisher is None and asked.publisher_id is None
    wanted = PackageFilter(
        None if is_everyones else await owner(request, caller, asked),
        asked.nexway_product_id,
        asked.publisher_product_id,
    )
    is_short = asked.format == "short"
    page = await list_packages(
        services.database, wanted, sort=asked.sort, number=asked.page, size=asked.size, with_stock=not is_short
    )
    return json_answer(page_document(page.packages, page.total, number=asked.page, size=asked.size, is_short=is_short))


async def make_one(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    asked = read_parameters(request, PackageOwner)
    body = await read_model(request, NewPackage)
    publisher_id = await owner(request, caller, asked, body.publisher_id)
    package = await create_package(services.database, publisher_id, _terms(body), caller_id=caller.caller_id)
    return json_answer(package_document(package), status=201, location=f"{PREFIX}/packages/{package.package_id}")


async def show_one(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    publisher_id = await owner(request, caller, read_parameters(request, PackageOwner))
    package_id = path_id(request, "package_id", thing="package")
    return json_answer(package_document(await read_package(services.database, publisher_id, package_id)))


async def change_one(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    asked = read_parameters(request, PackageOwner)
    package_id = path_id(request, "package_id", thing="package")
    body = await read_model(request, ChangedPackage)
    if body.id is not None and body.id.lower() != str(package_id):
        raise Invalid("must be the id of the path", field="id")
    publisher_id = await owner(request, caller, asked, body.publisher_id)
    package = await change_package(
        services.database, publisher_id, package_id, _terms(body), caller_id=caller.caller_id
    )
    return json_answer(package_document(package))


async def owner(request: web.Request, caller: Caller, asked: PackageOwner, in_body: str | None = None) -> int:
    """Whose packages this is about, however the publisher is named. Raises Invalid for two different names."""
    named = {name for name in (asked.publisher, asked.publisher_id, in_body) if name is not None}
    if len(named) > 1:
        raise Invalid("name one publisher", field="publisherId")
    return await publisher_named(request, caller, next(iter(named), None))


def _terms(body: NewPackage) -> PackageTerms:
    ids = body.publisher_product_id
    return PackageTerms(
        name=body.name,
        product_refs=tuple(int(text) for text in body.nexway_product_id),
        publisher_product_ids=None if ids is None else tuple(ids),
        is_enabled=None if body.status is None else body.status == "ENABLED",
        threshold=body.threshold,
    )
