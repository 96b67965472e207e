"""One PostgreSQL server as a child process: its settings, its log, its readiness, its end."""

import asyncio
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import asyncpg
import structlog

from keyservice.postgres.embedded.cluster import ClusterDirectory
from keyservice.postgres.embedded.credentials import PORT
from keyservice.postgres.embedded.errors import CredentialsUnusable, PostgresNotStarted, SettingRefused
from keyservice.postgres.embedded.operating_system_user import OperatingSystemUser
from keyservice.postgres.embedded.processes import STOP_POSTMASTER, cluster_name, exit_status, stop_process

log = structlog.get_logger()

_LOG_BYTES_MAX = 10_000_000
_LINES_SHOWN = 20
_CONNECT_SECONDS = 5.0
_READY_POLL_SECONDS = 0.05
_READY_POLL_SECONDS_MAX = 1.0
_PROGRESS_SECONDS = 5.0

_NOT_YET = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.AdminShutdownError,
    asyncpg.InvalidCatalogNameError,
)

# Sized for a small machine; every one may be overridden.
_DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "shared_buffers": "256MB",
        "max_wal_size": "4GB",
        "max_connections": "100",
        "huge_pages": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
)
# None may be overridden: the first three keep what was acknowledged, the log settings keep rows and parameters out of
# the log (a terse message leaves out the DETAIL that quotes them), the rest belong to the supervisor.
_KEPT: Mapping[str, str] = MappingProxyType(
    {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "log_statement": "none",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "log_error_verbosity": "terse",
        "password_encryption": "scram-sha-256",
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "unix_socket_group": "",
        "port": str(PORT),
        "logging_collector": "off",
        "log_destination": "stderr",
    }
)
_PLACES = frozenset(
    {
        "cluster_name",
        "config_file",
        "data_directory",
        "external_pid_file",
        "hba_file",
        "ident_file",
        "unix_socket_directories",
    }
)


def checked_settings(overrides: Mapping[str, str]) -> dict[str, str]:
    """Raises SettingRefused. PostgreSQL reads `Full-Page-Writes` as full_page_writes; so are names compared."""
    wanted = {name.strip().lower().replace("-", "_"): value for name, value in overrides.items()}
    for name in wanted:
        if name in _KEPT or name in _PLACES or not name.replace("_", "").replace(".", "").isalnum():
            raise SettingRefused(name=name)
    return {**_DEFAULTS, **wanted, **_KEPT}


@dataclass(frozen=True, slots=True)
class Launch:
    """All that a start needs; every restart uses the same."""

    program: Path
    cluster: ClusterDirectory
    user: OperatingSystemUser
    socket_directory: Path
    settings: Mapping[str, str]

    def command(self) -> list[str | Path]:
        places = {
            "unix_socket_directories": str(self.socket_directory),
            "cluster_name": cluster_name(self.cluster.data),
        }
        settings = {**self.settings, **places}
        options = (option for name, value in settings.items() for option in ("-c", f"{name}={value}"))
        return [self.program, "-D", self.cluster.data, *options]


class Postmaster:
    """A started server. Whoever starts one stops it."""

    def __init__(self, process: "subprocess.Popen[bytes]", log_file: Path, log_offset: int) -> None:
        self._process = process
        self._log_file = log_file
        self._log_offset = log_offset

    @classmethod
    def start(cls, launch: Launch) -> "Postmaster":
        log_file = launch.cluster.log_file
        if log_file.exists() and log_file.stat().st_size > _LOG_BYTES_MAX:
            log_file.rename(f"{log_file}.1")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(log_file, flags, 0o600)
        try:
            offset = os.fstat(descriptor).st_size
            return cls(launch.user.start(launch.command(), output=descriptor), log_file, offset)
        finally:
            os.close(descriptor)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def exit_status(self) -> int:
        return await exit_status(self._process)

    async def wait_ready(self, url: str, credentials_file: Path) -> None:
        """As long as crash recovery takes: only the death of the server ends the wait. Raises PostgresNotStarted."""
        started = reported = time.monotonic()
        pause = _READY_POLL_SECONDS
        while not await accepts(url, credentials_file):
            if (status := self._process.poll()) is not None:
                raise PostgresNotStarted(program="postgres", status=status, last_lines=self._last_lines())
            if time.monotonic() - reported >= _PROGRESS_SECONDS:
                reported = time.monotonic()
                log.info("postgres_starting", pid=self.pid, seconds=round(reported - started, 1))
            await asyncio.sleep(pause)
            # Each early attempt leaves a line in the server's log.
            pause = min(pause * 1.5, _READY_POLL_SECONDS_MAX)
        log.info("postgres_ready", pid=self.pid, seconds=round(time.monotonic() - started, 3))

    async def stop(self) -> None:
        """Fast shutdown, then harder ones. Raises PostgresNotStopped."""
        started = time.monotonic()
        await stop_process(self.pid, lambda: self._process.poll() is None, STOP_POSTMASTER)
        log.info("postgres_stopped", pid=self.pid, seconds=round(time.monotonic() - started, 3))

    def _last_lines(self) -> list[str]:
        with self._log_file.open("rb") as stream:
            stream.seek(self._log_offset)
            return stream.read().decode(errors="replace").splitlines()[-_LINES_SHOWN:]


async def accepts(url: str, credentials_file: Path) -> bool:
    """Whether the server takes connections now. Raises CredentialsUnusable when it takes them but not ours."""
    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS)
    except asyncpg.TooManyConnectionsError:
        return True
    except asyncpg.InvalidPasswordError as error:
        raise CredentialsUnusable(file=credentials_file, reason="does not fit the server") from error
    except _NOT_YET:
        return False
    await connection.close()
    return True
