"""Sending what is due: per endpoint in order of each thing's changes, and no endpoint waits for another.

A notice is leased before it is sent and settled afterwards; whoever dies in between leaves it to the next, who sends it again
under the same id. So each is delivered at least once, and receivers tell repetitions by `webhook-id`.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

import aiohttp
import asyncpg
import structlog

from keyservice.connectors.egress import EgressPolicy, guarded_connector
from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.notice_schedule import retry_at
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.post_notice import Attempt, post_notice
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.webhook_secrets import open_data_key, open_secret
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

T = TypeVar("T")
log = structlog.get_logger(__name__)

ENDPOINTS_AT_ONCE: Final = 100
FAILING_AT_ONCE: Final = 25
"""Of these, at the most, endpoints that failed last: those who hang do not keep the others out."""

NOTICES_AT_ONCE: Final = 8
"""To one endpoint; one that failed last is tried with a single notice."""

_DATABASE_TURNS: Final = 2
_LEASE_MARGIN_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """An endpoint, and notices of it that this process has leased."""

    row: asyncpg.Record
    secrets: tuple[str, ...]
    notices: list[asyncpg.Record]

    @property
    def endpoint_id(self) -> UUID:
        endpoint_id: UUID = self.row["endpoint_id"]
        return endpoint_id


class NoticeSender:
    """What one process sends. Any number of processes may do it on one database at once."""

    def __init__(
        self,
        database: Database,
        wrapper: KeyWrapper,
        policy: EgressPolicy,
        session: aiohttp.ClientSession,
        *,
        timeout_seconds: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._wrapper = wrapper
        self._policy = policy
        self._session = session
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._jitter = jitter
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._failing: set[UUID] = set()
        self._turns = asyncio.Semaphore(_DATABASE_TURNS)
        self._settled = 0

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        database: Database,
        wrapper: KeyWrapper,
        policy: EgressPolicy,
        *,
        timeout_seconds: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
    ) -> AsyncIterator["NoticeSender"]:
        """With connections of its own; what is on its way when it is left is sent again by the next."""
        async with aiohttp.ClientSession(
            connector=guarded_connector(policy, connections_max=ENDPOINTS_AT_ONCE * NOTICES_AT_ONCE),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as session:
            sender = cls(
                database, wrapper, policy, session, timeout_seconds=timeout_seconds, clock=clock, jitter=jitter
            )
            try:
                yield sender
            finally:
                await sender._stop()

    async def send_due(self) -> int:
        """Begin with every endpoint that something is due for and wait for none; how many notices were settled since."""
        async with self._turns, self._database.reading() as connection:
            rows = await connection.fetch(
                statement("notices.endpoints_with_due_notices"),
                *(self._clock(), ENDPOINTS_AT_ONCE + len(self._tasks)),
            )
        for row in rows:
            self._begin(row["endpoint_id"], is_failing=row["failing_since"] is not None)
        settled, self._settled = self._settled, 0
        return settled

    async def finished(self) -> None:
        """Wait for what was begun."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await self.finished()

    def _begin(self, endpoint_id: UUID, *, is_failing: bool) -> None:
        if endpoint_id in self._tasks or len(self._tasks) >= ENDPOINTS_AT_ONCE:
            return
        if is_failing and len(self._failing) >= FAILING_AT_ONCE:
            return
        if is_failing:
            self._failing.add(endpoint_id)
        task = asyncio.create_task(self._send_all(endpoint_id), name=f"notices to {endpoint_id}")
        self._tasks[endpoint_id] = task
        task.add_done_callback(lambda _: self._end(endpoint_id))

    def _end(self, endpoint_id: UUID) -> None:
        self._tasks.pop(endpoint_id, None)
        self._failing.discard(endpoint_id)

    async def _send_all(self, endpoint_id: UUID) -> None:
        """Until nothing is due, or something fails."""
        try:
            while (endpoint := await self._in_turn(self._lease(endpoint_id))) is not None:
                attempts = await asyncio.gather(*(self._send(endpoint, notice) for notice in endpoint.notices))
                if not all(attempt.is_delivered for attempt in attempts):
                    return
        except Exception:
            # Whatever it is, it concerns this endpoint, and it is tried again when the lease is over.
            log.exception("notices_not_sent", endpoint_id=endpoint_id)

    async def _lease(self, endpoint_id: UUID) -> _Endpoint | None:
        now = self._clock()
        until = now + timedelta(seconds=self._timeout_seconds + _LEASE_MARGIN_SECONDS)

        async def work(connection: Connection) -> tuple[asyncpg.Record, list[asyncpg.Record]] | None:
            row = await connection.fetchrow(statement("notices.endpoint_to_send_to"), endpoint_id, now)
            if row is None:
                return None
            count = NOTICES_AT_ONCE if row["failing_since"] is None else 1
            notices = await connection.fetch(statement("notices.due_notices"), endpoint_id, now, count)
            leases = [(endpoint_id, notice["notice_id"], until) for notice in notices]
            await connection.executemany(statement("notices.lease_notice"), leases)
            return row, notices

        found = await short_transaction(self._database, work)
        if found is None or not found[1]:
            return None
        return _Endpoint(found[0], await self._secrets(found[0], now), found[1])

    async def _secrets(self, row: asyncpg.Record, now: datetime) -> tuple[str, ...]:
        """The newest first, and the one before it while both are good."""
        sealed = [row["sealed_secret"]]
        if row["previous_until"] is not None and row["previous_until"] > now:
            sealed.append(row["sealed_previous_secret"])
        data_key = await open_data_key(self._wrapper, row)
        return tuple(open_secret(data_key, row["endpoint_id"], one) for one in sealed)

    async def _send(self, endpoint: _Endpoint, notice: asyncpg.Record) -> Attempt:
        attempt = await post_notice(
            self._session,
            self._policy,
            endpoint.row["url"],
            notice_id=notice["notice_id"],
            body=notice["body"],
            secrets=endpoint.secrets,
            now=self._clock(),
            timeout_seconds=self._timeout_seconds,
        )

        async def work(connection: Connection) -> None:
            await self._settle(connection, endpoint, notice, attempt)

        await self._in_turn(short_transaction(self._database, work))
        self._settled += 1
        return attempt

    async def _settle(
        self, connection: Connection, endpoint: _Endpoint, notice: asyncpg.Record, attempt: Attempt
    ) -> None:
        endpoint_id, number = endpoint.endpoint_id, notice["attempts"] + 1
        outcome = (attempt.started_at, attempt.http_status, attempt.error, attempt.seconds)
        about = (endpoint_id, new_id(), notice["notice_id"], endpoint.row["publisher_id"], number)
        await connection.execute(statement("notices.insert_delivery"), *about, *outcome)
        now = self._clock()
        if attempt.is_delivered:
            await connection.execute(statement("notices.deliver_notice"), endpoint_id, notice["notice_id"], now)
            if endpoint.row["failing_since"] is not None:
                await connection.execute(statement("notices.endpoint_works"), endpoint_id)
            return
        again_at = retry_at(
            now, notice["failures"] + 1, jitter=self._jitter(), rest_seconds=attempt.rest_seconds or 0.0
        )
        place = (endpoint_id, notice["notice_id"], number)
        if again_at is None:
            await connection.execute(statement("notices.give_notice_up"), *place)
        else:
            await connection.execute(statement("notices.put_notice_off"), *place, again_at)
        await _mark_failing(connection, endpoint_id, attempt, now)

    async def _in_turn(self, work: Awaitable[T]) -> T:
        """Requests need the database's connections more than notices do."""
        async with self._turns:
            return await work


async def _mark_failing(connection: Connection, endpoint_id: UUID, attempt: Attempt, now: datetime) -> None:
    if attempt.is_gone:
        await connection.execute(statement("notices.endpoint_is_gone"), endpoint_id, now)
    if attempt.rest_seconds:
        until = now + timedelta(seconds=attempt.rest_seconds)
        await connection.execute(statement("notices.endpoint_rests"), endpoint_id, until)
    await connection.execute(statement("notices.endpoint_fails"), endpoint_id, now)
