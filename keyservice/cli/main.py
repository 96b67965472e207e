"""The command line."""

import logging
import sys

import structlog
import typer

from keyservice.cli import (
    callers,
    connectors,
    demo,
    import_batch,
    key_requests,
    sandbox_publisher,
    secrets,
    serve,
    statements,
    withdraw_keys,
)
from keyservice.cli.refusals import REFUSALS, tell

app = typer.Typer(
    name="keyservice",
    help="Delivers license keys for software that is sold online.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(name="serve")(serve.serve)
app.command(name="migrate")(serve.migrate_database)
app.command(name="demo")(demo.demo)
app.command(name="sandbox-publisher")(sandbox_publisher.sandbox_publisher)
app.command(name="import-batch")(import_batch.import_batch)
app.command(name="withdraw-keys")(withdraw_keys.withdraw_keys)
app.add_typer(callers.app, name="callers")
app.add_typer(connectors.app, name="connectors")
app.add_typer(key_requests.app, name="key-requests")
app.add_typer(secrets.app, name="secrets")
app.add_typer(statements.app, name="statements")


def main() -> None:
    """Run a command; what it refuses is told in one line."""
    # Until `serve` sets its own logs up: a short command's output is its own.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        app()
    except REFUSALS as refusal:
        sys.exit(tell(refusal))
