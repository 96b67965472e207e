"""The command line."""

import logging
import sys

import structlog
import typer
from rich.console import Console
from rich.text import Text

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
    # Until `serve` sets its own logs up: a short command's output is its own.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        app()
    except _REFUSALS as refusal:
        told = Text.assemble(("refused:", "bold red"), f" {refusal}")
        Console(stderr=True).print(told, soft_wrap=True, highlight=False)
        sys.exit(1)
