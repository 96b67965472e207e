"""Answers that come compressed, unpacked under a limit on what comes out."""

import zlib
from typing import Final

_GZIP: Final = 31
_ZLIB: Final = 15
_RAW: Final = -15


class AnswerTooLarge(Exception):
    """More bytes than are wanted, on the wire or unpacked."""


class AnswerBroken(Exception):
    """It is not what its Content-Encoding says, or ends too early."""


class BoundedDecoder:
    """Takes the chunks of one answer and gives its bytes; no more than `bytes_max` are ever in memory."""

    def __init__(self, content_encoding: str, bytes_max: int) -> None:
        self._encoding = content_encoding.strip().lower()
        if self._encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise AnswerBroken
        self._unpacking = None if self._encoding in ("", "identity") else zlib.decompressobj(_GZIP)
        self._is_begun = False
        self._left = bytes_max
        self._on_the_wire_left = bytes_max
        self._pieces: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Take what has come."""
        self._on_the_wire_left -= len(chunk)
        if self._on_the_wire_left < 0:
            raise AnswerTooLarge
        if chunk:
            self._keep(chunk if self._unpacking is None else self._unpacked(chunk))

    def finish(self) -> bytes:
        """The whole answer."""
        # An empty body needs no wrapping: answers to HEAD, and 204.
        if self._unpacking is not None and self._is_begun and not self._unpacking.eof:
            raise AnswerBroken
        return b"".join(self._pieces)

    def _keep(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise AnswerTooLarge
        self._pieces.append(piece)

    def _unpacked(self, chunk: bytes) -> bytes:
        if not self._is_begun:
            self._is_begun = True
            if self._encoding == "deflate":
                # Servers disagree on whether "deflate" has zlib's two bytes before it.
                self._unpacking = zlib.decompressobj(_ZLIB if chunk[0] & 0x0F == 8 else _RAW)
        assert self._unpacking is not None
        try:
            piece = self._unpacking.decompress(chunk, self._left + 1)
        except zlib.error:
            raise AnswerBroken from None
        if self._unpacking.unused_data:
            raise AnswerBroken
        return piece
