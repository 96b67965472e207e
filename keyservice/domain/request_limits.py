"""How often a caller may ask: a steady rate with a burst (the generic cell rate algorithm), and a number for each UTC day.

What was used is kept once for all processes; each takes a few requests ahead, so that not every request costs a write.
Times are whole microseconds, so a rate is exceeded by one request in a million for each microsecond that is cut off.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple, Self

_SECOND: Final = 1_000_000
_DAY: Final = timedelta(days=1)
_SKEW_MAX: Final = timedelta(seconds=30)
_AHEAD_PARTS: Final = 8
_AHEAD_OF_DAY_MAX: Final = 64
_AHEAD_FOR_MAX: Final = timedelta(seconds=1)
POLICY_RATE: Final = "rate"
POLICY_DAY: Final = "day"


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """At least one of the two. `burst` requests may come at once after a pause; None: as many as in one second."""

    per_second: int | None = None
    burst: int | None = None
    per_day: int | None = None

    @classmethod
    def of(cls, per_second: int | None, burst: int | None, per_day: int | None) -> Self | None:
        """None where nothing is limited."""
        return cls(per_second, burst, per_day) if per_second or per_day else None

    @property
    def at_once(self) -> int:
        return self.burst or self.per_second or 0

    @property
    def ahead(self) -> int:
        """How many requests a process takes at a time."""
        return max(1, self.at_once // _AHEAD_PARTS) if self.per_second else _AHEAD_OF_DAY_MAX

    @property
    def ahead_for(self) -> timedelta:
        """How long a process may keep what it took: with that, all processes together overdraw by one burst at the most."""
        return min(_AHEAD_FOR_MAX, self.time_of(self.at_once)) if self.per_second else _AHEAD_FOR_MAX

    def time_of(self, requests: int) -> timedelta:
        """How long the rate takes to give so many requests."""
        assert self.per_second is not None
        return timedelta(microseconds=requests * _SECOND // self.per_second)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a caller has used: the theoretical arrival time of its next request, and the requests of a day."""

    arrival_at: datetime
    day: date
    used_today: int = 0


class Left(NamedTuple):
    """How many requests are left by each limit; None where there is no such limit."""

    by_rate: int | None
    today: int | None

    @property
    def in_all(self) -> int:
        return min(number for number in self if number is not None)


def left_of(limits: RequestLimits, usage: Usage, now: datetime) -> Left:
    by_rate = None
    if limits.per_second is not None:
        queued = (_arrival(limits, usage, now) - now) // timedelta(microseconds=1)
        by_rate = max(0, limits.at_once - -(-queued * limits.per_second // _SECOND))  # what has begun counts whole
    today = None if limits.per_day is None else max(0, limits.per_day - _used_today(usage, now)[1])
    return Left(by_rate, today)


def take_ahead(limits: RequestLimits, usage: Usage, now: datetime, *, unused: int = 0) -> tuple[int, Usage]:
    """How many requests this process may serve next, and the usage after that; 0 when a limit is reached.

    `unused`: requests of this same day that were taken before and were not made; they return to the day, not to the rate.
    Towards the end of a day's number fewer are taken, so that no process keeps what another one needs.
    """
    day, used = _used_today(usage, now)
    kept = Usage(usage.arrival_at, day, max(0, used - unused))
    left = left_of(limits, kept, now)
    taken = min(limits.ahead, left.in_all)
    if left.today is not None:
        taken = min(taken, max(1, left.today // _AHEAD_PARTS))
    taken = max(0, min(taken, left.in_all))
    arrival_at = now
    if limits.per_second is not None:
        arrival_at = _arrival(limits, kept, now) + limits.time_of(taken)
    return taken, Usage(arrival_at, day, kept.used_today + taken)


def wait_of(limits: RequestLimits, left: Left, now: datetime) -> timedelta:
    """When it is worth asking again after a limit was reached: not for each single request that has become possible."""
    if left.today == 0:
        return next_day(now) - now
    return limits.time_of(limits.ahead)


def next_day(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(UTC).date() + _DAY, time(), UTC)


def _arrival(limits: RequestLimits, usage: Usage, now: datetime) -> datetime:
    """Never before now. What lies further ahead than a burst and the skew of clocks was written by a clock that was wrong."""
    burst_over = now + limits.time_of(limits.at_once)
    return burst_over if usage.arrival_at > burst_over + _SKEW_MAX else max(usage.arrival_at, now)


def _used_today(usage: Usage, now: datetime) -> tuple[date, int]:
    """The day that counts and its requests. Another process may be in the next day already; any other day is over or wrong."""
    today = now.astimezone(UTC).date()
    if usage.day in (today, today + _DAY):
        return usage.day, usage.used_today
    return today, 0
