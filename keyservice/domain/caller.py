"""Who is asking: resellers, publishers and admins, and what each may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keyservice.domain.errors import Forbidden


class CallerKind(StrEnum):
    """Which audience a caller belongs to."""

    RESELLER = "reseller"
    PUBLISHER = "publisher"
    ADMIN = "admin"


class Scope(StrEnum):
    """One right. A caller has the rights that its scopes name and no others."""

    ORDERS_SUBMIT = "orders:submit"
    ORDERS_READ = "orders:read"
    ORDERS_CANCEL = "orders:cancel"
    STOCK_READ = "stock:read"
    PURCHASES_READ = "purchases:read"
    POOLS_READ = "pools:read"
    POOLS_WRITE = "pools:write"
    BATCHES_WRITE = "batches:write"
    CATALOGUE_WRITE = "catalogue:write"
    PUBLISHERS_WRITE = "publishers:write"


SCOPES_OF_KIND: Final[dict[CallerKind, frozenset[Scope]]] = {
    CallerKind.RESELLER: frozenset(
        {Scope.ORDERS_SUBMIT, Scope.ORDERS_READ, Scope.ORDERS_CANCEL, Scope.STOCK_READ, Scope.PURCHASES_READ}
    ),
    CallerKind.PUBLISHER: frozenset({Scope.POOLS_READ, Scope.POOLS_WRITE, Scope.BATCHES_WRITE, Scope.CATALOGUE_WRITE}),
    CallerKind.ADMIN: frozenset(
        {
            Scope.PURCHASES_READ,
            Scope.POOLS_READ,
            Scope.POOLS_WRITE,
            Scope.BATCHES_WRITE,
            Scope.CATALOGUE_WRITE,
            Scope.PUBLISHERS_WRITE,
        }
    ),
}
"""What a caller of each kind may be given at the most."""


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

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes and scope in SCOPES_OF_KIND[self.kind]

    def require(self, scope: Scope) -> None:
        """Raise Forbidden unless this caller has the right."""
        if not self.may(scope):
            raise Forbidden(f"this credential lacks the scope {scope}")
