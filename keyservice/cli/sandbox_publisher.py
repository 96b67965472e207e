"""`keyservice sandbox-publisher`: a publisher's own API to try connectors with, on this machine."""

import asyncio
import sys
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from keyservice.cli.launcher import on_stop_signals
from keyservice.sandbox.publisher import Publisher, running_publisher

DEFAULT_PORT: Final = 8_090
_LET_OUT: Final = (
    "export KEYSERVICE_EGRESS_NETWORKS=127.0.0.0/8 KEYSERVICE_EGRESS_PORTS= KEYSERVICE_EGRESS_PLAIN_HTTP=1"
)


def sandbox_publisher(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="TCP port; 0 lets the system choose")] = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    seed: Annotated[str, typer.Option(help="the same seed gives the same credentials and keys")] = "sandbox",
    stock: Annotated[int | None, typer.Option(min=0, help="keys until it is out of stock; default: never")] = None,
) -> None:
    """Play a publisher that issues keys by its own API, until SIGINT or SIGTERM. Its keys open nothing."""
    asyncio.run(_serve(host, port, seed, stock))


async def _serve(host: str, port: int, seed: str, stock: int | None) -> None:
    stop = asyncio.Event()
    async with running_publisher(host=host, port=port, seed=seed, stock=stock) as publisher:
        with on_stop_signals(stop.set):
            _tell(Console(), publisher)
            await stop.wait()


def _tell(console: Console, publisher: Publisher) -> None:
    console.print("A publisher that is not real. Let the service connect to it:", highlight=False)
    console.print(_LET_OUT, soft_wrap=True, highlight=False)
    table = Table("preset", "base URL")
    for name in publisher.families:
        table.add_row(name, publisher.url_of(name))
    console.print(table)
    secrets = Table("secret", "value")
    secrets.add_row("(user)", publisher.credentials.user)
    for name, value in publisher.credentials.secrets.items():
        secrets.add_row(name, value)
    console.print(secrets)
    for name in ("password", "token", "api_key"):
        console.print(
            f"export SANDBOX_{name.upper()}={publisher.credentials.secrets[name]}", soft_wrap=True, highlight=False
        )
    console.print("the secret signing_key, where a protocol wants a private key:", highlight=False)
    console.print(publisher.credentials.signing_key.strip(), soft_wrap=True, highlight=False)
    console.print(f"its books: {publisher.url}/ledger", soft_wrap=True, highlight=False)
    sys.stdout.flush()
