"""What every request passes on its way in and out: request id, plain target, errors, headers, access log.

It stands around the application and not among its middlewares: routing and Expect fail before any middleware runs.
"""

import re
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import structlog
import uuid_utils
from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from multidict import istr

from keyservice.api.limit_headers import add_limit_headers
from keyservice.api.problems import ERROR_BRIDGE, Unexpected, is_unexpected, problem_response
from keyservice.api.reading import PAYLOAD_ERRORS, RequestRefused
from keyservice.domain.errors import KeyserviceError
from keyservice.logs import REQUEST_ID

# Who is calling, set by whoever authenticates: a number, a UUID object or a slug, or the log withholds it.
CALLER_ID: Final[web.RequestKey[object]] = web.RequestKey("CALLER_ID", object)

X_REQUEST_ID: Final = istr("X-Request-Id")
X_CONTENT_TYPE_OPTIONS: Final = istr("X-Content-Type-Options")
SERVER_NAME: Final = "keyservice"

# UUIDs and trace ids. Anything freer would let a key that was sent as an id into the log.
_REQUEST_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_READING_MODULES: Final = frozenset({"aiohttp.web_request", "aiohttp.multipart", "aiohttp.streams", "aiohttp.helpers"})
_READING_ERRORS: Final = (AssertionError, RecursionError, RuntimeError, ValueError, *PAYLOAD_ERRORS)


class Door:
    """Stands around an application. Requests to `quiet_routes` are logged at debug level."""

    def __init__(
        self, application: Callable[[web.Request], Awaitable[web.StreamResponse]], *, quiet_routes: Collection[str]
    ) -> None:
        self._application = application
        self._quiet_routes = frozenset(quiet_routes)
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        REQUEST_ID.set(_request_id(request))
        try:
            _demand_plain(request)
            response = await self._application(request)
            status = response.status
        except web.HTTPRedirection as redirection:
            self._tell(request, redirection.status, started)
            raise
        except Exception as error:
            if request.writer.output_size > 0:  # the answer has begun: the protocol breaks it off
                self._tell(request, 500, started)
                raise
            response = self._answer_error(request, error)
            status = response.status
        self._tell(request, status, started)
        return response

    def _answer_error(self, request: web.Request, error: Exception) -> web.Response:
        response = _bridge_of(request)(request, self._understand(request, error))
        add_headers(response)
        return response

    def _understand(self, request: web.Request, error: Exception) -> Exception:
        """An error whose text may be read by anyone, in the place of one of unknown origin."""
        if not request.protocol.connected:
            self._log.debug("client_gone", route=route_of(request), error_type=error)
            return RequestRefused("the connection was closed before the answer", closes=True)
        if is_unreadable(error):
            self._log.info("request_unreadable", route=route_of(request), exc_info=error)
            return RequestRefused("the request cannot be read: its form, charset or encoding is broken", closes=True)
        if not is_unexpected(error):
            return error
        self._log.error("request_failed", method=request.method, route=route_of(request), exc_info=error)
        return error if isinstance(error, KeyserviceError) else Unexpected()

    def _tell(self, request: web.Request, status: int, started: float) -> None:
        route = route_of(request)
        tell = self._log.debug if route in self._quiet_routes else self._log.info
        tell(
            "request_served",
            method=request.method,
            route=route,
            status=status,
            seconds=time.perf_counter() - started,
            caller_id=request.get(CALLER_ID),
        )


async def prepare_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal for `on_response_prepare`: it also reaches answers that are streamed."""
    add_headers(response)
    add_limit_headers(request, response)


def add_headers(response: web.StreamResponse) -> None:
    headers = response.headers
    headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    headers[hdrs.SERVER] = SERVER_NAME
    headers[X_CONTENT_TYPE_OPTIONS] = "nosniff"
    headers[X_REQUEST_ID] = REQUEST_ID.get() or new_request_id()


def new_request_id() -> str:
    return str(uuid_utils.uuid7())


def route_of(request: web.Request) -> str | None:
    """The template of the route: the path and the query themselves may carry what nobody may read."""
    try:
        resource = request.match_info.route.resource
    except AssertionError:  # refused before it was routed
        return None
    return None if resource is None else resource.canonical


def is_unreadable(error: Exception) -> bool:
    """Whether aiohttp's own reading of a request raised this: the client's doing, though it looks like a bug of ours."""
    if type(error) is not LookupError and not isinstance(error, _READING_ERRORS):
        return False
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] not in sys.stdlib_module_names:
            return module in _READING_MODULES
    return False


def _request_id(request: web.Request) -> str:
    given = request.headers.getall(X_REQUEST_ID, ())
    return given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else new_request_id()


def _demand_plain(request: web.Request) -> None:
    if request.version != HttpVersion11 and request.version != HttpVersion10:
        raise RequestRefused("speak HTTP/1.1 or HTTP/1.0", closes=True)
    target = request.raw_path
    if "%00" in target or not target.isascii():
        raise RequestRefused("the target contains a character that no path or query of this service has")


def _bridge_of(request: web.Request) -> Callable[[web.Request, Exception], web.Response]:
    try:
        apps = request.match_info.apps
    except AssertionError:
        return _problem
    return next((app[ERROR_BRIDGE] for app in reversed(apps) if ERROR_BRIDGE in app), _problem)


def _problem(request: web.Request, error: Exception) -> web.Response:
    return problem_response(error, request)
