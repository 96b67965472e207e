"""Keyed hashes: what is found again, or told apart, without being read. A changed format loses every stored value."""

import hashlib
import struct
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final, Literal
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from keyservice.crypto.keyring import Keyring, Purpose
from keyservice.crypto.sealing import aad as framed

OrderKind = Literal["connect", "cart", "lean"]
SUFFIX_CHARACTERS: Final = 5
SUFFIX_TOKEN_BYTES: Final = 8

_FRAMED_ID = struct.Struct(">Iq")
_LENGTH = struct.Struct(">I")
_NUMBERS = struct.Struct(">QQ")


class Fingerprints:
    """HMAC-SHA-256 under the current secrets, or under the versions named (for rotation); every input is framed."""

    # Copying a prepared context is 2.4 times as fast as hmac.digest, which hashes the secret anew for each key.
    __slots__ = ("_body", "_key", "_order", "_shopper", "_suffix")

    def __init__(self, keyring: Keyring, *, versions: Mapping[Purpose, str] | None = None) -> None:
        def prepared(purpose: Purpose, use: str) -> HMAC:
            secret_id = (versions or {}).get(purpose)
            secret = keyring.current(purpose) if secret_id is None else keyring.version(purpose, secret_id)
            context = HMAC(secret.value, SHA256())
            context.update(framed(use))
            return context

        self._key = prepared("fingerprint", "key1")
        self._suffix = prepared("suffix", "suffix1")
        self._shopper = prepared("shopper", "shopper1")
        self._order = prepared("order", "order1")
        self._body = prepared("order", "body1")

    def key(self, publisher_id: int, text: bytes) -> bytes:
        """Equal for equal bytes of one publisher, and for nothing else."""
        return _mac(self._key, _FRAMED_ID.pack(8, publisher_id), _LENGTH.pack(len(text)), text)

    def keys(self, publisher_id: int, texts: Iterable[bytes]) -> list[bytes]:
        publisher = self._key.copy()
        publisher.update(_FRAMED_ID.pack(8, publisher_id))
        pack = _LENGTH.pack
        found = []
        for text in texts:
            context = publisher.copy()
            context.update(pack(len(text)) + text)
            found.append(context.finalize())
        return found

    def suffix(self, publisher_id: int, text: bytes) -> bytes:
        """Token of the last five characters; the same for a key and for what a shopper reads out from its end."""
        end = _last_characters(text)
        return _mac(self._suffix, _FRAMED_ID.pack(8, publisher_id), _LENGTH.pack(len(end)), end)[:SUFFIX_TOKEN_BYTES]

    def shopper(self, email: str) -> UUID:
        """One id per address, however it is capitalised or composed. Not case-folded: straße@ and strasse@ are two."""
        folded = unicodedata.normalize("NFD", email.strip()).lower()
        return _uuid8(_mac(self._shopper, *_framed_text(unicodedata.normalize("NFC", folded))))

    def order_id(self, caller_id: int, kind: OrderKind, natural_key: str) -> UUID:
        """The primary key that makes a repeated order the same order; the natural key counts to the letter."""
        caller = _FRAMED_ID.pack(8, caller_id)
        return _uuid8(_mac(self._order, caller, *_framed_text(kind), *_framed_text(natural_key)))

    def body(self, canonical: bytes) -> bytes:
        """Tells whether a repeated order has the same body, without storing the shopper's data."""
        return _mac(self._body, _LENGTH.pack(len(canonical)), canonical)

    @staticmethod
    def line_item_id(order_id: UUID, line_number: int) -> UUID:
        # No secret is needed here or below: nobody can guess the keyed order id that goes in.
        packed = order_id.bytes + _NUMBERS.pack(line_number, 0)
        return _uuid8(hashlib.blake2b(packed, digest_size=16, person=b"line item 1").digest())

    @staticmethod
    def unit_id(order_id: UUID, line_number: int, unit_number: int) -> UUID:
        packed = order_id.bytes + _NUMBERS.pack(line_number, unit_number)
        return _uuid8(hashlib.blake2b(packed, digest_size=16, person=b"unit 1").digest())

    def __repr__(self) -> str:
        return "Fingerprints()"


def _mac(prepared: HMAC, *parts: bytes) -> bytes:
    context = prepared.copy()
    context.update(b"".join(parts))
    return context.finalize()


def _framed_text(text: str) -> tuple[bytes, bytes]:
    # surrogatepass: half a surrogate pair is refused at the door, and here an exception would carry the whole text.
    raw = text.encode("utf-8", "surrogatepass")
    return _LENGTH.pack(len(raw)), raw


def _last_characters(text: bytes) -> bytes:
    if text.isascii():
        return text[-SUFFIX_CHARACTERS:]
    # surrogateescape keeps the bytes of a key that is no UTF-8 text.
    return text.decode("utf-8", "surrogateescape")[-SUFFIX_CHARACTERS:].encode("utf-8", "surrogateescape")


def _uuid8(digest: bytes) -> UUID:
    """RFC 9562, section 5.8: 122 bits of our own, version 8, variant 10."""
    number = int.from_bytes(digest[:16])
    return UUID(int=number & ~(0xF << 76 | 0x3 << 62) | 0x8 << 76 | 0x2 << 62)
