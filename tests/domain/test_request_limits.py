from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.domain.request_limits import (
    Left,
    RequestLimits,
    Usage,
    left_of,
    next_day,
    take_ahead,
    wait_of,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FRESH = Usage(NOON, NOON.date())


def taken_until_refused(limits: RequestLimits, usage: Usage, now: datetime) -> tuple[int, Usage]:
    total = 0
    while True:
        taken, usage = take_ahead(limits, usage, now)
        if not taken:
            return total, usage
        assert taken <= limits.ahead
        total += taken


def test_nothing_to_limit_is_no_limit() -> None:
    assert RequestLimits.of(None, None, None) is None
    assert RequestLimits.of(None, 5, None) is None
    assert RequestLimits.of(2, None, None) == RequestLimits(2)
    assert RequestLimits.of(None, None, 7) == RequestLimits(per_day=7)


def test_a_burst_is_there_at_first_and_comes_back_at_the_rate() -> None:
    limits = RequestLimits(per_second=10, burst=40)
    total, usage = taken_until_refused(limits, FRESH, NOON)
    assert total == 40
    assert left_of(limits, usage, NOON) == Left(0, None)
    assert left_of(limits, usage, NOON + timedelta(seconds=1)) == Left(10, None)
    assert taken_until_refused(limits, usage, NOON + timedelta(seconds=1))[0] == 10
    assert taken_until_refused(limits, usage, NOON + timedelta(hours=1))[0] == 40


def test_without_a_burst_of_its_own_a_rate_gives_one_second_at_once() -> None:
    assert taken_until_refused(RequestLimits(per_second=3), FRESH, NOON)[0] == 3


def test_the_number_of_a_day_is_given_once_and_begins_anew_at_midnight_utc() -> None:
    limits = RequestLimits(per_day=100)
    total, usage = taken_until_refused(limits, FRESH, NOON)
    assert total == 100
    assert wait_of(limits, left_of(limits, usage, NOON), NOON) == timedelta(hours=12)
    before = next_day(NOON) - timedelta(microseconds=1)
    assert take_ahead(limits, usage, before)[0] == 0
    assert taken_until_refused(limits, usage, next_day(NOON))[0] == 100


def test_what_was_not_used_returns_to_the_day_and_not_to_the_rate() -> None:
    limits = RequestLimits(per_second=100, burst=100, per_day=1_000)
    taken, usage = take_ahead(limits, FRESH, NOON)
    assert (taken, usage.used_today) == (12, 12)
    again, after = take_ahead(limits, usage, NOON, unused=10)
    assert (again, after.used_today) == (12, 14)
    assert left_of(limits, after, NOON) == Left(76, 986)


def test_near_the_end_of_a_days_number_no_process_takes_what_another_one_needs() -> None:
    limits = RequestLimits(per_day=1_000)
    assert take_ahead(limits, Usage(NOON, NOON.date(), 0), NOON)[0] == 64
    assert take_ahead(limits, Usage(NOON, NOON.date(), 920), NOON)[0] == 10
    assert take_ahead(limits, Usage(NOON, NOON.date(), 999), NOON)[0] == 1
    assert take_ahead(limits, Usage(NOON, NOON.date(), 1_000), NOON)[0] == 0


def test_a_number_of_the_day_that_was_lowered_leaves_nothing() -> None:
    usage = Usage(NOON, NOON.date(), 500)
    assert left_of(RequestLimits(per_day=100), usage, NOON) == Left(None, 0)
    assert take_ahead(RequestLimits(per_day=100), usage, NOON) == (0, usage)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=400)])
def test_a_clock_that_was_ahead_is_forgiven_after_one_burst(ahead: timedelta) -> None:
    limits = RequestLimits(per_second=10, burst=10)
    _, usage = take_ahead(limits, FRESH, NOON + ahead)
    assert left_of(limits, usage, NOON) == Left(0, None)
    _, usage = take_ahead(limits, usage, NOON)
    assert taken_until_refused(limits, usage, NOON + timedelta(seconds=1))[0] == 10


def test_clocks_that_differ_a_little_give_nothing_twice() -> None:
    limits = RequestLimits(per_second=10, burst=10)
    usage, total, now = FRESH, 0, NOON
    for _ in range(200):
        now += timedelta(milliseconds=50)
        for skew in (timedelta(seconds=1), timedelta()):
            taken, usage = take_ahead(limits, usage, now + skew)
            total += taken
    assert total <= 10 + 10 * (10 + 1)


def test_a_day_that_another_process_began_already_counts_and_any_other_day_is_over() -> None:
    limits, tomorrow = RequestLimits(per_day=10), NOON.date() + timedelta(days=1)
    assert left_of(limits, Usage(NOON, tomorrow, 10), NOON) == Left(None, 0)
    for days in (-400, -1, 2, 400):
        assert left_of(limits, Usage(NOON, NOON.date() + timedelta(days=days), 10), NOON) == Left(None, 10)


@given(
    st.integers(1, 20_000),
    st.one_of(st.none(), st.integers(1, 20_000)),
    st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(0, 3)), max_size=40),
)
def test_in_no_window_is_more_given_than_a_burst_and_what_the_rate_gives(
    per_second: int, burst: int | None, pauses: list[tuple[int, int]]
) -> None:
    limits = RequestLimits(per_second=per_second, burst=burst)
    now, usage, given_at = NOON, FRESH, []
    for pause, times in pauses:
        now += timedelta(microseconds=pause)
        for _ in range(times):
            taken, usage = take_ahead(limits, usage, now)
            given_at.append((now, taken))
    for first, (begin, _) in enumerate(given_at):
        total, cut_off = 0, 1.0
        for end, taken in given_at[first:]:
            total, cut_off = total + taken, cut_off + 1
            by_rate = ((end - begin) / timedelta(microseconds=1) + cut_off) * per_second / 1_000_000
            assert total <= limits.at_once + by_rate


@given(st.integers(1, 1_000_000), st.one_of(st.none(), st.integers(1, 1_000_000)))
def test_a_process_keeps_what_it_took_no_longer_than_a_burst_lasts(per_second: int, burst: int | None) -> None:
    limits = RequestLimits(per_second=per_second, burst=burst)
    assert 1 <= limits.ahead <= limits.at_once
    assert limits.ahead_for <= min(timedelta(seconds=1), limits.time_of(limits.at_once))
