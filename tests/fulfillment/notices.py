"""Notices in tests: an owner's endpoint at a receiver on loopback, and a process that sends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from keyservice.connectors.egress import EgressPolicy
from keyservice.domain.notice import NoticeOwner
from keyservice.fulfillment.manage_webhooks import WebhookDesk
from keyservice.fulfillment.replay_notices import Delivery, Notice, list_deliveries, list_notices
from keyservice.fulfillment.send_notices import NoticeSender
from keyservice.services import Services
from tests.lab.webhook_receiver import Receiver

LOOPBACK: Final = EgressPolicy(ports=None, allow_plain_http=True, allow_loopback=True)


@dataclass(slots=True)
class MovedClock:
    """The time, moved on by so much."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def move(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An owner with one endpoint."""

    desk: WebhookDesk
    endpoint_id: UUID
    secret: str = field(repr=False)

    @classmethod
    async def opened(
        cls, services: Services, owner: NoticeOwner, receiver: Receiver, *types: str, policy: EgressPolicy = LOOPBACK
    ) -> "Subscriber":
        desk = WebhookDesk.of(services.database, services.wrapper, policy, owner, endpoints_max=10)
        endpoint, secret = await desk.create(receiver.url, types)
        return cls(desk, endpoint.endpoint_id, secret)

    async def notices(self) -> list[Notice]:
        """Oldest first."""
        return (await list_notices(self.desk, self.endpoint_id, after=None, limit=500))[::-1]

    async def states(self) -> list[str]:
        return [notice.state for notice in await self.notices()]

    async def deliveries(self) -> list[Delivery]:
        """Oldest first."""
        return (await list_deliveries(self.desk, self.endpoint_id, after=None, limit=500))[::-1]


@asynccontextmanager
async def sending(
    services: Services,
    *,
    clock: MovedClock | None = None,
    policy: EgressPolicy = LOOPBACK,
    timeout_seconds: float = 10.0,
) -> AsyncIterator[NoticeSender]:
    """One process that sends; pauses are as the schedule says, without jitter."""
    async with NoticeSender.opened(
        services.database,
        services.wrapper,
        policy,
        timeout_seconds=timeout_seconds,
        clock=clock or MovedClock(),
        jitter=lambda: 0.0,
    ) as sender:
        yield sender


async def send(sender: NoticeSender) -> None:
    """All that is due, to its end."""
    await sender.send_due()
    await sender.finished()
