"""Delivery by the publisher's own initiative: it accepts a request, and calls back with the keys."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from keyservice.sandbox.asked import Granted
from keyservice.sandbox.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Callback:
    """Where keys are delivered: `{reference}` in the URL is ours."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    after_seconds: float | None = 0.0
    """None: only when `Pusher.deliver` is called."""


@dataclass(slots=True)
class Pusher:
    """Delivers what was accepted. `statuses` holds what the receiver answered, 0 for nobody there."""

    ledger: Ledger
    callback: Callback | None
    statuses: dict[str, list[int]] = field(default_factory=dict)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def accepted(self, granted: Granted) -> None:
        """Deliver it by and by, if that is wanted."""
        if self.callback is None or self.callback.after_seconds is None:
            return
        task = asyncio.create_task(self._later(granted.reference, self.callback.after_seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def deliver(self, reference: str) -> int:
        """Call back with every key issued under the reference, once more if it was done before; the status."""
        if self.callback is None:
            raise ValueError("there is no callback to deliver to")
        entry = self.ledger.entries[reference]
        document = {
            "reference": reference,
            "license_id": "" if entry.last is None else entry.last.license_id,
            "keys": list(self.ledger.live_keys_of(reference)),
        }
        url = self.callback.url.replace("{reference}", reference)
        status = 0
        try:
            async with (
                aiohttp.ClientSession(headers=self.callback.headers) as session,
                session.post(url, json=document, allow_redirects=False) as response,
            ):
                status = response.status
        except aiohttp.ClientError:
            status = 0
        self.statuses.setdefault(reference, []).append(status)
        return status

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _later(self, reference: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.deliver(reference)
