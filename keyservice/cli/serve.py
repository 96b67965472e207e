"""`keyservice serve` and `keyservice migrate`."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from keyservice.cli.launcher import on_stop_signals, reserved_port, running_workers
from keyservice.cli.service_manager import tell_service_manager
from keyservice.cli.start import bring_up_to_date, first_or_known_keyring, reachable_database, running_database
from keyservice.logs import configure_logs
from keyservice.services import check_database
from keyservice.settings import Settings, read_settings

log = structlog.get_logger(__name__)


def serve(
    port: Annotated[int | None, typer.Option(help="TCP port; 0 lets the system choose")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    processes: Annotated[int | None, typer.Option(help="worker processes that share the port")] = None,
    data_directory: Annotated[
        Path | None, typer.Option(help="where the embedded database and the keyring live")
    ] = None,
) -> None:
    """Serve until SIGINT or SIGTERM, with an embedded PostgreSQL unless KEYSERVICE_DATABASE_URL names one."""
    settings = read_settings(
        **_given(port=port, host=host, processes=processes, data_directory=data_directory),
    )
    writer = configure_logs(settings.log_level)
    try:
        asyncio.run(_serve(settings))
    finally:
        writer.close()


def migrate_database() -> None:
    """Bring the database's schema to the newest version (KEYSERVICE_DATABASE_OWNER_URL, or the embedded database)."""
    settings = read_settings()

    async def run() -> None:
        async with reachable_database(settings, migrates_running=True):
            pass

    asyncio.run(run())
    typer.echo("the schema is up to date")


async def _serve(settings: Settings) -> None:
    with reserved_port(settings.host, settings.port):
        pass  # a taken port is refused before anything is started
    settings.data_directory.mkdir(parents=True, exist_ok=True)
    stop = asyncio.Event()
    with on_stop_signals(stop.set):
        async with running_database(settings) as address:
            await bring_up_to_date(address)
            keyring, is_new = await first_or_known_keyring(settings, address)
            if is_new:
                warn_of_new_keyring(settings)
            await check_database(address.service_url, keyring)
            async with running_workers(settings, address) as port:
                log.info("service_ready", port=port, processes=settings.processes)
                typer.echo(f"keyservice listens on http://{settings.host}:{port}", err=True)
                tell_service_manager("READY=1")
                await stop.wait()
                tell_service_manager("STOPPING=1")
            log.info("service_stopping")


def warn_of_new_keyring(settings: Settings) -> None:
    """Say loudly that without this file every key in the database is lost."""
    typer.secho(
        f"\n  BACK UP {settings.keyring_path} NOW, apart from the database's backups.\n"
        "  It was made at this first start. Without it no key in the database can ever be opened again.\n"
        "  `keyservice secrets verify FILE` proves a backup.\n",
        fg=typer.colors.YELLOW,
        bold=True,
        err=True,
    )


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
