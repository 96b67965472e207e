import json
import os
import subprocess
import sys
import threading

from keyservice.logs import LogWriter


def test_a_reader_that_stalls_costs_lines_and_no_time() -> None:
    receiving, sending = os.pipe()
    with os.fdopen(sending, "w") as stream:
        writer = LogWriter(stream, dropped_line=lambda count: b"dropped %d" % count, lines_max=100)
        line = b"x" * 4000  # the pipe holds sixteen of them
        for _ in range(1000):
            writer.write(line)
        assert not writer.flush(0.05)
        dropped = writer.dropped
        assert 700 < dropped <= 900
        received = bytearray()
        reading = threading.Thread(target=lambda: received.extend(_read_all(receiving)))
        reading.start()
        assert writer.flush(10)
        writer.close()
    reading.join()
    lines = bytes(received).splitlines()
    assert lines.count(line) == 1000 - dropped
    assert sum(int(told.split()[1]) for told in lines if told != line) == writer.dropped


def _read_all(number: int) -> bytes:
    with os.fdopen(number, "rb") as stream:
        return stream.read()


def test_a_reader_that_goes_away_is_survived() -> None:
    receiving, sending = os.pipe()
    os.close(receiving)
    with os.fdopen(sending, "w") as stream:
        writer = LogWriter(stream, dropped_line=lambda count: b"")
        writer.write(b"x")
        assert writer.flush()
        assert writer.dropped == 1
        writer.close()


def test_lines_of_a_process_that_ends_are_all_out() -> None:
    program = "import structlog\nfrom keyservice.logs import configure_logs\nconfigure_logs('info')\n" + (
        "for number in range(2000): structlog.get_logger().info('order_accepted', order_id=number)\nraise SystemExit(3)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 3
    assert [json.loads(line)["order_id"] for line in ended.stderr.splitlines()] == list(range(2000))


def test_a_process_with_a_stuck_log_still_ends() -> None:
    receiving, sending = os.pipe()
    program = "import structlog\nfrom keyservice.logs import configure_logs\nconfigure_logs('info')\n" + (
        "for number in range(5000): structlog.get_logger().info('order_accepted', order_id=number)\nraise ValueError('x')"
    )
    ended = subprocess.run([sys.executable, "-c", program], stderr=sending, check=False, timeout=60)
    os.close(receiving)
    os.close(sending)
    assert ended.returncode == 1
