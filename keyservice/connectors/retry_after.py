"""Retry-After, which may be a number, a date, or anything."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_AFTER_SECONDS_MAX: Final = 86_400.0


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """How long to wait, at most a day; None if nothing usable is said."""
    told = headers.get("Retry-After", "").strip()
    if told.isascii() and told.isdecimal():
        return min(float(told[:12]), RETRY_AFTER_SECONDS_MAX)
    try:
        when = parsedate_to_datetime(told)
    except (ValueError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max(0.0, (when - datetime.now(UTC)).total_seconds()), RETRY_AFTER_SECONDS_MAX)
