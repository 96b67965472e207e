"""Unpacks gzip as it comes, within limits: a small file must not become a large one without end."""

import zlib
from collections.abc import Iterator
from typing import Final

from keyservice.domain.key_rows import KeyFileRefused

GZIP_MAGIC: Final = b"\x1f\x8b"
RATIO_MAX: Final = 100
"""How many times its size a file may unpack to. Key files of random letters reach 2, repetitive ones 20."""

_PIECE_BYTES: Final = 64 * 1024
# Below this the ratio says nothing.
_UNPACKED_FREE_BYTES: Final = 1024 * 1024
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS


class Gunzip:
    """RFC 1952, several members one behind the other included. Checksums and lengths are checked by zlib."""

    def __init__(self) -> None:
        self._packed = 0
        self._unpacked = 0
        self._member = zlib.decompressobj(_GZIP_FORMAT)

    def unpacked(self, data: memoryview) -> Iterator[memoryview]:
        """In pieces of a bounded size. Raises KeyFileRefused."""
        self._packed += len(data)
        rest, is_full = bytes(data), False
        # A full piece may have left more behind inside zlib, when there is nothing left to give it.
        while rest or (is_full and not self._member.eof):
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP_FORMAT)
            piece = self._piece(rest)
            is_full = len(piece) == _PIECE_BYTES
            self._unpacked += len(piece)
            if self._unpacked > max(_UNPACKED_FREE_BYTES, RATIO_MAX * self._packed):
                raise KeyFileRefused(
                    f"the file unpacks to more than {RATIO_MAX} times its size; upload it without gzip",
                    reason="unpacks-too-far",
                )
            if piece:
                yield memoryview(piece)
            rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def demand_end(self) -> None:
        if not self._member.eof:
            raise _broken()

    def _piece(self, data: bytes) -> bytes:
        try:
            return self._member.decompress(data, _PIECE_BYTES)
        except zlib.error:
            raise _broken() from None


def _broken() -> KeyFileRefused:
    return KeyFileRefused(
        "the file is not gzip, or a broken or unfinished one; compress it again, or upload it as it is",
        reason="broken-gzip",
    )
