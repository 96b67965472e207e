"""The directory that holds one cluster: what lies where, who may use it, and that only one service does."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from keyservice.postgres.binaries import PostgresBinaries
from keyservice.postgres.embedded.credentials import PORT
from keyservice.postgres.embedded.errors import (
    DataDirectoryForeign,
    DataDirectoryInUse,
    DirectoryUnreachable,
    WrongMajorVersion,
)
from keyservice.postgres.embedded.operating_system_user import OperatingSystemUser, current_user
from keyservice.postgres.embedded.private_files import read_json, write_json
from keyservice.postgres.embedded.processes import comes_true

log = structlog.get_logger()

# The kernel's limit on a socket's path, the ending zero not counted.
_SOCKET_PATH_BYTES_MAX = 107
_TEMPORARY_PREFIX = "keyservice-"
# An empty file system has this entry.
_NOBODYS = frozenset({"lost+found"})
# `is_in_use` holds the lock for an instant, which must not look like a running service.
_LOCK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ClusterDirectory:
    """The layout below one absolute path without symbolic links."""

    path: Path

    @classmethod
    def at(cls, directory: Path) -> "ClusterDirectory":
        return cls(directory.resolve())

    @property
    def data(self) -> Path:
        return self.path / "postgres"

    @property
    def staging(self) -> Path:
        return self.path / "postgres.new"

    @property
    def log_file(self) -> Path:
        return self.path / "postgres.log"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def credentials_file(self) -> Path:
        return self.path / "credentials.json"

    @property
    def server_file(self) -> Path:
        return self.path / "server.json"

    def prepare(self, user: OperatingSystemUser, neighbours: Collection[str]) -> None:
        """Create the directory, or make sure that it is ours and within `user`'s reach. Touches no other directory."""
        closed = user.first_closed([*reversed(self.path.parents), self.path])
        if closed is not None and closed.is_dir():
            raise DirectoryUnreachable(directory=closed, user=user.name)
        if self.path.exists():
            self._check_ours(neighbours)
        else:
            self._create(0o700 if user.is_current else 0o711)

    def check_version(self, major: int) -> None:
        """Raises WrongMajorVersion, or DataDirectoryForeign when it is not a data directory at all."""
        if not self.data.exists():
            return
        try:
            found = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError as error:
            raise DataDirectoryForeign(directory=self.data, found="no PG_VERSION") from error
        if found != str(major):
            raise WrongMajorVersion(directory=self.data, found=found, wanted=major)

    def usable_binaries(self, binaries: PostgresBinaries, user: OperatingSystemUser) -> PostgresBinaries:
        """The programs themselves, or a copy here when `user` cannot reach them, as below root's home."""
        closed = user.first_closed(binaries.paths)
        if closed is None:
            return binaries
        if binaries.wheel is None:
            raise DirectoryUnreachable(directory=closed, user=user.name)
        target = self.path / f"binaries-{binaries.version}"
        log.info("binaries_copied", account=user.name)
        return binaries.copied_to(target)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Raises DataDirectoryInUse while another service has it. The kernel lets go when the process dies."""
        descriptor = self._open_lock(os.O_RDWR | os.O_CREAT)
        try:
            if not await comes_true(lambda: _try_lock(descriptor, fcntl.LOCK_EX), within_seconds=_LOCK_SECONDS):
                holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
                raise DataDirectoryInUse(directory=self.path, process=f"the service in process {holder or 'unknown'}")
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            # Closing would not do: a process that was forked meanwhile shares the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def is_in_use(self) -> bool:
        """Whether a service runs on this directory now."""
        try:
            descriptor = self._open_lock(os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    @contextmanager
    def socket_directory(self, user: OperatingSystemUser) -> Iterator[Path]:
        """A directory that only `user` and root can enter: inside this one if the path fits, else a temporary one."""
        self._remove_abandoned(user)
        directory = self.path / "socket"
        # A comma separates directories in PostgreSQL's setting and hosts in a URL.
        if "," in str(directory) or len(os.fsencode(directory / f".s.PGSQL.{PORT}")) > _SOCKET_PATH_BYTES_MAX:
            directory = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX))
        directory.mkdir(mode=0o700, exist_ok=True)
        user.own(directory)
        write_json(self.server_file, {"socket_directory": str(directory), "account": user.name})
        try:
            yield directory
        finally:
            shutil.rmtree(directory)

    def recorded_socket_directory(self) -> Path | None:
        """Where the running server's socket is, None before the first start."""
        try:
            return Path(read_json(self.server_file)["socket_directory"])
        except FileNotFoundError:
            return None

    def _open_lock(self, flags: int) -> int:
        try:
            return os.open(self.lock_file, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except PermissionError as error:
            raise DirectoryUnreachable(directory=self.path, user=current_user().name) from error

    def _create(self, mode: int) -> None:
        for path in (*reversed(self.path.parents), self.path):
            if path.exists():
                continue
            try:
                path.mkdir()
            except PermissionError as error:
                raise DirectoryUnreachable(directory=path.parent, user=current_user().name) from error
            path.chmod(mode)

    def _check_ours(self, neighbours: Collection[str]) -> None:
        if not self.path.is_dir():
            raise DataDirectoryForeign(directory=self.path, found="a file's content")
        strangers = {entry.name for entry in self.path.iterdir()} - _NOBODYS - set(neighbours)
        if strangers and not self.lock_file.exists():
            raise DataDirectoryForeign(directory=self.path, found=min(strangers))

    def _remove_abandoned(self, user: OperatingSystemUser) -> None:
        # A killed service leaves its temporary directory; what others put at that path since is not touched.
        recorded = self.recorded_socket_directory()
        if recorded is None or not recorded.name.startswith(_TEMPORARY_PREFIX):
            return
        try:
            status = recorded.lstat()
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode) and status.st_uid in (user.uid, os.geteuid()):
            shutil.rmtree(recorded)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
