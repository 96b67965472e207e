"""A publisher at its desk: requests with its token, and answers read as JSON."""

from dataclasses import dataclass
from typing import Any

import aiohttp

from keyservice.domain.caller import CallerKind, Scope
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_callers import add_caller
from tests.lab.shop import Shop


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    json: Any


@dataclass(frozen=True, slots=True)
class Desk:
    """Somebody with a token."""

    http: aiohttp.ClientSession
    token: str

    async def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Reply:
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        async with self.http.request(method, path, headers=sent, **options) as response:
            body = await response.read()
            is_json = response.content_type in ("application/json", "application/problem+json")
            return Reply(
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                body,
                await response.json(content_type=None) if is_json else None,
            )

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Reply:
        return await self.ask("POST", path, **options)

    async def upload(self, shop: Shop, data: Any, *, headers: dict[str, str] | None = None, **query: str) -> Reply:
        return await self.post(
            f"/publisher/pools/{shop.pool_id}/batches",
            data=data,
            params=query,
            headers={"Content-Type": "text/csv", **(headers or {})},
        )


async def desk_of(http: aiohttp.ClientSession, shop: Shop, *scopes: Scope) -> Desk:
    """The publisher of this shop, with all its rights or only these."""
    return Desk(http, await token_of(shop, CallerKind.PUBLISHER, *scopes))


async def token_of(shop: Shop, kind: CallerKind, *scopes: Scope) -> str:
    async with shop.services.database.transaction() as connection:
        publisher = shop.publisher if kind is CallerKind.PUBLISHER else None
        return await add_caller(connection, kind=kind, name=f"{kind}-{new_id()}", publisher=publisher, scopes=scopes)
