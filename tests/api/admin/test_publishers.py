import aiohttp
import pytest

from keyservice.domain.caller import CallerKind, Scope
from keyservice.fulfillment.ids import new_id
from tests.api.publisher.desk import Desk, desk_of, token_of
from tests.lab.shop import Shop


@pytest.fixture
async def admin(http: aiohttp.ClientSession, shop: Shop) -> Desk:
    return Desk(http, await token_of(shop, CallerKind.ADMIN))


async def test_a_publisher_is_added_once(admin: Desk) -> None:
    handle = f"softwin-{new_id().hex[-8:]}"
    made = await admin.post("/admin/publishers", json={"handle": handle, "name": "SoftWin"})
    assert (made.status, made.json["handle"], made.json["name"]) == (201, handle, "SoftWin")
    assert (await admin.post("/admin/publishers", json={"handle": handle, "name": "Again"})).status == 409
    assert (await admin.get(f"/publisher/pools?publisher={handle}")).json == {"pools": [], "after": None}


@pytest.mark.parametrize("handle", ["", "Upper", "two words", "-x", "x-", "a--b", "x" * 64, "é", None, 7])
async def test_a_handle_is_a_slug(admin: Desk, handle: object) -> None:
    assert (await admin.post("/admin/publishers", json={"handle": handle, "name": "x"})).status == 422


async def test_all_publishers_are_listed_page_by_page(admin: Desk, shop: Shop) -> None:
    await Shop.opened(shop.services)
    handles, after = [], ""
    while True:
        page = (await admin.get(f"/admin/publishers?limit=1{after}")).json
        handles += [publisher["handle"] for publisher in page["publishers"]]
        if page["after"] is None:
            break
        after = f"&after={page['after']}"
    assert shop.publisher in handles
    assert len(handles) == len(set(handles)) >= 2
    assert (await admin.get("/admin/publishers?after=999999999999")).json["publishers"] == []


async def test_the_pools_of_all_publishers_are_shown_with_their_levels(admin: Desk, shop: Shop) -> None:
    neighbour = await Shop.opened(shop.services, warning_level=5)
    await shop.load(["ONE", "TWO"])
    pools = (await admin.get("/admin/pools?limit=500")).json["pools"]
    told = {pool["pool_id"]: (pool["publisher"], pool["left"], pool["alarm"]) for pool in pools}
    assert told[str(shop.pool_id)] == (shop.publisher, 2, "none")
    assert told[str(neighbour.pool_id)] == (neighbour.publisher, 0, "alert")


async def test_only_admins_come_in(http: aiohttp.ClientSession, shop: Shop) -> None:
    publisher = await desk_of(http, shop)
    for path in ("/admin/publishers", "/admin/pools"):
        assert (await publisher.get(path)).status == 403
    assert (await publisher.post("/admin/publishers", json={"handle": "x", "name": "x"})).status == 403
    reader = Desk(http, await token_of(shop, CallerKind.ADMIN, Scope.POOLS_READ))
    assert (await reader.get("/admin/pools")).status == 200
    assert (await reader.post("/admin/publishers", json={"handle": "x", "name": "x"})).status == 403
