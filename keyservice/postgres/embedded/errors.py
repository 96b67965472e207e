"""Why the embedded PostgreSQL refuses to start or gives up; each message says what to do."""

from collections.abc import Sequence
from pathlib import Path

from keyservice.domain.errors import KeyserviceError


class EmbeddedPostgresError(KeyserviceError):
    """Base of everything that keeps the embedded PostgreSQL from running."""

    code = "embedded-postgres"


class DataDirectoryInUse(EmbeddedPostgresError):
    """Another service, or a PostgreSQL that somebody started by hand, works in the directory."""

    def __init__(self, *, directory: Path, process: str) -> None:
        super().__init__(f"{directory} is in use by {process}: stop it, or choose another directory")
        self.directory = directory
        self.process = process


class DataDirectoryForeign(EmbeddedPostgresError):
    """The directory holds things that this service did not put there."""

    def __init__(self, *, directory: Path, found: str) -> None:
        super().__init__(
            f"{directory} was not made by keyservice (it holds {found}): choose an empty or a new directory"
        )
        self.directory = directory
        self.found = found


class WrongMajorVersion(EmbeddedPostgresError):
    """The data directory was written by another major version, which only that version can read."""

    def __init__(self, *, directory: Path, found: str, wanted: int) -> None:
        super().__init__(
            f"{directory} was written by PostgreSQL {found}, the programs here are PostgreSQL {wanted}:"
            f" run pg_upgrade with the programs of both, or pg_dump it with the programs of {found}"
            f" and restore into a new directory; until then start with the programs of {found}"
        )
        self.directory = directory
        self.found = found
        self.wanted = wanted


class DirectoryUnreachable(EmbeddedPostgresError):
    """An account cannot enter or write a directory; nobody's permissions are changed for it."""

    def __init__(self, *, directory: Path, user: str) -> None:
        super().__init__(
            f"the account {user} cannot use {directory}: give it access"
            f" (for instance setfacl -m u:{user}:x), or choose another directory or account"
        )
        self.directory = directory
        self.user = user


class UserUnsuitable(EmbeddedPostgresError):
    """PostgreSQL cannot be run by this account."""

    def __init__(self, *, user: str, reason: str) -> None:
        super().__init__(f"PostgreSQL cannot run as {user}: {reason}")
        self.user = user
        self.reason = reason


class SettingRefused(EmbeddedPostgresError):
    """A server setting would lose acknowledged keys, show secrets, or take the server from its supervisor."""

    def __init__(self, *, name: str) -> None:
        super().__init__(f"the embedded PostgreSQL keeps its own {name}: leave this setting out")
        self.name = name


class CredentialsUnusable(EmbeddedPostgresError):
    """The data directory is there and the passwords to it are not."""

    def __init__(self, *, file: Path, reason: str) -> None:
        super().__init__(f"{file} {reason}: restore it from the backup that the data directory belongs to")
        self.file = file
        self.reason = reason


class PostgresNotStarted(EmbeddedPostgresError):
    """PostgreSQL or initdb ended before it was ready."""

    def __init__(self, *, program: str, status: int, last_lines: Sequence[str]) -> None:
        said = "\n  ".join(last_lines) or "(nothing)"
        super().__init__(f"{program} ended with status {status} before it was ready; its last lines were:\n  {said}")
        self.program = program
        self.status = status
        self.last_lines = tuple(last_lines)


class PostgresNotStopped(EmbeddedPostgresError):
    """A PostgreSQL process outlived every signal."""

    def __init__(self, *, pid: int) -> None:
        super().__init__(f"PostgreSQL process {pid} does not end: look whether its disk answers, then start again")
        self.pid = pid


class PostgresNotAnswering(EmbeddedPostgresError):
    """A service runs on the directory, and its PostgreSQL does not accept connections in time."""

    def __init__(self, *, directory: Path, seconds: float) -> None:
        super().__init__(f"the PostgreSQL in {directory} did not answer for {seconds:g} seconds: read its postgres.log")
        self.directory = directory
        self.seconds = seconds


class PostgresKeepsDying(EmbeddedPostgresError):
    """Restarting did not help."""

    def __init__(self, *, failures: int, log_file: Path) -> None:
        super().__init__(
            f"PostgreSQL died {failures} times in quick succession and is given up: read {log_file},"
            " mend the cause (a full disk, too little memory), and start again"
        )
        self.failures = failures
        self.log_file = log_file
