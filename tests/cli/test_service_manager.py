"""What systemd hears of a service, on the socket that it would listen on."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from keyservice.cli.service_manager import tell_service_manager
from tests.cli.command import start_keyservice
from tests.cli.running_demo import passable

SECONDS = 60


async def test_the_service_says_that_it_serves_and_that_it_ends() -> None:
    loop = asyncio.get_running_loop()
    with passable() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = str(directory / "notify")
        manager.bind(name)
        manager.setblocking(False)
        settings = {"KEYSERVICE_DATA_DIRECTORY": str(directory / "data"), "NOTIFY_SOCKET": name}
        process = await start_keyservice("serve", "--port", "0", **settings)
        async with asyncio.timeout(SECONDS):
            assert await loop.sock_recv(manager, 100) == b"READY=1"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            assert await loop.sock_recv(manager, 100) == b"STOPPING=1"
            _, errors = await process.communicate()
        assert process.returncode == 0
        assert b"listens on" in errors


def test_an_abstract_name_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"keyservice-{tmp_path.name}"
        manager.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        tell_service_manager("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell_service_manager("READY=1")
