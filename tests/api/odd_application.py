"""An application with a route for everything that can go wrong."""

from typing import cast

from aiohttp import web

from keyservice.api.door import CALLER_ID
from keyservice.api.problems import ERROR_BRIDGE
from keyservice.api.reading import read_json
from keyservice.domain.errors import Conflict, NotFound, OutOfStock, Tampered, Unauthenticated
from tests.api.raw_http import PLANTED


class Legacy:
    """A sub-application whose errors have a shape of their own."""

    def __init__(self) -> None:
        self.seen: list[Exception] = []

    def bridge(self, _request: web.Request, error: Exception) -> web.Response:
        self.seen.append(error)
        if isinstance(error, Tampered):
            raise RuntimeError(PLANTED)  # noqa: TRY004
        return web.json_response({"responseCode": 90}, status=400)


ERRORS: dict[str, Exception] = {
    "conflict": Conflict("the order is cancelled"),
    "not_found": NotFound("there is no such order"),
    "stock": OutOfStock(line_number=1, wanted=2, left=0),
    "who": Unauthenticated("send a token"),
    "tampered": Tampered(PLANTED),
    "bug": RuntimeError(PLANTED),
    "key": KeyError(PLANTED),
    "lookup": LookupError(PLANTED),
    "recursion": RecursionError(PLANTED),
    "unicode": UnicodeEncodeError("utf-8", PLANTED, 0, 1, PLANTED),
    "timeout": TimeoutError(PLANTED),
    "connection": ConnectionResetError(PLANTED),
}


async def raise_error(request: web.Request) -> web.Response:
    raise ERRORS[request.match_info["name"]]


async def take_json(request: web.Request) -> web.Response:
    await read_json(request, bytes_max=20_000, seconds_max=0.3)
    return web.Response(text="taken")


async def read_as_aiohttp_does(request: web.Request) -> web.Response:
    match request.match_info["way"]:
        case "json":
            await request.json()
        case "text":
            await request.text()
        case "post":
            await request.post()
        case "parts":
            async for part in await request.multipart():
                await part.text()  # type: ignore[union-attr]
        case "cookies":
            _ = request.cookies
        case _:
            _ = request.http_range
    return web.Response(text="read")


async def stream_and_fail(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Cache-Control": "private"})
    await response.prepare(request)
    await response.write(b"begun")
    raise RuntimeError(PLANTED)


async def greet(request: web.Request) -> web.Response:
    request[CALLER_ID] = 7
    return web.Response(text="hello")


async def forget(_request: web.Request) -> web.Response:
    return cast(web.Response, None)


async def redirect(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/hello")


async def flood(_request: web.Request) -> web.Response:
    return web.Response(body=b"x" * 50_000_000)


def application(legacy: Legacy) -> web.Application:
    app, sub = web.Application(), web.Application()
    app.router.add_get("/hello", greet)
    app.router.add_get("/healthz", greet)
    app.router.add_get("/orders/{id}", greet)
    app.router.add_get("/stream", stream_and_fail)
    app.router.add_get("/none", forget)
    app.router.add_get("/moved", redirect)
    app.router.add_get("/flood", flood)
    app.router.add_get("/raise/{name}", raise_error)
    app.router.add_post("/json", take_json)
    app.router.add_post("/read/{way}", read_as_aiohttp_does)
    sub.router.add_get("/raise/{name}", raise_error)
    sub[ERROR_BRIDGE] = legacy.bridge
    app.add_subapp("/legacy", sub)
    return app
