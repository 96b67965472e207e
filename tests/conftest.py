"""One PostgreSQL for the whole run: the embedded one, or the server that TEST_SUPERUSER_URL names."""

import os
import signal
from collections.abc import AsyncIterator, Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyservice.crypto.keyring import Keyring
from keyservice.services import Services, open_services
from keyservice.settings import Settings
from tests.lab.cluster import DatabaseUrls, fresh_database, prepare_template
from tests.lab.embedded import embedded_superuser_url
from tests.lab.shop import Shop

_PROCESSES_MAX = 4

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background deaf to Ctrl-C, and every child would inherit that, those that are sent it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Long runs have the machine to themselves, and tell their figures on the terminal."""
    return min(os.cpu_count() or 1, _PROCESSES_MAX) if "not full" in config.getoption("markexpr") else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with tests that take minutes are begun first, so that the other processes have something to do meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test has printed goes from process to process in UTF-8, which half of a surrogate pair is not."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
async def superuser_url() -> AsyncIterator[str]:
    given = os.environ.get("TEST_SUPERUSER_URL")
    if given:
        await prepare_template(given)
        yield given
        return
    async with embedded_superuser_url() as url:
        await prepare_template(url)
        yield url


@pytest.fixture(scope="module")
async def database_urls(superuser_url: str) -> AsyncIterator[DatabaseUrls]:
    async with fresh_database(superuser_url) as urls:
        yield urls


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    path = tmp_path_factory.mktemp("secrets") / "keyring.json"
    return Keyring.create(path, datetime.now(UTC))


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_directory=Path(tmp_path_factory.mktemp("data")), catalogue_seconds=0, webhooks_max=1_000)


@pytest.fixture(scope="module")
async def services(database_urls: DatabaseUrls, keyring: Keyring, settings: Settings) -> AsyncIterator[Services]:
    async with open_services(settings, database_url=database_urls.service, keyring=keyring) as opened:
        yield opened


@pytest.fixture
async def shop(services: Services) -> Shop:
    """A publisher with a pool and a product, and a reseller who sells it, all of their own."""
    return await Shop.opened(services)
