"""The one reader of request bodies. Everything it refuses, it refuses without quoting what was sent."""

import asyncio
import re
from collections.abc import AsyncIterator
from decimal import Clamped, Context, Decimal, DecimalException, Inexact, Overflow
from typing import Any, Final

import jiter
from aiohttp import hdrs, http_exceptions, web
from aiohttp.web_protocol import RequestPayloadError

from keyservice.domain.errors import KeyserviceError

BYTES_MAX: Final = 1024 * 1024
SECONDS_MAX: Final = 10.0
DEPTH_MAX: Final = 32
INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1
# More digits would be lost in any sum, and a larger power of ten turns int() of a short text into hours of work.
DIGITS_MAX: Final = 28
POWER_MAX: Final = 99

# What aiohttp puts into a body that breaks off or whose transfer coding is wrong.
PAYLOAD_ERRORS: Final = (RequestPayloadError, http_exceptions.BadHttpMessage, web.PayloadAccessError)

_JSON_TYPES: Final = frozenset(
    {"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"}
)
_demand_exact: Final = Context(
    prec=DIGITS_MAX, Emin=-POWER_MAX, Emax=POWER_MAX, traps=[Clamped, Inexact, Overflow]
).plus
_NUL_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_PLACE: Final = re.compile(r" at (line \d{1,9} column \d{1,9})$")


class RequestRefused(KeyserviceError):
    """The request cannot be understood as HTTP means it; nothing was looked at beyond its form."""

    code = "malformed-request"

    def __init__(self, message: str, *, status: int = 400, closes: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.closes = closes  # what follows on the connection may be the rest of the body


class BodyRefused(RequestRefused):
    """The body is late (408), too large (413), of a type that is not read here (415) or not what it claims to be (400)."""

    code = "body-refused"


async def read_json(request: web.Request, *, bytes_max: int = BYTES_MAX, seconds_max: float = SECONDS_MAX) -> object:
    """The value of an application/json body in UTF-8, whatever its kind: an object is for the caller to demand."""
    _demand_json(request)
    return parse_json(await read_body(request, bytes_max=bytes_max, seconds_max=seconds_max))


async def read_body(request: web.Request, *, bytes_max: int, seconds_max: float) -> bytes:
    _demand_readable(request, bytes_max)
    content = request.content
    if (
        content.is_eof() and content.exception() is None
    ):  # it came with the headers, as nearly all do: no timer is needed
        body = content.read_nowait()
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    return b"".join([chunk async for chunk in body_chunks(request, bytes_max=bytes_max, seconds_max=seconds_max)])


async def body_chunks(request: web.Request, *, bytes_max: int, seconds_max: float) -> AsyncIterator[bytes]:
    """The body piece by piece. The deadline counts the time spent waiting for the client, not the time of the consumer."""
    _demand_readable(request, bytes_max)
    loop = asyncio.get_running_loop()
    size, waited = 0, 0.0
    while True:
        started = loop.time()
        chunk = await _next_chunk(request, seconds_max - waited)
        waited += loop.time() - started
        if not chunk:
            return
        size += len(chunk)
        if size > bytes_max:
            raise _too_large(bytes_max)
        yield chunk


def read_header(request: web.BaseRequest, name: str, *, chars_max: int = 512) -> str | None:
    """The value of a header that comes once, in visible ASCII, or None: anything else would reach the database as it is."""
    values = request.headers.getall(name, ())
    if not values:
        return None
    value = values[0]
    if len(values) > 1 or len(value) > chars_max or not (value.isascii() and value.isprintable()):
        raise RequestRefused(f"send the header {name} once, in at most {chars_max} visible ASCII characters")
    return value


def parse_json(body: bytes, *, depth_max: int = DEPTH_MAX) -> object:
    """RFC 8259 without its freedoms: no duplicate members, no NaN, nothing that the database cannot store; amounts are exact."""
    try:
        value: object = jiter.from_json(
            body, allow_inf_nan=False, cache_mode="keys", catch_duplicate_keys=True, float_mode="decimal"
        )
    except ValueError as error:
        raise BodyRefused(_reason(str(error), depth_max)) from None
    if b"\\u0000" in body and _NUL_ESCAPE.search(body):
        raise BodyRefused("the JSON contains the character U+0000; leave it out")
    _demand_moderate(value, depth_max)
    return value


def _demand_json(request: web.Request) -> None:
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    if content_type in _JSON_TYPES:
        return
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [parameter.partition("=")[2].strip('"') for parameter in parameters if parameter.startswith("charset=")]
    if media_type != "application/json" or charsets not in ([], ["utf-8"], ["utf8"]):
        raise BodyRefused("send the body as application/json in UTF-8 and say so in Content-Type", status=415)


def _demand_readable(request: web.Request, bytes_max: int) -> None:
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        raise BodyRefused("send the body without a content encoding", status=415)
    length = request.headers.get(hdrs.CONTENT_LENGTH)
    if length is not None and int(length) > bytes_max:  # the parser has let only digits through
        raise _too_large(bytes_max)


async def _next_chunk(request: web.Request, seconds_max: float) -> bytes:
    try:
        async with asyncio.timeout(seconds_max):
            return await request.content.readany()
    except TimeoutError:
        raise BodyRefused("the body did not arrive in time; send it without pauses", status=408, closes=True) from None
    except (OSError, *PAYLOAD_ERRORS):
        raise BodyRefused("the body ended before it was complete, or its coding is broken", closes=True) from None


def _too_large(bytes_max: int) -> BodyRefused:
    return BodyRefused(f"the body is larger than {bytes_max} bytes", status=413, closes=True)


def _too_deep(depth_max: int) -> str:
    return f"the JSON is nested more than {depth_max} levels deep"


def _reason(message: str, depth_max: int) -> str:
    # The parser's own message quotes the name of a repeated member.
    place = _PLACE.search(message)
    where = f" ({place[1]})" if place else ""
    if message.startswith("Detected duplicate key"):
        return f"an object of the JSON has a member twice{where}"
    if message.startswith("recursion limit"):
        return _too_deep(depth_max)
    return f"the body is not valid JSON in UTF-8{where}"


def _demand_moderate(value: object, depth_max: int) -> None:
    try:
        is_deeper = _is_deeper_than(depth_max, value)
    except DecimalException:
        raise BodyRefused("the JSON contains a number with too many digits or too large a power of ten") from None
    if is_deeper:
        raise BodyRefused(_too_deep(depth_max))


def _is_deeper_than(depth_max: int, value: object) -> bool:
    # Level by level and not recursively, with the checks of numbers on the way: every order comes through here.
    level: list[Any] = [[value]]
    for _ in range(depth_max + 1):
        deeper: list[Any] = []
        for container in level:
            for item in container.values() if type(container) is dict else container:
                kind = type(item)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    deeper.append(item)
                elif kind is Decimal:
                    _demand_exact(item)
                elif kind is int and not INTEGER_MIN <= item <= INTEGER_MAX:
                    raise BodyRefused("the JSON contains an integer beyond 64 bits")
        if not deeper:
            return False
        level = deeper
    return True
