"""A running service on loopback, which commits uploads in small chunks, and a publisher's token."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from keyservice.api.application import build_application
from keyservice.api.server import ServiceRunner, serve_on
from keyservice.domain.caller import CallerKind
from keyservice.services import Services
from tests.cli.importing import new_token
from tests.lab.shop import Shop


@pytest.fixture(scope="module")
async def url(services: Services) -> AsyncIterator[str]:
    settings = services.settings.model_copy(update={"upload_chunk_rows": 100})
    runner = ServiceRunner(build_application(replace(services, settings=settings)), shutdown_seconds=5)
    await serve_on(runner, host="127.0.0.1", port=0, reuse_port=False)
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def token(shop: Shop) -> str:
    """Of the shop's publisher."""
    return await new_token(shop, CallerKind.PUBLISHER)
