"""The embedded PostgreSQL as the server of a test run, in a short-lived directory that its account can reach."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from keyservice.postgres.binaries import PostgresBinaries
from keyservice.postgres.embedded import EmbeddedPostgres


@asynccontextmanager
async def embedded_superuser_url() -> AsyncIterator[str]:
    """Start a server, give its superuser's URL, remove everything."""
    directory = Path(tempfile.mkdtemp(prefix="keyservice-test-"))
    # Started as root, the server runs under another account, which must be able to pass through.
    directory.chmod(0o711)
    try:
        async with EmbeddedPostgres.running(directory / "database", binaries=PostgresBinaries.locate()) as server:
            yield server.superuser_url
    finally:
        shutil.rmtree(directory, ignore_errors=True)
