"""A database that cannot be used: one line that says what to do, and a status that tells a supervisor whether to try again."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from keyservice.cli.refusals import REFUSED, TRY_AGAIN_LATER
from tests.cli.command import Ended, run_keyservice
from tests.lab.cluster import DatabaseUrls, as_role

PASSWORD = "planted-password"


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Bound and not listening: whoever connects is refused."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        yield deaf.getsockname()[1]


async def _serve(url: str, directory: Path) -> Ended:
    ended = await run_keyservice(
        *("serve", "--port", "0"), KEYSERVICE_DATABASE_URL=url, KEYSERVICE_DATA_DIRECTORY=str(directory / "data")
    )
    assert "Traceback" not in ended.errors
    assert PASSWORD not in ended.errors + ended.output
    return ended


async def test_a_database_that_is_away_may_come_back(deaf_port: int, tmp_path: Path) -> None:
    for url in (
        f"postgresql://service:{PASSWORD}@127.0.0.1:{deaf_port}/keyservice",
        f"postgresql://service:{PASSWORD}@nowhere.invalid/keyservice",
        f"postgresql://service:{PASSWORD}@/keyservice?host={tmp_path}",
    ):
        ended = await _serve(url, tmp_path)
        assert ended.status == TRY_AGAIN_LATER
        assert "the database cannot be reached" in ended.reason


@pytest.mark.parametrize(
    "url",
    [
        "keyservice",
        "mysql://service@localhost/keyservice",
        f"postgresql://service:slash/{PASSWORD}@localhost/keyservice",
        f"postgresql://service:hash#{PASSWORD}@localhost/keyservice",
        f"postgresql://service:{PASSWORD}@localhost:port/keyservice",
    ],
)
async def test_what_is_no_url_is_refused_without_being_quoted(url: str, tmp_path: Path) -> None:
    ended = await _serve(url, tmp_path)
    assert ended.status == REFUSED
    assert "KEYSERVICE_DATABASE_URL: " in ended.reason
    assert "percent-encoding" in ended.reason


async def test_a_role_or_database_that_is_not_there_is_refused(database_urls: DatabaseUrls, tmp_path: Path) -> None:
    parts = urlsplit(database_urls.service)
    elsewhere = urlunsplit(parts._replace(path="/keyservice_of_nobody"))
    stranger = as_role(
        database_urls.superuser, database=parts.path.removeprefix("/"), user="keyservice_stranger", password=PASSWORD
    )
    for url in (elsewhere, stranger):
        ended = await _serve(url, tmp_path)
        assert ended.status == REFUSED
        assert "does not let this role in" in ended.reason


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    ended = await run_keyservice("serve", "--port", "0", KEYSERVICE_DATA_DIRECTORY=str(file / "data"))
    assert (ended.status, str(file / "data") in ended.reason) == (REFUSED, True)


async def test_a_taken_port_may_become_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await run_keyservice("serve", "--port", port, KEYSERVICE_DATA_DIRECTORY=str(tmp_path / "data"))
    assert (ended.status, "choose another port" in ended.reason) == (TRY_AGAIN_LATER, True)
