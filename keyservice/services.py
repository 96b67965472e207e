"""The composition root: what the service is made of, opened and closed in one place."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web

from keyservice.connectors.egress import EgressPolicy
from keyservice.connectors.engine import ConnectorEngine, running_engine
from keyservice.crypto.fingerprints import Fingerprints
from keyservice.crypto.keyring import Keyring
from keyservice.crypto.wrapping import KeyringWrapper, KeyWrapper
from keyservice.domain.request_limits import RequestLimits
from keyservice.fulfillment.accept_order import OrderDesk, OrderGroups, Placed
from keyservice.fulfillment.access_tokens import AccessTokens
from keyservice.fulfillment.ask_publishers import KeyAsker
from keyservice.fulfillment.authenticate import Gatekeeper
from keyservice.fulfillment.book_answers import Bookings
from keyservice.fulfillment.catalogue import Catalogue
from keyservice.fulfillment.connector_shelf import ConnectorShelf
from keyservice.fulfillment.group_commit import GroupCommit, Request, Result
from keyservice.fulfillment.lay_keys import KeyLayer
from keyservice.fulfillment.limit_requests import RequestLimiter
from keyservice.fulfillment.listeners import Listeners
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.order_draft import OrderDraft
from keyservice.fulfillment.prove_secrets import prove_secrets
from keyservice.fulfillment.read_purchases import PurchaseReader
from keyservice.fulfillment.request_facts import FactsReader
from keyservice.fulfillment.shopper_keys import ShopperKeys
from keyservice.fulfillment.signing_keys import SigningKeys
from keyservice.postgres.connection import Connection, Database, open_connection, pipeline_transaction
from keyservice.postgres.schema_version import check_schema
from keyservice.postgres.start_checks import check_roles, check_server
from keyservice.settings import Settings
from keyservice.unpacking.process import ChildLimits, Unpacker


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
    access_tokens: AccessTokens
    limiter: RequestLimiter
    catalogue: Catalogue
    purchases: PurchaseReader
    connectors: ConnectorShelf
    engine: ConnectorEngine
    asker: KeyAsker
    orders: OrderDesk
    statement_keys: SigningKeys
    unpacker: Unpacker
    egress: EgressPolicy


# A publisher pins a key once a year, and can show what it signed for as long as anyone might ask.
_STATEMENTS_SIGNED_FOR: Final = timedelta(days=365)
_STATEMENTS_KEPT_FOR: Final = timedelta(days=36_500)

SERVICES: Final = web.AppKey("services", Services)


@asynccontextmanager
async def open_services(
    settings: Settings,
    *,
    database_url: str,
    keyring: Keyring,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncIterator[Services]:
    """Check the database and the secrets, then open everything; closed in the opposite order.

    Callers' short-lived tokens and limits go by `clock`.
    """
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
        access_tokens = AccessTokens(
            database,
            wrapper,
            issuer=settings.token_issuer,
            lifetime=timedelta(seconds=settings.access_token_seconds),
            rotation=timedelta(days=settings.signing_key_days),
            clock=clock,
        )
        connectors = ConnectorShelf(database, wrapper, remember_seconds=settings.catalogue_seconds)
        engine = await stack.enter_async_context(running_engine(_egress(settings)))
        asker = await stack.enter_async_context(
            KeyAsker(
                database,
                connectors,
                await stack.enter_async_context(
                    _lane(
                        settings, database_url, FactsReader(shopper_keys, opener).serve, settings.group_orders_max
                    ).running()
                ),
                engine,
                await stack.enter_async_context(
                    _lane(
                        settings,
                        database_url,
                        Bookings(KeyLayer(fingerprints, wrapper), opener, connectors).serve,
                        settings.group_orders_max,
                    ).running()
                ),
                stop_seconds=settings.stop_seconds,
            ).running()
        )
        groups = OrderGroups(opener, shopper_keys)
        lanes: list[GroupCommit[OrderDraft, Placed]] = [
            _lane(settings, database_url, groups.serve, group_max) for group_max in (settings.group_orders_max, 1)
        ]
        for lane in lanes:
            await stack.enter_async_context(lane.running())
        default_limits = RequestLimits(settings.requests_per_second, settings.requests_burst, settings.requests_per_day)
        yield Services(
            settings=settings,
            database=database,
            wrapper=wrapper,
            fingerprints=fingerprints,
            opener=opener,
            shopper_keys=shopper_keys,
            gatekeeper=Gatekeeper(
                database,
                access_tokens,
                remember_seconds=settings.catalogue_seconds,
                default_limits=default_limits,
            ),
            access_tokens=access_tokens,
            limiter=RequestLimiter(database, clock=clock),
            catalogue=Catalogue(database, remember_seconds=settings.catalogue_seconds),
            purchases=purchases,
            connectors=connectors,
            engine=engine,
            asker=asker,
            orders=OrderDesk(
                groups=lanes[0],
                large=lanes[1],
                group_units_max=settings.group_units_max,
                order_units_max=settings.order_units_max,
                fingerprints=fingerprints,
                purchases=purchases,
                listeners=Listeners(database, remember_seconds=settings.catalogue_seconds),
                shelf=connectors,
                asker=asker,
            ),
            statement_keys=SigningKeys(
                database, wrapper, "statements", signs_for=_STATEMENTS_SIGNED_FOR, verifies_for=_STATEMENTS_KEPT_FOR
            ),
            unpacker=_unpacker(settings),
            egress=_egress(settings),
        )


async def check_database(database_url: str, keyring: Keyring) -> None:
    """Refuse a server, role, schema or keyring that would break a promise; writes nothing but first check values."""
    connection = await open_connection(database_url)
    try:
        await check_server(connection)
        await check_schema(connection)
        await check_roles(connection)
    finally:
        await connection.close()
    async with pipeline_transaction(database_url) as connection:
        await prove_secrets(connection, keyring)


def _egress(settings: Settings) -> EgressPolicy:
    return EgressPolicy(
        ports=settings.egress_port_numbers,
        allow_plain_http=settings.egress_plain_http,
        networks=settings.egress_allowed_networks,
    )


def _unpacker(settings: Settings) -> Unpacker:
    limits = ChildLimits(
        memory_bytes_max=settings.unpack_memory_bytes_max,
        processor_seconds_max=settings.unpack_processor_seconds_max,
        silent_seconds=settings.unpack_silent_seconds,
    )
    return Unpacker(limits, at_once=settings.unpack_at_once)


def _lane(
    settings: Settings,
    database_url: str,
    serve: Callable[[Connection, Sequence[Request]], Awaitable[Sequence[Result | Exception]]],
    group_max: int,
) -> GroupCommit[Request, Result]:
    return GroupCommit(
        database_url,
        serve,
        group_max=group_max,
        waiting_max=settings.waiting_orders_max,
        statement_cache_size=settings.statement_cache_size,
    )
