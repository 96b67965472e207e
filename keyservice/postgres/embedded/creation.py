"""Creating a cluster: beside its place, then renamed, so that a data directory that exists is a complete one."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import structlog

from keyservice.postgres.binaries import PostgresBinaries
from keyservice.postgres.embedded.cluster import ClusterDirectory
from keyservice.postgres.embedded.credentials import SUPERUSER
from keyservice.postgres.embedded.errors import PostgresNotStarted
from keyservice.postgres.embedded.operating_system_user import OperatingSystemUser
from keyservice.postgres.embedded.private_files import sync_directory
from keyservice.postgres.embedded.processes import exit_status

log = structlog.get_logger()

_LINES_SHOWN = 20
_FIRST_MAJOR_WITH_BUILTIN_LOCALE = 17


async def create_cluster(
    cluster: ClusterDirectory, binaries: PostgresBinaries, user: OperatingSystemUser, *, superuser_password: str
) -> None:
    """Raises PostgresNotStarted. What an interrupted creation left is thrown away first."""
    if cluster.staging.exists():
        shutil.rmtree(cluster.staging)
    try:
        password_file = _stage(cluster.staging, user, superuser_password)
        data = cluster.staging / "data"
        await _run(user, _initdb_command(binaries, data, password_file))
        data.rename(cluster.data)
        sync_directory(cluster.path)
    finally:
        shutil.rmtree(cluster.staging)
    log.info("postgres_created", version=binaries.version, account=user.name)


def _stage(staging: Path, user: OperatingSystemUser, superuser_password: str) -> Path:
    staging.mkdir(mode=0o700)
    password_file = staging / "password"
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(superuser_password)
    user.own(password_file)
    user.own(staging)
    return password_file


def _initdb_command(binaries: PostgresBinaries, data: Path, password_file: Path) -> list[str | Path]:
    # The built-in locale sorts alike on every machine; a C library's order can change and break indexes.
    builtin = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    locale = builtin if binaries.major >= _FIRST_MAJOR_WITH_BUILTIN_LOCALE else ["--locale=C.UTF-8"]
    return [
        binaries.initdb,
        f"--pgdata={data}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--data-checksums",
        *locale,
    ]


async def _run(user: OperatingSystemUser, command: list[str | Path]) -> None:
    with tempfile.TemporaryFile() as output:
        process = user.start(command, output=output)
        try:
            status = await exit_status(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status != 0:
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines()[-_LINES_SHOWN:]
            raise PostgresNotStarted(program="initdb", status=status, last_lines=lines)
