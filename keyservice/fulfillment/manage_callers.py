"""Giving out, listing, limiting and revoking callers' tokens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import asyncpg

from keyservice.crypto.tokens import new_token, parse_token
from keyservice.domain.caller import SCOPES_OF_KIND, CallerKind, Scope
from keyservice.domain.errors import Conflict, Invalid, NotFound
from keyservice.domain.request_limits import RequestLimits
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement

PER_SECOND_MAX: Final = 1_000_000
PER_DAY_MAX: Final = 2_000_000_000
NO_LIMITS: Final = RequestLimits()


@dataclass(frozen=True, slots=True)
class ListedCaller:
    """A caller as an operator sees it: never its token. Its limits are those of its own."""

    caller_id: int
    kind: CallerKind
    name: str
    publisher: str | None
    scopes: tuple[str, ...]
    token_id: str
    validation_profile: str
    cancel_period_days: int
    is_sandbox: bool
    limits: RequestLimits
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
    is_sandbox: bool = False,
    limits: RequestLimits = NO_LIMITS,
) -> str:
    """The new caller's token, which is shown this once. Without scopes it gets all that its kind may have."""
    if (kind is CallerKind.PUBLISHER) != (publisher is not None):
        raise Invalid("a publisher's caller names its publisher, and nobody else's does", field="publisher")
    if is_sandbox and kind not in (CallerKind.RESELLER, CallerKind.PIPELINE):
        raise Invalid("only resellers and pipelines can be of the sandbox: they take keys", field="is_sandbox")
    allowed = SCOPES_OF_KIND[kind]
    wanted = frozenset(scopes) or allowed
    if not wanted <= allowed:
        raise Invalid(f"{_an(kind)} cannot have {', '.join(sorted(wanted - allowed))}", field="scopes")
    _demand_possible(limits)
    publisher_id = None if publisher is None else await publisher_id_of(connection, publisher)
    token_id, token, token_hash = new_token()
    values = (kind, name, publisher_id, sorted(wanted), token_id, token_hash, validation_profile, cancel_period_days)
    try:
        await connection.fetchval(statement("callers.insert_caller"), *values, is_sandbox, *_columns(limits))
    except asyncpg.UniqueViolationError as error:
        raise Conflict("there is a caller of this name; choose another") from error
    except asyncpg.CheckViolationError as error:
        raise Invalid(f"not possible for a caller: {error.constraint_name}") from error
    return token


async def list_callers(connection: Connection, *, after: int = 0, limit: int | None = None) -> list[ListedCaller]:
    """A page of callers in the order of their ids, revoked ones too; without a limit all of them."""
    return [_listed(row) for row in await connection.fetch(statement("callers.list_callers"), after, limit)]


async def read_caller(connection: Connection, caller_id: int) -> ListedCaller:
    """Raises NotFound."""
    row = await connection.fetchrow(statement("callers.read_caller"), caller_id)
    if row is None:
        raise _no_such_caller()
    return _listed(row)


async def caller_of_token(connection: Connection, token: str) -> ListedCaller:
    """Raises NotFound."""
    token_id, _ = parse_token(token)
    row = await connection.fetchrow(statement("callers.caller_by_token"), token_id)
    return await read_caller(connection, 0 if row is None else row["caller_id"])


async def set_limits(connection: Connection, caller_id: int, changes: Mapping[str, int | None]) -> None:
    """Change the limits that are named; None takes one away. In force within KEYSERVICE_CATALOGUE_SECONDS.

    Raises NotFound, and Invalid when what comes of it is not possible: the transaction is then to be rolled back.
    """
    _demand_possible(replace(NO_LIMITS, **{"per_second": 1, **changes}))
    values = [value for name in ("per_second", "burst", "per_day") for value in (name in changes, changes.get(name))]
    row = await connection.fetchrow(statement("callers.set_limits"), caller_id, *values)
    if row is None:
        raise _no_such_caller()
    _demand_possible(RequestLimits(*row.values()))


async def revoke_caller(connection: Connection, name: str) -> None:
    """Make the caller's token worthless. Raises NotFound when there is no such living caller."""
    if await connection.fetchval(statement("callers.revoke_caller"), name) is None:
        raise NotFound("there is no caller of this name that is not revoked yet")


async def revoke_caller_by_id(connection: Connection, caller_id: int) -> ListedCaller:
    """The same by id; whoever is revoked already stays so, since the first time. Raises NotFound."""
    await connection.execute(statement("callers.revoke_caller_by_id"), caller_id)
    return await read_caller(connection, caller_id)


async def publisher_id_of(connection: Connection, handle: str) -> int:
    """The id behind a publisher's handle. Raises NotFound."""
    found = await connection.fetchval(statement("callers.publisher_by_handle"), handle)
    if found is None:
        raise NotFound("there is no publisher of this handle; add it first")
    return int(found)


def _demand_possible(limits: RequestLimits) -> None:
    for field, value, maximum in (
        ("requests_per_second", limits.per_second, PER_SECOND_MAX),
        ("requests_burst", limits.burst, PER_SECOND_MAX),
        ("requests_per_day", limits.per_day, PER_DAY_MAX),
    ):
        if value is not None and not 1 <= value <= maximum:
            raise Invalid(f"must be from 1 to {maximum}", field=field)
    if limits.burst is not None and limits.per_second is None:
        raise Invalid("a burst belongs to a number of requests per second; set both", field="requests_burst")


def _columns(limits: RequestLimits) -> tuple[int | None, int | None, int | None]:
    return limits.per_second, limits.burst, limits.per_day


def _an(kind: CallerKind) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _no_such_caller() -> NotFound:
    return NotFound("there is no such caller")


def _listed(row: asyncpg.Record) -> ListedCaller:
    return ListedCaller(
        caller_id=row["caller_id"],
        kind=CallerKind(row["kind"]),
        name=row["name"],
        publisher=row["handle"],
        scopes=tuple(row["scopes"]),
        token_id=row["token_id"],
        validation_profile=row["validation_profile"],
        cancel_period_days=row["cancel_period_days"],
        is_sandbox=row["is_sandbox"],
        limits=RequestLimits(row["requests_per_second"], row["requests_burst"], row["requests_per_day"]),
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )
