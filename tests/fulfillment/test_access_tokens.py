"""Signing keys that follow one another while their tokens are in use, in two services on one database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyservice.crypto.access_tokens import AccessClaims, key_id_of, sign_access_token
from keyservice.crypto.keyring import Keyring
from keyservice.crypto.tokens import parse_token
from keyservice.domain.caller import SCOPES_OF_KIND, CallerKind, Scope
from keyservice.domain.errors import Unauthenticated
from keyservice.fulfillment.access_tokens import AccessTokens
from keyservice.fulfillment.manage_callers import add_caller, revoke_caller
from keyservice.fulfillment.signing_keys import SigningKeys
from keyservice.services import Services, open_services
from keyservice.settings import Settings
from tests.lab.clock import SetClock
from tests.lab.cluster import fresh_database

READ = frozenset({Scope.POOLS_READ})


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def pair(
    superuser_url: str, keyring: Keyring, settings: Settings, clock: SetClock
) -> AsyncIterator[tuple[Services, Services]]:
    """Two services with memories of their own on one new database."""
    async with fresh_database(superuser_url) as urls, AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(
                open_services(settings, database_url=urls.service, keyring=keyring, clock=clock)
            )
            for _ in range(2)
        ]
        yield first, second


async def stored_key_ids(services: Services) -> set[str]:
    async with services.database.transaction() as connection:
        return {row[0] for row in await connection.fetch("SELECT key_id FROM signing_keys")}


async def shown_key_ids(services: Services) -> list[object]:
    return [key["kid"] for key in await services.access_tokens.public_keys()]


async def auditor(services: Services, name: str = "auditor") -> str:
    async with services.database.transaction() as connection:
        return await add_caller(connection, kind=CallerKind.AUDITOR, name=name)


async def test_services_that_need_the_first_key_at_once_make_one(pair: tuple[Services, Services]) -> None:
    tokens = await asyncio.gather(*(services.access_tokens.issue("abc", READ) for services in pair * 10))
    assert {key_id_of(text) for text, _ in tokens} == await stored_key_ids(pair[0])
    assert len(await stored_key_ids(pair[0])) == 1


async def test_keys_follow_one_another_while_their_tokens_are_in_use(
    pair: tuple[Services, Services], clock: SetClock
) -> None:
    first, second = pair
    issued = []
    for _ in range(20):
        clock.move(days=1, seconds=-120)
        for services, other in ((first, second), (second, first)):
            text, seconds = await services.access_tokens.issue("abc", READ)
            assert seconds == 300
            issued.append(text)
            clock.move(seconds=60)
            for reader in (services, other):
                assert (await reader.access_tokens.read(text)).client_id == "abc"
    assert len({key_id_of(text) for text in issued}) == 3
    with pytest.raises(Unauthenticated, match="expired"):
        await first.access_tokens.read(issued[-3])


async def test_a_key_verifies_for_an_hour_longer_than_it_signs_and_is_then_forgotten(
    pair: tuple[Services, Services], clock: SetClock
) -> None:
    first, second = pair
    clock.move(days=0)
    await first.access_tokens.issue("abc", READ)
    (old,) = await stored_key_ids(first)
    clock.move(days=7, seconds=-1)
    text, _ = await first.access_tokens.issue("abc", READ)
    assert key_id_of(text) == old
    clock.move(seconds=200)
    new, _ = await second.access_tokens.issue("abc", READ)
    assert key_id_of(new) != old
    assert (await second.access_tokens.read(text)).client_id == "abc"
    for services in pair:
        assert await shown_key_ids(services) == [key_id_of(new), old]
    clock.move(seconds=3_600)
    for services in pair:
        assert await shown_key_ids(services) == [key_id_of(new)]
        with pytest.raises(Unauthenticated, match="not known"):
            await services.access_tokens.read(text)
    clock.move(days=7)
    await first.access_tokens.issue("abc", READ)
    assert old not in await stored_key_ids(first)


async def test_a_key_that_somebody_else_wrote_into_the_database_verifies_nothing(
    pair: tuple[Services, Services], clock: SetClock
) -> None:
    first, second = pair
    text, _ = await first.access_tokens.issue("abc", READ)
    theirs, key_id = Ed25519PrivateKey.generate(), "f" * 32
    async with first.database.transaction() as connection:
        wrapped = await connection.fetchval("SELECT wrapped_private_key FROM signing_keys")
        await connection.execute(
            "INSERT INTO signing_keys (key_id, purpose, public_key, wrapped_private_key, created_at, signs_until,"
            " verifies_until) VALUES ($1, 'tokens', $2, $3, $4, $5, $5)",
            *(key_id, theirs.public_key().public_bytes_raw(), wrapped, clock.now, clock.now + timedelta(days=99)),
        )
    claims = AccessClaims("abc", frozenset(READ), clock.now, clock.now + timedelta(minutes=5), "1")
    forged = sign_access_token(claims, key_id, theirs, issuer="keyservice")
    for services in pair:
        with pytest.raises(Unauthenticated):
            await services.access_tokens.read(forged)
        assert key_id not in await shown_key_ids(services)
        assert (await services.access_tokens.read(text)).client_id == "abc"
    clock.move(days=8)
    assert key_id_of((await second.access_tokens.issue("abc", READ))[0]) != key_id


async def test_a_key_of_another_purpose_verifies_no_token(pair: tuple[Services, Services], clock: SetClock) -> None:
    period = timedelta(days=1)
    first, _ = pair
    keys = SigningKeys(first.database, first.wrapper, "statements", signs_for=period, verifies_for=period, clock=clock)
    key = await keys.signing()
    claims = AccessClaims("abc", frozenset(READ), clock.now, clock.now + timedelta(minutes=5), "1")
    text = sign_access_token(claims, key.key_id, key.private, issuer="keyservice")
    for services in pair:
        with pytest.raises(Unauthenticated):
            await services.access_tokens.read(text)
        assert key.key_id not in await shown_key_ids(services)


async def test_a_token_of_another_installation_is_refused(pair: tuple[Services, Services], clock: SetClock) -> None:
    first, second = pair
    period = timedelta(minutes=5)
    theirs = AccessTokens(
        first.database, first.wrapper, issuer="staging", lifetime=period, rotation=timedelta(days=7), clock=clock
    )
    text, _ = await theirs.issue("abc", READ)
    assert (await theirs.read(text)).client_id == "abc"
    with pytest.raises(Unauthenticated):
        await second.access_tokens.read(text)


async def test_a_token_dies_with_its_caller(pair: tuple[Services, Services]) -> None:
    first, second = pair
    token = await auditor(first)
    text, _ = await first.access_tokens.issue(parse_token(token)[0], READ)
    assert (await second.gatekeeper.identify_bearer(text)).name == "auditor"
    async with first.database.transaction() as connection:
        await revoke_caller(connection, "auditor")
    for services in pair:
        with pytest.raises(Unauthenticated, match="not known or was revoked"):
            await services.gatekeeper.identify_bearer(text)


async def test_a_token_never_gives_more_than_its_caller_has_now(pair: tuple[Services, Services]) -> None:
    first, second = pair
    token = await auditor(first)
    text, _ = await first.access_tokens.issue(parse_token(token)[0], {Scope.POOLS_READ, Scope.PURCHASES_READ})
    narrowed = await first.gatekeeper.identify_bearer(text)
    assert narrowed.scopes == {Scope.POOLS_READ, Scope.PURCHASES_READ}
    assert (await first.gatekeeper.identify_bearer(token)).scopes == SCOPES_OF_KIND[CallerKind.AUDITOR]
    async with first.database.transaction() as connection:
        await connection.execute("UPDATE callers SET scopes = $1", ["purchases:read", "statements:read"])
    assert (await second.gatekeeper.identify_bearer(text)).scopes == {Scope.PURCHASES_READ}


async def test_a_token_of_a_caller_that_never_was_is_refused(pair: tuple[Services, Services]) -> None:
    text, _ = await pair[0].access_tokens.issue("abcdefghij27", READ)
    with pytest.raises(Unauthenticated, match="not known or was revoked"):
        await pair[0].gatekeeper.identify_bearer(text)


async def test_only_static_tokens_are_static(pair: tuple[Services, Services]) -> None:
    token = await auditor(pair[0])
    text, _ = await pair[0].access_tokens.issue(parse_token(token)[0], READ)
    with pytest.raises(Unauthenticated):
        await pair[0].gatekeeper.identify(text)
