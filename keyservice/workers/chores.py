"""Everything that a worker process does beside the requests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Final

from keyservice.fulfillment.forget_notices import forget_notices
from keyservice.fulfillment.hold_keys import expire_holds
from keyservice.services import Services
from keyservice.workers.discard_uploads import discard_stale_uploads
from keyservice.workers.repeating import repeating
from keyservice.workers.send_notices import sending_notices
from keyservice.workers.serve_backorders import serve_backorders

_TIDYING_PAUSE_SECONDS: Final = 600.0


@asynccontextmanager
async def doing_chores(services: Services) -> AsyncIterator[None]:
    """Do them until left. Any number of processes may do them on one database at once."""
    database, settings = services.database, services.settings
    abandoned = timedelta(hours=settings.upload_resume_hours)
    kept = timedelta(days=settings.notice_keep_days)
    async with AsyncExitStack() as stack:
        for name, work, pause_seconds in (
            ("discard_stale_uploads", partial(discard_stale_uploads, database, abandoned), _TIDYING_PAUSE_SECONDS),
            ("forget_notices", partial(forget_notices, database, kept), _TIDYING_PAUSE_SECONDS),
            ("expire_holds", partial(expire_holds, database), settings.watch_seconds),
            ("ask_publishers", services.asker.ask_due, settings.watch_seconds),
            ("serve_backorders", partial(serve_backorders, database, services.opener), settings.watch_seconds),
        ):
            await stack.enter_async_context(repeating(name, work, pause_seconds=pause_seconds))
        await stack.enter_async_context(sending_notices(services))
        yield
