"""The things and the callers that stand behind the matrix, as they lie in the database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from keyservice.connectors.document import ConnectorDocument
from keyservice.crypto.tokens import new_token
from keyservice.domain.caller import SCOPES_OF_KIND, CallerKind
from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.key_request import RequestState
from keyservice.domain.notice import NoticeOwner
from keyservice.fulfillment.end_requests import insert_requests
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_callers import add_caller, caller_of_token, revoke_caller
from keyservice.fulfillment.manage_connectors import create_connector
from keyservice.fulfillment.manage_packages import PackageTerms, create_package
from keyservice.fulfillment.manage_webhooks import WebhookDesk
from keyservice.fulfillment.replay_notices import send_test_notice
from keyservice.fulfillment.stored_request import new_request
from tests.api.authorization_matrix import (
    CLAIM_VERBS,
    SELLERS,
    ClaimIds,
    Matrix,
    Visitor,
    single_scopes,
)
from tests.api.matrix_bodies import MISSING, WebhookIds, World, connector_document
from tests.api.premises import Premises, access_token_for, forged
from tests.fulfillment.feeds import cancelled, read_page
from tests.fulfillment.pipeline import Pipeline, units_of
from tests.lab.shop import Shop


async def furnished(premises: Premises) -> Matrix:
    """Both publishers get batches in all states, the first one also keys to sell."""
    own, foreign = [await _world(premises, shop) for shop in (premises.own, premises.foreign)]
    shop = premises.own
    await shop.load([f"OWN-{number}" for number in range(2_000)])
    batches = dict.fromkeys(own.batches, MISSING)
    missing = World("nobody-of-this-name", MISSING, MISSING, 9_999_999, 9_999_999, batches, MISSING, MISSING, 9_999_999)
    orders = {
        number: (await shop.submit(shop.order(number, email="foreign@example.com"))).order_id
        for number in ("foreign-read", "foreign-cancel")
    }
    stranger = await Pipeline.opened(shop)
    claims = await _claims(stranger, "foreign")
    emails = {"own": "own@example.com", "foreign": "foreign@example.com", "missing": "missing@example.com"}
    webhook = await _webhook(shop, NoticeOwner(caller_id=stranger.caller.caller_id))
    return Matrix(own, foreign, missing, orders, claims, emails, webhook)


async def all_visitors(premises: Premises, matrix: Matrix) -> list[Visitor]:
    """Without a good credential, with all rights of each kind, and with each single right in the hands of each kind."""
    full = {kind: (kind, SCOPES_OF_KIND[kind]) for kind in CallerKind}
    token = premises.publisher
    found = [
        Visitor("nobody"),
        Visitor("malformed", token="ks_guess"),
        Visitor("unknown", token=new_token()[1]),
        *(Visitor(f"forged {one[:15]}", token=forged(one)) for one in (token, premises.admin, premises.reseller)),
        Visitor("publisher in the wrong header", token=token, is_in_wrong_header=True),
        Visitor("reseller in the wrong header", token=premises.reseller, is_in_wrong_header=True),
        Visitor("publisher", *full[CallerKind.PUBLISHER], premises.publisher, matrix.own),
        Visitor("other publisher", *full[CallerKind.PUBLISHER], premises.foreign_publisher, matrix.foreign),
        Visitor("admin", *full[CallerKind.ADMIN], premises.admin),
        await _with_orders(premises, Visitor("reseller", *full[CallerKind.RESELLER], premises.reseller)),
        await _with_orders(premises, Visitor("other reseller", *full[CallerKind.RESELLER], premises.foreign_reseller)),
    ]
    for kind in CallerKind:
        if kind not in {visitor.kind for visitor in found}:
            visitor = Visitor(str(kind), *full[kind], await _token(premises, kind, f"full {kind}"))
            found.append(await _with_orders(premises, visitor) if kind in SELLERS else visitor)
        found += await _revoked(premises, kind)
        found += await _short_lived(premises, matrix, kind)
    for kind, scope in single_scopes():
        name = f"{kind} with only {scope}"
        token = await _token(premises, kind, name)
        async with premises.services.database.transaction() as connection:
            # Written past the verb that refuses it: what a caller may is decided again at every request.
            await connection.execute("UPDATE callers SET scopes = $2 WHERE name = $1", name, [scope])
        own = matrix.own if kind is CallerKind.PUBLISHER else None
        visitor = Visitor(name, kind, frozenset({scope}), token, own)
        found.append(await _with_orders(premises, visitor) if kind in SELLERS else visitor)
    return found


async def _revoked(premises: Premises, kind: CallerKind) -> list[Visitor]:
    """With the token of a caller that was revoked, and with an access token that it got before."""
    name = f"revoked {kind}"
    token = await _token(premises, kind, name)
    access_token = await access_token_for(premises, token)
    async with premises.services.database.transaction() as connection:
        await revoke_caller(connection, name)
    return [Visitor(name, token=token), Visitor(f"access token of {name}", token=access_token)]


async def _short_lived(premises: Premises, matrix: Matrix, kind: CallerKind) -> list[Visitor]:
    """With an access token that is good, one for a single right, one that is over and one that is not good yet."""
    token = await _token(premises, kind, f"short-lived {kind}")
    all_of_it = SCOPES_OF_KIND[kind]
    own = matrix.own if kind is CallerKind.PUBLISHER else None
    visitors = []
    for scopes in (all_of_it, frozenset({min(all_of_it)})):
        access_token = await access_token_for(premises, token, scopes)
        name = f"{kind} with an access token for {len(scopes)} scopes"
        visitor = Visitor(name, kind, scopes, access_token, own, is_short_lived=True)
        visitors.append(await _with_orders(premises, visitor) if kind in SELLERS else visitor)
    hour = timedelta(hours=1)
    for name, moved in (("expired", -hour), ("future", hour)):
        visitors.append(Visitor(f"{name} {kind}", token=await access_token_for(premises, token, moved=moved)))
    return visitors


async def _world(premises: Premises, shop: Shop) -> World:
    batches = {state: await _batch(shop, state) for state in ("released", "held", "withdrawn")}
    batches["discarded"] = await _discarded(shop)
    template_id, name = premises.templates[shop.publisher], f"to be revoked {shop.publisher}"
    async with premises.services.database.transaction() as connection:
        listed = await caller_of_token(connection, await add_caller(connection, kind=CallerKind.AUDITOR, name=name))
    product_ref, revocation_id = shop.product_ref, await _revocation(shop)
    package_ref = product_ref + 1
    package = await create_package(
        shop.services.database, shop.publisher_id, PackageTerms("a package", (package_ref,)), caller_id=listed.caller_id
    )
    return World(
        shop.publisher,
        shop.pool_id,
        template_id,
        product_ref,
        listed.caller_id,
        batches,
        revocation_id,
        package.package_id,
        package_ref,
        *await _asked(shop),
        await _webhook(shop, NoticeOwner(publisher_id=shop.publisher_id)),
    )


async def _batch(shop: Shop, state: str) -> UUID:
    """A batch of one key, and of one row that was refused."""
    segment_id = await shop.load([f"{state.upper()}-1"], state="open" if state == "released" else state)
    async with shop.services.database.transaction() as connection:
        batch_id: UUID = await connection.fetchval("SELECT batch_id FROM segments WHERE segment_id = $1", segment_id)
        await connection.execute(
            "INSERT INTO refused_rows (publisher_id, batch_id, row_number, verdict) VALUES ($1, $2, 7, 'malformed')",
            *(shop.publisher_id, batch_id),
        )
    return batch_id


async def _discarded(shop: Shop) -> UUID:
    batch_id = new_id()
    async with shop.services.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO batches (publisher_id, batch_id, pool_id, state, file_format, file_options, data_key_id,"
            " created_by, created_at, progressed_at) VALUES ($1, $2, $3, 'discarded', 'txt', '{}', 0, 1, $4, $4)",
            *(shop.publisher_id, batch_id, shop.pool_id, datetime.now(UTC)),
        )
    return batch_id


async def _revocation(shop: Shop) -> UUID:
    """The first entry of the publisher's feed."""
    await shop.load([f"DEAD-OF-{shop.publisher}"])
    await cancelled(shop, "dead")
    return (await read_page(shop)).entries[0].numbered.revocation.revocation_id


