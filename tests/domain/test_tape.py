"""The tape against a list of positions."""

from datetime import date
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
)

POOL = UUID(int=1)


def tape(*segments: Segment) -> PoolTape:
    return PoolTape(1, POOL, warning_level=0, alert_level=0, alarm=Alarm.NONE, segments=list(segments))


def segment(loaded: int, *, next_position: int = 1, returned: tuple[int, ...] = (), number: int = 1) -> Segment:
    return Segment(number, None, loaded, next_position, len(returned), list(returned))


def wanted(count: int, *, line_number: int = 1, first: int = 0) -> Wanted:
    return Wanted(line_number, 1, (POOL,), tuple(UUID(int=first + number) for number in range(count)))


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
    def dated(number: int, expires_on: date | None) -> Segment:
        return Segment(number, expires_on, 1, 1, 0)

    some = [dated(3, None), dated(2, date(2027, 1, 1)), dated(1, date(2028, 1, 1)), dated(4, date(2027, 1, 1))]
    assert [one.segment_id for one in in_turn(Policy.FIFO, some)] == [1, 2, 3, 4]
    assert [one.segment_id for one in in_turn(Policy.EXPIRING_FIRST, some)] == [2, 4, 1, 3]


@pytest.mark.parametrize(
    ("left", "alarm"), [(11, Alarm.NONE), (10, Alarm.WARNING), (4, Alarm.WARNING), (3, Alarm.ALERT), (0, Alarm.ALERT)]
)
def test_a_level_is_reached_at_its_number(left: int, alarm: Alarm) -> None:
    assert alarm_at(left, warning_level=10, alert_level=3) is alarm
