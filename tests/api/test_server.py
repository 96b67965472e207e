import asyncio
import io
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from keyservice.api.server import ServiceProtocol, ServiceRunner, serve_on
from keyservice.logs import configure_logs
from tests.api.malformed_requests import MALFORMED
from tests.api.odd_application import ERRORS, Legacy, application
from tests.api.raw_http import (
    LIMITS,
    PATIENCE_SECONDS,
    PLANTED,
    Served,
    assert_headers,
    read_answer,
    read_to_end,
    request,
    serving,
)

HURRIED = replace(LIMITS, header_seconds=0.3)


@pytest.fixture
def legacy() -> Legacy:
    return Legacy()


@pytest.fixture
async def served(legacy: Legacy) -> AsyncIterator[Served]:
    async with serving(application(legacy), LIMITS) as server:
        yield server


@pytest.fixture
async def hurried(legacy: Legacy) -> AsyncIterator[Served]:
    async with serving(application(legacy), HURRIED) as server:
        yield server


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_request_is_refused_without_an_echo_and_the_next_one_is_served(
    served: Served, name: str
) -> None:
    raw, status = MALFORMED[name]
    answer = await served.send(raw)
    assert answer.status == status
    assert PLANTED not in str(answer)
    assert answer.problem["status"] == status
    assert answer.problem["instance"] == answer.headers["x-request-id"]
    assert_headers(answer)
    assert (await served.get("/hello")).body == b"hello"
    assert all(line["level"] in {"info", "debug"} for line in served.log())


def test_the_table_of_malformed_requests_is_long() -> None:
    assert len(MALFORMED) >= 50


@pytest.mark.parametrize(
    "raw",
    [
        request("GET /hello HTTP/1.0"),
        request("GET  /hello HTTP/1.1"),
        request("GET http://elsewhere.test/hello HTTP/1.1"),
        request("GET /hello?a=%ff&b=%zz HTTP/1.1"),
        request("GET /orders/%2e%2e HTTP/1.1"),
        request("GET /hello HTTP/1.1", "X-Name: K\xf6ln", "Cookie: \xff=;;=", "If-Match: \xff", "Range: junk"),
        request("GET /hello HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade"),
        request("GET /hello HTTP/1.1", "X-HTTP-Method-Override: DELETE", "Accept: junk"),
        b"\r\n\r\n" + request("GET /hello HTTP/1.1"),
    ],
)
async def test_an_odd_but_harmless_request_is_served(served: Served, raw: bytes) -> None:
    answer = await served.send(raw)
    assert (answer.status, answer.body) == (200, b"hello")
    assert_headers(answer)


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        ("X-Request-Id: 01a2f3c4-0000-7000-8000-0000000000aa", True),
        ("X-Request-Id: 0123456789abcdef0123456789abcdef", True),
        ("X-Request-Id: R4T7K-2MNP9-XW3QH-6VJBD", False),
        ("X-Request-Id: " + "a" * 65, False),
        ("X-Request-Id: a b", False),
        ("X-Request-Id: caf\xe9", False),
        ("X-Request-Id:", False),
        ("X-Request-Id: a\r\nX-Request-Id: b", False),
        ("X-Other: a", False),
    ],
)
async def test_a_well_formed_request_id_is_kept_and_any_other_replaced(
    served: Served, given: str, is_kept: bool
) -> None:
    answer = await served.get("/hello", given)
    assert (answer.headers["x-request-id"] == given.partition(": ")[2]) is is_kept
    assert_headers(answer)
    [line] = served.log()
    assert line["request_id"] == answer.headers["x-request-id"]


async def test_what_is_served_is_logged_by_its_route_and_never_by_its_target(served: Served) -> None:
    await served.get(f"/orders/{PLANTED}?key={PLANTED}")
    await served.get(f"/{PLANTED}")
    await served.get("/healthz")
    lines = served.log()
    facts = [
        (line["level"], line["event"], line["method"], line["route"], line["status"], line["caller_id"])
        for line in lines
    ]
    assert facts == [
        ("info", "request_served", "GET", "/orders/{id}", 200, 7),
        ("info", "request_served", "GET", None, 404, None),
        ("debug", "request_served", "GET", "/healthz", 200, 7),
    ]
    assert all(0 <= line["seconds"] < PATIENCE_SECONDS for line in lines)


