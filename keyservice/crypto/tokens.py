"""Callers' credentials: shown once, stored as a hash, recognised by secret scanners."""

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

from keyservice.domain.errors import Unauthenticated

SECRET_BYTES: Final = 32
_ID_CHARACTERS: Final = 12
_CHECKSUM_CHARACTERS: Final = 6
_TOKEN = re.compile(r"(ks_([a-z2-7]{12})_[A-Za-z0-9_-]{43})_([a-z2-7]{6})")


def new_token() -> tuple[str, str, bytes]:
    """The token's id, the token (to be shown once and forgotten) and the hash to store."""
    token_id = _base32(secrets.token_bytes(8))[:_ID_CHARACTERS]
    body = f"ks_{token_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return token_id, f"{body}_{_checksum(body)}", _hash(body)


def parse_token(text: str) -> tuple[str, bytes]:
    """The token's id and its hash; Unauthenticated if it cannot be one of ours, which saves the look-up."""
    found = _TOKEN.fullmatch(text)
    if found is None or _checksum(found[1]) != found[3]:
        raise Unauthenticated("this is not a keyservice token: copy it again in full, it begins with ks_")
    return found[2], _hash(found[1])


def matches(presented_hash: bytes, stored_hash: bytes) -> bool:
    """In constant time. A False is only to be answered like a token that does not exist."""
    return hmac.compare_digest(presented_hash, stored_hash)


def _hash(body: str) -> bytes:
    # One SHA-256: the secret has 256 random bits, so there is nothing to slow down a guesser for.
    return hashlib.sha256(body.encode()).digest()


def _checksum(body: str) -> str:
    return _base32(hashlib.sha256(b"checksum " + body.encode()).digest())[:_CHECKSUM_CHARACTERS]


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().lower()
