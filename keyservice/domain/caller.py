"""Who is asking, and what each may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keyservice.domain.errors import Forbidden
from keyservice.domain.request_limits import RequestLimits


class CallerKind(StrEnum):
    """Which audience a caller belongs to."""

    RESELLER = "reseller"
    PUBLISHER = "publisher"
    ADMIN = "admin"
    PIPELINE = "pipeline"
    """An order pipeline that keeps its own orders and only claims keys."""
    AUDITOR = "auditor"
    """Reads what every publisher has and never a key's text; changes nothing."""


class Scope(StrEnum):
    """One right. A caller has the rights that its scopes name and no others."""

    ORDERS_SUBMIT = "orders:submit"
    ORDERS_READ = "orders:read"
    ORDERS_CANCEL = "orders:cancel"
    STOCK_READ = "stock:read"
    CLAIMS_WRITE = "claims:write"
    CLAIMS_READ = "claims:read"
    PURCHASES_READ = "purchases:read"
    KEYS_SEARCH = "keys:search"
    POOLS_READ = "pools:read"
    POOLS_WRITE = "pools:write"
    BATCHES_WRITE = "batches:write"
    CATALOGUE_WRITE = "catalogue:write"
    REVOCATIONS_READ = "revocations:read"
    REVOCATIONS_ACKNOWLEDGE = "revocations:acknowledge"
    STATEMENTS_READ = "statements:read"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    CONNECTORS_READ = "connectors:read"
    CONNECTORS_WRITE = "connectors:write"
    KEY_REQUESTS_READ = "key-requests:read"
    KEY_REQUESTS_DECIDE = "key-requests:decide"
    PUBLISHERS_WRITE = "publishers:write"
    CALLERS_READ = "callers:read"
    CALLERS_WRITE = "callers:write"


SCOPES_OF_KIND: Final[dict[CallerKind, frozenset[Scope]]] = {
    CallerKind.RESELLER: frozenset(
        {
            Scope.ORDERS_SUBMIT,
            Scope.ORDERS_READ,
            Scope.ORDERS_CANCEL,
            Scope.STOCK_READ,
            Scope.PURCHASES_READ,
            Scope.WEBHOOKS_READ,
            Scope.WEBHOOKS_WRITE,
        }
    ),
    CallerKind.PUBLISHER: frozenset(
        {
            Scope.POOLS_READ,
            Scope.POOLS_WRITE,
            Scope.BATCHES_WRITE,
            Scope.CATALOGUE_WRITE,
            Scope.REVOCATIONS_READ,
            Scope.REVOCATIONS_ACKNOWLEDGE,
            Scope.STATEMENTS_READ,
            Scope.CONNECTORS_READ,
            Scope.CONNECTORS_WRITE,
            Scope.KEY_REQUESTS_READ,
            Scope.KEY_REQUESTS_DECIDE,
            Scope.KEYS_SEARCH,
            Scope.WEBHOOKS_READ,
            Scope.WEBHOOKS_WRITE,
        }
    ),
    CallerKind.ADMIN: frozenset(
        {
            Scope.PURCHASES_READ,
            Scope.POOLS_READ,
            Scope.POOLS_WRITE,
            Scope.BATCHES_WRITE,
            Scope.CATALOGUE_WRITE,
            Scope.REVOCATIONS_READ,
            Scope.STATEMENTS_READ,
            Scope.CONNECTORS_READ,
            Scope.CONNECTORS_WRITE,
            Scope.KEY_REQUESTS_READ,
            Scope.KEY_REQUESTS_DECIDE,
            Scope.KEYS_SEARCH,
            Scope.PUBLISHERS_WRITE,
            Scope.CALLERS_READ,
            Scope.CALLERS_WRITE,
        }
    ),
    CallerKind.PIPELINE: frozenset(
        {
            Scope.CLAIMS_WRITE,
            Scope.CLAIMS_READ,
            Scope.KEYS_SEARCH,
            Scope.STOCK_READ,
            Scope.PURCHASES_READ,
            Scope.WEBHOOKS_READ,
            Scope.WEBHOOKS_WRITE,
        }
    ),
    CallerKind.AUDITOR: frozenset(
        {
            Scope.POOLS_READ,
            Scope.PURCHASES_READ,
            Scope.REVOCATIONS_READ,
            Scope.STATEMENTS_READ,
            Scope.CONNECTORS_READ,
            Scope.KEY_REQUESTS_READ,
        }
    ),
}
"""What a caller of each kind may be given at the most."""

_OVERSEERS: Final = frozenset({CallerKind.ADMIN, CallerKind.AUDITOR})


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. A publisher's caller belongs to one publisher; nobody else's does."""

    caller_id: int
    kind: CallerKind
    name: str
    publisher_id: int | None
    scopes: frozenset[Scope]
    validation_profile: str = "strict"
    cancel_period_days: int = 14
    is_sandbox: bool = False
    """Its orders and claims only ever touch sandbox keys."""

    limits: RequestLimits | None = None

    @property
    def is_overseer(self) -> bool:
        """Sees what belongs to every publisher and to every caller, keys only by their last characters."""
        return self.kind in _OVERSEERS

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes and scope in SCOPES_OF_KIND[self.kind]

    def require(self, scope: Scope) -> None:
        """Raise Forbidden unless this caller has the right."""
        if not self.may(scope):
            raise Forbidden(f"this credential lacks the scope {scope}")