@pytest.mark.parametrize(
    ("name", "status", "level"),
    [
        ("conflict", 409, None),
        ("not_found", 404, None),
        ("stock", 409, None),
        ("who", 401, None),
        ("tampered", 500, "error"),
        ("bug", 500, "error"),
        ("key", 500, "error"),
        ("lookup", 500, "error"),
        ("recursion", 500, "error"),
        ("unicode", 500, "error"),
        ("timeout", 500, "error"),
        ("connection", 500, "error"),
    ],
)
async def test_an_error_of_a_handler_becomes_a_problem_and_only_a_bug_is_reported(
    served: Served, name: str, status: int, level: str | None
) -> None:
    answer = await served.get(f"/raise/{name}")
    assert (answer.status, answer.problem["status"]) == (status, status)
    assert PLANTED not in str(answer)
    assert_headers(answer)
    assert ("www-authenticate" in answer.headers) is (status == 401)
    *reported, access = served.log()
    assert (access["event"], access["status"]) == ("request_served", status)
    assert [line["level"] for line in reported] == ([level] if level else [])
    if reported:
        assert reported[0]["route"] == "/raise/{name}"
        assert reported[0]["errors"][0]["error_type"].endswith(type(ERRORS[name]).__name__)


async def test_a_handler_that_answers_nothing_is_a_bug_of_ours(served: Served) -> None:
    assert (await served.get("/none")).status == 500


async def test_a_redirection_is_not_an_error(served: Served) -> None:
    answer = await served.get("/moved")
    assert (answer.status, answer.headers["location"]) == (302, "/hello")
    assert_headers(answer)
    assert [(line["event"], line["status"]) for line in served.log()] == [("request_served", 302)]


async def test_an_answer_that_fails_half_way_is_broken_off(served: Served) -> None:
    async with served.connection() as (reader, writer):
        writer.write(request("GET /stream HTTP/1.1"))
        raw = await read_to_end(reader)
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert raw.endswith(b"begun\r\n")  # the last chunk is missing, so that the client knows
    assert b"X-Request-Id: " in raw
    assert b"Server: keyservice" in raw
    assert b"Cache-Control: private" in raw


async def test_a_sub_application_answers_errors_in_its_own_shape(served: Served, legacy: Legacy) -> None:
    for name in ("conflict", "bug", "tampered"):
        answer = await served.get(f"/legacy/raise/{name}", f"X-Request-Id: {name.encode().hex():0<32}")
        assert_headers(answer)
        assert PLANTED not in str(answer)
        assert answer.body == b'{"responseCode": 90}' if name != "tampered" else answer.problem["status"] == 500
        assert answer.headers["x-request-id"] == f"{name.encode().hex():0<32}"
    assert (await served.get(f"/legacy/{PLANTED}")).body == b'{"responseCode": 90}'
    assert (await served.get("/raise/conflict")).problem["status"] == 409
    assert [type(error).__name__ for error in legacy.seen] == ["Conflict", "Unexpected", "Tampered", "HTTPNotFound"]
    assert PLANTED not in str(legacy.seen[1])


async def test_a_request_that_is_refused_before_its_route_is_known_has_the_common_shape(
    served: Served, legacy: Legacy
) -> None:
    assert (await served.get("/legacy/raise/%00")).problem["status"] == 400
    assert legacy.seen == []


@pytest.mark.parametrize("begin", [b"", b"\r\n", b"G", b"GET /hello HTTP/1.1\r\nHost: x\r\nAuthorization: "])
async def test_a_head_that_does_not_come_costs_its_connection(hurried: Served, begin: bytes) -> None:
    async with hurried.connection() as (reader, writer):
        writer.write(begin)
        assert await read_to_end(reader) == b""


