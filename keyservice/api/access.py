"""Who may call what: every route names its scope, and a route without one cannot be made."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from keyservice.api.door import CALLER_ID
from keyservice.domain.caller import Caller, CallerKind, Scope
from keyservice.domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from keyservice.services import SERVICES

GuardedHandler = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def route(method: str, path: str, scope: Scope, handler: GuardedHandler) -> web.RouteDef:
    """A route that only callers with this scope reach, by `Authorization: Bearer <token>`."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        caller = await bearer(request)
        caller.require(scope)
        return await handler(request, caller)

    guarded.scope = scope  # type: ignore[attr-defined]
    return plain_route(method, path, guarded)


def plain_route(method: str, path: str, handler: Handler) -> web.RouteDef:
    """Without the HEAD that aiohttp adds to each GET: reading a key is an event, and a streamed answer would have a body."""
    return web.route(method, path, handler, **({"allow_head": False} if method == "GET" else {}))


async def bearer(request: web.Request) -> Caller:
    """The caller whose token came in the Authorization header. Raises Unauthenticated."""
    values = request.headers.getall("Authorization", [])
    if len(values) != 1:
        raise Unauthenticated("send one header `Authorization: Bearer <token>`")
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("send one header `Authorization: Bearer <token>`")
    return await identify(request, token.strip())


async def identify(request: web.Request, token: str) -> Caller:
    """The caller of this token, remembered on the request for the access log. Raises Unauthenticated."""
    caller = await request.config_dict[SERVICES].gatekeeper.identify(token)
    request[CALLER_ID] = caller.caller_id
    return caller


async def publisher_of(request: web.Request, caller: Caller) -> int:
    """Whose pools this is about: a publisher's own, or the one that an admin names with `?publisher=<handle>`."""
    named = request.query.get("publisher")
    if caller.kind is CallerKind.PUBLISHER and caller.publisher_id is not None:
        own = await request.config_dict[SERVICES].catalogue.publisher_id(named) if named else caller.publisher_id
        if own != caller.publisher_id:
            raise NotFound("there is no such publisher")
        return caller.publisher_id
    if caller.kind is not CallerKind.ADMIN:
        raise Forbidden("this is for publishers and admins")
    if not named:
        raise Invalid("name the publisher with ?publisher=<handle>", field="publisher")
    found = await request.config_dict[SERVICES].catalogue.publisher_id(named)
    if found is None:
        raise NotFound("there is no such publisher")
    return found
