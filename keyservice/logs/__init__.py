"""Log lines that cannot carry a key: declared fields with narrow values, events that are literals of the code."""

import logging
import sys
import threading
from collections.abc import Callable
from typing import TextIO

import structlog
from pydantic_core import to_json

from keyservice.logs.fields import LOG_FIELDS, WITHHELD, Kind, safe_name
from keyservice.logs.lines import REQUEST_ID, Line, LineMaker, is_literal, place_name
from keyservice.logs.writer import LogWriter

__all__ = ["LOG_FIELDS", "REQUEST_ID", "WITHHELD", "Kind", "LogWriter", "configure_logs"]


def configure_logs(level: str, *, stream: TextIO | None = None, json: bool = True) -> LogWriter:
    """Send structlog, the standard library's loggers, warnings and uncaught exceptions to `stream`, without secrets.

    Call it once in each process, after a fork: the writer is a thread. Plain text needs a terminal and `json=False`.
    """
    stream = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping()[level.upper()]
    lines = LineMaker(render_plain if not json and stream.isatty() else to_json)
    writer = LogWriter(
        stream, dropped_line=lambda n: lines.line("warning", {"event": "log_lines_dropped", "dropped": n})
    )
    structlog.configure(
        processors=[lines.process],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Lines(writer),
    )
    writer.on_close(_route_standard_library(_LibraryHandler(lines, writer), number))
    writer.on_close(_route_uncaught(lines, writer))
    return writer


class _Lines:
    """The end of structlog's chain: it hands over a finished line."""

    def __init__(self, writer: LogWriter) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = writer.write


class _LibraryHandler(logging.Handler):
    """Records of other libraries: the place that wrote them, and their message only if it is a literal of the code."""

    def __init__(self, lines: LineMaker, writer: LogWriter) -> None:
        super().__init__()
        self._lines = lines
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        message = record.msg if type(record.msg) is str and is_literal(record.msg) else WITHHELD
        origin = {
            "logger": safe_name(record.name),
            "place": place_name(record.pathname, record.lineno, record.funcName),
            "message": message.encode("unicode_escape").decode("ascii"),
        }
        level = record.levelname.lower() if record.levelname in logging.getLevelNamesMapping() else "info"
        event = {"event": "library_message", "exc_info": record.exc_info}
        self._writer.write(self._lines.line(level, event, origin=origin))


def _route_standard_library(handler: logging.Handler, level: int) -> Callable[[], None]:
    root = logging.getLogger()
    before, level_before = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)

    def undo() -> None:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level_before)

    return undo


def _route_uncaught(lines: LineMaker, writer: LogWriter) -> Callable[[], None]:
    """The interpreter's own hooks would print the messages of exceptions."""

    def tell(error: BaseException | None) -> None:
        writer.write(lines.line("critical", {"event": "uncaught_exception", "exc_info": error}))

    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    sys.excepthook = lambda _type, error, _trace: tell(error)
    threading.excepthook = lambda uncaught: tell(uncaught.exc_value)
    sys.unraisablehook = lambda uncaught: tell(uncaught.exc_value)

    def undo() -> None:
        sys.excepthook, threading.excepthook, sys.unraisablehook = before

    return undo


def render_plain(line: Line) -> bytes:
    head = f"{line.pop('at')[11:19]} {line.pop('level'):<8} {line.pop('event')}"
    facts = (f"{name}={value if isinstance(value, str) else to_json(value).decode()}" for name, value in line.items())
    return " ".join([head, *facts]).encode("ascii", "backslashreplace")
