"""The composition root: what the service is made of, opened and closed in one place."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.crypto.keyring import Keyring
from keyservice.crypto.wrapping import KeyringWrapper, KeyWrapper
from keyservice.fulfillment.accept_order import OrderDesk, OrderDraft, OrderGroups, Placed
from keyservice.fulfillment.authenticate import Gatekeeper
from keyservice.fulfillment.catalogue import Catalogue
from keyservice.fulfillment.group_commit import GroupCommit
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.prove_secrets import prove_secrets
from keyservice.fulfillment.read_purchases import PurchaseReader
from keyservice.fulfillment.shopper_keys import ShopperKeys
from keyservice.postgres.connection import Database, check_role, check_server, open_connection
from keyservice.postgres.schema_version import check_schema
from keyservice.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a request may need."""

    settings: Settings
    database: Database
    wrapper: KeyWrapper
    fingerprints: Fingerprints
    opener: KeyOpener
    shopper_keys: ShopperKeys
    gatekeeper: Gatekeeper
    catalogue: Catalogue
    purchases: PurchaseReader
    orders: OrderDesk


SERVICES: Final = web.AppKey("services", Services)


@asynccontextmanager
async def open_services(settings: Settings, *, database_url: str, keyring: Keyring) -> AsyncIterator[Services]:
    """Check the database and the secrets, then open everything; closed in the opposite order."""
    await check_database(database_url, keyring)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database.opened(
                database_url,
                connections_max=settings.database_connections,
                statement_cache_size=settings.statement_cache_size,
            )
        )
        wrapper = KeyringWrapper(keyring)
        fingerprints = Fingerprints(keyring)
        opener = KeyOpener(wrapper)
        shopper_keys = ShopperKeys(keyring)
        purchases = PurchaseReader(database, opener)
        groups = OrderGroups(opener, shopper_keys)
        lanes = [
            await stack.enter_async_context(_lane(settings, database_url, groups, group_max).running())
            for group_max in (settings.group_orders_max, 1)
        ]
        yield Services(
            settings=settings,
            database=database,
            wrapper=wrapper,
            fingerprints=fingerprints,
            opener=opener,
            shopper_keys=shopper_keys,
            gatekeeper=Gatekeeper(database, remember_seconds=settings.catalogue_seconds),
            catalogue=Catalogue(database, remember_seconds=settings.catalogue_seconds),
            purchases=purchases,
            orders=OrderDesk(
                groups=lanes[0],
                large=lanes[1],
                units_max=settings.group_units_max,
                fingerprints=fingerprints,
                purchases=purchases,
            ),
        )


async def check_database(database_url: str, keyring: Keyring) -> None:
    """Refuse a server, role, schema or keyring that would break a promise; writes nothing but first check values."""
    connection = await open_connection(database_url)
    try:
        await check_server(connection)
        await check_role(connection)
        await check_schema(connection)
        await prove_secrets(connection, keyring)
    finally:
        await connection.close()


def _lane(
    settings: Settings, database_url: str, groups: OrderGroups, group_max: int
) -> GroupCommit[OrderDraft, Placed]:
    return GroupCommit(
        database_url,
        groups.serve,
        group_max=group_max,
        waiting_max=settings.waiting_orders_max,
        statement_cache_size=settings.statement_cache_size,
    )
