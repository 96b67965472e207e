"""The load generator, a process of its own: `python -m tests.benchmarks.load_process`, one task a line on standard input."""

import asyncio
import gc
import json
import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import cast

import uvloop

from tests.benchmarks.order_requests import order_requests

_LENGTH = re.compile(rb"\r\nContent-Length: ([0-9]{1,9})\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Task:
    """What to send: as many orders as wanted, each connection with one request in flight."""

    port: int
    secret: str
    product_ref: int
    first_number: int
    orders: int
    connections: int
    mark_every: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back. `marks` are the seconds at which every `mark_every`-th answer came, the start being 0."""

    seconds: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]
    marks: list[float]


def main() -> None:
    for line in sys.stdin:
        outcome = uvloop.run(run(Task(**json.loads(line))))
        print(json.dumps(asdict(outcome)), flush=True)


async def run(task: Task) -> Outcome:
    numbers = range(task.first_number, task.first_number + task.orders)
    load = _Load(order_requests(numbers, product_ref=task.product_ref, secret=task.secret), task.mark_every)
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: _Connection(load), "127.0.0.1", task.port))[1]
        for _ in range(min(task.connections, task.orders))
    ]
    gc.collect()
    gc.freeze()  # a collection that walks all requests would look like a pause of the server
    load.begin()
    for connection in connections:
        connection.send()
    await load.ended.wait()
    return load.outcome()


class _Load:
    def __init__(self, requests: list[bytes], mark_every: int) -> None:
        self._requests: Iterator[bytes] = iter(requests)
        self._wanted = len(requests)
        self._mark_every = mark_every
        self._seconds = array("d")
        self._marks: list[float] = []
        self._statuses: Counter[bytes] = Counter()
        self._began = 0.0
        self.ended = asyncio.Event()

    def begin(self) -> None:
        self._began = perf_counter()

    def next_request(self) -> bytes | None:
        return next(self._requests, None)

    def note(self, status: bytes, seconds: float, now: float) -> None:
        self._statuses[status] += 1
        self._seconds.append(seconds)
        count = len(self._seconds)
        if count % self._mark_every == 0:
            self._marks.append(now - self._began)
        if count == self._wanted:
            self._took = now - self._began
            self.ended.set()

    def note_broken(self) -> None:
        """A connection that ends before its answer: the run is worth nothing, so it ends."""
        self._statuses[b"broken"] += 1
        self._took = perf_counter() - self._began
        self.ended.set()

    def outcome(self) -> Outcome:
        ordered = sorted(self._seconds)
        return Outcome(
            seconds=self._took,
            p50_ms=_at(ordered, 0.50) * 1000,
            p99_ms=_at(ordered, 0.99) * 1000,
            statuses={status.decode("ascii", "replace"): count for status, count in self._statuses.items()},
            marks=self._marks,
        )


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._received = b""
        self._sent_at = 0.0
        self._is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self) -> None:
        request = self._load.next_request()
        self._is_waiting = request is not None
        if request is None:
            self._transport.close()
            return
        self._sent_at = perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._received + data if self._received else data
        head = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, head + 2) if head >= 0 else None
        if length is None or len(data) < head + 4 + int(length[1]):
            self._received = data
            return
        self._received = b""
        now = perf_counter()
        self._load.note(data[9:12], now - self._sent_at, now)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_waiting:
            self._load.note_broken()


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


if __name__ == "__main__":
    main()
