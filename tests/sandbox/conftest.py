"""A sandbox publisher for each test, and somebody who asks it."""

from collections.abc import AsyncIterator

import pytest

from keyservice.sandbox.publisher import Publisher, running_publisher
from tests.sandbox.asking import Caller, asking


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with running_publisher() as running:
        yield running


@pytest.fixture
async def caller(publisher: Publisher) -> AsyncIterator[Caller]:
    async with asking(publisher) as opened:
        yield opened
