"""The tape against a list of positions."""

from datetime import date
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.domain.tape import (
    Alarm,
    Drawn,
    Place,
    Policy,
    PoolTape,
    Segment,
    Short,
    Wanted,
    alarm_at,
    draw,
    in_turn,
    put_back,
    soonest_expiry,
)
from tests.domain.stored_segment import StoredSegment

POOL = UUID(int=1)


def tape(*segments: Segment) -> PoolTape:
    return PoolTape(1, POOL, warning_level=0, alert_level=0, alarm=Alarm.NONE, segments=list(segments))


def segment(loaded: int, *, next_position: int = 1, returned: tuple[int, ...] = (), number: int = 1) -> Segment:
    return Segment(number, None, loaded, next_position, len(returned), list(returned))


def wanted(count: int, *, line_number: int = 1, first: int = 0) -> Wanted:
    return Wanted(line_number, 1, (POOL,), tuple(UUID(int=first + number) for number in range(count)))


class Sale(NamedTuple):
    """A transaction, in which keys are taken, so many at a time, and one that was taken (below zero) is put back."""

    steps: list[int]


class Release(NamedTuple):
    """One of the held keys comes back."""

    which: int


class Withdrawal(NamedTuple):
    """One of the keys that are for sale is withdrawn."""

    which: int


_WHICH = st.integers(0, 1_000)
_HISTORY = st.lists(
    st.builds(Sale, st.lists(st.integers(-9, 9), max_size=8))
    | st.builds(Release, _WHICH)
    | st.builds(Withdrawal, _WHICH),
    max_size=40,
)


def _sell(stored: StoredSegment, steps: list[int], there: set[int], *, page: int) -> set[int]:
    """The positions that are gone when the transaction ends."""
    segment = stored.opened(sum(step for step in steps if step > 0), page=page)
    free, taken = set(there), list[int]()
    in_turn = [*sorted(free & stored.returned), *sorted(free - stored.returned)]
    for step in steps:
        if step >= 0:
            got = segment.take(step)
            assert len(set(got)) == len(got) == min(step, len(free))
            assert free >= set(got)
            taken += got
        elif taken:
            segment.give_back(taken.pop(step % len(taken)))
        free = there - set(taken)
        assert segment.left == len(free)
    if all(step >= 0 for step in steps):
        assert taken == in_turn[: len(taken)]
    stored.close(segment)
    return set(taken)


@given(loaded=st.integers(0, 30), history=_HISTORY, page=st.integers(1, 4))
def test_no_history_of_sales_releases_and_withdrawals_loses_a_key_or_sells_one_that_is_gone(
    loaded: int, history: list[Sale | Release | Withdrawal], page: int
) -> None:
    stored = StoredSegment(loaded)
    there, held = set(range(1, loaded + 1)), set[int]()
    for event in history:
        match event:
            case Sale(steps):
                gone = _sell(stored, steps, there, page=page)
                there, held = there - gone, held | gone
            case Release(which) if held:
                position = sorted(held)[which % len(held)]
                stored.release(position)
                there, held = there | {position}, held - {position}
            case Withdrawal(which) if there:
                position = sorted(there)[which % len(there)]
                stored.withdraw(position)
                there = there - {position}
        stored.demand_exact()
        assert stored.left == len(there)
    assert _sell(stored, [loaded + 1], there, page=page) == there


def test_the_cursor_passes_by_what_was_withdrawn_and_an_undone_take_leaves_it_where_it_was() -> None:
    stored = StoredSegment(6)
    for position in (2, 3, 6):
        stored.withdraw(position)
    one = stored.opened(3, page=1)
    assert one.left == 3
    assert one.take(3) == [1, 4, 5]
    assert (one.left, one.withdrawn_ahead) == (0, 1)
    for position in (5, 4, 1):
        one.give_back(position)
    assert not one.is_touched
    assert (one.left, one.withdrawn_ahead) == (3, 3)


def test_a_long_row_of_withdrawn_keys_at_the_cursor_is_passed_by_once_even_when_nothing_is_sold() -> None:
    stored = StoredSegment(10)
    for position in range(1, 9):
        stored.withdraw(position)
    one = stored.opened(2, page=3)
    assert one.is_touched
    stored.close(one)
    assert (stored.next_position, stored.withdrawn_ahead, stored.left) == (9, 0, 2)


def test_more_than_is_known_is_not_taken() -> None:
    stored = StoredSegment(9)
    for position in (2, 4, 6):
        stored.withdraw(position)
    one = stored.opened(1, page=1)
    assert one.take(9) == [1]
    assert one.left == 5


