"""A segment as its rows hold it between transactions: what the statements do to them, in a few lines."""

from dataclasses import dataclass, field

from keyservice.domain.tape import Segment


@dataclass
class StoredSegment:
    """`returned` and `withdrawn` are the rows of the tables; the counts are the columns that must agree with them."""

    loaded: int
    next_position: int = 1
    returned: set[int] = field(default_factory=set)
    returned_count: int = 0
    withdrawn: set[int] = field(default_factory=set)
    withdrawn_count: int = 0
    withdrawn_ahead: int = 0

    @property
    def left(self) -> int:
        return self.loaded - self.next_position + 1 - self.withdrawn_ahead + self.returned_count

    def opened(self, wanted: int, *, page: int) -> Segment:
        """Read behind the pool's lock; which positions were withdrawn comes page by page."""
        segment = Segment(
            1,
            None,
            self.loaded,
            self.next_position,
            self.returned_count,
            sorted(self.returned)[:wanted],
            withdrawn_count=self.withdrawn_count,
            withdrawn_ahead=self.withdrawn_ahead,
        )
        while segment.must_learn(wanted):
            segment.learn(sorted(one for one in self.withdrawn if one > segment.known_until)[:page])
        return segment

    def close(self, segment: Segment) -> None:
        """Written only if it is touched."""
        if not segment.is_touched:
            return
        self.next_position, self.returned_count = segment.next_position, segment.returned_count
        self.withdrawn_ahead, self.withdrawn_count = segment.withdrawn_ahead, segment.withdrawn_count
        assert self.returned >= set(segment.taken_from_returned)
        self.returned -= set(segment.taken_from_returned)
        assert not self.returned & set(segment.given_back)
        self.returned |= set(segment.given_back)

    def release(self, position: int) -> None:
        self.returned.add(position)
        self.returned_count += 1

    def withdraw(self, position: int) -> None:
        self.withdrawn.add(position)
        self.withdrawn_count += 1
        if position in self.returned:
            self.returned.remove(position)
            self.returned_count -= 1
        else:
            self.withdrawn_ahead += 1

    def demand_exact(self) -> None:
        """What the auditor asks of the tables, and what their constraints demand."""
        ahead = {position for position in self.withdrawn if position >= self.next_position}
        assert (self.withdrawn_ahead, self.withdrawn_count) == (len(ahead), len(self.withdrawn))
        assert self.returned_count == len(self.returned)
        assert not self.returned & self.withdrawn
        assert 1 <= self.next_position <= self.loaded + 1
        assert 0 <= self.withdrawn_ahead <= self.loaded - self.next_position + 1
        assert all(position < self.next_position for position in self.returned)
