"""The tape: positions are taken from a pool's segments in the pool's order, and what is not used is given back."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple, assert_never
from uuid import UUID


class Policy(StrEnum):
    """Which segment's turn it is."""

    FIFO = "fifo"
    EXPIRING_FIRST = "expiring_first"
    PRIORITY = "priority"
    """By the number that each batch was given, the highest first."""


class Alarm(StrEnum):
    """How worried an admin should be about a pool's level."""

    NONE = "none"
    WARNING = "warning"
    ALERT = "alert"


class Place(NamedTuple):
    """Where a taken key lies."""

    segment_id: int
    position: int


@dataclass(slots=True)
class Segment:
    """The keys of one batch with one expiry date, as a cursor over the positions 1 … loaded."""

    segment_id: int
    expires_on: date | None
    loaded: int
    next_position: int
    returned_count: int
    returned: list[int] = field(default_factory=list)
    """Positions that came back, lowest first: all of them or at least as many as are wanted."""

    taken_from_returned: list[int] = field(default_factory=list)
    given_back: list[int] = field(default_factory=list)
    priority: int = 0
    withdrawn_count: int = 0
    """Keys that were withdrawn one by one, or taken off as damaged, wherever they lie."""

    withdrawn_ahead: int = 0
    """Those of them that the cursor has still to pass by."""

    withdrawn: deque[int] = field(default_factory=deque)
    """The positions of those ahead, lowest first: all of them, or those up to `known_until`."""

    passed_by: list[int] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.loaded - self.next_position + 1 - self.withdrawn_ahead + self.returned_count

    @property
    def known_until(self) -> int:
        """Of every position up to this one it is known whether it was withdrawn."""
        if len(self.withdrawn) == self.withdrawn_ahead:
            return self.loaded
        return self.withdrawn[-1] if self.withdrawn else self.next_position - 1

    def must_learn(self, wanted: int) -> bool:
        """Whether fewer positions under the cursor are known to be good than there are and than are wanted."""
        known = self.known_until - self.next_position + 1 - len(self.withdrawn)
        return known < wanted and self.known_until < self.loaded

    def learn(self, withdrawn: Iterable[int]) -> None:
        """The next positions ahead that were withdrawn, lowest first. What lies at the cursor is passed by for good."""
        self.withdrawn.extend(withdrawn)
        self._pass_by()
        self.passed_by.clear()

    @property
    def is_touched(self) -> bool:
        return self._start != (self.next_position, self.returned_count) or bool(self.given_back)

    def __post_init__(self) -> None:
        self._start = (self.next_position, self.returned_count)

    _start: tuple[int, int] = field(init=False, repr=False, default=(0, 0))

    def take(self, wanted: int) -> list[int]:
        """Up to `wanted` positions that are known: those that came back first, then those under the cursor."""
        positions = self._take_returned(min(wanted, len(self.returned)))
        while len(positions) < wanted:
            self._pass_by()
            end = self.withdrawn[0] if self.withdrawn else self.known_until + 1
            fresh = min(wanted - len(positions), end - self.next_position)
            if fresh <= 0:
                break
            positions.extend(range(self.next_position, self.next_position + fresh))
            self.next_position += fresh
        return positions

    def give_back(self, position: int) -> None:
        """Undo one take inside the same transaction: the position is for sale again."""
        self._come_back()
        if position == self.next_position - 1 and position >= self._start[0]:
            self.next_position -= 1
            self._come_back()
            return
        if position in self.taken_from_returned:
            self.taken_from_returned.remove(position)
        else:
            self.given_back.append(position)
        self.returned.insert(0, position)
        self.returned_count += 1

    def _take_returned(self, count: int) -> list[int]:
        positions, self.returned = self.returned[:count], self.returned[count:]
        self.returned_count -= count
        for position in positions:
            if position in self.given_back:
                self.given_back.remove(position)
            else:
                self.taken_from_returned.append(position)
        return positions

    def _pass_by(self) -> None:
        while self.withdrawn and self.withdrawn[0] == self.next_position:
            self.passed_by.append(self.withdrawn.popleft())
            self.next_position += 1
            self.withdrawn_ahead -= 1

    def _come_back(self) -> None:
        while self.passed_by and self.passed_by[-1] == self.next_position - 1:
            self.withdrawn.appendleft(self.passed_by.pop())
            self.next_position -= 1
            self.withdrawn_ahead += 1


