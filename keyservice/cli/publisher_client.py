"""The publisher's HTTP API as the command line uses it: pools by name, and uploads that outlive a broken connection."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp
import stamina
from pydantic import BaseModel, RootModel

from keyservice.cli.import_report import FileToSend, Listener, Report
from keyservice.cli.service_answers import (
    BROKEN,
    Model,
    RequestFailed,
    ServiceUnreachable,
    demand_success,
    in_words,
    may_go_on,
    read_answer,
)
from keyservice.domain.errors import Invalid, KeyserviceError, NotFound
from keyservice.domain.withdrawal import NamedBy, Outcome

_POLL_SECONDS: Final = 0.25
_ANSWER_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0
_PIECE_BYTES: Final = 65_536
_NAMES_SHOWN_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an upload is tried. A connection on which nothing moves for `stall_seconds` is taken for broken."""

    attempts: int = 8
    wait_seconds: float = 0.5
    wait_seconds_max: float = 10.0
    stall_seconds: float = 120.0


@dataclass(slots=True)
class _Sent:
    """How much of a file has left, on the present connection."""

    bytes: int = 0


class _Anything(RootModel[dict[str, Any]]):
    """An answer that is shown as it is."""


class _Pool(BaseModel):
    pool_id: str
    name: str


class _Pools(BaseModel):
    pools: list[_Pool]
    after: str | None


class WithdrawnEntry(BaseModel):
    """What became of one of the keys that were named."""

    named_by: NamedBy
    index: int
    outcome: Outcome


class WithdrawalAnswer(BaseModel):
    """What became of all of them."""

    entries: list[WithdrawnEntry]


_USUAL: Final = Patience()
# A large file may take its time, as long as something of it comes.
_SAVE_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=300)
_UPLOAD_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)


