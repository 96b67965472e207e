from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from keyservice.domain.errors import Conflict, Invalid, NotFound
from keyservice.fulfillment import manage_connectors
from keyservice.fulfillment.connector_secrets import read_secrets
from keyservice.fulfillment.keep_connector_secrets import SECRET_CHARACTERS_MAX, delete_secret, keep_secrets
from keyservice.fulfillment.manage_connectors import (
    DOCUMENT_BYTES_MAX,
    add_version,
    create_connector,
    list_connectors,
    list_versions,
    read_connector,
    read_connector_version,
)
from keyservice.fulfillment.manage_pools import list_events, list_pools
from keyservice.fulfillment.stored_connector import ConnectorState, ConnectorView
from keyservice.fulfillment.switch_connector import switch_connector
from keyservice.postgres.statements import statement
from tests.api.premises import tables_with
from tests.fulfillment.connector_documents import document
from tests.lab.shop import Shop

NOW = datetime(2026, 11, 26, tzinfo=UTC)


async def _made(shop: Shop, name: str = "licenses", **members: Any) -> ConnectorView:
    return await create_connector(
        shop.services.database,
        shop.publisher_id,
        name=name,
        document=document(**members),
        caller_id=7,
        now=NOW,
    )


async def _switched(shop: Shop, connector_id: UUID, state: ConnectorState) -> ConnectorView:
    return await switch_connector(shop.services.database, shop.publisher_id, connector_id, state, caller_id=7, now=NOW)


async def _kept(shop: Shop, connector_id: UUID, **secrets: str) -> ConnectorView:
    services = shop.services
    return await keep_secrets(
        services.database, services.wrapper, shop.publisher_id, connector_id, secrets, caller_id=7, now=NOW
    )


async def _changed(shop: Shop, connector_id: UUID, edited: int, **members: Any) -> ConnectorView:
    return await add_version(
        shop.services.database,
        shop.publisher_id,
        connector_id,
        document=document(**members),
        edited_version=edited,
        caller_id=7,
        now=NOW,
    )


async def _shake(shop: Shop, connector_id: UUID, version: int, *, is_good: bool = True) -> None:
    handshake = '{"is_good": true}' if is_good else '{"is_good": false}'
    async with shop.services.database.of_publisher(shop.publisher_id).transaction() as connection:
        await connection.execute(
            statement("managed_connectors.put_handshake"), shop.publisher_id, connector_id, version, NOW, handshake
        )


async def test_a_connector_begins_as_a_draft_with_a_pool_that_is_nobodys_to_manage(shop: Shop) -> None:
    pools = await list_pools(shop.services.database, shop.publisher_id)
    view = await _made(shop)
    assert (view.listed.state, view.listed.version, view.missing_secrets) == (ConnectorState.DRAFT, 1, ("token",))
    assert view == await read_connector(shop.services.database, shop.publisher_id, view.listed.connector_id)
    assert await list_pools(shop.services.database, shop.publisher_id) == pools
    async with shop.services.database.reading() as connection:
        name = await connection.fetchval(
            "SELECT p.name FROM pools p JOIN connectors c USING (publisher_id, pool_id) WHERE p.connector_id = $1",
            view.listed.connector_id,
        )
    assert name.startswith(" "), "the door for pools takes no name that begins with a space"


async def test_a_name_is_taken_once_of_each_publisher(shop: Shop) -> None:
    await _made(shop, "twice")
    with pytest.raises(Conflict, match="name"):
        await _made(shop, "twice")
    neighbour = await Shop.opened(shop.services)
    view = await _made(neighbour, "twice")
    with pytest.raises(NotFound):
        await read_connector(shop.services.database, shop.publisher_id, view.listed.connector_id)
    for state in ConnectorState:
        with pytest.raises(NotFound):
            await _switched(shop, view.listed.connector_id, state)
    with pytest.raises(NotFound):
        await _kept(shop, view.listed.connector_id, token="x")
    with pytest.raises(NotFound):
        await _changed(shop, view.listed.connector_id, 1)
    with pytest.raises(NotFound):
        await list_versions(shop.services.database, shop.publisher_id, view.listed.connector_id, before=None, limit=9)


