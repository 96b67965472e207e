"""A sold key that does not open any more: the others of its claim are shown, and it can be replaced, revoked and told apart."""

import pytest

from tests.fulfillment.pipeline import Pipeline, states_of, units_of
from tests.fulfillment.test_claim_keys import damage
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of


@pytest.fixture
async def pipeline(shop: Shop) -> Pipeline:
    return await Pipeline.opened(shop)


async def test_the_other_keys_of_a_claim_are_shown_and_the_damaged_one_is_replaced(
    pipeline: Pipeline, database_urls: DatabaseUrls
) -> None:
    segment_id = await pipeline.shop.load([f"SOLD-{number}" for number in range(5)])
    await pipeline.claim("three", 3)
    await damage(database_urls, pipeline.shop, segment_id, position=2)
    read = await pipeline.read("three")
    assert (read.status, states_of(read)) == ("COMPLETED", ["issued", "damaged", "issued"])
    assert texts_of(read) == ["SOLD-0", "SOLD-2"]
    assert texts_of(await pipeline.claim("three", 3)) == ["SOLD-0", "SOLD-2"]
    replaced = await pipeline.replace("three", units_of(read)[1])
    assert texts_of(replaced) == ["SOLD-0", "SOLD-3", "SOLD-2"]


async def test_a_damaged_key_keeps_no_unit_from_being_revoked(pipeline: Pipeline, database_urls: DatabaseUrls) -> None:
    segment_id = await pipeline.shop.load(["KEPT-0", "KEPT-1", "KEPT-2"])
    claimed = units_of(await pipeline.claim("two", 2))
    await damage(database_urls, pipeline.shop, segment_id, position=1)
    assert states_of(await pipeline.revoke("two", [claimed[1].unit_id])) == ["damaged", "revoked"]
    assert states_of(await pipeline.revoke("two")) == ["revoked", "revoked"]


async def test_a_hold_with_a_damaged_key_is_committed_and_the_key_replaced(
    pipeline: Pipeline, database_urls: DatabaseUrls
) -> None:
    segment_id = await pipeline.shop.load(["PAID-0", "PAID-1", "PAID-2"])
    await pipeline.claim("hold", 2, hold_seconds=60)
    await damage(database_urls, pipeline.shop, segment_id, position=2)
    sold = await pipeline.commit("hold")
    assert (states_of(sold), texts_of(sold)) == (["issued", "damaged"], ["PAID-0"])
    assert texts_of(await pipeline.replace("hold", units_of(sold)[1])) == ["PAID-0", "PAID-2"]


async def test_the_auditor_is_silent_after_all_of_this(pipeline: Pipeline, database_urls: DatabaseUrls) -> None:
    await pipeline.shop.load(["LAST"])
    await pipeline.claim("last")
    assert await violations(database_urls.superuser) == {}
