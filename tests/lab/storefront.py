"""A publisher, its pool and its product, made through the service's own API, and the tokens of those who use them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import aiohttp

from keyservice.domain.caller import CallerKind
from tests.lab.service_process import ServiceProcess

_numbers: Final = count(1)


@dataclass(frozen=True, slots=True)
class Storefront:
    """What clients have to know. All its storefronts share one service."""

    handle: str
    pool_id: str
    product_ref: int
    publisher_token: str
    reseller_token: str

    @classmethod
    async def opened(cls, service: ServiceProcess, session: aiohttp.ClientSession) -> "Storefront":
        number = next(_numbers)
        handle = f"lab-publisher-{number}"
        admin = await service.new_caller(CallerKind.ADMIN, f"lab-admin-{number}")
        await _made(session, admin, "/admin/publishers", {"handle": handle, "name": handle})
        publisher = await service.new_caller(CallerKind.PUBLISHER, f"lab-uploader-{number}", publisher=handle)
        pool = await _made(session, publisher, "/publisher/pools", {"name": "main"})
        plan = {"steps": [{"source": "pool", "pool": pool["pool_id"]}]}
        template = await _made(session, publisher, "/publisher/templates", {"name": "plain", "source_plan": plan})
        product = {"product_ref": 7_000 + number, "name": "Antivirus 2027", "template_id": template["template_id"]}
        await _made(session, publisher, "/publisher/products", product)
        reseller = await service.new_caller(CallerKind.RESELLER, f"lab-reseller-{number}")
        return cls(handle, pool["pool_id"], product["product_ref"], publisher, reseller)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.publisher_token}"}

    @property
    def batches_path(self) -> str:
        """Where the pool's files are sent."""
        return f"/publisher/pools/{self.pool_id}/batches"

    async def get(self, session: aiohttp.ClientSession, path: str) -> dict[str, Any]:
        """What the publisher sees at this path below /publisher."""
        async with session.get(f"/publisher/{path}", headers=self.bearer) as response:
            assert response.status == 200, await response.text()
            found: dict[str, Any] = await response.json()
            return found

    async def post(self, session: aiohttp.ClientSession, path: str) -> dict[str, Any]:
        """The publisher's order without a body, such as `batches/ID/withdraw`."""
        async with session.post(f"/publisher/{path}", headers=self.bearer) as response:
            assert response.status == 200, await response.text()
            found: dict[str, Any] = await response.json()
            return found

    async def withdraw(self, session: aiohttp.ClientSession, texts: Sequence[str]) -> list[str]:
        """What becomes of each of these keys."""
        path, body = f"/publisher/pools/{self.pool_id}/withdrawals", {"keys": list(texts), "reason": "leaked"}
        async with session.post(path, json=body, headers=self.bearer) as response:
            assert response.status == 200, await response.text()
            return [entry["outcome"] for entry in (await response.json())["entries"]]

    async def left(self, session: aiohttp.ClientSession) -> int:
        """What the service says is for sale."""
        return int((await self.get(session, f"pools/{self.pool_id}"))["left"])


async def _made(session: aiohttp.ClientSession, token: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.post(path, json=body, headers={"Authorization": f"Bearer {token}"}) as response:
        assert response.status == 201, await response.text()
        made: dict[str, Any] = await response.json()
        return made
