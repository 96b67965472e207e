"""A publisher that is asked, for the tests that need one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyservice.sandbox.publisher import Publisher, running_publisher
from keyservice.settings import Settings
from tests.lab.real_time import RealTime, document_for
from tests.lab.shop import Shop


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Publishers live on this machine, on any port and without TLS."""
    return Settings(
        data_directory=Path(tmp_path_factory.mktemp("data")),
        catalogue_seconds=0,
        egress_networks="127.0.0.0/8",
        egress_ports="",
        egress_plain_http=True,
    )


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with running_publisher() as running:
        yield running


@pytest.fixture
async def real_time(shop: Shop, publisher: Publisher) -> RealTime:
    return await RealTime.opened(shop, publisher, document_for(publisher))
