"""`keyservice callers add|list|revoke`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from keyservice.cli.start import reachable_database
from keyservice.domain.caller import CallerKind, Scope
from keyservice.domain.request_limits import RequestLimits
from keyservice.fulfillment.manage_callers import ListedCaller, add_caller, list_callers, revoke_caller
from keyservice.postgres.connection import Connection, pipeline_transaction
from keyservice.settings import read_settings

app = typer.Typer(help="Who may call the service.", no_args_is_help=True)
Result = TypeVar("Result")


@app.command()
def add(
    kind: Annotated[CallerKind, typer.Argument(help="reseller, publisher, pipeline, auditor or admin")],
    name: Annotated[str, typer.Argument(help="a name of your own, unique")],
    publisher: Annotated[str | None, typer.Option(help="for kind publisher: the publisher's handle")] = None,
    scope: Annotated[list[Scope] | None, typer.Option(help="repeatable; default: all that the kind may have")] = None,
    validation: Annotated[str, typer.Option(help="for resellers: strict, priced or lenient")] = "strict",
    cancel_period_days: Annotated[int, typer.Option(help="for resellers: how long orders can be cancelled")] = 14,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="its orders only ever take sandbox keys")] = False,
    requests_per_second: Annotated[int | None, typer.Option(help="default: the service's setting")] = None,
    burst: Annotated[
        int | None, typer.Option(help="requests at once after a pause; default: those of a second")
    ] = None,
    requests_per_day: Annotated[int | None, typer.Option(help="in a UTC day; default: the service's setting")] = None,
) -> None:
    """Add a caller and print its token, which is shown this once."""
    token = _with_connection(
        lambda connection: add_caller(
            connection,
            kind=kind,
            name=name,
            publisher=publisher,
            scopes=scope or (),
            validation_profile=validation,
            cancel_period_days=cancel_period_days,
            is_sandbox=sandbox,
            limits=RequestLimits(requests_per_second, burst, requests_per_day),
        )
    )
    typer.echo(token)


@app.command(name="list")
def list_() -> None:
    """List all callers; tokens are never shown again."""
    table = Table("id", "kind", "name", "publisher", "scopes", "limits", "token", "state")
    for caller in _with_connection(list_callers):
        table.add_row(*_cells(caller))
    Console().print(table)


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="the caller's name")]) -> None:
    """Revoke a caller's token; running services refuse it within KEYSERVICE_CATALOGUE_SECONDS."""
    _with_connection(lambda connection: revoke_caller(connection, name))
    typer.echo("revoked")


def _with_connection(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with (
            reachable_database(read_settings()) as address,
            pipeline_transaction(address.service_url) as connection,
        ):
            return await work(connection)

    return asyncio.run(run())


def _cells(caller: ListedCaller) -> tuple[str, ...]:
    state = "active" if caller.revoked_at is None else f"revoked {caller.revoked_at:%Y-%m-%d}"
    return (
        str(caller.caller_id),
        f"{caller.kind} (sandbox)" if caller.is_sandbox else caller.kind,
        caller.name,
        caller.publisher or "",
        " ".join(caller.scopes),
        _limits_in_words(caller.limits),
        f"ks_{caller.token_id}_…",
        state,
    )


def _limits_in_words(limits: RequestLimits) -> str:
    parts = []
    if limits.per_second is not None:
        parts.append(f"{limits.per_second:,} a second")
    if limits.burst is not None:
        parts.append(f"{limits.burst:,} at once")
    if limits.per_day is not None:
        parts.append(f"{limits.per_day:,} a day")
    return ", ".join(parts)
