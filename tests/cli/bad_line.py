"""A bad line between a client and the service: it lets uploads through only so far."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Cut:
    """Break an upload off behind so many bytes, once `when` has happened; or behind its last byte, before the answer."""

    behind_bytes: int | None
    when: Callable[[], Awaitable[object]] | None = None


LOST_ANSWER = Cut(None)


@dataclass(slots=True)
class BadLine:
    """Everything but uploads passes; each upload meets the next cut, or none when there is none left."""

    target: str
    cuts: list[Cut]
    url: str = ""
    uploads: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["BadLine"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there = urlsplit(self.target)
        far_reader, far_writer = await asyncio.open_connection(there.hostname, there.port)
        cut = _Connection(self, far_writer)
        try:
            async with asyncio.TaskGroup() as both:
                back = both.create_task(_pass_back(far_reader, writer, cut))
                both.create_task(cut.forward(reader)).add_done_callback(lambda _: back.cancel())
        except* OSError:
            pass
        finally:
            for stream in (writer, far_writer):
                stream.transport.abort()
            self._tasks.discard(task)

    def next_cut(self) -> Cut | None:
        self.uploads += 1
        return self.cuts.pop(0) if self.cuts else None


class _Connection:
    """One client's connection to the service."""

    def __init__(self, line: BadLine, far_writer: asyncio.StreamWriter) -> None:
        self._line = line
        self._far_writer = far_writer
        self._cut: Cut | None = None
        self._bytes = 0

    @property
    def drops_answers(self) -> bool:
        return self._cut is not None and self._cut.behind_bytes is None

    async def forward(self, reader: asyncio.StreamReader) -> None:
        """Ends where the client ends, or at the cut."""
        while data := await reader.read(4_096):
            if data.startswith(b"POST "):
                self._cut, self._bytes = self._line.next_cut(), 0
            self._bytes += len(data)
            self._far_writer.write(data)
            await self._far_writer.drain()
            cut = self._cut
            if cut is not None and cut.behind_bytes is not None and self._bytes >= cut.behind_bytes:
                if cut.when is not None:
                    await cut.when()
                return


async def _pass_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            if connection.drops_answers:
                break
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
