"""Who may do what, as it must be: every route, every kind of credential, own, foreign and missing things."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple
from uuid import UUID

from aiohttp import web

from keyservice.domain.caller import CallerKind, Scope
from tests.api.raw_http import request
from tests.lab.order_bodies import order_body

RouteName = tuple[str, str]

PUBLIC: Final = frozenset(
    (method, path) for method in ("GET", "HEAD") for path in ("/health/live", "/health/ready")
)  # fmt: skip
AUDIENCES: Final = {
    "connect": frozenset({CallerKind.RESELLER}),
    "publisher": frozenset({CallerKind.PUBLISHER, CallerKind.ADMIN}),
    "admin": frozenset({CallerKind.ADMIN}),
    "fulfillment": frozenset({CallerKind.RESELLER, CallerKind.ADMIN}),
}
SEARCHES: Final = frozenset({("POST", "/connect/stock"), ("POST", "/fulfillment/purchases/search")})
MISSING: Final = UUID("01a2011f-fb7c-7035-9638-d0f8c3502bf4")
REQUEST_ID: Final = "X-Request-Id: 0123456789abcdef0123456789abcdef"
_numbers: Final = count(1)


def routes_of(application: web.Application) -> dict[RouteName, Scope | None]:
    """Every route with the scope that it demands; None where nothing is demanded."""
    return {
        (route.method, route.resource.canonical): getattr(route.handler, "scope", None)
        for route in application.router.routes()
        if route.resource is not None
    }


class Thing(NamedTuple):
    """Whose thing is asked for, and whether the publisher is named who is said to own it."""

    owner: str
    is_named: bool = False


OWN, FOREIGN, ABSENT = Thing("own"), Thing("foreign"), Thing("missing")
NAMED: Final = (Thing("own", is_named=True), Thing("foreign", is_named=True), Thing("missing", is_named=True))


@dataclass(frozen=True, slots=True)
class World:
    """What belongs to one publisher and to one reseller."""

    publisher: str
    pool_id: UUID
    template_id: UUID
    product_ref: int
    batches: Mapping[str, UUID]
    """By state."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a credential, or with none that is good. `own` is the world of its publisher."""

    name: str
    kind: CallerKind | None = None
    scopes: frozenset[Scope] = frozenset()
    token: str = field(default="", repr=False)
    own: World | None = None
    is_in_wrong_header: bool = False
    orders: Mapping[str, UUID] = field(default_factory=dict)
    """Of a reseller, by partner order number: one to read, one to cancel."""

    def credential(self, audience: str) -> list[str]:
        if not self.token:
            return []
        is_secret = (audience == "connect") is not self.is_in_wrong_header
        return [f"secret: {self.token}" if is_secret else f"Authorization: Bearer {self.token}"]


@dataclass(frozen=True, slots=True)
class Probe:
    """How a route is asked, and what answers those who may: `granted` for what is theirs, `absent` for all else."""

    granted: int
    absent: int = 404
    batch: str = "released"
    content_type: str = "application/json"
    body: Callable[[World, World], str] | None = None
    """From the world that the caller is in and the world whose thing is asked for."""

    things: tuple[Thing, ...] = (OWN, FOREIGN, ABSENT)


def _named(_: World, __: World) -> str:
    return f'{{"name":"made {next(_numbers)}"}}'


def _template(_: World, asked: World) -> str:
    plan = f'{{"steps":[{{"source":"pool","pool":"{asked.pool_id}"}}]}}'
    return f'{{"name":"made {next(_numbers)}","source_plan":{plan}}}'


def _product(_: World, asked: World) -> str:
    return f'{{"name":"made","product_ref":{8_000_000 + next(_numbers)},"template_id":"{asked.template_id}"}}'


def _publisher(_: World, __: World) -> str:
    return f'{{"name":"made","handle":"made-{next(_numbers)}"}}'


def _file(_: World, __: World) -> str:
    return f"MATRIX-{next(_numbers)}\n"


def _order(own: World, _: World) -> str:
    return web.json_response(order_body(f"matrix-{next(_numbers)}", (own.product_ref, 1))).text or ""


def _stock(own: World, _: World) -> str:
    return f'{{"productRefs":[{own.product_ref}]}}'


_LISTED: Final = (OWN, *NAMED)
_ONE: Final = (OWN, FOREIGN, ABSENT, *NAMED)

