"""An order pipeline in tests: it claims, holds and revokes keys of a shop's product by references of its own."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

from keyservice.domain.caller import Caller, CallerKind
from keyservice.domain.claim import ClaimLine, ClaimRequest
from keyservice.domain.purchase import Purchase, PurchasedUnit
from keyservice.fulfillment.claim_by_reference import claim_by_reference, claim_id_of
from keyservice.fulfillment.hold_keys import commit_hold, extend_hold, release_hold
from keyservice.fulfillment.manage_callers import add_caller
from keyservice.fulfillment.replace_key import replace_key
from keyservice.fulfillment.revoke_units import revoke_units
from keyservice.workers.serve_backorders import serve_backorders
from tests.lab.shop import Shop

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One caller of the lean API, and the shop whose product it sells."""

    shop: Shop
    caller: Caller

    @classmethod
    async def opened(cls, shop: Shop, *, is_sandbox: bool = False) -> "Pipeline":
        async with shop.services.database.transaction() as connection:
            name = f"pipeline-{shop.publisher}-{next(_numbers)}"
            token = await add_caller(connection, kind=CallerKind.PIPELINE, name=name)
        caller = await shop.services.gatekeeper.identify(token)
        return cls(shop, replace(caller, is_sandbox=is_sandbox))

    async def claim(
        self,
        reference: str,
        quantity: int = 1,
        *,
        hold_seconds: int | None = None,
        may_wait: bool = False,
        paid_at: datetime | None = None,
        email: str | None = None,
        lines: Sequence[tuple[int, int]] = (),
    ) -> Purchase:
        """Of the shop's product, or of the products named in `lines`."""
        wanted = lines or ((self.shop.product_ref, quantity),)
        asked = ClaimRequest(
            reference,
            tuple(ClaimLine(number, ref, wanted_count) for number, (ref, wanted_count) in enumerate(wanted, start=1)),
            email,
            hold_seconds,
            may_wait,
            paid_at,
        )
        services = self.shop.services
        return await claim_by_reference(services.orders, services.catalogue, services.fingerprints, self.caller, asked)

    def order_id(self, reference: str) -> UUID:
        return claim_id_of(self.shop.services.fingerprints, self.caller, reference)

    async def read(self, reference: str) -> Purchase:
        purchases = self.shop.services.purchases
        return (await purchases.read(self.order_id(reference), self.caller, source="test", reveal=True))[0]

    async def commit(self, reference: str) -> Purchase:
        return await self._change(commit_hold, reference)

    async def release(self, reference: str) -> Purchase:
        return await self._change(release_hold, reference)

    async def extend(self, reference: str, seconds: int) -> Purchase:
        return await self._change(extend_hold, reference, seconds=seconds)

    async def revoke(self, reference: str, unit_ids: Sequence[UUID] | None = None) -> Purchase:
        return await self._change(revoke_units, reference, unit_ids=unit_ids, reason="test")

    async def replace(self, reference: str, unit: PurchasedUnit) -> Purchase:
        services = self.shop.services
        assert unit.claim_id is not None
        return await replace_key(
            *(services.database, services.purchases, services.opener, services.connectors),
            *(self.caller, self.order_id(reference)),
            unit_id=unit.unit_id,
            claim_id=unit.claim_id,
            reason="does not activate",
        )

    async def serve_waiting(self) -> int:
        return await serve_backorders(self.shop.services.database, self.shop.services.opener)

    async def _change(self, verb: Callable[..., Awaitable[Purchase]], reference: str, **options: Any) -> Purchase:
        services = self.shop.services
        return await verb(services.database, services.purchases, self.caller, self.order_id(reference), **options)

    async def let_expire(self, reference: str) -> None:
        """As if the deadline had come: the database's clock cannot be turned, but what it is compared with can."""
        async with self.shop.services.database.transaction() as connection:
            await connection.execute(
                "UPDATE orders SET held_until = clock_timestamp() - interval '1 second' WHERE order_id = $1",
                self.order_id(reference),
            )


def units_of(purchase: Purchase) -> list[PurchasedUnit]:
    return [unit for line in purchase.lines for unit in line.units]


def states_of(purchase: Purchase) -> list[str]:
    return [str(unit.state) for unit in units_of(purchase)]
