"""deploy/RUNBOOK.md: its commands run in their order, its tables are those of the code."""

import ast
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import pytest

from keyservice.postgres.binaries import PostgresBinaries
from tests.deploy.free_ports import free_ports
from tests.lab.embedded import embedded_superuser_url
from tests.printed_commands import bash, blocks_of, numbered

pytestmark = pytest.mark.slow

REPOSITORY: Final = Path(__file__).parents[2]
DEPLOY: Final = REPOSITORY / "deploy"
RUNBOOK: Final = (DEPLOY / "RUNBOOK.md").read_text()
SOURCES: Final = [path for path in (REPOSITORY / "keyservice").rglob("*.py") if "cli/demo" not in str(path)]
_BLOCKS: Final = blocks_of(RUNBOOK)
_COMMANDS: Final = [block.text for block in _BLOCKS if block.language == "sh"]
_REFUSAL_RAISED: Final = frozenset(
    {"UnsafeDatabase", "SchemaOutdated", "SettingsRefused", "PortTaken", "WorkerNotStarted"}
)
_REFUSAL_FILES: Final = frozenset({"crypto/keyring.py", "postgres/embedded/errors.py", "postgres/binaries.py"})
# Its text is pydantic's, for one setting at a time.
_FREE_TEXT: Final = frozenset({"…", "… …"})


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")
@pytest.mark.timeout(600)
async def test_its_commands_work_in_their_order(tmp_path: Path) -> None:
    """Between them a sale is made, so that there is something to restore, and an upload is broken off."""
    async with _server() as (superuser, server):
        names, *commands = _COMMANDS
        environment = _named(tmp_path, superuser, server)
        exported = set(re.findall(r"^export (\w+)=", names, re.MULTILINE))
        assert exported == environment.keys() - {"PATH", "KEYSERVICE_UPLOAD_CHUNK_ROWS"}
        script = numbered([_with_what_happens_meanwhile(block) for block in commands], first=2)
        here = shutil.copytree(DEPLOY, tmp_path / "deploy")
        status, output, told = await bash(script, here, environment, seconds=200)
    assert status == 0, f"{told}\n{output}"
    for proof in (
        r"ADA SOLD .*GFY",
        r'"state":\s*"discarded"',
        r"acme +\| .* stalled\.csv \| +\d+",
        r"withdrawn +1\b",
        r"acme office-2027 \d+ alert",
        r"\d+ 4\d\d /",
        r'"event":"request_served"',
    ):
        assert re.search(proof, output), f"{proof} is not in:\n{output}"
    assert not re.search("R4T7K-[2-9A-Z]", (tmp_path / "service.log").read_text())


def test_nothing_refuses_to_start_without_a_line_that_says_what_it_means() -> None:
    told = _first_cells("refused")
    missing = [text for text in _refusals() if not any(fragment in text for fragment in told)]
    assert missing == []


def test_no_line_tells_of_a_refusal_that_is_not_made() -> None:
    written = "\n".join(_texts())
    assert [fragment for fragment in _first_cells("refused") if fragment not in written] == []


def test_every_event_that_is_worth_an_alarm_is_explained() -> None:
    assert _first_cells("event") == _alarming_events()


def test_every_file_is_named() -> None:
    named = _first_cells("file")
    there = {path.name for path in DEPLOY.iterdir()} - {"RUNBOOK.md", "Dockerfile.dockerignore", "postgres"}
    there = {f"{name}/" if (DEPLOY / name).is_dir() else name for name in there}
    assert named == there | {f"postgres/{path.name}" for path in (DEPLOY / "postgres").iterdir()}


