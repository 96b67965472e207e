"""A demo for tests: where it runs and what it prints."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TITLES: Final = [
    "A service starts",
    "An admin lets a publisher, a reseller and an order pipeline in",
    "The publisher exports its license keys",
    "The publisher opens a pool and a product",
    "A dry run: what would become of each row?",
    "The upload itself",
    "The reseller asks for stock",
    "The reseller submits an order for 3",
    "The same order once more",
    "Another order under the same number",
    "The shopper looks into the purchase history",
    "An order for 1,970, one more than there is",
    "The reseller cancels the first order",
    "Everything that is left is sold: 1,969 keys in one order",
    "The publisher uploads the same file again",
    "A platform claims 3 keys that are not there, and may wait",
    "A new batch, as plain text",
    "Who waited is served first",
    "For another product the publisher keeps the keys",
    "One order: a key from the pool, one that is issued now",
    "The shop cancels the order",
    "What a copy of the database would give away",
]


async def exported_by(process: asyncio.subprocess.Process) -> dict[str, str]:
    """The shell variables that a demo prints which goes on serving, once it has printed the last thing that it prints."""
    assert process.stdout is not None
    told: dict[str, str] = {}
    async with asyncio.timeout(60):
        while line := (await process.stdout.readline()).decode():
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").rstrip("\n").partition("=")
                told[name] = value
            if line.startswith("curl"):
                break
    assert set(told) == {"URL", "ADMIN", "PUBLISHER", "SECRET", "PIPELINE"}
    return told


@contextmanager
def passable() -> Iterator[Path]:
    """A place for the demo's directory; pytest's own lets one account in only, and root's database has another."""
    directory = Path(tempfile.mkdtemp(prefix="keyservice-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)
