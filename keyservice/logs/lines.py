"""From an event and its facts to one printed line."""

import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final

from keyservice.logs.fields import LOG_FIELDS, WITHHELD, printable, safe_name, type_name

# Set where a request enters, after a check; the one text in a line that is neither a literal nor a declared field.
REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)

Line = dict[str, Any]

_PRINTABLE: Final = {name: printable(kind) for name, kind in LOG_FIELDS.items()}
_EVENT: Final = re.compile(r"[a-z]+(?:_[a-z0-9]+)+")
_EVENT_CHARS_MAX: Final = 64
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_./<> -]{1,128}")
_CALLERS_MAX: Final = 16
_ERRORS_MAX: Final = 8
_FRAMES_MAX: Final = 12


class LineMaker:
    """Puts events into lines; `process` is a structlog processor."""

    def __init__(self, render: Callable[[Line], bytes]) -> None:
        self._render = render
        self._events: set[str] = set()  # grows to the events that the code contains and no further
        self._second = (0, "")

    def process(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> bytes:
        return self.line(method, event)

    def line(self, level: str, event: MutableMapping[str, Any], *, origin: Mapping[str, str] | None = None) -> bytes:
        line: Line = {"at": self._now(), "level": level, "event": self._name(event.pop("event", None))}
        if (request_id := REQUEST_ID.get()) is not None:
            line["request_id"] = request_id
        if origin is not None:
            line |= origin
        error = error_of(event.pop("exc_info", None))
        for name, value in event.items():
            if (read := _PRINTABLE.get(name)) is None:
                line["undeclared"] = line.get("undeclared", 0) + 1
            elif value is None:
                line[name] = None
            else:
                printed = read(value)
                line[name] = WITHHELD if printed is None else printed
        if error is not None:
            line["errors"] = list(_describe(error))
        return self._render(line)

    def _name(self, event: object) -> str:
        if type(event) is not str:
            return "unnamed_event"
        if event in self._events:
            return event
        if len(event) <= _EVENT_CHARS_MAX and _EVENT.fullmatch(event) and is_literal(event):
            self._events.add(event)
            return event
        return "unnamed_event"

    def _now(self) -> str:
        now = time.time()
        second, text = self._second
        if int(now) != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
            self._second = (int(now), text)
        return f"{text}.{int(now * 1000) % 1000:03d}Z"


def is_literal(text: str) -> bool:
    """Whether `text` stands in the source of a function on the stack: what is written in the code is not data."""
    frame = sys._getframe(1)
    for _ in range(_CALLERS_MAX):
        if any(type(constant) is str and constant == text for constant in frame.f_code.co_consts):
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def place_name(path: str, line_number: int, function: str | None) -> str:
    file_name = "/".join(PurePath(path).parts[-2:])
    return f"{file_name if _FILE_NAME.fullmatch(file_name) else WITHHELD}:{line_number} {safe_name(function)}"


def error_of(exc_info: object) -> BaseException | None:
    """The exception in any of the forms that logging takes: itself, its triple, or True for the one being handled."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return next((part for part in exc_info if isinstance(part, BaseException)), None)
    return sys.exc_info()[1] if exc_info is True else None


def _describe(error: BaseException) -> Iterator[Line]:
    """Types and places of an error and of what caused it. Messages and locals stay out: they quote the data."""
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < _ERRORS_MAX:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield {"error_type": type_name(type(current)), "frames": list(_frames(current.__traceback__))}
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
        if current.__cause__ is not None:
            waiting.append(current.__cause__)
        elif current.__context__ is not None and not current.__suppress_context__:
            waiting.append(current.__context__)


def _frames(trace: TracebackType | None) -> Iterator[str]:
    for frame, line_number in list(traceback.walk_tb(trace))[-_FRAMES_MAX:]:
        yield place_name(frame.f_code.co_filename, line_number, frame.f_code.co_qualname)
