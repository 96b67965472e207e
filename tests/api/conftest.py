"""A running service on loopback, with the module's own database behind it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from keyservice.api.application import build_application
from keyservice.api.server import ServiceRunner, serve_on
from keyservice.services import Services


@pytest.fixture(scope="module")
async def base_url(services: Services) -> AsyncIterator[str]:
    runner = ServiceRunner(build_application(services), shutdown_seconds=5)
    await serve_on(runner, host="127.0.0.1", port=0, reuse_port=False)
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.fixture(scope="module")
async def http(base_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url) as session:
        yield session