@dataclass(slots=True)
class PoolTape:
    """A pool's segments that are for sale now, in the order of its policy; a closed pool has none."""

    publisher_id: int
    pool_id: UUID
    warning_level: int
    alert_level: int
    alarm: Alarm
    segments: list[Segment]
    is_open: bool = True
    is_sandbox: bool = False
    backordered: int = 0
    """Units that are paid for and wait for keys of this pool."""

    @property
    def left(self) -> int:
        return sum(segment.left for segment in self.segments)

    @property
    def free(self) -> int:
        """What new orders may take: who has paid before them comes first."""
        return max(self.left - self.backordered, 0)

    @property
    def alarm_now(self) -> Alarm:
        return alarm_at(self.free, warning_level=self.warning_level, alert_level=self.alert_level)

    def take(self, wanted: int) -> list[Place]:
        """Up to `wanted` places, segment after segment."""
        places: list[Place] = []
        for segment in self.segments:
            if len(places) == wanted:
                break
            places.extend(Place(segment.segment_id, at) for at in segment.take(wanted - len(places)))
        return places

    def give_back(self, places: Iterable[Place]) -> None:
        by_id = {segment.segment_id: segment for segment in self.segments}
        for place in reversed(list(places)):
            by_id[place.segment_id].give_back(place.position)

    def write_off(self, place: Place) -> None:
        """A place that was taken holds a damaged key: it counts as withdrawn."""
        next(one for one in self.segments if one.segment_id == place.segment_id).withdrawn_count += 1


def in_turn(policy: Policy, segments: Iterable[Segment]) -> list[Segment]:
    """The segments in the order in which they are sold; equal ones in the order of their upload."""
    match policy:
        case Policy.FIFO:
            return sorted(segments, key=lambda segment: segment.segment_id)
        case Policy.EXPIRING_FIRST:
            return sorted(segments, key=lambda segment: (segment.expires_on or date.max, segment.segment_id))
        case Policy.PRIORITY:
            return sorted(segments, key=lambda segment: (-segment.priority, segment.segment_id))
        case _:
            assert_never(policy)


def soonest_expiry(today: date, days_left_min: int) -> date:
    """Keys that expire before this day are not stock: they are too close to their end, or past it."""
    return today + timedelta(days=days_left_min)


def alarm_at(left: int, *, warning_level: int, alert_level: int) -> Alarm:
    """A level is reached when what is left is at or below it; the alert level lies at or below the warning level."""
    if left <= alert_level:
        return Alarm.ALERT
    return Alarm.WARNING if left <= warning_level else Alarm.NONE


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one order line wants: one key per unit, from these pools of one publisher in this order."""

    line_number: int
    publisher_id: int
    pool_ids: tuple[UUID, ...]
    unit_ids: tuple[UUID, ...]
    is_sandbox: bool = False
    """A test order: it is served from sandbox pools only, and no other order is."""

    may_wait: bool = False
    """Units that find no key are backordered; otherwise the whole request is refused."""

    is_requested: bool = False
    """Units that find no key are asked of their publisher."""

    has_waited: bool = False
    """Backordered units whose turn it is: what is kept for them is theirs."""


class Drawn(NamedTuple):
    """One unit's place on a pool's tape."""

    unit_id: UUID
    pool_id: UUID
    place: Place


@dataclass(frozen=True, slots=True)
class Short:
    """The first line that could not be served in full."""

    line_number: int
    wanted: int
    left: int


def draw(tapes: dict[UUID, PoolTape], lines: Sequence[Wanted]) -> list[Drawn] | Short:
    """Serve all lines in full or none of them: a short line gives everything that the request drew back.

    Lines that may wait are never short; those of their units that are not in the answer found no key.
    """
    drawn: list[Drawn] = []
    for line in lines:
        got = _draw_line(tapes, line)
        drawn.extend(got)
        if len(got) < len(line.unit_ids) and not _may_come_later(tapes, line):
            put_back(tapes, drawn)
            return Short(line.line_number, wanted=len(line.unit_ids), left=len(got))
    return drawn


def put_back(tapes: dict[UUID, PoolTape], drawn: Sequence[Drawn]) -> None:
    """Undo a draw, last first, so that the next request finds what it would have found."""
    for one in reversed(drawn):
        tapes[one.pool_id].give_back([one.place])


def _may_come_later(tapes: dict[UUID, PoolTape], line: Wanted) -> bool:
    """Whether what found no key has another source, or may wait at a pool that could ever serve it."""
    if line.is_requested:
        return True
    return line.may_wait and any(
        pool_id in tapes and tapes[pool_id].is_sandbox is line.is_sandbox for pool_id in line.pool_ids
    )


def _draw_line(tapes: dict[UUID, PoolTape], line: Wanted) -> list[Drawn]:
    drawn: list[Drawn] = []
    for pool_id in line.pool_ids:
        waiting = line.unit_ids[len(drawn) :]
        tape = tapes.get(pool_id)
        if tape is not None and waiting and tape.is_sandbox is line.is_sandbox:
            places = tape.take(len(waiting) if line.has_waited else min(len(waiting), tape.free))
            drawn += [Drawn(unit, pool_id, place) for unit, place in zip(waiting, places, strict=False)]
    return drawn
