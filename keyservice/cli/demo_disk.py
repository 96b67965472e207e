"""What somebody finds who gets hold of the demo's disk."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Searched:
    """How much was searched, and in how many files each text was found."""

    files: int
    size: int
    found: tuple[int, ...]


def search_files(directory: Path, texts: Sequence[str]) -> Searched:
    """Read every file below the directory, the database's and its log's included, for each of the texts."""
    needles = [text.encode() for text in texts]
    files = size = 0
    found = [0] * len(needles)
    for parent, _, names in os.walk(directory, onerror=_refuse):
        for name in names:
            content = _content(Path(parent) / name)
            if content is None:
                continue
            files, size = files + 1, size + len(content)
            for at, needle in enumerate(needles):
                found[at] += needle in content
    return Searched(files, size, tuple(found))


def _content(path: Path) -> bytes | None:
    """None for what is no file, or no longer one: the database is at work."""
    try:
        return path.read_bytes() if path.is_file() else None
    except FileNotFoundError:
        return None


def _refuse(error: OSError) -> None:
    # A directory that cannot be listed would prove nothing; one that has just gone holds nothing.
    if not isinstance(error, FileNotFoundError):
        raise error
