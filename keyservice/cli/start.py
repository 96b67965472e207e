"""What every command needs first: settings, a database at the newest schema, the keyring."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from keyservice.crypto.keyring import Keyring, KeyringMissing
from keyservice.fulfillment.prove_secrets import read_check_values
from keyservice.postgres.binaries import PostgresBinaries
from keyservice.postgres.connection import UnsafeDatabase, pipeline_transaction
from keyservice.postgres.embedded import EmbeddedPostgres
from keyservice.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where the service finds its database, and where migrations go if this installation runs them."""

    service_url: str
    owner_url: str | None


@asynccontextmanager
async def running_database(settings: Settings) -> AsyncIterator[DatabaseAddress]:
    """The configured database, or the embedded one, started and supervised until left."""
    if settings.database_url is not None:
        yield _configured(settings)
        return
    async with EmbeddedPostgres.running(
        settings.data_directory / "database",
        binaries=PostgresBinaries.locate(),
        operating_system_user=settings.embedded_user,
    ) as server:
        yield DatabaseAddress(server.service_url, server.owner_url)


@asynccontextmanager
async def reachable_database(settings: Settings, *, migrates_running: bool = False) -> AsyncIterator[DatabaseAddress]:
    """The same for a short command: an embedded server that a service runs already is shared, not started again.

    A database that nobody serves is migrated first; one that is being served only when `migrates_running`.
    """
    if settings.database_url is None:
        server = await EmbeddedPostgres.attach(settings.data_directory / "database")
        if server is not None:
            address = DatabaseAddress(server.service_url, server.owner_url)
            if migrates_running:
                await bring_up_to_date(address)
            yield address
            return
    async with running_database(settings) as address:
        await bring_up_to_date(address)
        yield address


async def bring_up_to_date(address: DatabaseAddress) -> None:
    """Migrate, when this installation knows the owner; else start-up only checks the version."""
    if address.owner_url is not None:
        # Here, because Alembic costs every other command half a second.
        from keyservice.postgres.migrate import migrate, role_of

        role, password = role_of(address.service_url)
        await migrate(address.owner_url, service_role=role, service_password=password)
        log.info("schema_ready")


async def first_or_known_keyring(settings: Settings, address: DatabaseAddress) -> tuple[Keyring, bool]:
    """The keyring, and whether it was made just now. Only a database that never saw a secret may get a new one."""
    try:
        return Keyring.load(settings.keyring_path), False
    except KeyringMissing:
        async with pipeline_transaction(address.service_url) as connection:
            is_first_start = not await read_check_values(connection)
        if not is_first_start:
            raise
    settings.keyring_path.parent.mkdir(parents=True, exist_ok=True)
    return Keyring.create(settings.keyring_path, datetime.now(UTC)), True


def _configured(settings: Settings) -> DatabaseAddress:
    if settings.database_url is None:
        raise UnsafeDatabase("no database is configured")
    owner = settings.database_owner_url
    return DatabaseAddress(
        settings.database_url.get_secret_value(), None if owner is None else owner.get_secret_value()
    )
