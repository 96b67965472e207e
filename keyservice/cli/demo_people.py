"""The people of the demo, who know the service only by its address and their tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp

from keyservice.cli.publisher_client import PublisherClient
from keyservice.domain.caller import CallerKind
from keyservice.fulfillment.manage_callers import add_caller
from keyservice.postgres.connection import pipeline_transaction

PUBLISHER_HANDLE: Final = "lighthouse-software"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Person:
    """Someone with a token."""

    url: str
    token: str = field(repr=False)
    session: aiohttp.ClientSession = field(repr=False)
    is_reseller: bool = False

    async def get(self, path: str) -> Answer:
        return await self._ask("GET", path, None)

    async def post(self, path: str, body: Any) -> Answer:
        return await self._ask("POST", path, body)

    async def put(self, path: str, body: Any) -> Answer:
        return await self._ask("PUT", path, body)

    async def patch(self, path: str, body: Any) -> Answer:
        return await self._ask("PATCH", path, body)

    async def _ask(self, method: str, path: str, body: Any) -> Answer:
        # Connect's clients send their token as the header `secret`, everything else takes it as a bearer token.
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.is_reseller:
            headers["secret"] = self.token
        async with self.session.request(method, self.url + path, json=body, headers=headers) as response:
            return Answer(response.status, await response.json(content_type=None))


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody, and the directory that stands for their disks."""

    admin: Person
    publisher: Person
    reseller: Person
    pipeline: Person
    uploads: PublisherClient
    directory: Path

    async def pool_level(self, pool_id: UUID) -> int:
        pool = await self.publisher.get(f"/publisher/pools/{pool_id}")
        return int(pool.body["left"])


@asynccontextmanager
async def telephone() -> AsyncIterator[aiohttp.ClientSession]:
    """What the people call with."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


async def new_person(
    kind: CallerKind, *, database_url: str, url: str, session: aiohttp.ClientSession, publisher: str | None = None
) -> Person:
    """Someone with a new token, made as `keyservice callers add` makes it."""
    async with pipeline_transaction(database_url) as connection:
        token = await add_caller(connection, kind=kind, name=f"demo {kind}", publisher=publisher)
    return Person(url, token, session, is_reseller=kind is CallerKind.RESELLER)


def uploads_of(person: Person) -> PublisherClient:
    """The same uploading as behind `keyservice import-batch`."""
    return PublisherClient(person.session, person.url, person.token)
