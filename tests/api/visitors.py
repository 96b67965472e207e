"""The things and the callers that stand behind the matrix, as they lie in the database."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from keyservice.crypto.tokens import new_token
from keyservice.domain.caller import SCOPES_OF_KIND, CallerKind
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_callers import add_caller, revoke_caller
from tests.api.authorization_matrix import MISSING, Matrix, Visitor, World, single_scopes
from tests.api.premises import Premises, forged
from tests.lab.shop import Shop


async def furnished(premises: Premises) -> Matrix:
    """Both publishers get batches in all states, the first one also keys to sell."""
    own, foreign = [await _world(premises, shop) for shop in (premises.own, premises.foreign)]
    shop = premises.own
    await shop.load([f"OWN-{number}" for number in range(200)])
    missing = World("nobody-of-this-name", MISSING, MISSING, 9_999_999, dict.fromkeys(own.batches, MISSING))
    orders = {
        number: (await shop.submit(shop.order(number, email="foreign@example.com"))).order_id
        for number in ("foreign-read", "foreign-cancel")
    }
    emails = {"own": "own@example.com", "foreign": "foreign@example.com", "missing": "missing@example.com"}
    return Matrix(own, foreign, missing, orders, emails)


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
        found.append(Visitor(f"revoked {kind}", token=await _token(premises, kind, f"revoked {kind}")))
        async with premises.services.database.connection() as connection:
            await revoke_caller(connection, f"revoked {kind}")
    for kind, scope in single_scopes():
        name = f"{kind} with only {scope}"
        token = await _token(premises, kind, name)
        async with premises.services.database.connection() as connection:
            # Written past the verb that refuses it: what a caller may is decided again at every request.
            await connection.execute("UPDATE callers SET scopes = $2 WHERE name = $1", name, [scope])
        own = matrix.own if kind is CallerKind.PUBLISHER else None
        visitor = Visitor(name, kind, frozenset({scope}), token, own)
        found.append(await _with_orders(premises, visitor) if kind is CallerKind.RESELLER else visitor)
    return found


async def _world(premises: Premises, shop: Shop) -> World:
    batches = {state: await _batch(shop, state) for state in ("released", "held", "withdrawn")}
    batches["discarded"] = await _discarded(shop)
    return World(shop.publisher, shop.pool_id, premises.templates[shop.publisher], shop.product_ref, batches)


async def _batch(shop: Shop, state: str) -> UUID:
    """A batch of one key, and of one row that was refused."""
    segment_id = await shop.load([f"{state.upper()}-1"], state="open" if state == "released" else state)
    async with shop.services.database.connection() as connection:
        batch_id: UUID = await connection.fetchval("SELECT batch_id FROM segments WHERE segment_id = $1", segment_id)
        await connection.execute(
            "INSERT INTO refused_rows (publisher_id, batch_id, row_number, verdict) VALUES ($1, $2, 7, 'malformed')",
            *(shop.publisher_id, batch_id),
        )
    return batch_id


async def _discarded(shop: Shop) -> UUID:
    batch_id = new_id()
    async with shop.services.database.connection() as connection:
        await connection.execute(
            "INSERT INTO batches (publisher_id, batch_id, pool_id, state, file_format, file_options, data_key_id,"
            " created_by, created_at, progressed_at) VALUES ($1, $2, $3, 'discarded', 'txt', '{}', 0, 1, $4, $4)",
            *(shop.publisher_id, batch_id, shop.pool_id, datetime.now(UTC)),
        )
    return batch_id


async def _token(premises: Premises, kind: CallerKind, name: str) -> str:
    publisher = premises.own.publisher if kind is CallerKind.PUBLISHER else None
    async with premises.services.database.connection() as connection:
        return await add_caller(connection, kind=kind, name=name, publisher=publisher)


async def _with_orders(premises: Premises, visitor: Visitor) -> Visitor:
    caller = await premises.services.gatekeeper.identify(visitor.token)
    shop = replace(premises.own, reseller=caller)
    orders = {
        number: (await shop.submit(shop.order(number, email="own@example.com"))).order_id
        for number in ("own-read", "own-cancel")
    }
    return replace(visitor, orders=orders)
