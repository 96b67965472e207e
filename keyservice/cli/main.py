"""The command line."""

import sys

import typer
from rich.console import Console

from keyservice.cli import callers, demo, import_batch, secrets, serve
from keyservice.cli.launcher import PortTaken, WorkerNotStarted
from keyservice.domain.errors import KeyserviceError
from keyservice.postgres.connection import UnsafeDatabase
from keyservice.settings import SettingsRefused

app = typer.Typer(
    name="keyservice",
    help="Delivers license keys for software that is sold online.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(name="serve")(serve.serve)
app.command(name="migrate")(serve.migrate_database)
app.command(name="demo")(demo.demo)
app.command(name="import-batch")(import_batch.import_batch)
app.add_typer(callers.app, name="callers")
app.add_typer(secrets.app, name="secrets")

_REFUSALS = (KeyserviceError, UnsafeDatabase, SettingsRefused, PortTaken, WorkerNotStarted)


def main() -> None:
    """Run a command; what it refuses is told in one line, with exit status 1."""
    try:
        app()
    except _REFUSALS as refusal:
        Console(stderr=True).print(f"[bold red]refused:[/] {refusal}", highlight=False, markup=True)
        sys.exit(1)
