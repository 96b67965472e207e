"""What the long runs share: their seed, and the line of figures that each prints."""

import json
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.lab.cluster import fresh_database, prepare_template
from tests.lab.service_process import ServiceProcess

Figures = Callable[..., None]

own_postgres = pytest.mark.skipif(
    bool(os.environ.get("TEST_SUPERUSER_URL")), reason="it kills or searches a PostgreSQL of its own, whatever is given"
)


@pytest.fixture(scope="session")
async def service() -> AsyncIterator[ServiceProcess]:
    """A service of two worker processes with the settings of every day, for all who leave it whole.

    Its PostgreSQL is embedded, unless TEST_SUPERUSER_URL names another server.
    """
    given = os.environ.get("TEST_SUPERUSER_URL")
    async with AsyncExitStack() as stack:
        database = None
        if given:
            await prepare_template(given)
            database = await stack.enter_async_context(fresh_database(given))
        yield await stack.enter_async_context(ServiceProcess.running(processes=2, database=database))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """LAB_SEED repeats a run; without it each run has its own. It stands in the output of a test that fails."""
    chosen = int(os.environ.get("LAB_SEED") or random.SystemRandom().randrange(1_000_000_000))
    sys.stdout.write(f"{request.node.name}: LAB_SEED={chosen}\n")
    return chosen


@pytest.fixture
def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - it plans runs and makes up keys that open nothing


@pytest.fixture
def figures(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Figures:
    """Called once at the end of a run: one line of JSON, printed by full runs and kept in LAB_FIGURES by all."""

    def tell(**facts: object) -> None:
        line = json.dumps({"test": request.node.name, "at": datetime.now(UTC).isoformat("T", "seconds"), **facts})
        if request.node.get_closest_marker("full"):
            with capsys.disabled():
                sys.stdout.write(f"\n{line}\n")
        if path := os.environ.get("LAB_FIGURES"):
            with Path(path).open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")

    return tell
