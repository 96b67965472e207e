"""Group commit: requests that arrive while a transaction is in flight share the next one.

There is no artificial delay: an idle lane serves a single request at once. The transaction runs in the lane's own task, so
neither a client that goes away nor a time limit can cut a COMMIT in half.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import asyncpg
import structlog

from keyservice.domain.errors import KeyserviceError, OutcomeUnknown, Overloaded
from keyservice.postgres.connection import (
    CONNECTION_LOST,
    PLANNER_SETTINGS,
    WORTH_REPEATING,
    Connection,
    commit,
    commit_believed,
    open_connection,
)
from keyservice.postgres.roles import TAKE_ON_PIPELINE

Request = TypeVar("Request")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)

# Transaction-scoped, so that poolers stay configuration.
_BEGIN = (
    f"BEGIN; {TAKE_ON_PIPELINE}; {PLANNER_SETTINGS}; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '30s'"
)
_PAUSE_SECONDS_MAX = 1.0


@dataclass(slots=True)
class _Waiting(Generic[Request, Result]):
    request: Request
    answer: "asyncio.Future[Result]"


class GroupCommit(Generic[Request, Result]):
    """One lane: a queue, a connection, and one transaction in flight at a time.

    `serve` gets an open transaction and the group, and returns one result per request; an exception instance as a result
    is raised to that request alone. `serve` must be safe to repeat: after a lost COMMIT the same group runs again.
    """

    def __init__(
        self,
        url: str,
        serve: Callable[[Connection, Sequence[Request]], Awaitable[Sequence[Result | Exception]]],
        *,
        group_max: int,
        waiting_max: int,
        statement_cache_size: int = 200,
        retry_seconds: float = 10.0,
    ) -> None:
        self._url = url
        self._serve = serve
        self._group_max = group_max
        self._waiting_max = waiting_max
        self._statement_cache_size = statement_cache_size
        self._retry_seconds = retry_seconds
        self._waiting: deque[_Waiting[Request, Result]] = deque()
        self._arrived = asyncio.Event()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._stopping = False
        self.group_sizes: deque[int] = deque(maxlen=1_000)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["GroupCommit[Request, Result]"]:
        """Serve until left; then finish what is waiting, and stop."""
        lane = asyncio.create_task(self._run(), name="group commit lane")
        try:
            yield self
        finally:
            self._stopping = True
            self._arrived.set()
            await asyncio.shield(lane)
            if self._connection is not None:
                self._connection.terminate()

    async def submit(self, request: Request) -> Result:
        """Have the request served in the next group. Raises Overloaded when too many are waiting."""
        if self._stopping or len(self._waiting) >= self._waiting_max:
            raise Overloaded("too many orders are waiting; repeat the request in a second")
        waiting: _Waiting[Request, Result] = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            if not self._waiting:
                if self._stopping:
                    return
                self._arrived.clear()
                continue
            group = [self._waiting.popleft() for _ in range(min(self._group_max, len(self._waiting)))]
            self.group_sizes.append(len(group))
            await self._serve_or_fail(group)

    async def _serve_or_fail(self, group: list[_Waiting[Request, Result]]) -> None:
        try:
            await self._serve_group(group)
        except Exception as error:
            log.exception("group_failed", count=len(group))
            for one in group:
                _settle(one, error)
            if isinstance(error, OutcomeUnknown):
                self._turn_away_waiting()

    def _turn_away_waiting(self) -> None:
        """The database is away: whoever waits would wait as long again, one group after the other."""
        while self._waiting:
            _settle(
                self._waiting.popleft(), Overloaded("the database is away; nothing was started; repeat the request")
            )

    async def _serve_group(self, group: list[_Waiting[Request, Result]]) -> None:
        """Serve the group; when somebody in it cannot be served, halve it until the culprit is alone."""
        try:
            results = await self._commit_with_retries([one.request for one in group])
        except (OutcomeUnknown, Overloaded):
            raise
        except Exception as error:
            if len(group) == 1:
                log.exception("grouped_request_failed")
                _settle(group[0], error)
                return
            middle = len(group) // 2
            await self._serve_group(group[:middle])
            await self._serve_group(group[middle:])
        else:
            for one, result in zip(group, results, strict=True):
                _settle(one, result)

    async def _commit_with_retries(self, requests: Sequence[Request]) -> Sequence[Result | Exception]:
        """Again after a lost race, a deadlock or a time limit, and after a lost connection, as long as there is time.

        Raises Overloaded when nothing was committed, OutcomeUnknown when nobody can tell.
        """
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._retry_seconds, 0.01
        failure: KeyserviceError = Overloaded("the database is busy; nothing was stored; repeat the request")
        while True:
            try:
                return await self._commit_once(requests)
            except WORTH_REPEATING as error:
                cause: BaseException = error
            except CONNECTION_LOST as error:
                self._drop_connection()
                # From here on nobody can tell, whatever comes later.
                cause, failure = error, OutcomeUnknown("the database is away; repeat the same request")
            if loop.time() > deadline:
                raise failure from cause
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    async def _commit_once(self, requests: Sequence[Request]) -> Sequence[Result | Exception]:
        connection = await self._connected()
        with commit_believed(connection):
            await connection.execute(_BEGIN)
            try:
                results = await self._serve(connection, requests)
            except Exception:
                with contextlib.suppress(*CONNECTION_LOST):
                    await connection.execute("ROLLBACK")
                raise
            await commit(connection)
        return results

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await open_connection(self._url, statement_cache_size=self._statement_cache_size)
        return self._connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _settle(one: _Waiting[Request, Result], result: Result | Exception) -> None:
    if one.answer.done():
        return
    if isinstance(result, Exception):
        one.answer.set_exception(result)
    else:
        one.answer.set_result(result)
