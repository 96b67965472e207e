"""Fulfillment templates and products."""

from typing import Annotated, Final, Literal
from uuid import UUID

from aiohttp import web
from pydantic import AfterValidator, Field, WithJsonSchema

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import NEXT_PAGE, AnswerModel, json_answer
from keyservice.api.asking import Name, StrictModel, UuidText, read_model, shown_as
from keyservice.api.operation import Operation
from keyservice.api.parameters import NumberedPage, OfPublisher, Page, read_parameters
from keyservice.api.publisher.documents import behind
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.catalogue import (
    ANSWER_SECONDS,
    ANSWER_SECONDS_MAX,
    STEPS_MAX,
    BackorderStep,
    ConnectorStep,
    FulfillmentTemplate,
    PlanStep,
    PoolStep,
    QuantityMode,
    SourcePlan,
)
from keyservice.fulfillment.manage_catalogue import (
    create_product,
    create_template,
    list_products,
    list_templates,
)
from keyservice.services import SERVICES


class PoolSource(StrictModel):
    """Take the key from this pool."""

    source: Literal["pool"]
    pool: UuidText


class ConnectorSource(StrictModel):
    """Ask your own API for the key by this connector, at the moment of sale."""

    source: Literal["connector"]
    connector: UuidText


class BackorderSource(StrictModel):
    """Wait for keys of the plan's pools, in order of payment; only as the last step."""

    source: Literal["backorder"]


# A float as near to zero as JSON allows is no time to wait, and further from one than a body's numbers may be.
_ANSWER_SECONDS_MIN: Final = 0.001


def _none_or_some(seconds: float) -> float:
    if 0 < seconds < _ANSWER_SECONDS_MIN:
        raise ValueError(f"must be 0 or at least {_ANSWER_SECONDS_MIN}")
    return seconds


AnswerSeconds = Annotated[
    float,
    Field(ge=0, le=ANSWER_SECONDS_MAX),
    AfterValidator(_none_or_some),
    WithJsonSchema(
        {"anyOf": [{"const": 0}, {"type": "number", "minimum": _ANSWER_SECONDS_MIN, "maximum": ANSWER_SECONDS_MAX}]}
    ),
]


class NewSourcePlan(StrictModel):
    """Sources in the order in which they are asked."""

    steps: Annotated[
        list[Annotated[PoolSource | ConnectorSource | BackorderSource, Field(discriminator="source")]],
        Field(min_length=1, max_length=STEPS_MAX),
    ]
    answer_seconds: AnswerSeconds = ANSWER_SECONDS
    """How long the answer to an order waits for your API; what is not there then is answered as pending."""

    accepts_surplus: bool = False
    """Go on to the next source also while nobody knows whether your API has issued a key."""


class NewTemplate(StrictModel):
    """The body that makes a fulfillment template."""

    model_config = shown_as(
        name="office, one key each",
        quantity_mode="quantity",
        source_plan={"steps": [{"source": "pool", "pool": "01a214e1-79e7-7120-acec-110d7eb348ac"}]},
    )

    name: Name
    quantity_mode: Literal["quantity", "one", "block"] = "quantity"
    """How many keys a line gets: as many as its quantity, one, or its quantity times the block size."""

    block_size: Annotated[int, Field(ge=1, le=10_000)] = 1
    source_plan: NewSourcePlan


class NewProduct(StrictModel):
    """The body that makes a product."""

    model_config = shown_as(
        product_ref=270001,
        name="Office 2027",
        template_id="01a214e1-79f7-7702-adb3-94e4c577fa31",
        publisher_product_id="OFF-27",
    )

    product_ref: Annotated[int, Field(ge=1, le=9_007_199_254_740_991)]
    """The number under which resellers order it; it is taken for all publishers."""

    name: Name
    template_id: UuidText
    publisher_product_id: Name | None = None
    """The publisher's own name of the product."""


class PoolSourceDocument(AnswerModel):
    """A pool that keys are taken from."""

    source: Literal["pool"]
    pool: UUID


class ConnectorSourceDocument(AnswerModel):
    """A connector that its publisher is asked by."""

    source: Literal["connector"]
    connector: UUID


class BackorderSourceDocument(AnswerModel):
    """Waiting for keys of the plan's pools."""

    source: Literal["backorder"]


PlanStepDocument = PoolSourceDocument | ConnectorSourceDocument | BackorderSourceDocument


class SourcePlanDocument(AnswerModel):
    """Sources in the order in which they are asked."""

    steps: list[Annotated[PlanStepDocument, Field(discriminator="source")]]
    answer_seconds: float
    accepts_surplus: bool


