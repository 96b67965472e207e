"""An own PostgreSQL in a directory: created, started, supervised and stopped with the service."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from keyservice.postgres.binaries import PostgresBinaries
from keyservice.postgres.embedded.cluster import ClusterDirectory
from keyservice.postgres.embedded.creation import create_cluster
from keyservice.postgres.embedded.credentials import DATABASE, OWNER, SERVICE, SUPERUSER, Credentials, url
from keyservice.postgres.embedded.errors import CredentialsUnusable, PostgresNotAnswering
from keyservice.postgres.embedded.leftovers import postmaster_pid
from keyservice.postgres.embedded.operating_system_user import choose_user
from keyservice.postgres.embedded.postmaster import Launch, accepts, checked_settings
from keyservice.postgres.embedded.roles import create_roles
from keyservice.postgres.embedded.supervisor import RestartPolicy, Supervisor

_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
_ATTACH_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server, as its users see it. The URLs carry passwords; they stay the same across restarts."""

    directory: Path
    socket_directory: Path
    credentials: Credentials = field(repr=False)

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        directory: Path,
        *,
        binaries: PostgresBinaries,
        operating_system_user: str | None = None,
        server_settings: Mapping[str, str] = _NO_SETTINGS,
        on_restart: Callable[[], None] | None = None,
        restart_policy: RestartPolicy | None = None,
        neighbours: Collection[str] = (),
    ) -> AsyncIterator["EmbeddedPostgres"]:
        """Restarted when it dies; when that does not help, the block is cancelled and PostgresKeepsDying raised.

        `neighbours` names the service's own files that may lie in a new directory before the first start.
        """
        settings = checked_settings(server_settings)
        cluster = ClusterDirectory.at(directory)
        user = choose_user(operating_system_user, cluster.data)
        cluster.prepare(user, neighbours)
        async with cluster.locked():
            cluster.check_version(binaries.major)
            programs = cluster.usable_binaries(binaries, user)
            credentials = _credentials(cluster)
            if not cluster.data.exists():
                await create_cluster(cluster, programs, user, superuser_password=credentials.superuser)
            with cluster.socket_directory(user) as socket_directory:
                server = cls(cluster.path, socket_directory, credentials)
                supervisor = Supervisor(
                    Launch(programs.postgres, cluster, user, socket_directory, settings),
                    superuser_url=server.superuser_url,
                    policy=restart_policy or RestartPolicy(),
                    on_restart=on_restart,
                )
                async with supervisor.supervising(server._create_roles):
                    yield server

    @classmethod
    async def attach(cls, directory: Path, *, timeout_seconds: float = 30.0) -> "EmbeddedPostgres | None":
        """The server of the service that runs on `directory`, None when none does. Raises PostgresNotAnswering."""
        cluster = ClusterDirectory.at(directory)
        deadline = time.monotonic() + timeout_seconds
        while cluster.is_in_use():
            server = cls._recorded(cluster)
            if server is not None and await server._serves():
                return server
            if time.monotonic() >= deadline:
                raise PostgresNotAnswering(directory=cluster.path, seconds=timeout_seconds)
            await asyncio.sleep(_ATTACH_POLL_SECONDS)
        return None

    @property
    def superuser_url(self) -> str:
        """For maintenance and tests."""
        return self._url(role=SUPERUSER, password=self.credentials.superuser, database="postgres")

    @property
    def owner_url(self) -> str:
        """Owns the database and migrates it."""
        return self._url(role=OWNER, password=self.credentials.owner)

    @property
    def service_url(self) -> str:
        """Owns nothing; the service works as this role."""
        return self._url(role=SERVICE, password=self.credentials.service)

    @property
    def postmaster_pid(self) -> int | None:
        """The server's first process, None in the moment between its death and its restart."""
        return postmaster_pid(ClusterDirectory(self.directory).data)

    def _url(self, *, role: str, password: str, database: str = DATABASE) -> str:
        return url(role=role, password=password, database=database, socket_directory=self.socket_directory)

    async def _create_roles(self) -> None:
        await create_roles(superuser_url=self.superuser_url, owner_url=self.owner_url, credentials=self.credentials)

    async def _serves(self) -> bool:
        # The service's role is the last thing that a first start creates.
        try:
            return await accepts(self.service_url, ClusterDirectory(self.directory).credentials_file)
        except CredentialsUnusable:
            return False

    @classmethod
    def _recorded(cls, cluster: ClusterDirectory) -> "EmbeddedPostgres | None":
        socket_directory = cluster.recorded_socket_directory()
        if socket_directory is None:
            return None
        return cls(cluster.path, socket_directory, Credentials.read(cluster.credentials_file))


def _credentials(cluster: ClusterDirectory) -> Credentials:
    # An interrupted first start leaves them behind without a data directory; they serve the next attempt.
    if cluster.data.exists() or cluster.credentials_file.exists():
        return Credentials.read(cluster.credentials_file)
    return Credentials.create(cluster.credentials_file)
