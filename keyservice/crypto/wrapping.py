"""Data keys outside the process: wrapped by a service secret, bound to what they belong to."""

import os
import re
from collections.abc import Mapping
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyservice.crypto.keyring import Keyring, UnknownSecret
from keyservice.crypto.sealing import DATA_KEY_BYTES, NONCE_BYTES, aad
from keyservice.domain.errors import Tampered

_VERSION: Final = 1
_TAG_BYTES: Final = 16
_SECRET_ID = re.compile(rb"[a-z][a-z0-9-]{0,31}")


class KeyWrapper(Protocol):
    """Whoever implements it passes tests/crypto/key_wrapper_conformance.py."""

    @property
    def current_id(self) -> str:
        """The version that wraps from now on; stored beside the wrapped key, so that rotation finds what is left."""

    async def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """The context names what the key belongs to (publisher and batch, shopper); it is bound, not stored."""

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """The data key; Tampered if altered or of another context, Sealed if its secret is gone."""


class KeyringWrapper:
    """AES-256-GCM under the keyring's wrapping secrets: version, length and id of the secret, nonce, sealed key."""

    __slots__ = ("_ciphers", "_current_id")

    def __init__(self, keyring: Keyring) -> None:
        self._ciphers = {secret.secret_id: AESGCM(secret.value) for secret in keyring.versions("wrapping")}
        self._current_id = keyring.current("wrapping").secret_id

    @property
    def current_id(self) -> str:
        return self._current_id

    async def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        if len(data_key) != DATA_KEY_BYTES:
            raise ValueError(f"a data key has {DATA_KEY_BYTES} bytes")
        secret_id = self._current_id.encode()
        header = bytes((_VERSION, len(secret_id))) + secret_id
        nonce = os.urandom(NONCE_BYTES)
        return header + nonce + self._ciphers[self._current_id].encrypt(nonce, data_key, _bound(header, context))

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        header, nonce, sealed = _parts(wrapped)
        secret_id = header[2:].decode()
        cipher = self._ciphers.get(secret_id)
        if cipher is None:
            raise UnknownSecret("wrapping", secret_id)
        try:
            return cipher.decrypt(nonce, sealed, _bound(header, context))
        except InvalidTag:
            raise Tampered("this data key was altered or belongs elsewhere; restore its row from a backup") from None

    def __repr__(self) -> str:
        return f"KeyringWrapper({self._current_id})"


def _parts(wrapped: bytes) -> tuple[bytes, bytes, bytes]:
    if len(wrapped) < 2 or wrapped[0] != _VERSION:
        raise Tampered("this is no wrapped data key of a known form; it is damaged or newer than this program")
    header_end = 2 + wrapped[1]
    nonce_end = header_end + NONCE_BYTES
    if len(wrapped) != nonce_end + DATA_KEY_BYTES + _TAG_BYTES or not _SECRET_ID.fullmatch(wrapped[2:header_end]):
        raise Tampered("this wrapped data key has the wrong length or no secret's id; restore its row from a backup")
    return wrapped[:header_end], wrapped[header_end:nonce_end], wrapped[nonce_end:]


def _bound(header: bytes, context: Mapping[str, str]) -> bytes:
    if not context:
        raise ValueError("a data key is wrapped for something: name it in the context")
    members = (part.encode() for name in sorted(context) for part in (name, context[name]))
    return aad("wrap1", header, *members)
