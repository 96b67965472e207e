"""A publisher that keeps failing is left alone for a while; then one call finds out whether it is back."""

from collections.abc import Callable


class CircuitBreaker:
    """Closed: all may call. Open: nobody. Half open: one may, and what comes of it decides."""

    def __init__(self, *, failures_max: int, open_seconds: float, clock: Callable[[], float]) -> None:
        self._failures_max = failures_max
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probe_since: float | None = None

    def admit(self) -> bool:
        """May this call be made? Who is admitted reports what came of it: exactly one of the three below."""
        if self._opened_at is None:
            return True
        if self.seconds_left > 0 or self._probe_since is not None:
            return False
        self._probe_since = self._clock()
        return True

    @property
    def seconds_left(self) -> float:
        """Until somebody may ask again."""
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + self._open_seconds - self._clock())

    def succeeded(self) -> None:
        """The publisher works, whether or not it did what was asked."""
        self._failures = 0
        self._opened_at = self._probe_since = None

    def failed(self) -> None:
        """Nothing came, or a fault of the publisher's."""
        self._failures += 1
        if self._probe_since is not None or self._failures >= self._failures_max:
            self._opened_at = self._clock()
            self._probe_since = None

    def left_open(self) -> None:
        """The call ended before it could show anything."""
        self._probe_since = None
