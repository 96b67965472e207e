"""`python -m tests.lab.on_debian_postgres 15 [tests]`: tests that use a database, on a private server of Debian's packages.

In one process: on one server, tests that look at all of it would see each other.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = (
    *("tests/postgres/test_schema_rules.py", "tests/postgres/test_row_level_security.py", "tests/test_services.py"),
    *("tests/postgres/test_connection.py", "tests/fulfillment", "tests/workers", "tests/api", "tests/lab"),
)


@contextmanager
def server(major: str) -> Iterator[str]:
    """A private cluster on a socket, run by the postgres account when started as root; gives its superuser's URL."""
    programs = Path(f"/usr/lib/postgresql/{major}/bin")
    if not (programs / "postgres").exists():
        sys.exit(f"PostgreSQL {major} is not installed: apt-get install postgresql-{major}")
    directory = Path(tempfile.mkdtemp(prefix="ks-debian-"))
    account: dict[str, object] = {}
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
        account = {"user": "postgres", "group": "postgres", "extra_groups": []}
    data = directory / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"],
        check=True,
        stdout=subprocess.DEVNULL,
        **account,  # type: ignore[call-overload]
    )
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={directory}"]
    process = subprocess.Popen([programs / "postgres", "-D", data, *options], stderr=subprocess.DEVNULL, **account)  # type: ignore[call-overload]
    try:
        _wait_ready(programs, directory, process)
        yield f"postgresql://postgres@/postgres?host={directory}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_ready(programs: Path, directory: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while subprocess.run([programs / "pg_isready", "-q", "-h", directory], check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit("the server did not start")
        time.sleep(0.1)


def main() -> int:
    with server(sys.argv[1]) as url:
        environment = {**os.environ, "TEST_SUPERUSER_URL": url}
        named = any(Path(word.partition("::")[0]).exists() for word in sys.argv[2:])
        tests = () if named else TESTS
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-n", "0", *tests, *sys.argv[2:]], env=environment, check=False
        ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
