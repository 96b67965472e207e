"""The demo tells the truth: every step is checked, and the first that does not hold ends it."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from keyservice.cli.demo_disk import search_files
from keyservice.cli.demo_screen import Screen, StepFailed, masked
from tests.cli.command import run_keyservice, start_keyservice
from tests.cli.running_demo import TITLES, exported_by, passable
from tests.lab.order_bodies import keys_of

pytestmark = pytest.mark.slow

KEY = re.compile(r"[A-Z2-9]{5}(?:-[A-Z2-9]{5}){4}")
STEP = re.compile(r"^ {1,2}(\d{1,2}) (\S.*\S) +✓ [\d,]+ ms$")


@pytest.fixture
def passable_directory() -> Iterator[Path]:
    with passable() as directory:
        yield directory


async def test_every_step_of_the_story_holds(passable_directory: Path) -> None:
    """The settings that are set here would break any service that heeded them."""
    environment = {"KEYSERVICE_DATABASE_URL": "postgresql://nowhere", "KEYSERVICE_UPLOAD_BYTES_MAX": "1024"}
    ended = await run_keyservice("demo", "--exit", TMPDIR=str(passable_directory), **environment)
    assert (ended.status, ended.errors) == (0, ""), ended.output
    steps = [found.groups() for line in ended.output.splitlines() if (found := STEP.match(line))]
    assert steps == [(str(number), title) for number, title in enumerate(TITLES, start=1)]
    assert f"All {len(TITLES)} steps held" in ended.output
    assert list(passable_directory.iterdir()) == []


async def test_the_story_can_be_read_in_80_columns_and_shows_the_shoppers_key_alone(passable_directory: Path) -> None:
    ended = await run_keyservice("demo", "--exit", TMPDIR=str(passable_directory))
    assert ended.status == 0, ended.output
    assert max(map(len, ended.output.splitlines())) <= 80
    assert "\x1b" not in ended.output
    assert len(KEY.findall(ended.output)) == 1


async def test_a_story_whose_step_fails_names_the_step_and_fails(passable_directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await run_keyservice("demo", "--exit", "--port", port, TMPDIR=str(passable_directory))
    assert ended.status == 1
    assert re.search(r"1 A service starts +✗ failed", ended.output)
    assert "failed at step 1, 'A service starts'" in ended.output
    assert "cannot be listened on" in ended.output
    log = re.search(r"what the service has to say: (\S+)", ended.output)
    assert log is not None
    assert Path(log[1]).exists()


async def test_the_service_of_the_story_stays_until_it_is_stopped(passable_directory: Path) -> None:
    process = await start_keyservice("demo", TMPDIR=str(passable_directory), COLUMNS="120")
    told = await exported_by(process)
    (order,) = passable_directory.glob("*/order.json")
    headers = {"secret": told["SECRET"], "Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{told['URL']}/connect/order/new", data=order.read_bytes(), headers=headers) as bought:
            assert len(keys_of(await bought.json())) == 1
        bearer = {"Authorization": f"Bearer {told['ADMIN']}"}
        async with session.get(f"{told['URL']}/admin/pools", headers=bearer) as pools:
            assert [pool["left"] for pool in (await pools.json())["pools"]] == [95]
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert list(passable_directory.iterdir()) == []


async def test_a_story_that_is_stopped_in_the_middle_leaves_nothing_behind(passable_directory: Path) -> None:
    process = await start_keyservice("demo", TMPDIR=str(passable_directory))
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while b"A service starts" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (130, b"")
    assert list(passable_directory.iterdir()) == []


def test_a_check_that_does_not_hold_ends_its_step_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(Console(width=80))
    with pytest.raises(StepFailed, match="step 2, 'Counting': all are there: not so"):
        _tell_two_steps(screen)
    told = capsys.readouterr().out
    assert re.search(r"1 Waiting +✓ \d+ ms", told)
    assert re.search(r"2 Counting +✗ failed", told)
    assert "✓ some are there" in told
    assert "all are there" not in told
    assert screen.steps_told == 1


def _tell_two_steps(screen: Screen) -> None:
    with screen.step("Waiting", "It has to begin somewhere."):
        pass
    with screen.step("Counting", "What is not counted is not known.") as step:
        step.expect("some are there", True)
        step.equal("all are there", 2, 3)


def test_a_key_is_masked_up_to_its_last_four_characters() -> None:
    assert masked("ABCDE-FGHJK-LMNPQ") == "•••••-•••••-•MNPQ"


def test_the_search_finds_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "base" / "1").mkdir(parents=True)
    (tmp_path / "base" / "1" / "16384").write_bytes(b"\x00" * 70_000 + b"ABCDE-FGHJK" + b"\x00" * 70_000)
    (tmp_path / "wal").write_bytes(b"lighthouse ABCDE")
    os.mkfifo(tmp_path / "no-file")
    found = search_files(tmp_path, ["ABCDE-FGHJK", "lighthouse", "absent"])
    assert (found.files, found.size, found.found) == (2, 140_027, (1, 1, 0))
