"""Small JSON files that only this account may read, replaced in one step."""

import json
import os
from pathlib import Path


def write_json(file: Path, value: dict[str, str]) -> None:
    """Durable when it returns; a crash leaves the old file or the new one."""
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as stream:
        json.dump(value, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.rename(file)
    sync_directory(file.parent)


def read_json(file: Path) -> dict[str, str]:
    """Raises FileNotFoundError, or ValueError when it is not an object of texts."""
    value = json.loads(file.read_text())
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("not an object of texts")
    return value


def sync_directory(directory: Path) -> None:
    """Make a rename inside it survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