async def test_a_version_is_made_from_the_newest_one_or_not_at_all(shop: Shop) -> None:
    view = await _made(shop)
    connector_id = view.listed.connector_id
    changed = await _changed(shop, connector_id, 1, budget_seconds=4)
    assert (changed.listed.version, changed.newest.version, changed.newest.document.budget_seconds) == (2, 2, 4)
    with pytest.raises(Conflict, match="newest version is 2"):
        await _changed(shop, connector_id, 1, budget_seconds=5)
    database = shop.services.database
    first = await read_connector_version(database, shop.publisher_id, connector_id, 1)
    assert first == view.newest
    with pytest.raises(NotFound):
        await read_connector_version(database, shop.publisher_id, connector_id, 3)
    versions = await list_versions(database, shop.publisher_id, connector_id, before=None, limit=1)
    rest = await list_versions(database, shop.publisher_id, connector_id, before=versions[-1].version, limit=5)
    assert [one.version for one in (*versions, *rest)] == [2, 1]


async def test_secrets_are_sealed_and_only_those_that_the_document_names_are_kept(shop: Shop) -> None:
    connector_id = (await _made(shop)).listed.connector_id
    view = await _kept(shop, connector_id, token="SECRET-OF-THE-HOUSE")
    assert ([secret.name for secret in view.secrets], view.missing_secrets) == (["token"], ())
    assert await tables_with(shop.services.database, "SECRET-OF-THE-HOUSE") == []
    with pytest.raises(Invalid, match="names: token"):
        await _kept(shop, connector_id, password="x")
    for text in ("", "x" * (SECRET_CHARACTERS_MAX + 1)):
        with pytest.raises(Invalid):
            await _kept(shop, connector_id, token=text)
    with pytest.raises(Invalid):
        await _kept(shop, connector_id)
    async with shop.services.database.reading() as connection:
        opened = await read_secrets(connection, shop.services.wrapper, shop.publisher_id, connector_id)
    assert opened == {"token": "SECRET-OF-THE-HOUSE"}


async def test_what_is_missing_keeps_a_connector_from_being_enabled(shop: Shop) -> None:
    gap = {"path": "operations.create.keys.0.path", "hint": "where the key stands"}
    connector_id = (await _made(shop, to_fill_in=[gap])).listed.connector_id
    with pytest.raises(Conflict, match=r"operations\.create\.keys"):
        await _switched(shop, connector_id, ConnectorState.ENABLED)
    await _changed(shop, connector_id, 1)
    for state in (ConnectorState.ENABLED, ConnectorState.TESTING):
        with pytest.raises(Conflict, match="token"):
            await _switched(shop, connector_id, state)
    await _kept(shop, connector_id, token="x")
    with pytest.raises(Conflict, match="handshake"):
        await _switched(shop, connector_id, ConnectorState.ENABLED)
    assert (await _switched(shop, connector_id, ConnectorState.TESTING)).listed.state is ConnectorState.TESTING
    await _shake(shop, connector_id, 2, is_good=False)
    with pytest.raises(Conflict, match="handshake"):
        await _switched(shop, connector_id, ConnectorState.ENABLED)
    await _shake(shop, connector_id, 2)
    assert (await _switched(shop, connector_id, ConnectorState.ENABLED)).listed.state is ConnectorState.ENABLED


