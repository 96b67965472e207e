"""Notices are sent beside the requests, and those that are old are forgotten."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keyservice.fulfillment.send_notices import NoticeSender
from keyservice.services import Services
from keyservice.workers.repeating import repeating


@asynccontextmanager
async def sending_notices(services: Services) -> AsyncIterator[None]:
    """Look for what is due until left; sending goes on meanwhile, so that who hangs holds up nobody."""
    settings = services.settings
    async with (
        NoticeSender.opened(
            services.database, services.wrapper, services.egress, timeout_seconds=settings.notice_seconds
        ) as sender,
        repeating("send_notices", sender.send_due, pause_seconds=settings.watch_seconds),
    ):
        yield
