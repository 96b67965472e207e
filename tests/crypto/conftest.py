import json
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from keyservice.crypto.keyring import PURPOSES, Keyring

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def document() -> dict[str, Any]:
    """A keyring file whose secrets are 32 times the bytes 1 to 5, so that known answers can be pinned."""
    created = NOW.isoformat()

    def entry(purpose: str, byte: int) -> dict[str, str]:
        secret = b64encode(bytes([byte]) * 32).decode()
        return {"id": f"{purpose[0]}1", "secret": secret, "state": "current", "created": created}

    purposes = {purpose: [entry(purpose, byte)] for byte, purpose in enumerate(PURPOSES, start=1)}
    return {"version": 1, "created": created, "purposes": purposes}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def write(path: Path, content: dict[str, Any] | bytes) -> Path:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=1).encode() + b"\n")
    return path


def with_new_version(document: dict[str, Any], purpose: str, byte: int) -> dict[str, Any]:
    """The file after a rotation: what was current is retired, and a new secret leads."""
    entries = [entry | {"state": "retired"} for entry in document["purposes"][purpose]]
    new = {
        "id": f"{purpose[0]}{len(entries) + 1}",
        "secret": b64encode(bytes([byte]) * 32).decode(),
        "state": "current",
        "created": document["created"],
    }
    return document | {"purposes": document["purposes"] | {purpose: [*entries, new]}}


@pytest.fixture
def keyring(path: Path, document: dict[str, Any]) -> Keyring:
    return Keyring.load(write(path, document))


@pytest.fixture
def rotated(path: Path, document: dict[str, Any]) -> Keyring:
    """The same keyring after each of its secrets was rotated once, to the bytes 11 to 15."""
    for byte, purpose in enumerate(PURPOSES, start=11):
        document = with_new_version(document, purpose, byte)
    return Keyring.load(write(path.with_name("rotated.json"), document))