def test_a_damaged_key_counts_as_withdrawn() -> None:
    pool = tape(segment(3))
    (place,) = pool.take(1)
    pool.write_off(place)
    assert (pool.segments[0].withdrawn_count, pool.segments[0].withdrawn_ahead, pool.left) == (1, 0, 2)


@given(
    loaded=st.integers(0, 30),
    passed=st.integers(0, 30),
    returned=st.sets(st.integers(1, 30)),
    counts=st.lists(st.integers(0, 12), max_size=8),
)
def test_takes_and_undone_takes_leave_exactly_what_was_there(
    loaded: int, passed: int, returned: set[int], counts: list[int]
) -> None:
    passed = min(passed, loaded)
    back = sorted(position for position in returned if position <= passed)
    pool = tape(segment(loaded, next_position=passed + 1, returned=tuple(back)))
    there = back + list(range(passed + 1, loaded + 1))
    for number, count in enumerate(counts):
        places = pool.take(count)
        assert [place.position for place in places] == there[:count]
        if number % 2:
            pool.give_back(places)
            assert pool.left == len(there)
        else:
            there = there[count:]
    assert pool.left == len(there)
    assert [place.position for place in pool.take(100)] == there


def test_an_undone_take_leaves_the_segment_untouched() -> None:
    one = segment(5, next_position=3, returned=(1,))
    pool = tape(one)
    drawn = draw({POOL: pool}, [wanted(3)])
    assert isinstance(drawn, list)
    assert one.is_touched
    put_back({POOL: pool}, drawn)
    assert not one.is_touched
    assert (one.next_position, one.returned, one.taken_from_returned, one.given_back) == (3, [1], [], [])


def test_a_position_given_back_behind_others_is_for_sale_again() -> None:
    one = segment(5)
    pool = tape(one)
    first, second, _ = pool.take(3)
    pool.give_back([first])
    assert one.given_back == [1]
    assert pool.take(1) == [first]
    assert one.given_back == []
    pool.give_back([second])
    assert pool.left == 3


def test_a_short_request_gives_back_what_all_its_lines_drew() -> None:
    pool = tape(segment(4))
    result = draw({POOL: pool}, [wanted(3), wanted(2, line_number=2, first=10)])
    assert result == Short(line_number=2, wanted=2, left=1)
    assert pool.left == 4


def test_the_next_request_is_served_with_what_a_short_one_could_not_use() -> None:
    pool = tape(segment(2))
    assert isinstance(draw({POOL: pool}, [wanted(3)]), Short)
    drawn = draw({POOL: pool}, [wanted(2)])
    assert isinstance(drawn, list)
    assert [one.place.position for one in drawn] == [1, 2]


def test_the_second_pool_of_a_plan_serves_what_the_first_lacks() -> None:
    other = UUID(int=2)
    tapes = {POOL: tape(segment(1)), other: PoolTape(1, other, 0, 0, Alarm.NONE, [segment(5, number=2)])}
    line = Wanted(1, 1, (POOL, other), (UUID(int=10), UUID(int=11)))
    assert draw(tapes, [line]) == [
        Drawn(UUID(int=10), POOL, Place(1, 1)),
        Drawn(UUID(int=11), other, Place(2, 1)),
    ]


def test_segments_have_their_turn_by_policy() -> None:
    def dated(number: int, expires_on: date | None, priority: int) -> Segment:
        return Segment(number, expires_on, 1, 1, 0, priority=priority)

    some = [
        dated(3, None, 1),
        dated(2, date(2027, 1, 1), -5),
        dated(1, date(2028, 1, 1), 0),
        dated(4, date(2027, 1, 1), 1),
    ]
    assert [one.segment_id for one in in_turn(Policy.FIFO, some)] == [1, 2, 3, 4]
    assert [one.segment_id for one in in_turn(Policy.EXPIRING_FIRST, some)] == [2, 4, 1, 3]
    assert [one.segment_id for one in in_turn(Policy.PRIORITY, some)] == [3, 4, 1, 2]


def test_keys_are_stock_while_the_pool_s_days_are_left() -> None:
    assert soonest_expiry(date(2026, 11, 22), 0) == date(2026, 11, 22)
    assert soonest_expiry(date(2026, 11, 22), 30) == date(2026, 12, 22)


@pytest.mark.parametrize(
    ("left", "alarm"), [(11, Alarm.NONE), (10, Alarm.WARNING), (4, Alarm.WARNING), (3, Alarm.ALERT), (0, Alarm.ALERT)]
)
def test_a_level_is_reached_at_its_number(left: int, alarm: Alarm) -> None:
    assert alarm_at(left, warning_level=10, alert_level=3) is alarm
