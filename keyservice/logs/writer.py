"""The thread that writes the lines."""

import atexit
import os
import queue
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, TextIO

LINES_MAX: Final = 10_000
GATHER_SECONDS: Final = 0.02
# PIPE_BUF of Linux: a pipe takes this much in one piece, so that processes do not write into each other's lines.
PIECE_BYTES: Final = 4096


class LogWriter:
    """Takes lines without ever waiting. A reader that stalls costs lines, which are counted and told, never time."""

    def __init__(self, stream: TextIO, *, dropped_line: Callable[[int], bytes], lines_max: int = LINES_MAX) -> None:
        self._stream = stream
        self._dropped_line = dropped_line
        self._lines_max = lines_max
        # A destructor that logs may enter a SimpleQueue while it is in use; queue.Queue would stop there for ever.
        self._waiting: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._counting = threading.RLock()
        self._dropped = 0
        self._told = 0
        self._undo: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def dropped(self) -> int:
        return self._dropped

    def write(self, line: bytes) -> None:
        if self._waiting.qsize() >= self._lines_max:
            self._drop(1)
        else:
            self._waiting.put(line)

    def flush(self, seconds_max: float = 2.0) -> bool:
        """True once everything written before is out, False if that takes too long."""
        reached = threading.Event()
        self._waiting.put(reached)
        return reached.wait(seconds_max)

    def on_close(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    def close(self, seconds_max: float = 2.0) -> None:
        """Undo what was registered with `on_close`, and wait until the last line is out, but not for ever."""
        while self._undo:
            self._undo.pop()()
        atexit.unregister(self.close)
        self._waiting.put(None)
        self._thread.join(seconds_max)

    def _drop(self, count: int) -> None:
        with self._counting:
            self._dropped += count

    def _run(self) -> None:
        is_open = True
        while is_open:
            lines, reached, is_open = self._take()
            self._write_out(lines)
            for event in reached:
                event.set()

    def _take(self) -> tuple[list[bytes], list[threading.Event], bool]:
        lines: list[bytes] = []
        reached: list[threading.Event] = []
        item = self._waiting.get()
        if isinstance(item, bytes):
            # Waking once for many lines, not once for each, leaves the interpreter's lock to the event loop.
            time.sleep(GATHER_SECONDS)
        while item is not None:
            if isinstance(item, bytes):
                lines.append(item)
            else:
                reached.append(item)
            if self._waiting.empty() or len(lines) >= self._lines_max:
                return lines, reached, True
            item = self._waiting.get()
        return lines, reached, False

    def _write_out(self, lines: list[bytes]) -> None:
        if self._dropped > self._told:
            untold = self._dropped - self._told
            lines.append(self._dropped_line(untold))
            self._told += untold
        for piece, count in _pieces(lines):
            try:
                _write_to(self._stream, piece)
            except (OSError, ValueError):  # the reader went away, or the stream was closed
                self._drop(count)


def _pieces(lines: list[bytes]) -> Iterator[tuple[bytes, int]]:
    start, size = 0, 0
    for end, line in enumerate(lines):
        if size and size + len(line) + 1 > PIECE_BYTES:
            yield b"\n".join(lines[start:end]) + b"\n", end - start
            start, size = end, 0
        size += len(line) + 1
    if size:
        yield b"\n".join(lines[start:]) + b"\n", len(lines) - start


def _write_to(stream: TextIO, piece: bytes) -> None:
    try:
        number = stream.fileno()
    except (OSError, AttributeError):
        stream.write(piece.decode("ascii"))
        stream.flush()
        return
    # Past the stream's own buffer: its lock, held by a stuck daemon thread, would abort the interpreter's shutdown.
    while piece:
        try:
            piece = piece[os.write(number, piece) :]
        except BlockingIOError:
            select.select([], [number], [], 1.0)
