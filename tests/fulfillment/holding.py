"""Claiming and giving back past the orders, as holds do."""

from keyservice.domain.tape import Wanted
from keyservice.fulfillment.claim_keys import IssuedKey, NewClaim, draw_keys, lock_tapes, record_claims
from keyservice.fulfillment.end_claims import give_back
from keyservice.fulfillment.ids import new_id
from tests.lab.shop import Shop


async def claim(shop: Shop, count: int, *, state: str = "issued") -> list[IssuedKey]:
    """Claim keys of the shop's pool."""
    wanted = Wanted(1, shop.publisher_id, (shop.pool_id,), tuple(new_id() for _ in range(count)))
    async with shop.services.database.transaction() as connection:
        tapes = await lock_tapes(connection, [wanted])
        (drawn,) = await draw_keys(connection, tapes, [[wanted]], shop.services.opener)
        assert isinstance(drawn, list)
        disclosed_at = None if state == "held" else tapes.now
        new = [NewClaim(new_id(), key, "held" if state == "held" else "issued", disclosed_at) for key in drawn]
        await record_claims(connection, tapes, new)
    return drawn


async def release(shop: Shop, keys: list[IssuedKey]) -> None:
    async with shop.services.database.transaction() as connection:
        await give_back(connection, shop.publisher_id, [key.place for key in keys])
        await connection.executemany(
            "UPDATE claims SET state = 'released' WHERE publisher_id = $1 AND claim_id = $2",
            [(shop.publisher_id, key.claim_id) for key in keys],
        )


def texts(keys: list[IssuedKey]) -> list[str]:
    return [key.key.text.reveal() for key in keys]
