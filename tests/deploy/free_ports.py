"""Ports for programs that must be told theirs before they start."""

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Free at this moment, and different."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]
