"""Limits that hold in several processes at once: each limiter here is what a process has."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any

import pytest

from keyservice.domain.caller import Caller
from keyservice.domain.errors import OutcomeUnknown, TooManyRequests
from keyservice.domain.request_limits import Left, RequestLimits
from keyservice.fulfillment.limit_requests import OverLimit, RequestLimiter
from keyservice.postgres.connection import Database
from tests.lab.clock import SetClock
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def limited(shop: Shop, limits: RequestLimits | None) -> Caller:
    return replace(shop.reseller, limits=limits)


async def admitted(limiters: list[RequestLimiter], caller: Caller, *, attempts: int) -> int:
    """How many of so many requests, sent to all processes at once, were let in."""

    async def one(number: int) -> bool:
        try:
            await limiters[number % len(limiters)].admit(caller)
        except TooManyRequests:
            return False
        return True

    return Counter(await asyncio.gather(*(one(number) for number in range(attempts))))[True]


class CountingDatabase(Database):
    """Counts the transactions that are begun on it."""

    transactions = 0

    def transaction(self, *, settings: str = "") -> Any:
        self.transactions += 1
        return super().transaction(settings=settings)


@pytest.fixture
async def counting(database_urls: DatabaseUrls) -> AsyncIterator[CountingDatabase]:
    async with CountingDatabase.opened(database_urls.service, connections_max=2) as opened:
        assert isinstance(opened, CountingDatabase)
        yield opened


async def test_a_caller_without_limits_costs_nothing(shop: Shop, counting: CountingDatabase, clock: SetClock) -> None:
    limiter = RequestLimiter(counting, clock=clock)
    assert [await limiter.admit(limited(shop, None)) for _ in range(100)] == [None] * 100
    assert counting.transactions == 0


async def test_processes_share_one_burst_and_what_the_rate_gives(shop: Shop, clock: SetClock) -> None:
    limiters = [RequestLimiter(shop.services.database, clock=clock) for _ in range(4)]
    caller = limited(shop, RequestLimits(per_second=100, burst=200))
    assert await admitted(limiters, caller, attempts=400) == 200
    clock.move(seconds=0.5)
    assert await admitted(limiters, caller, attempts=400) == 50
    clock.move(seconds=60)
    assert await admitted(limiters, caller, attempts=400) == 200


async def test_many_requests_cost_few_transactions_and_so_do_many_refusals(
    shop: Shop, counting: CountingDatabase, clock: SetClock
) -> None:
    limiter = RequestLimiter(counting, clock=clock)
    caller = limited(shop, RequestLimits(per_second=1_000))
    assert await admitted([limiter], caller, attempts=5_000) == 1_000
    assert counting.transactions == 9, "eight slices, and one that was refused"
    clock.move(seconds=0.1)
    assert await admitted([limiter], caller, attempts=5_000) == 0, "not for each request that has become possible"
    clock.move(seconds=0.1)
    assert await admitted([limiter], caller, attempts=5_000) == 200
    assert counting.transactions == 9 + 3


async def test_processes_that_sit_on_what_they_took_overdraw_by_one_burst_at_the_most(
    shop: Shop, clock: SetClock
) -> None:
    limiters = [RequestLimiter(shop.services.database, clock=clock) for _ in range(6)]
    limits = RequestLimits(per_second=40, burst=80)
    caller, chance = limited(shop, limits), Random(5)  # noqa: S311 - which processes are asked when
    admissions: list[tuple[datetime, int]] = []
    for _ in range(60):
        clock.move(seconds=chance.choice((0.01, 0.1, 0.4, 0.99, 1.01)))
        some = chance.sample(limiters, chance.randint(1, 6))
        admissions.append((clock.now, await admitted(some, caller, attempts=chance.choice((1, 6, 200)))))
    for first, (begin, _) in enumerate(admissions):
        total = 0
        for end, number in admissions[first:]:
            total += number
            assert total <= 2 * limits.at_once + (end - begin).total_seconds() * 40
    assert sum(number for _, number in admissions) > 500


async def test_what_was_taken_ahead_is_lost_after_a_second(shop: Shop, clock: SetClock) -> None:
    first, second = [RequestLimiter(shop.services.database, clock=clock) for _ in range(2)]
    caller = limited(shop, RequestLimits(per_second=80))
    assert await admitted([first], caller, attempts=1) == 1
    clock.move(seconds=1)
    assert await admitted([second], caller, attempts=100) == 80
    assert await admitted([first], caller, attempts=100) == 0


async def test_the_number_of_a_day_is_exact_over_processes_and_begins_anew(shop: Shop, clock: SetClock) -> None:
    limiters = [RequestLimiter(shop.services.database, clock=clock) for _ in range(3)]
    caller = limited(shop, RequestLimits(per_day=500))
    assert await admitted(limiters, caller, attempts=1_500) == 500
    with pytest.raises(OverLimit) as refusal:
        await limiters[0].admit(caller)
    assert (refusal.value.policies, refusal.value.retry_after_seconds) == (("day",), 12 * 3600)
    clock.move(seconds=12 * 3600 - 1)
    assert await admitted(limiters, caller, attempts=30) == 0
    clock.move(seconds=1)
    assert await admitted(limiters, caller, attempts=1_500) == 500


async def test_requests_that_were_taken_and_not_made_return_to_the_day(shop: Shop, clock: SetClock) -> None:
    limiter = RequestLimiter(shop.services.database, clock=clock)
    caller = limited(shop, RequestLimits(per_day=500))
    for _ in range(100):
        assert (await limiter.admit(caller)) is not None
        clock.move(seconds=2)
    assert await admitted([limiter], caller, attempts=1_000) == 400


async def test_both_limits_hold_together(shop: Shop, clock: SetClock) -> None:
    limiter = RequestLimiter(shop.services.database, clock=clock)
    caller = limited(shop, RequestLimits(per_second=10, per_day=25))
    for expected in (10, 10, 5, 0):
        assert await admitted([limiter], caller, attempts=50) == expected
        clock.move(seconds=1)


async def test_a_caller_is_told_where_it_stands(shop: Shop, clock: SetClock) -> None:
    limiter = RequestLimiter(shop.services.database, clock=clock)
    caller = limited(shop, RequestLimits(per_second=8, burst=16, per_day=100))
    standing = await limiter.admit(caller)
    assert standing is not None
    assert standing.left == Left(15, 99)
    assert (standing.seconds_to_full, standing.seconds_to_next_day) == (1, 12 * 3600)
    assert await admitted([limiter], caller, attempts=15) == 15
    with pytest.raises(OverLimit) as refusal:
        await limiter.admit(caller)
    assert (refusal.value.policies, refusal.value.retry_after_seconds) == (("rate",), 1)
    assert refusal.value.standing.left == Left(0, 84)


async def test_a_limit_that_was_changed_is_in_force_at_once(shop: Shop, clock: SetClock) -> None:
    limiter = RequestLimiter(shop.services.database, clock=clock)
    assert await admitted([limiter], limited(shop, RequestLimits(per_day=10)), attempts=20) == 10
    assert await admitted([limiter], limited(shop, RequestLimits(per_day=15)), attempts=20) == 5
    assert await admitted([limiter], limited(shop, RequestLimits(per_day=5)), attempts=20) == 0


async def test_a_clock_that_was_set_back_locks_nobody_out(shop: Shop, clock: SetClock) -> None:
    limiter = RequestLimiter(shop.services.database, clock=clock)
    caller = limited(shop, RequestLimits(per_second=10))
    clock.move(days=1)
    assert await admitted([limiter], caller, attempts=20) == 10
    clock.move(days=-1)
    assert await admitted([limiter], caller, attempts=20) == 0
    clock.move(seconds=2)
    assert await admitted([limiter], caller, attempts=20) == 10


async def test_while_the_database_is_away_nobody_with_limits_is_let_in(
    shop: Shop, database_urls: DatabaseUrls, clock: SetClock
) -> None:
    async with Database.opened(database_urls.service, connections_max=1) as database:
        limiter = RequestLimiter(database, clock=clock)
        assert await limiter.admit(limited(shop, RequestLimits(per_second=1))) is not None
    clock.move(seconds=5)
    with pytest.raises(OutcomeUnknown):
        await limiter.admit(limited(shop, RequestLimits(per_second=1)))
