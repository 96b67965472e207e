"""Keys of the sandbox publisher: the same for the same seed, whatever came in between."""

import base64
import hashlib
import hmac
from uuid import UUID

KEY_PATTERN = r"SANDBOX(-[A-Z2-7]{5}){4}"
"""Every key that is issued looks so, and nothing that misbehaves on purpose does, but replays and other people's keys."""


def made_key(seed: str, reference: str, issue: int, number: int) -> str:
    """The key with this number in this issue under this reference."""
    text = base64.b32encode(_digest(seed, "key", reference, issue, number)).decode()
    return "-".join(["SANDBOX", *(text[start : start + 5] for start in range(0, 20, 5))])


def made_license_id(seed: str, reference: str, issue: int) -> str:
    """The publisher's own name of an issue."""
    return str(UUID(bytes=_digest(seed, "license", reference, issue)[:16], version=4))


def _digest(seed: str, *parts: object) -> bytes:
    return hmac.digest(seed.encode(), "\x1f".join(map(str, parts)).encode(), hashlib.sha256)
