"""A way to PostgreSQL on which some answers to COMMIT get lost, after the server has committed."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

_COMMIT = b"COMMIT\x00"


class DeafProxy:
    """Passes everything on; of `lose_every` answers to COMMIT it loses one, and the connection with it."""

    def __init__(self, target: str, *, lose_every: int) -> None:
        self._target = target
        self._lose_every = lose_every
        self._commits = 0
        self.lost = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(self._target)
        is_deaf = asyncio.Event()
        upward = asyncio.create_task(self._ask(reader, questions, is_deaf))
        try:
            while data := await answers.read(65_536):
                if is_deaf.is_set():
                    self.lost += 1
                    return
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            upward.cancel()
            await asyncio.wait([upward])
            for side in (writer, questions):
                side.close()

    async def _ask(self, reader: asyncio.StreamReader, questions: asyncio.StreamWriter, is_deaf: asyncio.Event) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if _COMMIT in data:
                    self._commits += 1
                    if self._commits % self._lose_every == 0:
                        is_deaf.set()
                questions.write(data)
                await questions.drain()
        questions.close()


@contextlib.asynccontextmanager
async def deaf_proxy(url: str, *, lose_every: int) -> AsyncIterator[tuple[str, DeafProxy]]:
    """The URL by way of the proxy, and the proxy. The server listens on a unix socket."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    port = query.get("port", ["5432"])[0]
    proxy = DeafProxy(f"{query['host'][0]}/.s.PGSQL.{port}", lose_every=lose_every)
    directory = Path(tempfile.mkdtemp(prefix="keyservice-proxy-"))
    server = await asyncio.start_unix_server(proxy.serve, directory / f".s.PGSQL.{port}")
    try:
        deaf = urlencode({"host": str(directory), "port": port})
        yield urlunsplit((parts.scheme, parts.netloc, parts.path, deaf, "")), proxy
    finally:
        server.close()
        shutil.rmtree(directory)
