"""A form with one file in it (RFC 7578), read as it comes.

aiohttp's own reader answers several broken forms with an exception of its own and bounds neither the parts nor their headers.
This one takes the least that browsers and HTTP clients send: one part, with a file. Whatever is more, or is not certain, is
refused, and nothing is quoted.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Final, NamedTuple

from aiohttp import hdrs, web

from keyservice.api.reading import BodyRefused
from keyservice.domain.key_file import KeyFileRefused

HEAD_BYTES_MAX: Final = 8_192
HEAD_LINES_MAX: Final = 10
FILE_NAME_CHARACTERS_MAX: Final = 255
ENVELOPE_BYTES_MAX: Final = 16_384
"""What a form may hold beside its file."""

_MEDIA_TYPE: Final = "multipart/form-data"
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for it
_PARAMETER: Final = re.compile(rf'\s*;\s*({_TOKEN})\s*=\s*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")')
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_HEADER: Final = re.compile(rf"({_TOKEN}):[ \t]*(.*?)[ \t]*")
_ESCAPED: Final = re.compile(r'\\(["\\])')
# What the bytes of a part already are, said in the words of mail (RFC 2045, section 6).
_PLAIN_ENCODINGS: Final = frozenset({"7bit", "8bit", "binary"})


class FormFile(NamedTuple):
    """The file of a form: what it says of itself, and its bytes, which end when the form has ended as it must."""

    name: str | None
    content_type: str | None
    pieces: AsyncGenerator[bytes, None]


async def form_file(request: web.Request, body: AsyncIterator[bytes]) -> FormFile:
    """The only part of the form, which is a file. `body` is the request's body; it decides how long to wait for it.

    Raises BodyRefused (415 for another type, 400 for a form that cannot be read). What is wrong behind the file comes while
    its pieces are read, as KeyFileRefused: a file whose end is not certain is not stored.
    """
    boundary = _boundary(request)
    reader = _Reader(body)
    await _expect_first_delimiter(reader, b"--" + boundary)
    headers = _headers(await _head(reader))
    name = _file_name(headers)
    encoding = headers.get("content-transfer-encoding", "binary").lower()
    if encoding not in _PLAIN_ENCODINGS:
        raise BodyRefused(
            "send the file's bytes as they are, without a content transfer encoding", status=415, closes=True
        )
    return FormFile(name, headers.get("content-type"), _until(reader, b"\r\n--" + boundary))


class _Reader:
    """Bytes that have come and were not taken yet."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self.waiting = bytearray()

    async def more(self) -> bool:
        """Whether anything came."""
        piece = await anext(self._body, b"")
        self.waiting += piece
        return bool(piece)

    def take(self, size: int) -> bytes:
        taken = bytes(self.waiting[:size])
        del self.waiting[:size]
        return taken


def _boundary(request: web.Request) -> bytes:
    values = request.headers.getall(hdrs.CONTENT_TYPE, [])
    media_type, parameters = _split(values[0]) if len(values) == 1 else ("", None)
    if media_type != _MEDIA_TYPE:
        raise BodyRefused(f"send a form with one file, as {_MEDIA_TYPE}", status=415, closes=True)
    boundary = (parameters or {}).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _broken("Content-Type names no boundary of 1 to 70 characters")
    return boundary.encode("ascii")


async def _expect_first_delimiter(reader: _Reader, delimiter: bytes) -> None:
    while len(reader.waiting) < len(delimiter) + 4 and await reader.more():
        pass
    # RFC 2046 allows a line break before it.
    if reader.waiting.startswith(b"\r\n"):
        reader.take(2)
    if reader.take(len(delimiter)) != delimiter or reader.take(2) != b"\r\n":
        raise _broken("the form does not begin with its boundary and a part")


async def _head(reader: _Reader) -> bytes:
    """The header lines of the part, without the empty line behind them."""
    while (end := reader.waiting.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)) < 0:
        if len(reader.waiting) >= HEAD_BYTES_MAX:
            raise _broken(f"a part has more than {HEAD_BYTES_MAX} bytes of headers")
        if not await reader.more():
            raise _broken("the form ends in the headers of a part")
    head = reader.take(end)
    reader.take(4)
    return head


def _headers(head: bytes) -> dict[str, str]:
    lines = head.split(b"\r\n")
    if len(lines) > HEAD_LINES_MAX:
        raise _broken(f"a part has more than {HEAD_LINES_MAX} headers")
    headers: dict[str, str] = {}
    for line in lines:
        try:
            found = _HEADER.fullmatch(line.decode())
        except UnicodeDecodeError:
            raise _broken("the headers of a part are not UTF-8") from None
        if found is None or not found[2].isprintable() or found[1].lower() in headers:
            raise _broken("a header of a part is malformed, or is there twice")
        headers[found[1].lower()] = found[2]
    return headers


def _file_name(headers: Mapping[str, str]) -> str | None:
    """The name without directories, which some clients send along; None for an empty one."""
    kind, parameters = _split(headers.get("content-disposition", ""))
    if kind != "form-data" or parameters is None or "name" not in parameters:
        raise _broken("a part has no Content-Disposition of form-data with a name")
    if "filename" not in parameters:
        raise _broken("the part is a text field; send one file and nothing else")
    name = re.split(r"[/\\]", parameters["filename"])[-1]
    if len(name) > FILE_NAME_CHARACTERS_MAX:
        raise _broken(f"the file's name has more than {FILE_NAME_CHARACTERS_MAX} characters")
    return name or None


async def _until(reader: _Reader, delimiter: bytes) -> AsyncGenerator[bytes, None]:
    """What stands before the delimiter. It ends only where the form does."""
    reader.waiting[:0] = b"\r\n"  # an empty file's delimiter follows the empty line of its headers at once
    is_first = True
    while (end := reader.waiting.find(delimiter)) < 0:
        ready = len(reader.waiting) - len(delimiter) + 1
        if ready > 2:
            piece = reader.take(ready)
            yield piece[2:] if is_first else piece
            is_first = False
        if not await reader.more():
            raise _not_one_file("the form ends before its last boundary")
    rest = reader.take(end)
    rest = rest[2:] if is_first else rest
    if rest:
        yield rest
    reader.take(len(delimiter))
    await _expect_end(reader)


async def _expect_end(reader: _Reader) -> None:
    while await reader.more():
        if len(reader.waiting) > len(b"--\r\n"):
            break
    if bytes(reader.waiting) not in (b"--", b"--\r\n"):
        raise _not_one_file("behind the file comes something else; send one file and nothing else")


def _split(value: str) -> tuple[str, dict[str, str] | None]:
    """The word before the parameters, and the parameters, each once; None where they cannot be read."""
    word, semicolon, rest = value.partition(";")
    rest = semicolon + rest
    parameters: dict[str, str] = {}
    position = 0
    while position < len(rest.rstrip(" \t;")):
        found = _PARAMETER.match(rest, position)
        if found is None or found[1].lower() in parameters:
            return word.strip().lower(), None
        quoted = found[3]
        parameters[found[1].lower()] = found[2] if quoted is None else _ESCAPED.sub(r"\1", quoted)
        position = found.end()
    return word.strip().lower(), parameters


def _broken(reason: str) -> BodyRefused:
    return BodyRefused(reason, closes=True)


def _not_one_file(reason: str) -> KeyFileRefused:
    return KeyFileRefused(reason, reason="not-one-file")
