"""`keyservice secrets init|verify`."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from keyservice.cli.serve import warn_of_new_keyring
from keyservice.cli.start import reachable_database
from keyservice.crypto.keyring import Keyring, compare_check_values
from keyservice.domain.errors import Conflict
from keyservice.fulfillment.prove_secrets import read_check_values
from keyservice.postgres.connection import pipeline_transaction
from keyservice.settings import Settings, read_settings

app = typer.Typer(help="The secrets that open the keys.", no_args_is_help=True)


@app.command()
def init() -> None:
    """Make the keyring file before the first start, for example to put it into a vault first."""
    settings = read_settings()
    settings.keyring_path.parent.mkdir(parents=True, exist_ok=True)
    Keyring.create(settings.keyring_path, datetime.now(UTC))
    warn_of_new_keyring(settings)


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="a backup of the keyring; default: the keyring in use")] = None,
) -> None:
    """Prove that a keyring file opens what this database holds."""
    settings = read_settings()
    keyring = Keyring.load(file or settings.keyring_path)
    asyncio.run(_compare(settings, keyring))
    typer.echo(f"{file or settings.keyring_path} holds every secret that this database was sealed under")


async def _compare(settings: Settings, keyring: Keyring) -> None:
    async with reachable_database(settings) as address, pipeline_transaction(address.service_url) as connection:
        stored = await read_check_values(connection)
    if not stored:
        raise Conflict("this database has not been sealed under any keyring yet: start the service once")
    compare_check_values(stored, keyring)
