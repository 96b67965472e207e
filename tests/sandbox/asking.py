"""Calls to the sandbox publisher, written by hand and not by a connector."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from keyservice.sandbox.publisher import Publisher

SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Got:
    status: int
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks for keys."""

    publisher: Publisher
    session: aiohttp.ClientSession

    @property
    def basic(self) -> dict[str, str]:
        """The header that opens doors under HTTP Basic."""
        credentials = self.publisher.credentials
        return {"Authorization": aiohttp.encode_basic_auth(credentials.user, credentials.password)}

    async def ask(self, method: str, family: str, path: str, **arguments: Any) -> Got:
        async with asyncio.timeout(SECONDS):
            arguments.setdefault("allow_redirects", False)
            async with self.session.request(method, self.publisher.url_of(family) + path, **arguments) as response:
                return Got(response.status, await response.read(), dict(response.headers))

    async def nexway(self, reference: str, operation: str = "new", family: str = "nexway", **more: Any) -> Got:
        body = {**payload(reference), **more}
        return await self.ask("POST", family, f"/licenses/{operation}", json=body, headers=self.basic)


def payload(reference: str) -> dict[str, Any]:
    """The reference's default payload, as far as it is required."""
    return {
        "fulfillmentId": reference,
        "checkout": {"orderId": "7", "lineItemId": "1", "price": {"grossPrice": 10, "currency": "EUR"}},
        "user": {"id": "u", "email": "ada@example.com", "country": "FR", "locale": "fr_FR"},
        "product": {"id": "184", "name": "Office"},
    }


def new_reference() -> str:
    return str(uuid4())


@asynccontextmanager
async def asking(publisher: Publisher) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Caller(publisher, session)