async def test_a_head_that_drips_does_not_move_its_deadline(hurried: Served) -> None:
    async with hurried.connection() as (reader, writer):
        writer.write(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        ending = asyncio.ensure_future(read_to_end(reader))
        while not ending.done():
            with suppress(ConnectionError):
                writer.write(b"x")
            await asyncio.wait([ending], timeout=HURRIED.header_seconds / 5)
        assert ending.result() == b""


async def test_the_second_head_on_a_connection_has_the_same_deadline(hurried: Served) -> None:
    async with hurried.connection() as (reader, writer):
        writer.write(request("GET /hello HTTP/1.1"))
        assert (await read_answer(reader)).status == 200
        writer.write(b"GET /hello HTTP/1.1\r\n")
        assert await read_to_end(reader) == b""


async def test_a_head_that_came_in_time_leaves_its_connection_alone(hurried: Served) -> None:
    async with hurried.connection() as (reader, writer):
        writer.write(request("GET /hello HTTP/1.1"))
        assert (await read_answer(reader)).status == 200
        async with hurried.connection() as (silent, _):
            assert await read_to_end(silent) == b""  # longer ago than the deadline of the first one
        writer.write(request("GET /hello HTTP/1.1"))
        assert (await read_answer(reader)).status == 200


async def test_a_head_in_pieces_within_its_time_is_served(served: Served) -> None:
    async with served.connection() as (reader, writer):
        for _ in range(3):
            for piece in (b"GET /hel", b"lo HTTP/1.1\r\nHo", b"st: x\r\n", b"\r\n"):
                writer.write(piece)
                await served.get("/hello")
            assert (await read_answer(reader)).body == b"hello"


async def test_an_idle_connection_is_closed() -> None:
    async with (
        serving(application(Legacy()), replace(LIMITS, idle_seconds=0.3)) as served,
        served.connection() as (reader, writer),
    ):
        writer.write(request("GET /hello HTTP/1.1"))
        assert (await read_answer(reader)).status == 200
        assert await read_to_end(reader) == b""


async def test_a_connection_that_is_used_stays_open(served: Served) -> None:
    async with served.connection() as (reader, writer):
        for _ in range(100):
            writer.write(request("GET /hello HTTP/1.1"))
            assert (await read_answer(reader)).status == 200


async def test_requests_that_come_at_once_are_answered_in_turn(served: Served) -> None:
    async with served.connection() as (reader, writer):
        writer.write(b"".join(request("GET /hello HTTP/1.1", f"X-Request-Id: {n:032x}") for n in range(100)))
        assert [(await read_answer(reader)).headers["x-request-id"] for _ in range(100)] == [
            f"{n:032x}" for n in range(100)
        ]


async def test_a_body_that_nobody_reads_costs_its_connection(served: Served) -> None:
    async with served.connection() as (reader, writer):
        writer.write(request("GET /hello HTTP/1.1", "Content-Length: 1000"))
        assert (await read_answer(reader)).status == 200
        assert await read_to_end(reader) == b""


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux limits unread answers")
async def test_a_client_that_does_not_read_costs_its_connection() -> None:
    async with (
        serving(application(Legacy()), replace(LIMITS, write_seconds=0.5)) as served,
        served.connection() as (_, writer),
    ):
        cast(asyncio.ReadTransport, writer.transport).pause_reading()
        writer.write(request("GET /flood HTTP/1.1"))
        await served.get("/hello")
        assert served.open_connections > 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while served.open_connections:
                await served.get("/hello", "Connection: close")
        assert all(line["level"] == "info" for line in served.log())


async def test_a_connection_too_many_is_told_to_come_again(served: Served) -> None:
    held = [served.connection() for _ in range(LIMITS.connections_max)]
    for connection in held:
        await connection.__aenter__()
    async with served.connection() as (reader, _):
        answer = await read_answer(reader)
        assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
        assert await read_to_end(reader) == b""
    for connection in held:
        await connection.__aexit__(None, None, None)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await served.get("/hello")).status != 200:
            pass


async def test_a_unix_socket_serves_too(tmp_path: Path) -> None:
    path = tmp_path / "keyservice.sock"
    writer = configure_logs("info", stream=io.StringIO())
    runner = ServiceRunner(application(Legacy()), limits=LIMITS)
    await serve_on(runner, host="", port=0, reuse_port=False, unix_path=path)
    served = Served(runner, lambda: asyncio.open_unix_connection(path), list)
    assert (await served.get("/hello")).body == b"hello"
    assert (await served.send(MALFORMED["no_colon"][0])).status == 400
    await runner.cleanup()
    writer.close()


async def test_a_request_that_is_being_served_is_finished_when_the_server_stops() -> None:
    started, may_end = asyncio.Event(), asyncio.Event()

    async def wait(_request: web.Request) -> web.Response:
        started.set()
        await may_end.wait()
        return web.Response(text="done")

    app = web.Application()
    app.router.add_get("/wait", wait)
    async with serving(app, LIMITS) as served:
        asking = asyncio.create_task(served.get("/wait"))
        await started.wait()
        stopping = asyncio.create_task(served.stop())
        with suppress(ConnectionError):
            while True:  # until the door is shut
                async with served.connection():
                    pass
        may_end.set()
        assert (await asking).body == b"done"
        await stopping


def test_what_is_used_of_aiohttp_without_being_promised_is_where_it_was() -> None:
    slots = {name for kind in RequestHandler.__mro__ for name in getattr(kind, "__slots__", ())}
    assert {"_messages", "_waiter"} <= slots
    assert not {"_head_timer", "_is_counted", "_server"} & slots
    assert set(ServiceProtocol.__slots__) == {"_head_timer", "_is_counted", "_server"}
    overridden = {"connection_made", "connection_lost", "data_received", "handle_error"}
    assert overridden | {"force_close"} <= vars(RequestHandler).keys()
    assert "_make_server" in vars(web.AppRunner)
    assert not {"_limits", "_quiet_routes"} & {*web.AppRunner.__slots__, *web.BaseRunner.__slots__}


async def test_ids_of_requests_are_made_apart(served: Served) -> None:
    ids = {(await served.get("/hello")).headers["x-request-id"] for _ in range(20)} | {str(uuid4())}
    assert len(ids) == 21
