import aiohttp
import pytest

from tests.api.publisher.desk import Desk, desk_of
from tests.lab.shop import Shop


@pytest.fixture
async def desk(http: aiohttp.ClientSession, shop: Shop) -> Desk:
    """The publisher of the shop, with all its rights."""
    return await desk_of(http, shop)
