"""What /proc tells of processes, and ending exactly the one that is meant."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path("/proc")
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_LISTENING: Final = "0A"
_ESTABLISHED: Final = "01"
# Of /proc/<pid>/stat, counted behind the name: state, parent, user and system ticks, start.
_STATE, _PARENT, _USER, _SYSTEM, _STARTED = 0, 1, 11, 12, 19


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """One process for certain: a number that was given to another one since is not taken for it."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "ProcessRef | None":
        stat = _stat(pid)
        return None if stat is None or stat[_STATE] == "Z" else cls(pid, int(stat[_STARTED]))

    @property
    def is_alive(self) -> bool:
        return ProcessRef.of(self.pid) == self

    @property
    def cpu_seconds(self) -> float:
        stat = _stat(self.pid)
        return 0.0 if stat is None else (int(stat[_USER]) + int(stat[_SYSTEM])) / _TICKS_PER_SECOND

    @property
    def peak_memory_bytes(self) -> int:
        """The most that was ever resident (VmHWM)."""
        for line in self._read("status").decode().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    @property
    def command_line(self) -> bytes:
        return self._read("cmdline")

    @property
    def environment(self) -> bytes:
        return self._read("environ")

    @property
    def children(self) -> "list[ProcessRef]":
        found = (int(entry.name) for entry in _PROCESSES.iterdir() if entry.name.isdecimal())
        below = (pid for pid in found if (stat := _stat(pid)) is not None and int(stat[_PARENT]) == self.pid)
        return [child for pid in below if (child := ProcessRef.of(pid)) is not None]

    def listens_on(self, port: int) -> bool:
        """Whether it has a listening socket of its own on this TCP port; several processes may share the port."""
        return self._holds(port, own=True, state=_LISTENING)

    def is_connected_to(self, port: int) -> bool:
        """Whether it has a connection to this TCP port of this machine."""
        return self._holds(port, own=False, state=_ESTABLISHED)

    def _holds(self, port: int, *, own: bool, state: str) -> bool:
        ending, column = f":{port:04X}", 1 if own else 2
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        sockets = {f"socket:[{row[9]}]" for row in rows if row[column].endswith(ending) and row[3] == state}
        try:
            entries = (_PROCESSES / str(self.pid) / "fd").iterdir()
            return any(str(entry.readlink()) in sockets for entry in entries)
        except (FileNotFoundError, ProcessLookupError):
            return False

    def kill(self) -> bool:
        """SIGKILL, unless it is gone already."""
        if not self.is_alive:
            return False
        os.kill(self.pid, signal.SIGKILL)
        return True

    def _read(self, name: str) -> bytes:
        try:
            return (_PROCESSES / str(self.pid) / name).read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return b""


def _stat(pid: int) -> list[str] | None:
    try:
        return (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
