"""Fulfillment templates and products."""

from typing import Annotated, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field

from keyservice.api.access import publisher_of, route
from keyservice.api.asking import (
    Name,
    StrictModel,
    UuidText,
    number_in,
    page_size,
    read_model,
    read_query,
    uuid_in,
)
from keyservice.api.publisher.documents import Document, json_answer, page
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.catalogue import STEPS_MAX, FulfillmentTemplate, QuantityMode
from keyservice.fulfillment.manage_catalogue import (
    ListedProduct,
    create_product,
    create_template,
    list_products,
    list_templates,
)
from keyservice.services import SERVICES


class PlanStep(StrictModel):
    """Take the key from this pool."""

    source: Literal["pool"]
    pool: UuidText


class SourcePlan(StrictModel):
    """Sources in the order in which they are asked."""

    steps: Annotated[list[PlanStep], Field(min_length=1, max_length=STEPS_MAX)]


class NewTemplate(StrictModel):
    """The body that makes a fulfillment template."""

    name: Name
    quantity_mode: Literal["quantity", "one", "block"] = "quantity"
    block_size: Annotated[int, Field(ge=1, le=10_000)] = 1
    source_plan: SourcePlan


class NewProduct(StrictModel):
    """The body that makes a product."""

    product_ref: Annotated[int, Field(ge=1, le=9_007_199_254_740_991)]
    name: Name
    template_id: UuidText
    publisher_product_id: Name | None = None


def routes() -> list[web.RouteDef]:
    return [
        route("POST", "/templates", Scope.CATALOGUE_WRITE, make_template),
        route("GET", "/templates", Scope.POOLS_READ, show_templates),
        route("POST", "/products", Scope.CATALOGUE_WRITE, make_product),
        route("GET", "/products", Scope.POOLS_READ, show_products),
    ]


async def make_template(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_query(request, ())
    publisher_id = await publisher_of(request, caller)
    asked = await read_model(request, NewTemplate)
    template = await create_template(
        services.database,
        publisher_id,
        name=asked.name,
        quantity_mode=QuantityMode(asked.quantity_mode),
        block_size=asked.block_size,
        pool_ids=[UUID(step.pool) for step in asked.source_plan.steps],
    )
    return json_answer(_template_document(template), status=201)


async def show_templates(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    query = read_query(request, ("after", "limit"))
    publisher_id = await publisher_of(request, caller)
    after, limit = uuid_in(query, "after"), page_size(query)
    templates = await list_templates(services.database, publisher_id, after=after, limit=limit)
    documents = [_template_document(template) for template in templates]
    return json_answer(page("templates", documents, key="template_id", limit=limit))


async def make_product(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_query(request, ())
    publisher_id = await publisher_of(request, caller)
    asked = await read_model(request, NewProduct)
    product = await create_product(
        services.database,
        publisher_id,
        product_ref=asked.product_ref,
        name=asked.name,
        template_id=UUID(asked.template_id),
        publisher_product_id=asked.publisher_product_id,
    )
    return json_answer(_product_document(product), status=201)


async def show_products(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    query = read_query(request, ("after", "limit"))
    publisher_id = await publisher_of(request, caller)
    after, limit = number_in(query, "after", default=0), page_size(query)
    products = await list_products(services.database, publisher_id, after=after, limit=limit)
    documents = [_product_document(product) for product in products]
    return json_answer(page("products", documents, key="product_ref", limit=limit))


def _template_document(template: FulfillmentTemplate) -> Document:
    return {
        "template_id": template.template_id,
        "name": template.name,
        "quantity_mode": template.quantity_mode,
        "block_size": template.block_size,
        "source_plan": {"steps": [{"source": step.source, "pool": step.pool_id} for step in template.source_plan]},
    }


def _product_document(product: ListedProduct) -> Document:
    return {
        "product_ref": product.product_ref,
        "name": product.name,
        "template_id": product.template_id,
        "publisher_product_id": product.publisher_product_id,
        "is_active": product.is_active,
    }
