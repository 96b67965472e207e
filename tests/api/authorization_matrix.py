"""Who may do what, as it must be: every route, every kind of credential, own, foreign and missing things."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from aiohttp import web

from keyservice.domain.caller import CallerKind, Scope
from tests.api import matrix_bodies as bodies
from tests.api.matrix_bodies import MISSING, WebhookIds, World
from tests.api.raw_http import request

RouteName = tuple[str, str]

# The token endpoint is told who asks in OAuth2's own way; tests/api/iam holds its refusals.
PUBLIC: Final = frozenset(
    {
        *((method, path) for method in ("GET", "HEAD") for path in ("/health/live", "/health/ready")),
        *(("GET", path) for path in ("/openapi.json", "/docs")),
        *(("GET", f"/docs/{name}") for name in ("init.js", "swagger-ui-bundle.js", "swagger-ui.css")),
        *(("POST", "/iam/tokens"), ("GET", "/iam/keys")),
    }
)
AUDIENCES: Final = {
    "connect": frozenset({CallerKind.RESELLER}),
    "publisher": frozenset({CallerKind.PUBLISHER, CallerKind.ADMIN, CallerKind.AUDITOR}),
    "license-keys-provider": frozenset({CallerKind.PUBLISHER, CallerKind.ADMIN, CallerKind.AUDITOR}),
    "license-manager": frozenset({CallerKind.PUBLISHER, CallerKind.ADMIN, CallerKind.AUDITOR}),
    "admin": frozenset({CallerKind.ADMIN, CallerKind.AUDITOR}),
    "fulfillment": frozenset({CallerKind.RESELLER, CallerKind.PIPELINE, CallerKind.ADMIN, CallerKind.AUDITOR}),
}
# A publisher's own, or what an admin names a publisher for.
PUBLISHERS_OWN: Final = frozenset({"publisher", "license-keys-provider", "license-manager"})
SELLERS: Final = frozenset({CallerKind.RESELLER, CallerKind.PIPELINE})
OVERSEERS: Final = frozenset({CallerKind.ADMIN, CallerKind.AUDITOR})
RIGHTS: Final = {
    CallerKind.RESELLER: "orders:submit orders:read orders:cancel stock:read purchases:read webhooks:read webhooks:write",
    CallerKind.PUBLISHER: "pools:read pools:write batches:write catalogue:write revocations:read revocations:acknowledge"
    " statements:read connectors:read connectors:write key-requests:read key-requests:decide keys:search webhooks:read"
    " webhooks:write",
    CallerKind.ADMIN: "purchases:read pools:read pools:write batches:write catalogue:write revocations:read"
    " statements:read connectors:read connectors:write key-requests:read key-requests:decide keys:search"
    " publishers:write callers:read callers:write",
    CallerKind.PIPELINE: "claims:write claims:read keys:search stock:read purchases:read webhooks:read webhooks:write",
    CallerKind.AUDITOR: "pools:read purchases:read revocations:read statements:read connectors:read key-requests:read",
}
"""What each kind may be given at the most, written down a second time."""

SEARCHES: Final = frozenset(
    ("POST", path)
    for path in (
        *("/connect/stock", "/fulfillment/purchases/search", "/publisher/keys/search", "/fulfillment/keys/search"),
        *("/admin/keys/search", "/admin/keys/search-by-ending"),
    )
)
REQUEST_ID: Final = "X-Request-Id: 0123456789abcdef0123456789abcdef"


def routes_of(application: web.Application) -> dict[RouteName, Scope | None]:
    """Every route with the scope that it demands; None where nothing is demanded."""
    return {
        (route.method, route.resource.canonical): getattr(route.handler, "scope", None)
        for route in application.router.routes()
        if route.resource is not None
    }


def also_of(application: web.Application) -> dict[RouteName, Scope]:
    """The routes that demand a second scope."""
    return {
        (route.method, route.resource.canonical): also
        for route in application.router.routes()
        if route.resource is not None and (also := getattr(route.handler, "also", None)) is not None
    }


class Thing(NamedTuple):
    """Whose thing is asked for, and whether the publisher is named who is said to own it."""

    owner: str
    is_named: bool = False


OWN, FOREIGN, ABSENT = Thing("own"), Thing("foreign"), Thing("missing")
NAMED: Final = (Thing("own", is_named=True), Thing("foreign", is_named=True), Thing("missing", is_named=True))


class ClaimIds(NamedTuple):
    """The one unit of a claim, and the key that it was served with."""

    unit_id: UUID
    claim_id: UUID


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a credential, or with none that is good. `own` is the world of its publisher."""

    name: str
    kind: CallerKind | None = None
    scopes: frozenset[Scope] = frozenset()
    token: str = field(default="", repr=False)
    own: World | None = None
    is_in_wrong_header: bool = False
    is_short_lived: bool = False
    """With an access token, which Connect does not take."""

    orders: Mapping[str, UUID] = field(default_factory=dict)
    """Of one who sells, by partner order number: one to read, one to cancel."""

    claims: Mapping[str, ClaimIds] = field(default_factory=dict)
    """Of a pipeline, by reference: one for each thing that can be done with it."""

    webhook: WebhookIds | None = None
    """Of one who sells."""

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
    kinds: frozenset[CallerKind] | None = None
    """Who of the audience may; None for all of it."""

    also: Scope | None = None
    """A second right that is needed."""


