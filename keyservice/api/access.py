"""Who may call what: every route names its scope, and a route without one cannot be made."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from keyservice.api.door import CALLER_ID
from keyservice.api.limit_headers import STANDING
from keyservice.api.operation import Credential, Operation
from keyservice.domain.caller import Caller, CallerKind, Scope
from keyservice.domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from keyservice.fulfillment.limit_requests import OverLimit
from keyservice.services import SERVICES

GuardedHandler = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def route(
    method: str,
    path: str,
    scope: Scope,
    handler: GuardedHandler,
    operation: Operation,
    *,
    also: Scope | None = None,
) -> web.RouteDef:
    """A route that only callers with this scope, and `also` with that one, reach by `Authorization: Bearer <token>`."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        caller = await bearer(request)
        caller.require(scope)
        if also is not None:
            caller.require(also)
        return await handler(request, caller)

    guarded.scope = scope  # type: ignore[attr-defined]
    guarded.also = also  # type: ignore[attr-defined]
    return described_route(method, path, guarded, operation, Credential.BEARER)


def described_route(
    method: str, path: str, handler: Handler, operation: Operation, credential: Credential = Credential.NONE
) -> web.RouteDef:
    """A route that looks at its credential itself, or needs none.

    Without the HEAD that aiohttp adds to each GET: reading a key is an event, and a streamed answer would have a body.
    """
    options = {"allow_head": False} if method == "GET" else {}
    return web.route(method, path, described(handler, operation, credential), **options)


def described(handler: Handler, operation: Operation, credential: Credential = Credential.NONE) -> Handler:
    """The handler, with what the OpenAPI document is made from: the operation, and how it is told who calls."""
    handler.operation = operation  # type: ignore[attr-defined]
    handler.credential = credential  # type: ignore[attr-defined]
    return handler


async def bearer(request: web.Request) -> Caller:
    """The caller whose token, static or short-lived, came in the Authorization header. Raises Unauthenticated and OverLimit."""
    values = request.headers.getall("Authorization", [])
    if len(values) != 1:
        raise Unauthenticated("send one header `Authorization: Bearer <token>`")
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("send one header `Authorization: Bearer <token>`")
    return await admit(request, await request.config_dict[SERVICES].gatekeeper.identify_bearer(token.strip()))


async def identify(request: web.Request, token: str) -> Caller:
    """The caller of this static token, admitted. Raises Unauthenticated and OverLimit."""
    return await admit(request, await request.config_dict[SERVICES].gatekeeper.identify(token))


async def admit(request: web.Request, caller: Caller) -> Caller:
    """The caller, remembered on the request for the access log, and counted before anything else. Raises OverLimit."""
    request[CALLER_ID] = caller.caller_id
    try:
        standing = await request.config_dict[SERVICES].limiter.admit(caller)
    except OverLimit as refusal:
        request[STANDING] = refusal.standing
        raise
    if standing is not None:
        request[STANDING] = standing
    return caller


async def publisher_of(request: web.Request, caller: Caller) -> int:
    """Whose pools this is about: a publisher's own, or the one that an admin or auditor names with `?publisher=<handle>`."""
    return await publisher_named(request, caller, request.query.get("publisher"))


async def publisher_named(request: web.Request, caller: Caller, named: str | None) -> int:
    """A publisher itself, whether it is named or not, and for admins and auditors the one that is named by its handle."""
    if caller.kind is CallerKind.PUBLISHER and caller.publisher_id is not None:
        own = await request.config_dict[SERVICES].catalogue.publisher_id(named) if named else caller.publisher_id
        if own != caller.publisher_id:
            raise NotFound("there is no such publisher")
        return caller.publisher_id
    if not caller.is_overseer:
        raise Forbidden("this is for publishers, admins and auditors")
    if not named:
        raise Invalid("name the publisher with ?publisher=<handle>", field="publisher")
    found = await request.config_dict[SERVICES].catalogue.publisher_id(named)
    if found is None:
        raise NotFound("there is no such publisher")
    return found


def demand_overseer(caller: Caller) -> None:
    """Raise Forbidden for everyone but admins and auditors."""
    if not caller.is_overseer:
        raise Forbidden("this is for admins and auditors")
