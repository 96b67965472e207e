from keyservice.postgres.statements import statement
from tests.fulfillment.pipeline import Pipeline
from tests.lab.shop import Shop, texts_of


async def test_nobody_serves_while_another_process_is_at_it_or_pauses(shop: Shop) -> None:
    pipeline = await Pipeline.opened(shop)
    await pipeline.claim("waits", 2, may_wait=True)
    await shop.load(["TURN-1", "TURN-2"])
    async with shop.services.database.transaction() as other:
        assert await other.fetchval(statement("backorders.one_round_at_a_time"))
        assert await pipeline.serve_waiting() == 0
    assert await pipeline.serve_waiting() == 2
    assert texts_of(await pipeline.read("waits")) == ["TURN-1", "TURN-2"]