CLAIM_VERBS: Final = ("extend", "commit", "release", "revoke", "reinstate", "replace")
_LISTED: Final = (OWN, *NAMED)
_ONE: Final = (OWN, FOREIGN, ABSENT, *NAMED)


def _webhook_probes(audience: str, listed: tuple[Thing, ...], one: tuple[Thing, ...]) -> dict[RouteName, Probe]:
    whole = f"/{audience}/webhooks/{{endpoint_id}}"
    return {
        ("POST", f"/{audience}/webhooks"): Probe(201, body=bodies.webhook, things=listed),
        ("GET", f"/{audience}/webhooks"): Probe(200, things=listed),
        ("GET", whole): Probe(200, things=one),
        ("PATCH", whole): Probe(200, body=lambda _, __: "{}", things=one),
        ("POST", f"{whole}/secret"): Probe(200, things=one),
        ("POST", f"{whole}/test"): Probe(200, things=one),
        ("GET", f"{whole}/notices"): Probe(200, things=one),
        ("GET", f"{whole}/deliveries"): Probe(200, things=one),
        ("POST", f"{whole}/notices/{{notice_id}}/replay"): Probe(200, things=one),
        ("POST", f"{whole}/replay"): Probe(200, body=bodies.since, things=one),
    }


PROBES: Final[dict[RouteName, Probe]] = {
    ("POST", "/connect/order/new"): Probe(201, body=bodies.order, things=(OWN,)),
    ("POST", "/connect/stock"): Probe(200, body=bodies.stock, things=(OWN,)),
    ("GET", "/connect/order/{partnerOrderNumber}"): Probe(200),
    ("PUT", "/connect/order/cancel"): Probe(200),
    ("POST", "/fulfillment/purchases/search"): Probe(200, 200),
    ("GET", "/fulfillment/purchases/{purchase_id}"): Probe(200),
    ("POST", "/fulfillment/purchases/{purchase_id}/reinstate"): Probe(200),
    ("POST", "/fulfillment/claims"): Probe(201, body=bodies.claim, things=(OWN,)),
    ("GET", "/fulfillment/claims/{reference}"): Probe(200),
    **{("POST", f"/fulfillment/claims/{{reference}}/{verb}"): Probe(200) for verb in CLAIM_VERBS},
    ("POST", "/admin/publishers"): Probe(201, body=bodies.publisher, things=(OWN,)),
    ("GET", "/admin/publishers"): Probe(200, things=(OWN,)),
    ("GET", "/admin/pools"): Probe(200, things=(OWN,)),
    ("POST", "/admin/callers"): Probe(201, body=bodies.caller, things=(OWN,)),
    ("GET", "/admin/callers"): Probe(200, things=(OWN,)),
    ("GET", "/admin/callers/{caller_id}"): Probe(200, things=(OWN, ABSENT)),
    ("PATCH", "/admin/callers/{caller_id}"): Probe(200, body=lambda _, __: "{}", things=(OWN, ABSENT)),
    ("POST", "/admin/callers/{caller_id}/revoke"): Probe(200, things=(OWN, ABSENT)),
    ("POST", "/publisher/pools"): Probe(201, body=bodies.named, things=_LISTED),
    ("GET", "/publisher/pools"): Probe(200, things=_LISTED),
    ("GET", "/publisher/events"): Probe(200, things=_LISTED),
    ("GET", "/publisher/templates"): Probe(200, things=_LISTED),
    ("GET", "/publisher/products"): Probe(200, things=_LISTED),
    ("POST", "/publisher/templates"): Probe(201, 422, body=bodies.template, things=_ONE),
    ("POST", "/publisher/products"): Probe(201, 422, body=bodies.product, things=_ONE),
    ("GET", "/publisher/pools/{pool_id}"): Probe(200, things=_ONE),
    ("PATCH", "/publisher/pools/{pool_id}"): Probe(200, body=lambda _, __: "{}", things=_ONE),
    ("POST", "/publisher/pools/{pool_id}/batches"): Probe(
        201, content_type="text/plain", body=bodies.key_file, things=_ONE
    ),
    ("POST", "/publisher/pools/{pool_id}/withdrawals"): Probe(200, body=bodies.withdrawal, things=_ONE),
    ("GET", "/publisher/pools/{pool_id}/batches"): Probe(200, things=_ONE),
    ("GET", "/publisher/batches/{batch_id}"): Probe(200, things=_ONE),
    ("PATCH", "/publisher/batches/{batch_id}"): Probe(200, body=lambda _, __: '{"priority":1}', things=_ONE),
    ("POST", "/publisher/batches/{batch_id}/release"): Probe(200, things=_ONE),
    ("POST", "/publisher/batches/{batch_id}/hold"): Probe(200, batch="held", things=_ONE),
    ("POST", "/publisher/batches/{batch_id}/withdraw"): Probe(200, batch="withdrawn", things=_ONE),
    ("GET", "/publisher/imports/{batch_id}"): Probe(200, things=_ONE),
    ("GET", "/publisher/imports/{batch_id}/refused-rows"): Probe(200, things=_ONE),
    ("DELETE", "/publisher/imports/{batch_id}"): Probe(200, batch="discarded", things=_ONE),
    ("GET", "/license-keys-provider/packages"): Probe(200, things=_LISTED),
    ("POST", "/license-keys-provider/packages"): Probe(
        201, body=bodies.package, things=_LISTED, also=Scope.CATALOGUE_WRITE
    ),
    ("GET", "/license-keys-provider/packages/{package_id}"): Probe(200, things=_ONE),
    ("PUT", "/license-keys-provider/packages/{package_id}"): Probe(
        200, body=bodies.changed_package, things=_ONE, also=Scope.CATALOGUE_WRITE
    ),
    ("POST", "/license-keys-provider/import/{package_id}"): Probe(
        201, content_type="multipart/form-data; boundary=matrix", body=bodies.key_form, things=_ONE
    ),
    ("POST", "/publisher/keys/search"): Probe(
        200, 200, body=bodies.dead_key, things=_ONE, kinds=frozenset({CallerKind.PUBLISHER})
    ),
    ("POST", "/fulfillment/keys/search"): Probe(200, 200, body=bodies.dead_key, kinds=SELLERS),
    ("POST", "/admin/keys/search"): Probe(200, body=bodies.inspected, things=(OWN,)),
    ("POST", "/admin/keys/search-by-ending"): Probe(200, body=bodies.ending, things=(OWN, ABSENT)),
    ("GET", "/admin/events"): Probe(200, things=(OWN,)),
    ("GET", "/publisher/statements/batches/{batch_id}"): Probe(200, things=_ONE),
    ("GET", "/publisher/statements/months/{month}"): Probe(200, things=_LISTED),
    ("GET", "/publisher/statement-keys"): Probe(200, things=_LISTED),
    ("GET", "/publisher/revocations"): Probe(200, things=_LISTED),
    ("POST", "/publisher/revocations/acknowledge"): Probe(200, body=lambda _, __: '{"sequences":[1]}', things=_LISTED),
    ("POST", "/publisher/revocations/{revocation}/acknowledge"): Probe(200, things=_ONE),
    ("POST", "/publisher/connectors"): Probe(201, body=bodies.connector, things=_LISTED),
    ("GET", "/publisher/connectors"): Probe(200, things=_LISTED),
    ("GET", "/publisher/connector-presets"): Probe(200, things=_LISTED),
    ("GET", "/publisher/connectors/{connector_id}"): Probe(200, things=_ONE),
    ("PUT", "/publisher/connectors/{connector_id}/document"): Probe(
        200, body=lambda _, __: f'{{"edited_version":1,"document":{bodies.connector_document()}}}', things=_ONE
    ),
    ("PUT", "/publisher/connectors/{connector_id}/secrets"): Probe(
        200, body=lambda _, __: '{"secrets":{"password":"matrix"}}', things=_ONE
    ),
    ("DELETE", "/publisher/connectors/{connector_id}/secrets/{secret_name}"): Probe(200, things=_ONE),
    ("GET", "/publisher/connectors/{connector_id}/versions"): Probe(200, things=_ONE),
    ("GET", "/publisher/connectors/{connector_id}/versions/{version}"): Probe(200, things=_ONE),
    ("POST", "/publisher/connectors/{connector_id}/handshake"): Probe(200, body=lambda _, __: "{}", things=_ONE),
    ("POST", "/publisher/connectors/{connector_id}/preview"): Probe(
        200, body=lambda _, __: '{"operation":"create"}', things=_ONE
    ),
    ("PATCH", "/publisher/connectors/{connector_id}"): Probe(
        200, body=lambda _, __: '{"state":"disabled"}', things=_ONE
    ),
    ("GET", "/publisher/key-requests"): Probe(200, things=_LISTED),
    ("POST", "/publisher/key-answers"): Probe(200, body=bodies.told_keys, things=_ONE),
    ("GET", "/publisher/key-requests/{key_request_id}"): Probe(200, things=_ONE),
    ("POST", "/publisher/key-requests/{key_request_id}/decision"): Probe(
        200, body=lambda _, __: '{"decision":"ask-again"}', things=_ONE
    ),
    ("GET", "/license-manager/license"): Probe(200, things=_LISTED),
    ("GET", "/license-manager/license/{license_id}"): Probe(200, things=_ONE),
    ("DELETE", "/license-manager/license/{license_id}"): Probe(200, things=_ONE),
    ("POST", "/license-manager/operations"): Probe(200, body=bodies.ending_of_license, things=_ONE),
    ("GET", "/license-manager/operation/{operation_id}"): Probe(200, things=_ONE),
    ("POST", "/license-manager/operation/{operation_id}"): Probe(200, things=_ONE),
    ("GET", "/license-manager/license/{license_id}/{execution_id}"): Probe(200, things=_ONE),
    ("GET", "/license-manager/license-provider-definitions"): Probe(200, things=_LISTED),
    # It says more than a definition can, which whoever may read it is told.
    ("GET", "/license-manager/license-provider-definitions/{connector_id}"): Probe(422, things=_ONE),
    ("PUT", "/license-manager/license-provider-definitions"): Probe(200, body=bodies.definition_again, things=_LISTED),
    ("DELETE", "/license-manager/license-provider-definitions/{connector_id}"): Probe(200, things=_ONE),
    ("POST", "/license-manager/license-provider-definitions"): Probe(201, body=bodies.definition, things=_LISTED),
    **_webhook_probes("publisher", _LISTED, _ONE),
    **_webhook_probes("fulfillment", (OWN,), (OWN, FOREIGN, ABSENT)),
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
    foreign_claims: Mapping[str, ClaimIds]
    emails: Mapping[str, str]
    """By whose purchases are found under it."""

    foreign_webhook: WebhookIds
    """Of somebody else who sells."""

    def asked(self, name: RouteName, visitor: Visitor, thing: Thing) -> Asked:
        method, path = name
        probe = PROBES[name]
        here = visitor.own or self.own
        there = self._world(visitor, thing)
        audience = path.split("/")[1]
        path, word = self._with_id(path, probe, visitor, thing, there)
        is_in_body = path == name[1]
        # A publisher need not be named by its own callers; all others always name one.
        handle = there if thing.is_named else here
        if audience in PUBLISHERS_OWN and (thing.is_named or visitor.kind is not CallerKind.PUBLISHER):
            path += f"?publisher={handle.publisher}"
        body = probe.body(here, there) if probe.body else self._body(name, visitor, thing)
        lines = [*visitor.credential(audience), REQUEST_ID]
        if body:
            lines.append(f"Content-Type: {probe.content_type}")
        raw = request(f"{method} {path} HTTP/1.0", *lines, body=body.encode())
        return Asked(raw, self._order_number(visitor, thing, "cancel") if is_in_body else word)

    def expected(self, name: RouteName, scope: Scope, visitor: Visitor, thing: Thing) -> int:
        audience, probe = name[1].split("/")[1], PROBES[name]
        if visitor.kind is None or (visitor.is_short_lived and audience == "connect"):
            return 401
        if visitor.kind not in (probe.kinds or AUDIENCES[audience]) or scope not in RIGHTS[visitor.kind].split():
            return 403
        if not {scope, probe.also or scope} <= visitor.scopes:
            return 403
        if thing.owner == "own":
            return probe.granted
        is_overseer = visitor.kind in OVERSEERS
        if audience in PUBLISHERS_OWN and thing.is_named:
            return probe.granted if is_overseer and thing.owner == "foreign" else 404
        if audience == "fulfillment" and is_overseer and thing.owner == "foreign":
            return probe.granted
        return probe.absent

    def _world(self, visitor: Visitor, thing: Thing) -> World:
        own = visitor.own or self.own
        other = self.foreign if own is self.own else self.own
        return {"own": own, "foreign": other, "missing": self.missing}[thing.owner]

    def _with_id(self, path: str, probe: Probe, visitor: Visitor, thing: Thing, there: World) -> tuple[str, str]:
        words = {
            "{pool_id}": str(there.pool_id),
            "{package_id}": str(there.package_id),
            "{caller_id}": str(there.caller_id),
            "{batch_id}": str(there.batches[probe.batch]),
            "{month}": "2026-01",
            "{version}": "1",
            "{secret_name}": "spare",
            "{revocation}": str(there.revocation_id),
            "{connector_id}": str(there.connector_id),
            "{key_request_id}": str(there.key_request_id),
            "{license_id}": str(there.told_request_id),
            "{execution_id}": str(there.told_request_id),
            "{operation_id}": str(there.key_request_id),
            "{notice_id}": str(self._webhook(path, visitor, thing, there).notice_id),
            "{endpoint_id}": str(self._webhook(path, visitor, thing, there).endpoint_id),
            "{partnerOrderNumber}": self._order_number(visitor, thing, "read"),
            "{reference}": _reference(path, thing),
            "{purchase_id}": str(self._orders(visitor, thing)[self._order_number(visitor, thing, "read")]),
        }
        found = [(placeholder, word) for placeholder, word in words.items() if placeholder in path]
        for placeholder, word in found:
            path = path.replace(placeholder, word)
        return path, found[-1][1] if found else ""

    def _webhook(self, path: str, visitor: Visitor, thing: Thing, there: World) -> WebhookIds:
        if path.startswith("/publisher/"):
            return there.webhook
        if thing.owner == "missing":
            return self.missing.webhook
        return visitor.webhook if thing.owner == "own" and visitor.webhook else self.foreign_webhook

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
            case "/fulfillment/claims/{reference}/extend":
                return '{"seconds":60}'
            case "/fulfillment/claims/{reference}/revoke" | "/fulfillment/claims/{reference}/reinstate":
                return '{"reason":"tried"}'
            case "/fulfillment/purchases/{purchase_id}/reinstate":
                return '{"reason":"tried"}'
            case "/fulfillment/claims/{reference}/replace":
                known = {**self.foreign_claims, **visitor.claims}
                ids = known.get(_reference(name[1], thing), ClaimIds(MISSING, MISSING))
                return f'{{"reason":"tried","unit_id":"{ids.unit_id}","claim_id":"{ids.claim_id}"}}'
            case _:
                return ""


def _reference(path: str, thing: Thing) -> str:
    """Each claim is there for one thing that is done with it: one that was released cannot be committed."""
    verb = path.partition("{reference}")[2].strip("/") or "read"
    return f"{thing.owner}-{verb}"


def single_scopes() -> Iterator[tuple[CallerKind, Scope]]:
    """One right each for every kind, also those that no caller of the kind may be given."""
    for kind in CallerKind:
        for scope in Scope:
            yield kind, scope