class TemplateDocument(AnswerModel):
    """How products are fulfilled: how many keys, and from where."""

    template_id: UUID
    name: str
    quantity_mode: QuantityMode
    block_size: int
    source_plan: SourcePlanDocument


class TemplatePage(AnswerModel):
    """A page of templates, oldest first."""

    templates: list[TemplateDocument]
    after: Annotated[UUID | None, NEXT_PAGE]


class ProductDocument(AnswerModel):
    """A product that resellers order."""

    product_ref: int
    name: str
    template_id: UUID
    publisher_product_id: str | None
    is_active: bool


class ProductPage(AnswerModel):
    """A page of products, by their numbers."""

    products: list[ProductDocument]
    after: Annotated[int | None, NEXT_PAGE]


_MAKE_TEMPLATE: Final = Operation(
    operation_id="create_template",
    summary="Make a fulfillment template",
    body=NewTemplate,
    query=OfPublisher,
    answers={201: TemplateDocument},
    refusals={409: "There is a template of this name.", 422: "A pool of the plan is not there, or stands in it twice."},
)
_LIST_TEMPLATES: Final = Operation(
    operation_id="list_templates", summary="List fulfillment templates", query=Page, answers={200: TemplatePage}
)
_MAKE_PRODUCT: Final = Operation(
    operation_id="create_product",
    summary="Make a product",
    description="Resellers can order it as soon as this answers.",
    body=NewProduct,
    query=OfPublisher,
    answers={201: ProductDocument},
    refusals={409: "The number of the product is taken.", 422: "There is no such template."},
)
_LIST_PRODUCTS: Final = Operation(
    operation_id="list_products", summary="List products", query=NumberedPage, answers={200: ProductPage}
)


def routes() -> list[web.RouteDef]:
    return [
        route("POST", "/templates", Scope.CATALOGUE_WRITE, make_template, _MAKE_TEMPLATE),
        route("GET", "/templates", Scope.POOLS_READ, show_templates, _LIST_TEMPLATES),
        route("POST", "/products", Scope.CATALOGUE_WRITE, make_product, _MAKE_PRODUCT),
        route("GET", "/products", Scope.POOLS_READ, show_products, _LIST_PRODUCTS),
    ]


async def make_template(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    asked = await read_model(request, NewTemplate)
    template = await create_template(
        services.database,
        publisher_id,
        name=asked.name,
        quantity_mode=QuantityMode(asked.quantity_mode),
        block_size=asked.block_size,
        plan=_plan(asked.source_plan),
    )
    return json_answer(_template_document(template), status=201)


async def show_templates(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    asked = read_parameters(request, Page)
    publisher_id = await publisher_of(request, caller)
    templates = await list_templates(services.database, publisher_id, after=asked.after, limit=asked.limit)
    documents = [_template_document(template) for template in templates]
    after = behind([template.template_id for template in templates], asked.limit)
    return json_answer(TemplatePage(templates=documents, after=after))


async def make_product(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
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
    return json_answer(ProductDocument.model_validate(product), status=201)


async def show_products(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    asked = read_parameters(request, NumberedPage)
    publisher_id = await publisher_of(request, caller)
    products = await list_products(services.database, publisher_id, after=asked.after, limit=asked.limit)
    documents = [ProductDocument.model_validate(product) for product in products]
    after = behind([product.product_ref for product in products], asked.limit)
    return json_answer(ProductPage(products=documents, after=after))


def _plan(asked: NewSourcePlan) -> SourcePlan:
    return SourcePlan(
        tuple(_step(step) for step in asked.steps),
        answer_seconds=asked.answer_seconds,
        accepts_surplus=asked.accepts_surplus,
    )


def _step(step: PoolSource | ConnectorSource | BackorderSource) -> PlanStep:
    match step:
        case PoolSource():
            return PoolStep(UUID(step.pool))
        case ConnectorSource():
            return ConnectorStep(UUID(step.connector))
        case BackorderSource():
            return BackorderStep()


def _template_document(template: FulfillmentTemplate) -> TemplateDocument:
    plan = template.source_plan
    return TemplateDocument(
        template_id=template.template_id,
        name=template.name,
        quantity_mode=template.quantity_mode,
        block_size=template.block_size,
        source_plan=SourcePlanDocument(
            steps=[_step_document(step) for step in plan.steps],
            answer_seconds=plan.answer_seconds,
            accepts_surplus=plan.accepts_surplus,
        ),
    )


def _step_document(step: PlanStep) -> PlanStepDocument:
    match step:
        case PoolStep():
            return PoolSourceDocument(source=step.source, pool=step.pool_id)
        case ConnectorStep():
            return ConnectorSourceDocument(source=step.source, connector=step.connector_id)
        case BackorderStep():
            return BackorderSourceDocument(source=step.source)