PROBES: Final[dict[RouteName, Probe]] = {
    ("POST", "/connect/order/new"): Probe(201, body=_order, things=(OWN,)),
    ("POST", "/connect/stock"): Probe(200, body=_stock, things=(OWN,)),
    ("GET", "/connect/order/{partnerOrderNumber}"): Probe(200),
    ("PUT", "/connect/order/cancel"): Probe(200),
    ("POST", "/fulfillment/purchases/search"): Probe(200, 200),
    ("GET", "/fulfillment/purchases/{purchase_id}"): Probe(200),
    ("POST", "/admin/publishers"): Probe(201, body=_publisher, things=(OWN,)),
    ("GET", "/admin/publishers"): Probe(200, things=(OWN,)),
    ("GET", "/admin/pools"): Probe(200, things=(OWN,)),
    ("POST", "/publisher/pools"): Probe(201, body=_named, things=_LISTED),
    ("GET", "/publisher/pools"): Probe(200, things=_LISTED),
    ("GET", "/publisher/events"): Probe(200, things=_LISTED),
    ("GET", "/publisher/templates"): Probe(200, things=_LISTED),
    ("GET", "/publisher/products"): Probe(200, things=_LISTED),
    ("POST", "/publisher/templates"): Probe(201, 422, body=_template, things=_ONE),
    ("POST", "/publisher/products"): Probe(201, 422, body=_product, things=_ONE),
    ("GET", "/publisher/pools/{pool_id}"): Probe(200, things=_ONE),
    ("PATCH", "/publisher/pools/{pool_id}"): Probe(200, body=lambda _, __: "{}", things=_ONE),
    ("POST", "/publisher/pools/{pool_id}/batches"): Probe(201, content_type="text/plain", body=_file, things=_ONE),
    ("GET", "/publisher/pools/{pool_id}/batches"): Probe(200, things=_ONE),
    ("GET", "/publisher/batches/{batch_id}"): Probe(200, things=_ONE),
    ("POST", "/publisher/batches/{batch_id}/release"): Probe(200, things=_ONE),
    ("POST", "/publisher/batches/{batch_id}/hold"): Probe(200, batch="held", things=_ONE),
    ("POST", "/publisher/batches/{batch_id}/withdraw"): Probe(200, batch="withdrawn", things=_ONE),
    ("GET", "/publisher/imports/{batch_id}"): Probe(200, things=_ONE),
    ("GET", "/publisher/imports/{batch_id}/refused-rows"): Probe(200, things=_ONE),
    ("DELETE", "/publisher/imports/{batch_id}"): Probe(200, batch="discarded", things=_ONE),
}


class Asked(NamedTuple):
    """One request, and the word in it that names the thing: answers for foreign and missing things differ in nothing else."""

    raw: bytes
    word: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """`foreign_orders` are another reseller's; what is missing is made up from ids that nobody has."""

    own: World
    foreign: World
    missing: World
    foreign_orders: Mapping[str, UUID]
    emails: Mapping[str, str]
    """By whose purchases are found under it."""

    def asked(self, name: RouteName, visitor: Visitor, thing: Thing) -> Asked:
        method, path = name
        probe = PROBES[name]
        here = visitor.own or self.own
        there = self._world(visitor, thing)
        audience = path.split("/")[1]
        path, word = self._with_id(path, probe, visitor, thing, there)
        is_in_body = path == name[1]
        # A publisher need not be named by its own callers; admins always name one.
        handle = there if thing.is_named else here
        if audience == "publisher" and (thing.is_named or visitor.kind is not CallerKind.PUBLISHER):
            path += f"?publisher={handle.publisher}"
        body = probe.body(here, there) if probe.body else self._body(name, visitor, thing)
        lines = [*visitor.credential(audience), REQUEST_ID]
        if body:
            lines.append(f"Content-Type: {probe.content_type}")
        raw = request(f"{method} {path} HTTP/1.0", *lines, body=body.encode())
        return Asked(raw, self._order_number(visitor, thing, "cancel") if is_in_body else word)

    def expected(self, name: RouteName, scope: Scope, visitor: Visitor, thing: Thing) -> int:
        if visitor.kind is None:
            return 401
        audience, probe = name[1].split("/")[1], PROBES[name]
        if visitor.kind not in AUDIENCES[audience] or scope not in visitor.scopes:
            return 403
        if thing.owner == "own":
            return probe.granted
        is_admin = visitor.kind is CallerKind.ADMIN
        if audience == "publisher" and thing.is_named:
            return probe.granted if is_admin and thing.owner == "foreign" else 404
        if audience == "fulfillment" and is_admin and thing.owner == "foreign":
            return probe.granted
        return probe.absent

    def _world(self, visitor: Visitor, thing: Thing) -> World:
        own = visitor.own or self.own
        other = self.foreign if own is self.own else self.own
        return {"own": own, "foreign": other, "missing": self.missing}[thing.owner]

    def _with_id(self, path: str, probe: Probe, visitor: Visitor, thing: Thing, there: World) -> tuple[str, str]:
        words = {
            "{pool_id}": str(there.pool_id),
            "{batch_id}": str(there.batches[probe.batch]),
            "{partnerOrderNumber}": self._order_number(visitor, thing, "read"),
            "{purchase_id}": str(self._orders(visitor, thing)[self._order_number(visitor, thing, "read")]),
        }
        for placeholder, word in words.items():
            if placeholder in path:
                return path.replace(placeholder, word), word
        return path, ""

    def _orders(self, visitor: Visitor, thing: Thing) -> Mapping[str, UUID]:
        if thing.owner == "missing":
            return {"missing-read": MISSING, "missing-cancel": MISSING}
        return visitor.orders if thing.owner == "own" and visitor.orders else self.foreign_orders

    def _order_number(self, visitor: Visitor, thing: Thing, use: str) -> str:
        return next(number for number in self._orders(visitor, thing) if number.endswith(use))

    def _body(self, name: RouteName, visitor: Visitor, thing: Thing) -> str:
        match name[1]:
            case "/connect/order/cancel":
                number = self._order_number(visitor, thing, "cancel")
                return f'{{"partnerOrderNumber":"{number}","reasonCode":2}}'
            case "/fulfillment/purchases/search":
                return f'{{"email":"{self.emails[thing.owner]}"}}'
            case _:
                return ""


def single_scopes() -> Iterator[tuple[CallerKind, Scope]]:
    """One right each for every kind, also those that no caller of the kind may be given."""
    for kind in CallerKind:
        for scope in Scope:
            yield kind, scope
