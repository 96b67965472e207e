"""All audiences under one roof, and the server in front of them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from keyservice.api import health, webhooks
from keyservice.api.admin import callers, publishers
from keyservice.api.admin import key_search as admin_key_search
from keyservice.api.connect import errors, handlers
from keyservice.api.connect.validation import read_order
from keyservice.api.documentation import page
from keyservice.api.fulfillment import claims, purchases
from keyservice.api.fulfillment import key_search as pipeline_key_search
from keyservice.api.iam import errors as iam_errors
from keyservice.api.iam import tokens
from keyservice.api.license_keys_provider import imports, packages
from keyservice.api.license_manager import definitions, licenses
from keyservice.api.problems import ERROR_BRIDGE
from keyservice.api.publisher import (
    batches,
    catalogue,
    connector_versions,
    connectors,
    key_requests,
    key_search,
    pools,
    revocations,
    statements,
)
from keyservice.api.publisher.uploads import UPLOAD_PLACES, UploadPlaces
from keyservice.api.server import ConnectionLimits, ServiceRunner, serve_on
from keyservice.services import SERVICES, Services


def build_application(services: Services) -> web.Application:
    """One sub-application per audience. Connect and OAuth2 have errors of their own shape; the others are problem documents."""
    application = web.Application()
    application[SERVICES] = services
    application[UPLOAD_PLACES] = UploadPlaces()
    application.add_routes([*health.routes(), *page.routes()])
    for_publishers = [
        *pools.routes(),
        *batches.routes(),
        *catalogue.routes(),
        *revocations.routes(),
        *connectors.routes(),
        *connector_versions.routes(),
        *key_requests.routes(),
        *webhooks.publisher_routes(),
        *key_search.routes(),
        *statements.routes(),
    ]
    application.add_subapp("/publisher", _audience(for_publishers))
    application.add_subapp("/admin", _audience([*publishers.routes(), *callers.routes(), *admin_key_search.routes()]))
    for_pipelines = [
        *claims.routes(),
        *purchases.routes(),
        *pipeline_key_search.routes(),
        *webhooks.seller_routes(),
    ]
    application.add_subapp("/fulfillment", _audience(for_pipelines))
    application.add_subapp("/license-keys-provider", _audience([*packages.routes(), *imports.routes()]))
    application.add_subapp("/license-manager", _audience([*licenses.routes(), *definitions.routes()]))
    iam = _audience(tokens.routes())
    iam[ERROR_BRIDGE] = iam_errors.error_response
    application.add_subapp("/iam", iam)
    connect = _audience(handlers.routes())
    connect[ERROR_BRIDGE] = errors.error_response
    application.add_subapp("/connect", connect)
    return application


@asynccontextmanager
async def serving(services: Services, *, port: int) -> AsyncIterator[None]:
    """Listen until left; then finish what was begun."""
    read_order({"currency": "EUR"})  # builds the validators, so that the first order need not wait for them
    settings = services.settings
    runner = ServiceRunner(
        build_application(services),
        limits=ConnectionLimits(header_seconds=settings.header_seconds, idle_seconds=settings.idle_seconds),
        quiet_routes=frozenset({"/health/live", "/health/ready"}),
        shutdown_seconds=settings.stop_seconds,
    )
    try:
        await serve_on(runner, host=settings.host, port=port, reuse_port=True)
        yield
    finally:
        await runner.cleanup()


def _audience(routes: Sequence[web.AbstractRouteDef]) -> web.Application:
    audience = web.Application()
    audience.add_routes(routes)
    return audience
