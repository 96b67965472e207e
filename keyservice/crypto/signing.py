"""Signatures that others verify without this service: Ed25519 over what is signed, what for, and by which key."""

import base64
import binascii
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keyservice.domain.canonical import framed
from keyservice.domain.errors import Tampered

ALGORITHM: Final = "Ed25519"
SIGNATURE_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final = 32


def sign(private: Ed25519PrivateKey, purpose: str, key_id: str, content: bytes) -> bytes:
    """The purpose keeps a signature over one kind of thing from being shown as one over another."""
    return private.sign(_message(purpose, key_id, content))


def verify(public: Ed25519PublicKey, purpose: str, key_id: str, content: bytes, signature: bytes) -> None:
    """Raises Tampered."""
    try:
        public.verify(signature, _message(purpose, key_id, content))
    except InvalidSignature:
        raise Tampered("the signature does not fit: the content was altered, or signed by another key") from None


def written(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def read_bytes(text: str, length: int) -> bytes:
    """The bytes behind base64 in its one spelling. Raises Tampered."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Tampered("this is not base64") from None
    if len(raw) != length or written(raw) != text:
        raise Tampered(f"this is not the base64 of {length} bytes")
    return raw


def _message(purpose: str, key_id: str, content: bytes) -> bytes:
    return framed(purpose.encode(), key_id.encode(), content)
