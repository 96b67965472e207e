import asyncio
import gzip
import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from keyservice.api.reading import BodyRefused, body_chunks, read_body, read_json
from tests.api.raw_http import LIMITS, PATIENCE_SECONDS, PLANTED, Served, read_answer, read_to_end, serving

BYTES_MAX = 2000
SECONDS_MAX = 0.3


@pytest.fixture
def refused() -> list[BodyRefused]:
    return []


@pytest.fixture
async def served(refused: list[BodyRefused]) -> AsyncIterator[Served]:
    async def take_json(request: web.Request) -> web.Response:
        value = await read_json(request, bytes_max=BYTES_MAX, seconds_max=SECONDS_MAX)
        return web.Response(text=repr(value))

    async def take_body(request: web.Request) -> web.Response:
        try:
            return web.Response(body=await read_body(request, bytes_max=BYTES_MAX, seconds_max=SECONDS_MAX))
        except BodyRefused as error:
            refused.append(error)
            raise

    async def take_chunks(request: web.Request) -> web.Response:
        chunks = body_chunks(request, bytes_max=BYTES_MAX, seconds_max=SECONDS_MAX)
        return web.Response(text=str(sum([len(chunk) async for chunk in chunks])))

    app = web.Application()
    app.router.add_post("/json", take_json)
    app.router.add_post("/body", take_body)
    app.router.add_post("/chunks", take_chunks)
    async with serving(app, LIMITS) as server:
        yield server


async def send(served: Served, path: str, headers: str, body: bytes) -> tuple[int, bytes]:
    answer = await served.send(f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + body)
    return answer.status, answer.body


async def waits(served: Served) -> None:
    """Until what was sent before has reached its handler: the loop has served another connection since."""
    assert (await send(served, "/body", *sized(b"")))[0] == 200


def sized(body: bytes, *headers: str) -> tuple[str, bytes]:
    return "".join(f"{header}\r\n" for header in (*headers, f"Content-Length: {len(body)}")), body


def in_chunks(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'Application/JSON; charset="utf-8"',
        "application/json; version=1",
    ],
)
async def test_a_body_that_says_it_is_json_is_read(served: Served, content_type: str) -> None:
    headers, body = sized(b'{"a":1.10}', f"Content-Type: {content_type}")
    assert await send(served, "/json", headers, body) == (200, b"{'a': Decimal('1.10')}")


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/jsonx",
        "application/json, application/json",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/json; charset=nope",
        "application/json; charset=hex",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-7",
        f"text/{PLANTED}",
    ],
)
async def test_a_body_that_does_not_is_refused(served: Served, content_type: str) -> None:
    headers, body = sized(b"{}", *([f"Content-Type: {content_type}"] if content_type else []))
    status, answer = await send(served, "/json", headers, body)
    assert status == 415
    assert PLANTED.encode() not in answer


@pytest.mark.parametrize("path", ["/body", "/chunks"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x-unknown", "identity, gzip", PLANTED])
async def test_an_encoded_body_is_refused_unopened(served: Served, path: str, encoding: str) -> None:
    headers, body = sized(gzip.compress(b"{}"), f"Content-Encoding: {encoding}")
    status, answer = await send(served, path, headers, body)
    assert status == 415
    assert PLANTED.encode() not in answer


async def test_identity_is_not_an_encoding(served: Served) -> None:
    assert await send(served, "/body", *sized(b"abc", "Content-Encoding: Identity")) == (200, b"abc")


async def test_a_body_of_the_largest_size_is_read_and_one_byte_more_is_not(served: Served) -> None:
    full, over = b"x" * BYTES_MAX, b"x" * (BYTES_MAX + 1)
    chunked = "Transfer-Encoding: chunked\r\n"
    assert await send(served, "/body", *sized(full)) == (200, full)
    assert (await send(served, "/body", *sized(over)))[0] == 413
    assert await send(served, "/body", chunked, in_chunks(full[:7], full[7:])) == (200, full)
    assert (await send(served, "/body", chunked, in_chunks(over[:7], over[7:])))[0] == 413
    assert await send(served, "/chunks", *sized(full)) == (200, str(BYTES_MAX).encode())
    assert (await send(served, "/chunks", *sized(over)))[0] == 413
    assert (await send(served, "/chunks", chunked, in_chunks(over[:7], over[7:])))[0] == 413


async def test_a_body_is_refused_by_its_announced_size_before_it_comes(served: Served) -> None:
    assert (await send(served, "/body", "Content-Length: 9999999999\r\n", b""))[0] == 413


async def test_a_body_that_comes_in_time_may_come_in_pieces(served: Served) -> None:
    async with served.connection() as (reader, writer):
        writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        for piece in (b"a", b"b", b"c", b"d"):
            writer.write(piece)
            await waits(served)
        assert (await read_answer(reader)).body == b"abcd"


@pytest.mark.parametrize("path", ["/body", "/chunks", "/json"])
async def test_a_body_that_does_not_come_is_refused_in_time_and_its_connection_closed(
    served: Served, path: str
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    async with served.connection() as (reader, writer):
        writer.write(head.encode() + b"{")
        answer = await read_answer(reader)
        assert (answer.status, answer.problem["type"]) == (408, "urn:keyservice:problem:body-refused")
        assert await read_to_end(reader) == b""


async def test_a_body_that_drips_does_not_move_its_deadline(served: Served) -> None:
    async with served.connection() as (reader, writer):
        writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        answering = asyncio.ensure_future(read_answer(reader))
        while not answering.done():
            writer.write(b"x")
            await asyncio.wait([answering], timeout=SECONDS_MAX / 5)
        assert answering.result().status == 408


@pytest.mark.parametrize("is_apart", [True, False])
@pytest.mark.parametrize("tail", [b"ZZ\r\n", b"-1\r\nx\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n"])
async def test_a_broken_transfer_coding_is_refused_once(served: Served, tail: bytes, is_apart: bool) -> None:
    async with served.connection() as (reader, writer):
        writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        if is_apart:
            await waits(served)
        writer.write(tail)
        answer = await read_to_end(reader)
    # aiohttp's parser does not tell a handler that waits already: its deadline does.
    assert re.match(rb"HTTP/1.1 408 " if is_apart else rb"HTTP/1.0 400 ", answer)
    assert answer.count(b"HTTP/1.") == 1
    assert_calm(served)


@pytest.mark.parametrize("is_reset", [True, False])
@pytest.mark.parametrize("path", ["/body", "/chunks"])
async def test_a_client_that_goes_away_amid_its_body_leaves_no_trace_of_an_error(
    served: Served, refused: list[BodyRefused], path: str, is_reset: bool
) -> None:
    async with served.connection() as (_, writer):
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{PLANTED[:5]}".encode())
        await waits(served)
        if is_reset:
            writer.transport.abort()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(line["event"] == "client_gone" for line in served.log()):
            await waits(served)
    assert_calm(served)
    assert [error.status for error in refused] == ([400] if path == "/body" else [])


def assert_calm(served: Served) -> None:
    assert all(line["level"] in {"info", "debug"} and "errors" not in line for line in served.log())
