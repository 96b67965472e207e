"""Orders: the service against an empty handler and against SKIP LOCKED, and against itself after many orders."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from tests.benchmarks.figures import Cell, Measured, Ratio, Spread, ratio
from tests.benchmarks.load_process import Outcome
from tests.benchmarks.machine import foreign_load
from tests.benchmarks.servers import Generator, Kind, RunFailed, serving
from tests.benchmarks.skip_locked import VACUUM, create_baseline
from tests.benchmarks.stand import Stand, StockedShop

CONNECTIONS: Final = (64, 256)
GOALS: Final = {Kind.EMPTY: 0.4, Kind.SKIP_LOCKED: 2.5}
GOAL_FLAT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    orders: int
    warm_up: int
    flat_orders: int
    flat_part: int
    uploaded_keys: int

    def scaled(self, *, rounds: int | None, orders: int | None) -> "Size":
        """With what was asked for on the command line."""
        return replace(self, rounds=rounds or self.rounds, orders=orders or self.orders)

    @property
    def compared_orders(self) -> int:
        return self.warm_up + self.rounds * self.orders * len(CONNECTIONS)


class OrderBenchmark:
    """Three servers over one database, each with a shop of its own, and one load generator."""

    def __init__(self, stand: Stand, size: Size, generator: Generator, shops: dict[Kind, StockedShop]) -> None:
        self._stand = stand
        self._size = size
        self._generator = generator
        self._shops = shops
        self._ports: dict[Kind, int] = {}
        self._sent = dict.fromkeys(Kind, 0)

    @classmethod
    @asynccontextmanager
    async def opened(cls, stand: Stand, size: Size) -> AsyncIterator["OrderBenchmark"]:
        """Stocked, started and warm. Left without an error, it has checked that each answer was one claim."""
        async with AsyncExitStack() as stack:
            generator = await stack.enter_async_context(Generator.started())
            self = cls(stand, size, generator, await _stocked(stand, size))
            for kind in Kind:
                self._ports[kind] = await stack.enter_async_context(
                    serving(kind, stand.settings, stand.urls.service, log=stand.log)
                )
                await self._run(kind, orders=size.warm_up, connections=CONNECTIONS[0])
            yield self
            await self._check_claims()

    async def compare(self) -> Measured:
        """All kinds in turn, round after round, at each number of connections."""
        cells: list[Cell] = []
        for number in range(1, self._size.rounds + 1):
            # The most that upkeep can do for the rival, at no cost to its figures.
            await self._stand.execute(VACUUM)
            for connections in CONNECTIONS:
                for kind in Kind:
                    outcome, foreign = await self._run(kind, orders=self._size.orders, connections=connections)
                    rate = self._size.orders / outcome.seconds
                    times = (outcome.p50_ms, outcome.p99_ms)
                    cells.append(Cell(kind, _setting(connections), number, rate, foreign, *times))
        ratios = [
            ratio(cells, Kind.SERVICE, rival, setting=_setting(connections), goal=goal)
            for rival, goal in GOALS.items()
            for connections in CONNECTIONS
        ]
        return Measured("Orders/s with keys in the answer, one server process", ratios, cells)

    async def stay_flat(self) -> Measured:
        """Many orders in one go: the last part of them against the first, which comes after the warm-up."""
        size = self._size
        outcome, foreign = await self._run(
            Kind.SERVICE, orders=size.flat_orders, connections=CONNECTIONS[0], mark_every=size.flat_part
        )
        setting = _setting(CONNECTIONS[0])
        starts = [0.0, *outcome.marks]
        rates = [size.flat_part / (end - start) for start, end in zip(starts, outcome.marks, strict=False)]
        cells = [
            Cell(
                f"orders {index * size.flat_part + 1:,} to {(index + 1) * size.flat_part:,}", setting, 1, rate, foreign
            )
            for index, rate in enumerate(rates)
        ]
        flatness = Ratio(
            f"last / first {size.flat_part:,} of {size.flat_orders:,} orders",
            setting,
            Spread.of([rates[-1] / rates[0]]),
            GOAL_FLAT,
        )
        return Measured("Flatness: orders/s of one long run, begun after the warm-up and the rounds", [flatness], cells)

    async def _run(
        self, kind: Kind, *, orders: int, connections: int, mark_every: int = 1_000
    ) -> tuple[Outcome, float]:
        """The outcome and the foreign load meanwhile."""
        shop = self._shops[kind]
        with foreign_load() as foreign:
            outcome = await self._generator.run(
                port=self._ports[kind],
                secret=shop.secret,
                product_ref=shop.shop.product_ref,
                orders=orders,
                connections=connections,
                mark_every=mark_every,
            )
        self._sent[kind] += orders
        return outcome, foreign.share

    async def _check_claims(self) -> None:
        """Raises RunFailed unless each order that was answered has its own key."""
        connection = await asyncpg.connect(self._stand.urls.superuser)
        try:
            for kind in (Kind.SERVICE, Kind.SKIP_LOCKED):
                publisher_id = self._shops[kind].shop.publisher_id
                claims = await connection.fetchval(_COUNT_CLAIMS, publisher_id)
                if claims != self._sent[kind]:
                    raise RunFailed(f"{kind}: {self._sent[kind]} orders were answered and {claims} keys claimed")
        finally:
            await connection.close()


_COUNT_CLAIMS: Final = "SELECT count(DISTINCT (segment_id, position)) FROM claims WHERE publisher_id = $1"


def _setting(connections: int) -> str:
    return f"{connections} connections"


async def _stocked(stand: Stand, size: Size) -> dict[Kind, StockedShop]:
    shops = {
        Kind.SERVICE: await StockedShop.opened(stand, keys=size.compared_orders + size.flat_orders),
        Kind.EMPTY: await StockedShop.opened(stand, keys=0),
        Kind.SKIP_LOCKED: await StockedShop.opened(stand, keys=size.compared_orders),
    }
    rival = shops[Kind.SKIP_LOCKED].shop
    connection = await asyncpg.connect(stand.urls.superuser)
    try:
        await create_baseline(connection, publisher_id=rival.publisher_id, pool_id=rival.pool_id)
    finally:
        await connection.close()
    await stand.execute("VACUUM (ANALYZE, FREEZE)", "CHECKPOINT")
    return shops