def test_its_links_lead_somewhere() -> None:
    headings = {re.sub(r"[^a-z -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in RUNBOOK.splitlines()}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= headings


@asynccontextmanager
async def _server() -> AsyncIterator[tuple[str, str]]:
    """A PostgreSQL of its own, because roles belong to a server: its superuser's URL without a database, and host:port."""
    async with embedded_superuser_url() as url:
        parts = urlsplit(url)
        options = dict(option.split("=") for option in parts.query.split("&"))
        server = f"{quote(unquote(options['host']), safe='')}:{options['port']}"
        yield f"postgresql://{parts.username}:{parts.password}@{server}", server


def _named(directory: Path, superuser: str, server: str) -> dict[str, str]:
    port, drill_port = free_ports(2)
    programs = PostgresBinaries.locate().directory
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "SUPERUSER": superuser,
        "SERVER": server,
        "CONFIGURATION": str(directory / "configuration"),
        "KEYSERVICE_DATA_DIRECTORY": str(directory / "data"),
        "KEYSERVICE_PORT": str(port),
        "DRILL_PORT": str(drill_port),
        "URL": f"http://127.0.0.1:{port}",
        "LOG": str(directory / "service.log"),
        "BACKUPS": str(directory / "backups"),
        "KEYRING_BACKUPS": str(directory / "elsewhere"),
        "KEYSERVICE_UPLOAD_CHUNK_ROWS": "100",
    }


def _with_what_happens_meanwhile(block: str) -> str:
    """The page's block with what the world does before or after it."""
    if "callers revoke" in block:
        return block + _SALE
    if "pools-of-the-drill" in block:
        return block + _LOOK_AT_THE_DRILL
    if "withdraw-keys" in block:
        return 'tail -n 1 keys.csv | cut -d, -f1 > "$BACKUPS/delivered-since.txt"\n' + block
    if "still_for" in block:
        return _STALLED_UPLOAD + block
    if "umask 077\nmkdir -p" in block:
        return block + 'echo "KEYSERVICE_UPLOAD_CHUNK_ROWS=100" >> "$CONFIGURATION/keyservice.env"\n'
    return block


# What the README lets a publisher and a reseller do, up to the order.
_SALE: Final = "".join(
    block.text
    for block in blocks_of((REPOSITORY / "README.md").read_text())
    if block.language == "sh" and re.search(r"^POOL=|keys\.csv$|-d @order\.json$", block.text, re.MULTILINE)
)
_LOOK_AT_THE_DRILL: Final = """
at_the_drill() { curl -fsS "http://127.0.0.1:$DRILL_PORT/fulfillment/purchases/$1" -H "Authorization: Bearer $ADMIN" "${@:2}"; }
PURCHASE=$(at_the_drill search -H "Content-Type: application/json" -d '{"email": "ada@example.com"}' \\
  | field '["purchases"][0]["id"]')
echo "ADA SOLD $(at_the_drill "$PURCHASE")"
"""
_STALLED_UPLOAD: Final = """
POOL=$(curl -fsS "$URL/publisher/pools" -H "Authorization: Bearer $PUBLISHER" | field '["pools"][0]["pool_id"]')
{ printf 'POST /publisher/pools/%s/batches?format=txt&file_name=stalled.csv HTTP/1.1\\r\\nHost: x\\r\\n' "$POOL"
  printf 'Authorization: Bearer %s\\r\\nContent-Length: 1000000\\r\\n\\r\\n' "$PUBLISHER"
  seq -f 'STALLED-%06.0f' 10000; } > "$BACKUPS/stalled"
python3 -c 'import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as one, open(sys.argv[2], "rb") as half:
    one.sendall(half.read())
    one.recv(1)' "$KEYSERVICE_PORT" "$BACKUPS/stalled" &
STALLED=$!
until psql "$BACKUP_URL" -Atc "SELECT rows_done > 0 FROM batches WHERE state = 'receiving'" | grep -q t; do sleep 0.1; done
kill "$STALLED"
"""


def _first_cells(heading: str) -> set[str]:
    """What stands in code type in the first column of the table under this heading."""
    _, _, behind = RUNBOOK.partition(f"\n| {heading} |")
    rows = behind.partition("\n\n")[0].splitlines()[2:]
    return {cell for row in rows for cell in re.findall(r"`([^`]+)`", row.split("|")[1])}


def _alarming_events() -> set[str]:
    source = "\n".join(path.read_text() for path in SOURCES)
    told = re.findall(r"log\.(?:warning|error|exception|critical)\(\s*\"(\w+)\"", source)
    return {*told, *re.findall(r"\(\"(?:warning|critical)\", \{\"event\": \"(\w+)\"", source)}


def _refusals() -> Iterator[str]:
    """The messages of everything that `serve` and `migrate` refuse, with … for what is put in."""
    for path in SOURCES:
        is_refusals = str(path).endswith(tuple(_REFUSAL_FILES))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                is_super = isinstance(node.func, ast.Attribute) and node.func.attr == "__init__" and is_refusals
                text = _text(node.args[0])
                if (name in _REFUSAL_RAISED or is_super) and text not in _FREE_TEXT:
                    yield text


def _texts() -> Iterator[str]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr | ast.Constant):
                yield _text(node)


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) for part in parts)
        case _:
            return "…"
