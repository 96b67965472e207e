"""Asking publishers: a request is taken under a lease, asked once, and what that came to is recorded."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

import structlog

from keyservice.connectors.calls import ConnectorCall
from keyservice.connectors.context import template_context
from keyservice.domain.connector import CallOutcome, CallResult, ConnectorOperation, RequestFacts
from keyservice.domain.errors import KeyserviceError, OutcomeUnknown, Overloaded
from keyservice.domain.key_request import RequestState, Resolution, resolution_of
from keyservice.fulfillment.connector_shelf import ConnectorShelf, ShelvedConnector
from keyservice.fulfillment.group_commit import GroupCommit
from keyservice.fulfillment.judge_answer import Answer, Verdict
from keyservice.fulfillment.plan_requests import SEND_SECONDS, lease_seconds
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

log = structlog.get_logger(__name__)

_AT_ONCE_MAX: Final = 500
"""Requests that one process is at, whatever the connectors allow."""

_RECORD_PAUSE_SECONDS: Final = 0.1
_RECORD_PAUSE_SECONDS_MAX: Final = 5.0
_RECORD_SECONDS_MAX: Final = 600.0


class Engine(Protocol):
    """What makes the calls."""

    async def call(self, call: ConnectorCall) -> CallResult:
        """What the call came to; never raises."""
        ...


class KeyAsker:
    """Makes attempts on key requests, in tasks that no caller's patience and no lost connection cuts short."""

    def __init__(
        self,
        database: Database,
        shelf: ConnectorShelf,
        facts: GroupCommit[KeyRequest, RequestFacts],
        engine: Engine,
        bookings: GroupCommit[Answer, Verdict],
        *,
        stop_seconds: float,
    ) -> None:
        self._database = database
        self._shelf = shelf
        self._facts = facts
        self._engine = engine
        self._bookings = bookings
        self._stop_seconds = stop_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: Counter[tuple[int, UUID]] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["KeyAsker"]:
        """What is under way when this is left is waited for; after a while it is left to whoever comes after its lease."""
        try:
            yield self
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._stop_seconds)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def free_places(self, shelved: ShelvedConnector) -> int:
        """How many more requests of this connector this process takes on."""
        name = (shelved.connector.publisher_id, shelved.connector.connector_id)
        own = shelved.connector.document.concurrency - self._running[name]
        return max(0, min(own, _AT_ONCE_MAX - len(self._tasks)))

    async def attempt_within(self, requests: Iterable[KeyRequest], seconds: float, *, since: float) -> None:
        """Attempt requests that were stored as this process's own; return when all are recorded, or the time is over.

        `since`, by the monotonic clock, lies before their leases began: whoever was frozen since then sends nothing any more.
        """
        tasks = [self._begin(request, self._attempt(request, since)) for request in requests]
        if tasks and seconds > 0:
            await asyncio.wait(tasks, timeout=seconds)

    async def idle(self) -> None:
        """Wait for everything that is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def record(self, answer: Answer) -> Verdict:
        """What somebody else has found out about a request: its publisher by itself, or a person."""
        return await self._bookings.submit(answer)

    async def ask_due(self) -> int:
        """Take what is due, of each connector as much as it allows; how many attempts were begun."""
        async with self._database.reading() as connection:
            now = await connection.fetchval("SELECT clock_timestamp()")
            asked = await connection.fetch(statement("connectors.asked_connectors"), now)
        begun = 0
        for row in asked:
            try:
                begun += await self._ask_connector(row["publisher_id"], row["connector_id"], now)
            except KeyserviceError as error:
                # One connector that cannot be opened keeps no other from being asked.
                log.warning("connector_not_asked", connector_id=row["connector_id"], code=error.code)
        return begun

    async def _ask_connector(self, publisher_id: int, connector_id: UUID, now: datetime) -> int:
        shelved = await self._shelf.take(publisher_id, connector_id)
        places = self.free_places(shelved)
        if not places:
            return 0
        async with self._database.reading() as connection:
            due = await connection.fetch(statement("key_requests.due"), publisher_id, connector_id, now, places)
        begun = 0
        for row in due:
            sent_from = time.monotonic()
            taken = await self._take(publisher_id, row["key_request_id"], row["fence"], lease_seconds(shelved))
            if taken is not None:
                self._begin(taken, self._attempt(taken, sent_from))
                begun += 1
        return begun

    async def _take(self, publisher_id: int, key_request_id: UUID, fence: int, lease: float) -> KeyRequest | None:
        async def work(connection: Connection) -> KeyRequest | None:
            now = await connection.fetchval("SELECT clock_timestamp()")
            until = now + timedelta(seconds=lease)
            row = await connection.fetchrow(
                statement("key_requests.take"), publisher_id, key_request_id, fence, until, now
            )
            return None if row is None else KeyRequest.of(row)

        # Whoever cannot tell whether it has taken one leaves it to its lease.
        return await short_transaction(self._database, work, is_repeatable=False)

    def _begin(self, request: KeyRequest, attempt: Awaitable[None]) -> asyncio.Task[None]:
        name = (request.publisher_id, request.connector_id)
        self._running[name] += 1

        async def run() -> None:
            try:
                await attempt
            except Exception:
                # What is not recorded is found by whoever comes after the lease.
                log.exception("attempt_failed", key_request_id=request.key_request_id)
            finally:
                self._running[name] -= 1

        task = asyncio.create_task(run(), name=f"key request {request.key_request_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _attempt(self, request: KeyRequest, sent_from: float) -> None:
        shelved = await self._shelf.take(request.publisher_id, request.connector_id, request.connector_version)
        called = _called(request, shelved)
        started_at = request.updated_at
        result = await self._asked(request, shelved, called, sent_from + SEND_SECONDS)
        await self._record(Answer(request, shelved, called, result, started_at))

    async def _record(self, answer: Answer) -> None:
        """What an answer proves is in nobody's hands but ours: it is tried to be stored for as long as the database is away."""
        pause, until = _RECORD_PAUSE_SECONDS, time.monotonic() + _RECORD_SECONDS_MAX
        while True:
            try:
                await self._bookings.submit(answer)
            except (Overloaded, OutcomeUnknown):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, _RECORD_PAUSE_SECONDS_MAX)
            else:
                return

    async def _asked(
        self, request: KeyRequest, shelved: ShelvedConnector, called: ConnectorOperation, send_before: float
    ) -> CallResult:
        if called not in shelved.connector.document.operations and called is ConnectorOperation.LOOK_UP:
            # It tells by itself when it is done.
            return CallResult(CallOutcome.ACCEPTED, code="waits-for-the-publisher")
        if _must_not_be_sent(request, shelved):
            return CallResult(CallOutcome.UNKNOWN, code="nobody-knows")
        try:
            facts = await self._facts.submit(request)
        except KeyserviceError as error:
            # Nothing was sent: the line is not there, something of it does not open, or the database is away.
            return CallResult(CallOutcome.NOT_EXECUTED, code=error.code, message=str(error))
        if called is not request.operation and request.publisher_license_id:
            # Asked again about something that has a name by now; a repetition of the request itself says what it said before.
            facts = replace(facts, publisher_license_id=request.publisher_license_id)
        return await self._engine.call(
            ConnectorCall(
                shelved.connector,
                called,
                template_context(facts, shelved.connector.document),
                key_count=max(1, len(request.unit_ids)),
                send_before=send_before,
                same_as=request.request_sha256 if called is request.operation else None,
                is_test=request.is_test,
            )
        )


def _must_not_be_sent(request: KeyRequest, shelved: ShelvedConnector) -> bool:
    """Whoever was at it may have sent it, and its publisher promises nothing that would tell."""
    capabilities = shelved.connector.document.capabilities.for_resolving
    is_unknown = request.state is RequestState.UNKNOWN
    return is_unknown and resolution_of(capabilities, request.operation) is Resolution.NONE


def _called(request: KeyRequest, shelved: ShelvedConnector) -> ConnectorOperation:
    """What is called about a request: itself, or what tells what became of it."""
    if request.state is RequestState.ACCEPTED:
        return ConnectorOperation.LOOK_UP
    if request.state is not RequestState.UNKNOWN:
        return request.operation
    match resolution_of(shelved.connector.document.capabilities.for_resolving, request.operation):
        case Resolution.LOOK_UP:
            return ConnectorOperation.LOOK_UP
        case Resolution.VOID:
            return ConnectorOperation.CANCEL
        case _:
            return request.operation
