"""What this process really connects to, as the interpreter's own audit sees it, whatever the code believes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_watching: list[list[str]] = []


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watching:
        address = arguments[1]
        if isinstance(address, tuple):
            for seen in _watching:
                seen.append(str(address[0]))


# An audit hook cannot be taken away again; it does nothing while nobody watches.
sys.addaudithook(_see)


@contextmanager
def watched_connections() -> Iterator[list[str]]:
    """Gives the addresses of all connections that are tried meanwhile."""
    seen: list[str] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)
