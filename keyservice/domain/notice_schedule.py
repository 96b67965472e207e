"""When a notice that was not taken is sent again: the schedule of Standard Webhooks, about three days long."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Behind the first failure, the second, and so on; then the notice has failed."""

JITTER_MAX: Final = 0.2
"""So much of a pause is added at the most, so that what failed together does not come back together."""

RETRY_AFTER_SECONDS_MAX: Final = 3_600.0
"""A receiver may ask for so long a pause, and no longer."""

_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def retry_at(now: datetime, failures: int, *, jitter: float, rest_seconds: float = 0.0) -> datetime | None:
    """When to try again behind so many failures, or None; `jitter` is from 0 to 1."""
    if failures > len(RETRY_SECONDS):
        return None
    pause = RETRY_SECONDS[failures - 1] * (1 + JITTER_MAX * jitter)
    return now + timedelta(seconds=max(pause, rest_seconds))


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """What a Retry-After header asks for (RFC 9110, section 10.2.3), as far as it is granted; None if it says nothing."""
    if header is None:
        return None
    text = header.strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)
