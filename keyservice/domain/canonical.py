"""Bytes that are hashed and signed: equal values are equal bytes, and different values never are."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

_ABSENT: Final = (0xFFFFFFFF).to_bytes(4)


def framed(*parts: bytes | None) -> bytes:
    """Each part behind its length in four bytes; None has a length that no part can have."""
    return b"".join(_ABSENT if part is None else len(part).to_bytes(4) + part for part in parts)


def framed_texts(texts: Iterable[str | None]) -> bytes:
    return framed(*(None if text is None else text.encode() for text in texts))


def instant_text(instant: datetime) -> str:
    """RFC 3339 in UTC, always with six digits behind the second."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical_json(value: Any) -> bytes:
    """JSON without white space, members in the order of their names, in UTF-8. For values without fractions."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
