"""Giving out, listing and revoking callers' tokens."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from keyservice.crypto.tokens import new_token
from keyservice.domain.caller import SCOPES_OF_KIND, CallerKind, Scope
from keyservice.domain.errors import Conflict, Invalid, NotFound
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


@dataclass(frozen=True, slots=True)
class ListedCaller:
    """A caller as an operator sees it: never its token."""

    caller_id: int
    kind: CallerKind
    name: str
    publisher: str | None
    scopes: tuple[str, ...]
    token_id: str
    created_at: datetime
    revoked_at: datetime | None


async def add_caller(
    connection: Connection,
    *,
    kind: CallerKind,
    name: str,
    publisher: str | None = None,
    scopes: Iterable[Scope] = (),
    validation_profile: str = "strict",
    cancel_period_days: int = 14,
) -> str:
    """The new caller's token, which is shown this once. Without scopes it gets all that its kind may have."""
    if (kind is CallerKind.PUBLISHER) != (publisher is not None):
        raise Invalid("a publisher's caller names its publisher, and nobody else's does", field="publisher")
    allowed = SCOPES_OF_KIND[kind]
    wanted = frozenset(scopes) or allowed
    if not wanted <= allowed:
        raise Invalid(f"a {kind} cannot have {', '.join(sorted(wanted - allowed))}", field="scopes")
    publisher_id = None if publisher is None else await publisher_id_of(connection, publisher)
    token_id, token, token_hash = new_token()
    values = (kind, name, publisher_id, sorted(wanted), token_id, token_hash, validation_profile, cancel_period_days)
    try:
        await connection.fetchval(statement("callers.insert_caller"), *values)
    except asyncpg.UniqueViolationError as error:
        raise Conflict("there is a caller of this name; choose another") from error
    except asyncpg.CheckViolationError as error:
        raise Invalid(f"not possible for a caller: {error.constraint_name}") from error
    return token


async def list_callers(connection: Connection) -> list[ListedCaller]:
    """All callers, revoked ones too."""
    rows = await connection.fetch(statement("callers.list_callers"))
    return [
        ListedCaller(
            row["caller_id"],
            CallerKind(row["kind"]),
            row["name"],
            row["handle"],
            tuple(row["scopes"]),
            row["token_id"],
            row["created_at"],
            row["revoked_at"],
        )
        for row in rows
    ]


async def revoke_caller(connection: Connection, name: str) -> None:
    """Make the caller's token worthless. Raises NotFound when there is no such living caller."""
    if await connection.fetchval(statement("callers.revoke_caller"), name) is None:
        raise NotFound("there is no caller of this name that is not revoked yet")


async def publisher_id_of(connection: Connection, handle: str) -> int:
    """The id behind a publisher's handle. Raises NotFound."""
    found = await connection.fetchval(statement("callers.publisher_by_handle"), handle)
    if found is None:
        raise NotFound("there is no publisher of this handle; add it first")
    return int(found)
