"""What all measurements stand on: one PostgreSQL, a fresh database, a keyring, and shops with keys on their tapes."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from keyservice.crypto.keyring import Keyring
from keyservice.domain.caller import CallerKind
from keyservice.fulfillment.manage_callers import add_caller
from keyservice.services import Services, open_services
from keyservice.settings import Settings
from tests.lab.cluster import DatabaseUrls, fresh_database
from tests.lab.shop import Shop


@dataclass(frozen=True, slots=True)
class Stand:
    """One database with what is needed to serve it."""

    urls: DatabaseUrls
    settings: Settings
    services: Services
    log: Path

    @classmethod
    @asynccontextmanager
    async def opened(cls, superuser_url: str) -> AsyncIterator["Stand"]:
        with tempfile.TemporaryDirectory(prefix="keyservice-benchmark-") as directory:
            settings = Settings(data_directory=Path(directory))
            keyring = Keyring.create(settings.keyring_path, datetime.now(UTC))
            async with (
                fresh_database(superuser_url) as urls,
                open_services(settings, database_url=urls.service, keyring=keyring) as services,
            ):
                yield cls(urls, settings, services, Path(directory) / "servers.log")

    async def execute(self, *statements: str) -> None:
        """As superuser, outside transactions."""
        connection = await asyncpg.connect(self.urls.superuser)
        try:
            for sql in statements:
                await connection.execute(sql)
        finally:
            await connection.close()


@dataclass(frozen=True, slots=True)
class StockedShop:
    """A shop with keys, and the token of a reseller whose orders are held to the strict profile."""

    shop: Shop
    secret: str

    @classmethod
    async def opened(cls, stand: Stand, *, keys: int) -> "StockedShop":
        shop = await Shop.opened(stand.services)
        async with stand.services.database.transaction() as connection:
            secret = await add_caller(connection, kind=CallerKind.RESELLER, name=f"strict-{shop.publisher}")
        await shop.load([f"BENCH-{number:023d}" for number in range(keys)])
        return cls(shop, secret)
