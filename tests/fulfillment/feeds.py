"""Keys that die, and readers of the feed in which their publisher hears of it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from keyservice.domain.caller import Caller, CallerKind
from keyservice.domain.revocation import DeadClaim, RevocationKind
from keyservice.fulfillment.cancel_order import cancel_order
from keyservice.fulfillment.read_revocations import FeedPage, read_revocations
from keyservice.fulfillment.record_revocations import record_revocations
from keyservice.postgres.connection import Connection
from tests.lab.shop import Shop


async def bought(shop: Shop, number: str, *, quantity: int = 1) -> list[DeadClaim]:
    """The claims of a new order, which live until somebody ends them."""
    purchase = await shop.buy(number, quantity=quantity)
    async with shop.services.database.reading() as connection:
        rows = await connection.fetch(
            "SELECT claim_id, segment_id, position FROM claims WHERE order_id = $1 ORDER BY position", purchase.order_id
        )
    return [DeadClaim(*row) for row in rows]


async def cancelled(shop: Shop, number: str, *, quantity: int = 1) -> None:
    """An order that was bought and cancelled: all of its keys are dead."""
    purchase = await shop.buy(number, quantity=quantity)
    services = shop.services
    await cancel_order(
        services.database, services.shopper_keys, shop.reseller, purchase.order_id, reason=2, comment=None
    )


async def end(connection: Connection, shop: Shop, claims: Sequence[DeadClaim], *, reason: str = "planted") -> None:
    """End these claims in the transaction that the connection is in."""
    now = datetime.now(UTC)
    for claim in claims:
        await connection.execute(
            "UPDATE claims SET state = 'revoked', ended_at = $3 WHERE publisher_id = $1 AND claim_id = $2",
            *(shop.publisher_id, claim.claim_id, now),
        )
    await record_revocations(connection, shop.publisher_id, claims, kind=RevocationKind.REVOKED, reason=reason, now=now)


def publisher_of(shop: Shop) -> Caller:
    return Caller(1_000_000, CallerKind.PUBLISHER, "publisher", shop.publisher_id, frozenset())


async def read_page(
    shop: Shop, *, behind: int = 0, limit: int = 500, unacknowledged: bool = False, reveal: bool = False
) -> FeedPage:
    return await read_revocations(
        shop.services.database,
        shop.services.opener,
        shop.publisher_id,
        publisher_of(shop),
        behind=behind,
        limit=limit,
        is_unacknowledged_only=unacknowledged,
        reveal=reveal,
    )


async def read_whole(shop: Shop, *, limit: int = 500) -> list[FeedPage]:
    pages = [await read_page(shop, limit=limit)]
    while not pages[-1].is_last:
        pages.append(await read_page(shop, behind=pages[-1].last_sequence, limit=limit))
    return pages