class PublisherClient:
    """Calls the publisher's API. `publisher` is for admins, who have to say whose pools they mean."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        token: str,
        *,
        publisher: str | None = None,
        patience: Patience = _USUAL,
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._query = {} if publisher is None else {"publisher": publisher}
        self._patience = patience

    async def pool_id(self, named: str) -> UUID:
        """The pool of this id or name. Raises NotFound."""
        names: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = await self._get("pools", _Pools, after)
            for pool in page.pools:
                if named in (pool.pool_id, pool.name):
                    return UUID(pool.pool_id)
                names.append(pool.name)
            if page.after is None:
                known = ", ".join(names[:_NAMES_SHOWN_MAX]) or "none yet"
                raise NotFound(f"there is no pool of this id or name; this publisher's pools: {known}")
            after = {"after": page.after}

    async def upload(
        self, file: FileToSend, pool_id: UUID, options: Mapping[str, str], *, batch_id: UUID, listener: Listener
    ) -> Report:
        """Send the file until it is through, always under the same id, so that it goes on where it broke off.

        Raises RequestFailed, and ServiceUnreachable when the connection broke too often.
        """
        patience = self._patience
        try:
            async for attempt in self._attempts():
                with attempt:
                    # The answer alone may have been lost: then nothing has to be sent again.
                    if attempt.num > 1 and (ended := await self._ended(batch_id)) is not None:
                        return ended
                    with _told_to(listener, attempt.num, patience.attempts):
                        return await self._send(file, pool_id, options, batch_id, listener)
        except BROKEN as error:
            raise ServiceUnreachable(
                f"the connection broke {patience.attempts} times, at last because: {in_words(error)}"
            ) from error
        raise AssertionError("an attempt returns or raises")

    async def withdraw(
        self, pool_id: UUID, *, keys: Sequence[str], publisher_key_ids: Sequence[str], reason: str
    ) -> WithdrawalAnswer:
        """Name up to 1,000 keys. Sent again when the connection breaks: what is withdrawn already stays so."""
        body = {"keys": keys, "publisher_key_ids": publisher_key_ids, "reason": reason}
        async for attempt in self._attempts():
            with attempt:
                async with self._session.post(
                    self._url(f"pools/{pool_id}/withdrawals"),
                    params=self._query,
                    headers=self._headers,
                    json=body,
                    allow_redirects=False,
                ) as response:
                    return await read_answer(response, WithdrawalAnswer)
        raise AssertionError("an attempt returns or raises")

    async def ask(
        self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """What stands at this path below /publisher, or what a body makes of it. Sent once. Raises RequestFailed."""
        asked = {**self._query, **(query or {})}
        async with self._session.request(
            method, self._url(path), params=asked, headers=self._headers, json=body, allow_redirects=False
        ) as response:
            return (await read_answer(response, _Anything)).root

    async def import_report(self, batch_id: UUID) -> Report:
        """How far an upload is, or what it came to."""
        return await self._get(f"imports/{batch_id}", Report)

    async def save_refused_rows(self, batch_id: UUID, path: Path) -> None:
        """Write the refused rows to a CSV file."""
        await self.save(f"imports/{batch_id}/refused-rows", path)

    async def save(self, path: str, to: Path, query: Mapping[str, str] | None = None) -> None:
        """Write what stands at this path below /publisher to a file, which is there in full or not at all.

        Raises Invalid for a file that cannot be written.
        """
        asked = {**self._query, **(query or {})}
        unfinished = to.with_name(f"{to.name}.part")
        try:
            async with self._session.get(
                self._url(path), params=asked, headers=self._headers, allow_redirects=False, timeout=_SAVE_TIMEOUT
            ) as response:
                await demand_success(response)
                with unfinished.open("wb") as stream:
                    async for piece in response.content.iter_chunked(_PIECE_BYTES):
                        stream.write(piece)
            unfinished.replace(to)
        except BROKEN:
            raise
        except OSError as error:
            raise Invalid(f"{to} cannot be written: {error.strerror}") from error
        finally:
            unfinished.unlink(missing_ok=True)

    def refused_rows_url(self, batch_id: UUID) -> str:
        return self._url(f"imports/{batch_id}/refused-rows")

    def _attempts(self) -> AsyncIterator[stamina.Attempt]:
        patience = self._patience
        return stamina.retry_context(
            on=may_go_on,
            attempts=patience.attempts,
            timeout=None,
            wait_initial=patience.wait_seconds,
            wait_jitter=patience.wait_seconds,
            wait_max=patience.wait_seconds_max,
        ).__aiter__()

    async def _ended(self, batch_id: UUID) -> Report | None:
        try:
            report = await self.import_report(batch_id)
        except RequestFailed as error:
            if error.status == 404:
                return None
            raise
        return report if report.is_over else None

    async def _send(
        self, file: FileToSend, pool_id: UUID, options: Mapping[str, str], batch_id: UUID, listener: Listener
    ) -> Report:
        headers = {
            **self._headers,
            "Content-Length": str(file.size),
            "Content-Type": "application/octet-stream",
            "Idempotency-Key": str(batch_id),
            "Repr-Digest": f"sha-256=:{base64.b64encode(file.sha256).decode()}:",
        }
        sent = _Sent()
        with file.opened() as stream:
            async with (
                self._stall_noticed(batch_id, sent, listener),
                self._session.post(
                    self._url(f"pools/{pool_id}/batches"),
                    params={**self._query, **options},
                    headers=headers,
                    data=_pieces(stream, sent),
                    timeout=_UPLOAD_TIMEOUT,
                    allow_redirects=False,
                ) as response,
            ):
                return await read_answer(response, Report)

    @asynccontextmanager
    async def _stall_noticed(self, batch_id: UUID, sent: _Sent, listener: Listener) -> AsyncIterator[None]:
        """Raises TimeoutError inside the block when neither bytes go out nor rows are committed any more."""
        async with asyncio.timeout(self._patience.stall_seconds) as limit:
            watching = asyncio.create_task(self._watch(batch_id, sent, limit, listener))
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.wait([watching])

    async def _watch(self, batch_id: UUID, sent: _Sent, limit: asyncio.Timeout, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        committed, seen = 0, (0, 0)
        task = asyncio.current_task()
        # A cancellation that meets a connection as it breaks can come out as the broken connection, which is let pass here.
        while task is None or not task.cancelling():
            await asyncio.sleep(_POLL_SECONDS)
            # What is wrong here is wrong with the upload too, which tells it.
            with contextlib.suppress(*BROKEN, KeyserviceError):
                report = await self.import_report(batch_id)
                committed = report.bytes
                listener.progressed(report)
            if (sent.bytes, committed) != seen:
                seen = (sent.bytes, committed)
                limit.reschedule(loop.time() + self._patience.stall_seconds)

    async def _get(self, path: str, model: type[Model], query: Mapping[str, str] | None = None) -> Model:
        asked = {**self._query, **(query or {})}
        async with self._session.get(
            self._url(path), params=asked, headers=self._headers, allow_redirects=False
        ) as response:
            return await read_answer(response, model)

    def _url(self, path: str) -> str:
        return f"{self._base_url}/publisher/{path}"


@asynccontextmanager
async def connected(url: str, token: str, *, publisher: str | None = None) -> AsyncIterator[PublisherClient]:
    """A client of the service at `url`. Raises ServiceUnreachable when nobody answers there."""
    if not url.startswith(("http://", "https://")):
        raise Invalid("the service's address begins with http:// or https://", field="url")
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            yield PublisherClient(session, url.rstrip("/"), token, publisher=publisher)
    except BROKEN as error:
        raise ServiceUnreachable(f"{url} does not answer: {in_words(error)}") from error
    except aiohttp.InvalidURL as error:
        raise Invalid("the service's address is no URL", field="url") from error


async def _pieces(stream: BufferedReader, sent: _Sent) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(stream.read, _PIECE_BYTES):
        yield piece
        sent.bytes += len(piece)


@contextmanager
def _told_to(listener: Listener, number: int, attempts: int) -> Iterator[None]:
    try:
        yield
    except (*BROKEN, RequestFailed) as error:
        if number < attempts and may_go_on(error):
            listener.repeats(number + 1, in_words(error))
        raise
