"""Keeping a server running: started again when it dies, given up when that does not help."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from keyservice.postgres.embedded.errors import PostgresKeepsDying, PostgresNotStarted
from keyservice.postgres.embedded.leftovers import clear_leftovers
from keyservice.postgres.embedded.postmaster import Launch, Postmaster
from keyservice.postgres.embedded.processes import to_the_end

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """A death within `calm_seconds` of readiness, or before it, is one failure more; a later one counts anew."""

    failures_max: int = 10
    calm_seconds: float = 10.0
    delay_seconds: float = 0.1
    delay_seconds_max: float = 5.0

    def delay(self, failures: int) -> float:
        return float(min(self.delay_seconds * 2 ** (failures - 1), self.delay_seconds_max))


class Supervisor:
    """Owns the server's process from its first start to its last stop."""

    def __init__(
        self, launch: Launch, *, superuser_url: str, policy: RestartPolicy, on_restart: Callable[[], None] | None
    ) -> None:
        self._launch = launch
        self._superuser_url = superuser_url
        self._policy = policy
        self._on_restart = on_restart
        self._postmaster: Postmaster | None = None
        self._ready_at = 0.0
        self._is_leaving = False

    @asynccontextmanager
    async def supervising(self, complete: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """The server runs inside the block, after `complete`; giving up cancels the block for PostgresKeepsDying."""
        block = asyncio.current_task()
        assert block is not None
        watch: asyncio.Task[None] | None = None
        try:
            await self._start()
            await complete()
            watch = asyncio.create_task(self._watch(), name="embedded-postgres")
            watch.add_done_callback(lambda done: self._cancel(block, done))
            yield
        except asyncio.CancelledError:
            # The block was cancelled by us alone: the reason is raised below in the cancellation's place.
            if _failure(watch) is None or block.uncancel() > 0:
                raise
        finally:
            self._is_leaving = True
            await to_the_end(self._stop(watch))
        if (failure := _failure(watch)) is not None:
            raise failure

    async def _start(self) -> None:
        cluster = self._launch.cluster
        await clear_leftovers(cluster.data)
        for leftover in self._launch.socket_directory.iterdir():
            leftover.unlink()
        self._postmaster = Postmaster.start(self._launch)
        await self._postmaster.wait_ready(self._superuser_url, cluster.credentials_file)
        self._ready_at = time.monotonic()

    async def _watch(self) -> None:
        failures = 0
        while True:
            assert self._postmaster is not None
            await self._postmaster.exit_status()
            ran_seconds = time.monotonic() - self._ready_at
            log.error("postgres_died", pid=self._postmaster.pid, seconds=round(ran_seconds, 1))
            failures = await self._restart(1 if ran_seconds >= self._policy.calm_seconds else failures + 1)
            log.warning("postgres_restarted", pid=self._postmaster.pid, failures=failures)
            if self._on_restart is not None:
                self._on_restart()

    async def _restart(self, failures: int) -> int:
        while failures <= self._policy.failures_max:
            await asyncio.sleep(self._policy.delay(failures))
            try:
                await self._start()
            except PostgresNotStarted as error:
                failures += 1
                log.error("postgres_not_started", failures=failures, error_type=error)  # noqa: TRY400 - the log's lines say it
            else:
                return failures
        log.error("postgres_given_up", failures=failures)
        raise PostgresKeepsDying(failures=failures, log_file=self._launch.cluster.log_file)

    async def _stop(self, watch: asyncio.Task[None] | None) -> None:
        if watch is not None:
            watch.cancel()
            await asyncio.wait([watch])
        if self._postmaster is not None:
            await self._postmaster.stop()

    def _cancel(self, block: asyncio.Task[object], watch: asyncio.Task[None]) -> None:
        if _failure(watch) is not None and not self._is_leaving:
            block.cancel()


def _failure(watch: asyncio.Task[None] | None) -> BaseException | None:
    return watch.exception() if watch is not None and watch.done() and not watch.cancelled() else None
