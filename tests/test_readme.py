"""What the README says is so: its commands run, its tables and its map are those of the code."""

import asyncio
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from pydantic.fields import FieldInfo

from keyservice.settings import PREFIX, Settings
from tests.cli.command import start_keyservice
from tests.cli.running_demo import TITLES, exported_by, passable
from tests.lab.service_process import ServiceProcess
from tests.printed_commands import SECONDS, bash, blocks_of, numbered
from tests.printed_settings import DATA_DIRECTORY_OF_ROOT, bounds_of, choices_of, number

pytestmark = pytest.mark.slow

REPOSITORY: Final = Path(__file__).parents[1]
README: Final = (REPOSITORY / "README.md").read_text()
BLOCKS: Final = blocks_of(README)
# It depends on the account.
_DEFAULTS: Final = {"data_directory": f"`{DATA_DIRECTORY_OF_ROOT}` for root, else `~/.local/share/keyservice`"}


@pytest.fixture
def passable_directory() -> Iterator[Path]:
    with passable() as directory:
        yield directory


def test_the_first_code_block_is_the_demo_and_the_tests() -> None:
    lines = BLOCKS[0][1].splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("keyservice demo")
    assert lines[1].endswith("pytest")


def test_every_setting_is_in_the_table_with_its_default_and_its_bounds() -> None:
    wanted = ["| setting | default | allowed | |", "|---|---|---|---|"]
    wanted += [_row(name, field) for name, field in Settings.model_fields.items()]
    table = [line for line in README.splitlines() if line.startswith((f"| `{PREFIX}", "| setting", "|---|---|---|"))]
    assert table == wanted, "the table in README.md should be:\n" + "\n".join(wanted)


def test_the_map_names_every_folder_and_nothing_that_is_not_there() -> None:
    named = set(_mapped())
    assert {folder for folder in named if not (REPOSITORY / folder).is_dir()} == set()
    assert set(_folders()) - named == set()


def test_the_picture_shows_steps_that_the_demo_takes() -> None:
    picture = next(text for language, text in BLOCKS if language == "text" and "✓" in text)
    shown = re.findall(r"^ {1,2}\d{1,2} (\S.*\S) +✓ [\d,]+ ms$", picture, re.MULTILINE)
    assert shown
    assert set(shown) <= set(TITLES)


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")
async def test_the_commands_of_every_audience_work_as_printed(tmp_path: Path) -> None:
    """In the order of the page, in one shell, beside the service that the first of them starts."""
    blocks = [text for language, text in BLOCKS[1:] if language == "sh"]
    starting, *others = blocks
    assert "keyservice serve" in starting
    assert sum("curl" in block for block in others) >= 4
    # The publisher that the page connects to lives on this machine.
    running = ServiceProcess.running(processes=1, egress_networks="127.0.0.0/8", egress_ports="", egress_plain_http=1)
    async with running as service:
        environment = {"URL": service.base_url, "KEYSERVICE_DATA_DIRECTORY": str(service.data)}
        status, output, told = await bash(numbered(others, first=2), tmp_path, environment)
    assert status == 0, f"{told}\n{output}"
    _expect_sold_and_revoked(output)


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")
async def test_the_demo_leaves_a_service_on_which_the_examples_work(tmp_path: Path, passable_directory: Path) -> None:
    for_everyone = README.partition("## The first five minutes of a publisher")[2]
    blocks = re.findall(r"^```sh\n(.*?)^```$", for_everyone, re.MULTILINE | re.DOTALL)
    process = await start_keyservice("demo", TMPDIR=str(passable_directory))
    told = await exported_by(process)
    status, output, errors = await bash("".join(blocks), tmp_path, told)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(SECONDS):
        await process.communicate()
    assert status == 0, f"{errors}\n{output}"
    _expect_sold_and_revoked(output)


def _expect_sold_and_revoked(output: str) -> None:
    codes = {int(code) for code in re.findall(r'"responseCode": ?(\d+)', output)}
    assert codes == {0}, output
    assert output.count("R4T7K-") >= 3, "the order, its repeated reading and the purchase history show the key"
    assert '"state":"revoked"' in output.replace(" ", "")


def _row(name: str, field: FieldInfo) -> str:
    allowed = bounds_of(field) or ", ".join(f"`{choice}`" for choice in choices_of(field))
    cells = (f"`{PREFIX}{name.upper()}`", _default(name, field), allowed, field.description or "")
    return "| " + " | ".join(cells) + " |"


def _default(name: str, field: FieldInfo) -> str:
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    default = field.get_default()
    if default is None:
        return "none"
    return f"`{default}`" if isinstance(default, str) else number(default)


def _mapped() -> Iterator[str]:
    """The folders that the map draws, as paths."""
    (drawn,) = [text for _, text in BLOCKS if text.startswith("keyservice/ ")]
    outer = ""
    for line in drawn.splitlines():
        found = re.match(r"( *)(\S+)/ ", line)
        if found is not None:
            outer = outer if found[1] else found[2]
            yield f"{outer}/{found[2]}" if found[1] else outer


def _folders() -> Iterator[str]:
    """Every folder of the top level that holds something of the project, and every part of the package."""
    for parent in (REPOSITORY, REPOSITORY / "keyservice"):
        for path in sorted(parent.iterdir()):
            is_ours = path.name == ".ci" or not path.name.startswith((".", "_"))
            if path.is_dir() and is_ours and any(path.iterdir()):
                yield str(path.relative_to(REPOSITORY))
