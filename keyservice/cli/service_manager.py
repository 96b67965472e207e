"""What a service manager is told in systemd's protocol (sd_notify): a datagram to the socket that it names."""

import os
import socket
from typing import Final, Literal

_SOCKET_NAME: Final = "NOTIFY_SOCKET"
State = Literal["READY=1", "STOPPING=1"]


def tell_service_manager(state: State) -> None:
    """Nothing happens where no manager listens. Raises OSError when its socket is named and not there."""
    name = os.environ.get(_SOCKET_NAME)
    if not name:
        return
    # A leading @ stands for Linux's abstract names, which begin with a zero byte.
    address = f"\0{name[1:]}" if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.sendto(state.encode(), address)