async def test_a_new_version_of_an_enabled_connector_waits_until_it_has_shaken_hands_itself(shop: Shop) -> None:
    connector_id = (await _made(shop)).listed.connector_id
    await _kept(shop, connector_id, token="x")
    await _shake(shop, connector_id, 1)
    await _switched(shop, connector_id, ConnectorState.ENABLED)
    changed = await _changed(shop, connector_id, 1, authentication={"kind": "header", "name": "X-Key"})
    assert (changed.listed.version, changed.newest.version, changed.missing_secrets) == (1, 2, ("api_key",))
    with pytest.raises(Conflict, match="needs this secret"):
        await delete_secret(shop.services.database, shop.publisher_id, connector_id, "token", caller_id=7, now=NOW)
    await _kept(shop, connector_id, api_key="y", token="z")
    with pytest.raises(Conflict, match="handshake"):
        await _switched(shop, connector_id, ConnectorState.ENABLED)
    await _shake(shop, connector_id, 2)
    assert (await _switched(shop, connector_id, ConnectorState.ENABLED)).listed.version == 2
    view = await delete_secret(shop.services.database, shop.publisher_id, connector_id, "token", caller_id=7, now=NOW)
    assert [secret.name for secret in view.secrets] == ["api_key"]
    assert view == await delete_secret(
        shop.services.database, shop.publisher_id, connector_id, "token", caller_id=7, now=NOW
    )
    disabled = await _switched(shop, connector_id, ConnectorState.DISABLED)
    assert (disabled.listed.state, disabled.listed.version) == (ConnectorState.DISABLED, 2)


async def test_every_change_is_an_event_and_none_holds_a_secret(shop: Shop) -> None:
    connector_id = (await _made(shop)).listed.connector_id
    await _kept(shop, connector_id, token="SECRET-IN-NO-EVENT")
    await _changed(shop, connector_id, 1, budget_seconds=5)
    await _shake(shop, connector_id, 2)
    for state in (ConnectorState.TESTING, ConnectorState.ENABLED, ConnectorState.ENABLED, ConnectorState.DISABLED):
        await _switched(shop, connector_id, state)
    await delete_secret(shop.services.database, shop.publisher_id, connector_id, "token", caller_id=7, now=NOW)
    events = await list_events(shop.services.database, shop.publisher_id, pool_id=None, after=None, limit=100)
    assert [event.name.removeprefix("connector.") for event in events] == [
        *("created", "secrets-put", "version-added", "testing", "enabled", "disabled", "secret-deleted")
    ]
    assert {event.facts["connector_id"] for event in events} == {str(connector_id)}
    assert {event.caller_id for event in events} == {7}


async def test_connectors_are_listed_page_by_page_and_are_only_so_many(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [(await _made(shop, f"connector {number}")).listed for number in range(3)]
    first = await list_connectors(shop.services.database, shop.publisher_id, limit=2)
    rest = await list_connectors(shop.services.database, shop.publisher_id, after=first[-1].connector_id)
    assert [*first, *rest] == made
    monkeypatch.setattr(manage_connectors, "CONNECTORS_MAX", 3)
    with pytest.raises(Conflict, match="at most 3"):
        await _made(shop, "one too many")
    monkeypatch.setattr(manage_connectors, "VERSIONS_MAX", 2)
    await _changed(shop, made[0].connector_id, 1, budget_seconds=5)
    with pytest.raises(Conflict, match="at most 2 versions"):
        await _changed(shop, made[0].connector_id, 2, budget_seconds=6)


async def test_a_document_that_is_too_large_is_refused(shop: Shop) -> None:
    create = {"body": {"kind": "text", "template": "x" * 60_000}}
    operations = dict.fromkeys(
        ("create", "cancel", "renew", "upgrade", "pause", "resume", "look_up", "reserve"), create
    )
    headers = [{"name": f"X-{number}", "value": "y" * 60_000} for number in range(2)]
    with pytest.raises(Invalid, match=str(DOCUMENT_BYTES_MAX)):
        await _made(shop, operations={name: {**one, "headers": headers} for name, one in operations.items()})
    with pytest.raises(NotFound):
        await read_connector(shop.services.database, shop.publisher_id, uuid4())
