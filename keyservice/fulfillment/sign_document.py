"""Signing what a publisher may show to others: pages of its feed, statements."""

from typing import NamedTuple

from keyservice.crypto.signing import sign
from keyservice.fulfillment.signing_keys import SigningKeys


class Signature(NamedTuple):
    """Which key signed, and the signature's 64 bytes."""

    key_id: str
    value: bytes


async def sign_document(keys: SigningKeys, purpose: str, content: bytes) -> Signature:
    """With the key that signs now, which is made when there is none."""
    key = await keys.signing()
    return Signature(key.key_id, sign(key.private, purpose, key.key_id, content))