async def _asked(shop: Shop) -> tuple[UUID, UUID, UUID]:
    """A connector, a request that is about to be sent, and one whose publisher tells by itself."""
    now = datetime.now(UTC)
    document = ConnectorDocument.model_validate_json(connector_document())
    made = await create_connector(
        shop.services.database, shop.publisher_id, name="licenses", document=document, caller_id=1, now=now
    )
    async with shop.services.database.reading() as connection:
        order_id = await connection.fetchval(
            "SELECT order_id FROM line_items WHERE publisher_id = $1 LIMIT 1", shop.publisher_id
        )
    requests = [
        new_request(
            publisher_id=shop.publisher_id,
            connector_id=made.listed.connector_id,
            connector_version=1,
            operation=ConnectorOperation.CREATE,
            order_id=order_id,
            line_number=1,
            unit_ids=[new_id()],
            state=RequestState.PLANNED,
            now=now,
            give_up_at=now + timedelta(days=1),
            next_at=now + timedelta(days=1),
        )
        for _ in range(2)
    ]
    async with shop.services.database.transaction() as connection:
        await insert_requests(connection, requests)
    return made.listed.connector_id, requests[0].key_request_id, requests[1].key_request_id


async def _webhook(shop: Shop, owner: NoticeOwner) -> WebhookIds:
    services = shop.services
    desk = WebhookDesk.of(services.database, services.wrapper, services.egress, owner, endpoints_max=1_000)
    endpoint, _ = await desk.create("https://hooks.example.com/matrix", ())
    return WebhookIds(endpoint.endpoint_id, await send_test_notice(desk, endpoint.endpoint_id))


async def _token(premises: Premises, kind: CallerKind, name: str) -> str:
    publisher = premises.own.publisher if kind is CallerKind.PUBLISHER else None
    async with premises.services.database.transaction() as connection:
        return await add_caller(connection, kind=kind, name=name, publisher=publisher)


async def _with_orders(premises: Premises, visitor: Visitor) -> Visitor:
    caller = await premises.services.gatekeeper.identify_bearer(visitor.token)
    shop = replace(premises.own, reseller=caller)
    orders = {
        number: (await shop.submit(shop.order(number, email="own@example.com"))).order_id
        for number in ("own-read", "own-cancel")
    }
    claims = await _claims(Pipeline(shop, caller), "own") if visitor.kind is CallerKind.PIPELINE else {}
    webhook = await _webhook(shop, NoticeOwner(caller_id=caller.caller_id))
    return replace(visitor, orders=orders, claims=claims, webhook=webhook)


async def _claims(pipeline: Pipeline, owner: str) -> dict[str, ClaimIds]:
    """One claim for each thing that can be done with it; what is extended, committed or released is on hold."""
    claims = {}
    for verb in ("read", *CLAIM_VERBS):
        hold_seconds = 3_600 if verb in ("extend", "commit", "release") else None
        (unit,) = units_of(await pipeline.claim(f"{owner}-{verb}", hold_seconds=hold_seconds))
        assert unit.claim_id is not None
        claims[f"{owner}-{verb}"] = ClaimIds(unit.unit_id, unit.claim_id)
    return claims
