"""Clients of the lean API as they should be: they repeat the same request until they know what became of it."""

import json
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from keyservice.domain.caller import CallerKind
from tests.lab.driver import BROKEN
from tests.lab.service_process import ServiceProcess
from tests.lab.storefront import Storefront
from tests.lab.waiting import until

_PATIENCE_SECONDS: Final = 90.0
_RETRY_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Told:
    """A clear answer: its status, and the claim or the problem."""

    status: int
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        """The last word of a problem's type."""
        return str(self.body.get("type", "")).rpartition(":")[2]

    @property
    def keys(self) -> list[str]:
        units = [unit for line in self.body["lines"] for unit in line["units"]]
        return [unit["key"]["text"] for unit in units if "key" in unit]

    @property
    def states(self) -> list[str]:
        return [unit["state"] for line in self.body["lines"] for unit in line["units"]]


class PlatformClient:
    """One order pipeline that sells a storefront's product."""

    def __init__(self, session: aiohttp.ClientSession, store: Storefront, token: str) -> None:
        self.session = session
        self.store = store
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    @classmethod
    async def opened(cls, service: ServiceProcess, session: aiohttp.ClientSession) -> "PlatformClient":
        store = await Storefront.opened(service, session)
        return cls(session, store, await service.new_caller(CallerKind.PIPELINE, f"pipeline-of-{store.handle}"))

    async def claim(self, reference: str, quantity: int = 1, **members: Any) -> Told:
        lines = [{"product_ref": self.store.product_ref, "quantity": quantity}]
        return await self._until_told("POST", "", {"reference": reference, "lines": lines, **members})

    async def change(self, reference: str, verb: str, **members: Any) -> Told:
        return await self._until_told("POST", f"/{reference}/{verb}", members or None)

    async def read(self, reference: str) -> Told:
        return await self._until_told("GET", f"/{reference}", None)

    async def _until_told(self, method: str, path: str, body: dict[str, Any] | None) -> Told:
        async def ask() -> Told | None:
            return await self._asked(method, path, body)

        what = f"{method} {path} is answered"
        return await until(ask, seconds=_PATIENCE_SECONDS, what=what, poll_seconds=_RETRY_SECONDS)

    async def _asked(self, method: str, path: str, body: dict[str, Any] | None) -> Told | None:
        data = None if body is None else json.dumps(body).encode()
        url = f"/fulfillment/claims{path}"
        try:
            async with self.session.request(method, url, data=data, headers=self._headers) as response:
                told = await response.json(content_type=None)
                return None if response.status >= 500 else Told(response.status, told)
        except (*BROKEN, ValueError):
            return None
