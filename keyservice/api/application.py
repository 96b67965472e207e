"""All audiences under one roof, and the server in front of them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from keyservice.api import health
from keyservice.api.admin import publishers
from keyservice.api.connect import errors, handlers
from keyservice.api.connect.validation import read_order
from keyservice.api.fulfillment import purchases
from keyservice.api.problems import ERROR_BRIDGE
from keyservice.api.publisher import batches, catalogue, pools
from keyservice.api.server import ConnectionLimits, ServiceRunner, serve_on
from keyservice.services import SERVICES, Services


def build_application(services: Services) -> web.Application:
    """One sub-application per audience. Connect answers errors in its own shape, the others with problem documents."""
    application = web.Application()
    application[SERVICES] = services
    application.add_routes(health.routes())
    application.add_subapp("/publisher", _audience([*pools.routes(), *batches.routes(), *catalogue.routes()]))
    application.add_subapp("/admin", _audience(publishers.routes()))
    application.add_subapp("/fulfillment", _audience(purchases.routes()))
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
