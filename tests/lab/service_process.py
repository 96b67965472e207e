"""A real `keyservice serve` with its embedded PostgreSQL: started, known by its processes, killed, restarted, ended."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from keyservice.crypto.keyring import Keyring
from keyservice.domain.caller import CallerKind
from keyservice.fulfillment.manage_callers import add_caller
from keyservice.postgres.connection import pipeline_transaction
from keyservice.postgres.embedded import EmbeddedPostgres
from keyservice.postgres.embedded.credentials import DATABASE
from keyservice.postgres.embedded.leftovers import postmaster_pid
from keyservice.postgres.embedded.processes import processes_in
from tests.lab.cluster import DatabaseUrls, as_role
from tests.lab.processes import ProcessRef
from tests.lab.waiting import until, until_true

_REPOSITORY: Final = Path(__file__).parents[2]
_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 40.0
_STARTS_MAX: Final = 20
# Connections are spread over the workers by the kernel: so many fresh ones in a row meet all of them.
_READY_IN_A_ROW: Final = 8


class ServiceNotStarted(Exception):
    """The service ended before it was ready; the end of its log is in the message."""


class ServiceProcess:
    """One directory and the service on it. The port stays the same across restarts."""

    def __init__(
        self, directory: Path, *, processes: int, settings: Mapping[str, str], database: DatabaseUrls | None
    ) -> None:
        self.directory = directory
        self.processes = processes
        self._database = database
        self.port = 0
        self.port_refusals = 0
        self._settings = settings
        self._launcher: subprocess.Popen[bytes] | None = None
        self._known: set[ProcessRef] = set()

    @classmethod
    @asynccontextmanager
    async def running(
        cls, *, processes: int = 2, database: DatabaseUrls | None = None, **settings: object
    ) -> AsyncIterator["ServiceProcess"]:
        """Serve on a new directory; everything of it is gone afterwards. `settings` are named as in Settings.

        Without a `database` PostgreSQL is embedded, which only then can be killed.
        """
        directory = Path(tempfile.mkdtemp(prefix="keyservice-lab-"))
        # Started as root, the database runs under another account, which must be able to pass through.
        directory.chmod(0o711)
        chosen = {name: str(one) for name, one in settings.items()}
        if database is not None:
            chosen |= {"database_url": database.service, "database_owner_url": database.owner}
        service = cls(directory, processes=processes, settings=chosen, database=database)
        service.temporary.mkdir()
        try:
            await service.start()
            yield service
        finally:
            await service.end()
            shutil.rmtree(directory)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "service.log"

    @property
    def temporary(self) -> Path:
        return self.directory / "temporary"

    @property
    def base_url(self) -> str:
        return f"http://{_HOST}:{self.port}"

    @property
    def launcher(self) -> ProcessRef:
        found = None if self._launcher is None else ProcessRef.of(self._launcher.pid)
        assert found is not None, "the launcher does not run"
        return found

    @property
    def workers(self) -> list[ProcessRef]:
        """The launcher's worker processes that live now."""
        found = [child for child in self.launcher.children if b"keyservice.cli.worker" in child.command_line]
        self._known.update(found)
        return found

    @property
    def postmaster(self) -> ProcessRef | None:
        pid = postmaster_pid(self._cluster)
        found = None if pid is None else ProcessRef.of(pid)
        if found is not None:
            self._known.add(found)
        return found

    @property
    def backends(self) -> list[ProcessRef]:
        """PostgreSQL's processes below the postmaster: those that serve connections and those that do its chores."""
        return [] if self.postmaster is None else self.postmaster.children

    @property
    def everything(self) -> list[ProcessRef]:
        postmaster = [] if self.postmaster is None else [self.postmaster]
        return [self.launcher, *self.workers, *postmaster, *self.backends]

    async def start(self) -> None:
        """Start, on the same port as before, as a process manager would: again while the port is not free yet."""
        for _ in range(_STARTS_MAX):
            offset = self.log.stat().st_size if self.log.exists() else 0
            self._launcher = self._popen()
            try:
                await self._wait_started(offset)
            except ServiceNotStarted:
                if b"cannot be listened on" not in self._log_from(offset):
                    raise
                self.port_refusals += 1
            else:
                return
        raise ServiceNotStarted(f"port {self.port} did not become free")

    async def wait_ready(self, *, seconds: float = 30.0) -> None:
        """Until every worker listens, and whoever of them is asked is ready."""
        connector = aiohttp.TCPConnector(force_close=True)
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(self.base_url, connector=connector, timeout=timeout) as session:

            async def is_ready() -> bool:
                if sum(worker.listens_on(self.port) for worker in self.workers) < self.processes:
                    return False
                try:
                    for _ in range(_READY_IN_A_ROW):
                        async with session.get("/health/ready") as response:
                            if response.status != 200:
                                return False
                except (aiohttp.ClientError, TimeoutError):
                    return False
                return True

            await until(is_ready, seconds=seconds, what="every worker is ready")

    def tracebacks(self) -> int:
        """How often an interpreter printed an exception past the log, with whatever its message says."""
        return self._log_from(0).count(b"Traceback (most recent call last)")

    async def reap_launcher(self) -> None:
        """After it was killed: until it is gone for the system too."""
        launcher = self._launcher
        assert launcher is not None
        await until_true(lambda: launcher.poll() is not None, seconds=10, what="the killed launcher is gone")

    async def stop(self) -> int:
        """SIGTERM; the launcher's exit status."""
        launcher = self._launcher
        assert launcher is not None
        launcher.terminate()
        await until_true(lambda: launcher.poll() is not None, seconds=_STOP_SECONDS, what="the service stops")
        assert launcher.returncode is not None
        return launcher.returncode

    async def end(self) -> None:
        """However it stands: nothing of it runs afterwards."""
        launcher = self._launcher
        if launcher is not None and launcher.poll() is None:
            _ = (self.workers, self.postmaster)
            try:
                await self.stop()
            except AssertionError:
                launcher.kill()
                launcher.wait()
        left = [*self._known, *(ref for pid in self._processes_of_cluster() if (ref := ProcessRef.of(pid)))]
        for process in left:
            process.kill()
        await until_true(lambda: not any(one.is_alive for one in left), seconds=20, what="no process is left behind")

    async def database_urls(self) -> DatabaseUrls:
        if self._database is not None:
            return self._database
        server = await EmbeddedPostgres.attach(self.data / "database")
        assert server is not None, "the service does not run"
        superuser = as_role(server.superuser_url, database=DATABASE)
        return DatabaseUrls(superuser=superuser, owner=server.owner_url, service=server.service_url)

    def keyring(self) -> Keyring:
        return Keyring.load(self.data / "keyring.json")

    async def new_caller(self, kind: CallerKind, name: str, **options: Any) -> str:
        """The token of a caller that is added past the service, as the command line does it."""
        async with pipeline_transaction((await self.database_urls()).service) as connection:
            return await add_caller(connection, kind=kind, name=name, **options)

    @property
    def _cluster(self) -> Path:
        return self.data / "database" / "postgres"

    def _processes_of_cluster(self) -> list[int]:
        return processes_in(self._cluster) if self._cluster.exists() else []

    def _popen(self) -> "subprocess.Popen[bytes]":
        names = ("PATH", "HOME", "LANG", "LC_ALL")
        environment = {name: os.environ[name] for name in names if name in os.environ}
        environment |= {f"KEYSERVICE_{name.upper()}": value for name, value in self._settings.items()}
        options = ("--port", str(self.port), "--processes", str(self.processes), "--data-directory", str(self.data))
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "keyservice", "serve", *options],
                cwd=_REPOSITORY,
                env={**environment, "TMPDIR": str(self.temporary)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _wait_started(self, offset: int) -> None:
        async def port() -> int | None:
            for line in self._log_from(offset).splitlines():
                if b'"service_ready"' in line:
                    return int(json.loads(line)["port"])
            assert self._launcher is not None
            if self._launcher.poll() is not None:
                raise ServiceNotStarted(self._log_from(offset).decode(errors="replace")[-2_000:])
            return None

        self.port = await until(port, seconds=_START_SECONDS, what="the service starts")
        _ = (self.workers, self.postmaster)

    def _log_from(self, offset: int) -> bytes:
        with self.log.open("rb") as stream:
            stream.seek(offset)
            return stream.read()
