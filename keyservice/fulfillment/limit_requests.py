"""Holding callers to their limits, in all processes together.

A process takes a few requests ahead in one short transaction and serves them from memory; when a limit is reached it says
so from memory too, until it is worth asking again. What was taken lasts a second at the most. Callers without limits cost
nothing; while the database is away, callers with limits are not served.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import ceil
from typing import Final

from keyservice.domain.caller import Caller
from keyservice.domain.errors import TooManyRequests
from keyservice.domain.request_limits import (
    POLICY_DAY,
    POLICY_RATE,
    Left,
    RequestLimits,
    Usage,
    left_of,
    next_day,
    take_ahead,
    wait_of,
)
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database, LostRace
from keyservice.postgres.statements import statement

_PATIENCE_SECONDS: Final = 3.0
_REMEMBERED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands with its limits, as far as this process knows."""

    limits: RequestLimits
    left: Left
    now: datetime

    @property
    def seconds_to_full(self) -> int:
        """Until the whole burst is there again."""
        if self.left.by_rate is None:
            return 0
        return ceil(self.limits.time_of(self.limits.at_once - self.left.by_rate).total_seconds())

    @property
    def seconds_to_next_day(self) -> int:
        return ceil((next_day(self.now) - self.now).total_seconds())


class OverLimit(TooManyRequests):
    """Carries where the caller stands, for the headers of the answer."""

    def __init__(self, standing: Standing, *, retry_after_seconds: int) -> None:
        is_day = standing.left.today == 0
        super().__init__(policies=(POLICY_DAY if is_day else POLICY_RATE,), retry_after_seconds=retry_after_seconds)
        # What has become possible meanwhile is not given out one by one.
        self.standing = standing if is_day else replace(standing, left=standing.left._replace(by_rate=0))


@dataclass(slots=True)
class _Allowance:
    """What this process took ahead for one caller and when, or until when it need not ask again."""

    limits: RequestLimits
    usage: Usage
    taken_at: datetime
    remaining: int = 0
    asks_again_at: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def spend(self, limits: RequestLimits, now: datetime) -> bool | None:
        """Whether one more may be made; None when the database must be asked: also after a day, or a clock set back."""
        if self.limits != limits or not self.taken_at <= now < next_day(self.taken_at):
            return None
        if self.remaining > 0:
            if now >= self.taken_at + limits.ahead_for:
                return None
            self.remaining -= 1
            return True
        return False if self.asks_again_at is not None and now < self.asks_again_at else None

    def unused(self, now: datetime) -> int:
        return self.remaining if self.taken_at <= now < next_day(self.taken_at) else 0

    def standing(self, now: datetime) -> Standing:
        left = left_of(self.limits, self.usage, now)
        by_rate = None if left.by_rate is None else min(left.by_rate + self.remaining, self.limits.at_once)
        return Standing(self.limits, Left(by_rate, None if left.today is None else left.today + self.remaining), now)


class RequestLimiter:
    """Each process has one."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock
        self._allowances: dict[int, _Allowance] = {}

    async def admit(self, caller: Caller) -> Standing | None:
        """Count one request; where the caller stands after it, or None without limits. Raises OverLimit."""
        limits = caller.limits
        if limits is None:
            return None
        allowance = self._allowance(caller.caller_id, limits)
        is_in = allowance.spend(limits, self._clock())
        if is_in is None:
            async with allowance.lock:
                is_in = allowance.spend(limits, self._clock())
                if is_in is None:
                    is_in = await self._take(caller.caller_id, allowance, limits)
        now = self._clock()
        if not is_in:
            wait = (allowance.asks_again_at or now) - now
            raise OverLimit(allowance.standing(now), retry_after_seconds=max(1, ceil(wait.total_seconds())))
        return allowance.standing(now)

    def _allowance(self, caller_id: int, limits: RequestLimits) -> _Allowance:
        found = self._allowances.get(caller_id)
        if found is None:
            if len(self._allowances) >= _REMEMBERED_MAX:
                self._allowances.clear()
            now = self._clock()
            found = self._allowances[caller_id] = _Allowance(limits, Usage(now, now.date()), now)
        return found

    async def _take(self, caller_id: int, allowance: _Allowance, limits: RequestLimits) -> bool:
        """Take some requests ahead and spend the first of them; False when a limit is reached."""
        # Whatever becomes of the transaction, these are given back once at the most.
        unused, allowance.remaining = allowance.unused(self._clock()), 0
        taken, usage, at = await self._store(caller_id, limits, unused=unused)
        allowance.limits, allowance.usage, allowance.taken_at = limits, usage, at
        allowance.remaining = max(0, taken - 1)
        allowance.asks_again_at = None if taken else at + wait_of(limits, left_of(limits, usage, at), at)
        return taken > 0

    async def _store(self, caller_id: int, limits: RequestLimits, *, unused: int) -> tuple[int, Usage, datetime]:
        """How many were taken, the usage after that, and when: the clock is read once the row is locked."""

        async def work(connection: Connection) -> tuple[int, Usage, datetime]:
            row = await connection.fetchrow(statement("limits.usage_of_caller"), caller_id)
            now = self._clock()
            before = Usage(now, now.date()) if row is None else Usage(row["arrival_at"], row["day"], row["used_today"])
            taken, after = take_ahead(limits, before, now, unused=unused)
            values = (caller_id, after.arrival_at, after.day, after.used_today)
            if row is None:
                if await connection.fetchval(statement("limits.begin_usage"), *values) is None:
                    raise LostRace
            elif taken or unused or after.arrival_at < before.arrival_at:  # the last: a clock that was wrong
                await connection.execute(statement("limits.set_usage"), *values)
            return taken, after, now

        return await short_transaction(self._database, work, is_repeatable=False, patience_seconds=_PATIENCE_SECONDS)
