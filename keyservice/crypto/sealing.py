"""How keys and personal data lie in the database: AES-256-GCM, bound to one place, padded, with the data key named."""

import os
import struct
from collections.abc import Sequence
from typing import Final, NoReturn, Self, final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyservice.domain.errors import Tampered
from keyservice.domain.key import KeyPlace

DATA_KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_VERSION: Final = 1
_TAG_BYTES: Final = 16
_BLOCK_BYTES: Final = 32

# Sealed form: version, data key id, nonce, ciphertext with tag.
_HEADER = struct.Struct(">Bq")
_NONCE_END: Final = _HEADER.size + NONCE_BYTES
_SEALED_BYTES_MIN: Final = _NONCE_END + _BLOCK_BYTES + _TAG_BYTES

# ISO/IEC 7816-4 padding, indexed by the length modulo the block: one mandatory 0x80, then zeros.
_PADDING: Final = tuple(b"\x80" + bytes(_BLOCK_BYTES - 1 - used) for used in range(_BLOCK_BYTES))


@final
class DataKey:
    """The key of one batch or shopper, ready for use. It holds no readable copy of its bytes and is never pickled."""

    __slots__ = ("_cipher", "_header", "data_key_id")

    def __init__(self, data_key_id: int, raw: bytes) -> None:
        if len(raw) != DATA_KEY_BYTES:  # AESGCM would take 16 bytes too and seal with AES-128
            raise ValueError(f"a data key has {DATA_KEY_BYTES} bytes")
        if not 0 <= data_key_id < 1 << 63:
            raise ValueError("a data key's id is a non-negative bigint")
        self.data_key_id = data_key_id
        self._header = _HEADER.pack(_VERSION, data_key_id)
        self._cipher = AESGCM(raw)

    @classmethod
    def generate(cls, data_key_id: int) -> tuple[Self, bytes]:
        """A new data key and its raw bytes, which are to be wrapped at once and then forgotten."""
        raw = os.urandom(DATA_KEY_BYTES)
        return cls(data_key_id, raw), raw

    def seal(self, plaintext: bytes, aad: bytes) -> bytes:
        return self._seal(os.urandom(NONCE_BYTES), plaintext, aad)

    def open(self, sealed: bytes, aad: bytes) -> bytes:
        """The plaintext, or Tampered whatever the bytes are."""
        if sealed_data_key_id(sealed) != self.data_key_id:
            raise Tampered("this value was sealed under another data key")
        nonce = sealed[_HEADER.size : _NONCE_END]
        try:
            padded = self._cipher.decrypt(nonce, sealed[_NONCE_END:], self._header + aad)
        except (InvalidTag, OverflowError):
            raise Tampered(
                "this value was altered or belongs to another place; restore the row from a backup"
            ) from None
        return _unpadded(padded)

    def _seal(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        padded = plaintext + _PADDING[len(plaintext) % _BLOCK_BYTES]
        return self._header + nonce + self._cipher.encrypt(nonce, padded, self._header + aad)

    def __repr__(self) -> str:
        return f"DataKey({self.data_key_id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a data key is never pickled or copied: pass its wrapped form")


def seal_keys(data_key: DataKey, rows: Sequence[tuple[KeyPlace, bytes]]) -> list[bytes]:
    """Seal a chunk of an upload, in order, with one call for all its nonces."""
    nonces = os.urandom(NONCE_BYTES * len(rows))
    offsets = range(0, len(nonces), NONCE_BYTES)
    return [
        data_key._seal(nonces[offset : offset + NONCE_BYTES], text, key_aad(place))
        for offset, (place, text) in zip(offsets, rows, strict=True)
    ]


def sealed_data_key_id(sealed: bytes) -> int:
    """Which data key opens this value; it is authentic only after `open`."""
    if len(sealed) < _SEALED_BYTES_MIN:
        raise Tampered("this value is too short to be a sealed one; restore the row from a backup")
    version, data_key_id = _HEADER.unpack_from(sealed)
    if version != _VERSION:
        raise Tampered(f"this value has the unknown sealed form {version}; it is damaged or newer than this program")
    return int(data_key_id)


def aad(purpose: str, *parts: bytes) -> bytes:
    """Purpose and parts, each behind its length: two different lists never give the same bytes."""
    name = purpose.encode()
    framed = [len(name).to_bytes(4), name]
    for part in parts:
        framed += (len(part).to_bytes(4), part)
    return b"".join(framed)


# The same bytes as aad("key1", publisher | segment | position), packed in one call because it runs for every key.
_KEY_AAD = struct.Struct(">I4sIqqq")


def key_aad(place: KeyPlace) -> bytes:
    return _KEY_AAD.pack(4, b"key1", 24, *place)


def notes_aad(place: KeyPlace) -> bytes:
    return aad("notes1", key_aad(place))


def people_aad(order_id: UUID) -> bytes:
    return aad("people1", order_id.bytes)


def _unpadded(padded: bytes) -> bytes:
    marked = padded.rstrip(b"\0")
    if not marked.endswith(b"\x80") or len(padded) - len(marked) >= _BLOCK_BYTES:
        raise Tampered("this value opens to something this program did not seal")
    return marked[:-1]
