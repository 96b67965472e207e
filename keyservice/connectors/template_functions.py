"""What templates may call: the reference's functions, Go's own as far as they are documented there, and a few of ours.

Functions of ours take their subject last, so that they stand well behind `|`; the reference's `default` takes it first.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from keyservice.connectors.go_printf import printf
from keyservice.connectors.go_text import Pieces, ValueRefused, is_true, kind_of, printed, to_json

ARGUMENTS_MAX: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Verbatim(str):
    """Text that is already JSON (or XML) and is put in as it is, where a value of that language may stand."""

    __slots__ = ()


class JsonText(Verbatim):
    __slots__ = ()


class XmlText(Verbatim):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Function:
    run: Callable[..., Any]
    fewest: int
    most: int


def _equal(first: Any, *others: Any) -> bool:
    return any(_same(first, other) for other in others)


def _same(first: Any, second: Any) -> bool:
    if first is None or second is None:
        # What is missing equals nil and the empty text.
        return first in (None, "") and second in (None, "")
    _demand_comparable(first, second)
    return bool(first == second)


def _demand_comparable(first: Any, second: Any) -> None:
    kinds = {kind_of(first), kind_of(second)}
    if len(kinds) != 1 or kinds & {"a list", "a map"}:
        raise ValueRefused(f"{kind_of(first)} and {kind_of(second)} cannot be compared")


def _less(first: Any, second: Any) -> bool:
    first, second = ("" if value is None else value for value in (first, second))
    _demand_comparable(first, second)
    if isinstance(first, bool):
        raise ValueRefused("truth values have no order")
    if isinstance(first, str):
        return bool(first.encode() < str(second).encode())
    return bool(first < second)


def _length(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (Mapping, list, tuple)):
        return len(value)
    raise ValueRefused(f"{kind_of(value)} has no length")


def _index(value: Any, *places: Any) -> Any:
    for place in places:
        value = _member(value, place)
    return value


def _member(value: Any, place: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return value.get(place) if isinstance(place, str) else _refuse_place(value)
    if isinstance(place, bool) or not isinstance(place, int):
        return _refuse_place(value)
    members: Sequence[Any]
    if isinstance(value, str):
        members = value.encode()
    elif isinstance(value, (list, tuple)):
        members = value
    else:
        return _refuse_place(value)
    if not 0 <= place < len(members):
        raise ValueRefused(f"index: there is no member {place}")
    return members[place]


def _refuse_place(value: Any) -> Any:
    raise ValueRefused(f"index: {kind_of(value)} has no such members")


def _slice(value: Any, *bounds: Any) -> Any:
    if value is None:
        value = ""
    if not isinstance(value, (str, list, tuple)):
        raise ValueRefused(f"slice: {kind_of(value)} has no parts")
    members = value.encode() if isinstance(value, str) else value
    start, end = _bounds(bounds, len(members))
    part = members[start:end]
    if not isinstance(part, bytes):
        return part
    try:
        return part.decode()
    except UnicodeDecodeError:
        # Go counts bytes; half a character can be put into no request.
        raise ValueRefused("slice: this cuts a character in two") from None


def _print(*values: Any) -> str:
    pieces = Pieces()
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            pieces.add(" ")
        pieces.add(printed(value))
    return pieces.joined()


def _println(*values: Any) -> str:
    pieces = Pieces()
    for number, value in enumerate(values):
        pieces.add(" " if number else "")
        pieces.add(printed(value))
    pieces.add("\n")
    return pieces.joined()


def _printf(form: Any, *values: Any) -> str:
    if not isinstance(form, str):
        raise ValueRefused("printf: a form is a text")
    text = printf(form, values)
    is_number = values and all(isinstance(value, (int, float)) for value in values)
    return JsonText(text) if is_number else text


def _bounds(given: Sequence[Any], length: int) -> tuple[int, int]:
    start, end = list(given) + [0, length][len(given) :]
    if any(isinstance(bound, bool) or not isinstance(bound, int) for bound in (start, end)):
        raise ValueRefused("slice: a place is a whole number")
    if not 0 <= start <= end <= length:
        raise ValueRefused("slice: this reaches beyond the end")
    return start, end


_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"})


def _html(*values: Any) -> str:
    return XmlText(_print(*values).translate(_HTML))


_JS: Final = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def _js(*values: Any) -> str:
    pieces = Pieces()
    for character in _print(*values):
        if character in _JS:
            pieces.add(_JS[character])
        else:
            pieces.add(character if character.isprintable() else f"\\u{ord(character):04X}")
    return pieces.joined()


def _urlquery(*values: Any) -> str:
    return quote(_print(*values).encode(), safe="").replace("%20", "+")


def _default(value: Any, fallback: Any) -> Any:
    return value if is_true(value) else fallback


def _rfc3339(milliseconds: Any) -> str:
    return f"{_time(milliseconds):%Y-%m-%dT%H:%M:%SZ}" if milliseconds is not None else ""


_DATE_WORDS: Final = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}


def _date(form: Any, milliseconds: Any) -> str:
    if milliseconds is None:
        return ""
    text, moment = _text(form), _time(milliseconds)
    for word, directive in _DATE_WORDS.items():
        text = text.replace(word, moment.strftime(directive).rjust(len(word), "0"))
    return text


def _time(milliseconds: Any) -> datetime:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float)):
        raise ValueRefused(f"a time is a number of milliseconds since 1970, not {kind_of(milliseconds)}")
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError):
        raise ValueRefused("this time is out of all bounds") from None


def _join(separator: Any, members: Any) -> str:
    if not isinstance(members, (list, tuple)):
        return printed(members)
    pieces = Pieces()
    for number, member in enumerate(members):
        pieces.add(_text(separator) if number else "")
        pieces.add(printed(member))
    return pieces.joined()


def _split(separator: Any, text: Any) -> list[str]:
    if not _text(separator):
        raise ValueRefused("split: the separator is empty")
    return printed(text).split(separator) if text else []


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueRefused(f"a text is expected here, not {kind_of(value)}")
    return value


def _alternative(*values: Any) -> Any:
    return next((value for value in values if is_true(value)), values[-1])


def _conjunction(*values: Any) -> Any:
    return next((value for value in values if not is_true(value)), values[-1])


FUNCTIONS: Final[Mapping[str, Function]] = {
    # The reference's own.
    "convertToJson": Function(lambda value: JsonText(to_json(value)), 1, 1),
    "timestampToRFC3339": Function(_rfc3339, 1, 1),
    "default": Function(_default, 2, 2),
    # Go's. `and` and `or` stop at the value that decides; the one who runs them sees to it.
    "and": Function(_conjunction, 1, ARGUMENTS_MAX),
    "or": Function(_alternative, 1, ARGUMENTS_MAX),
    "not": Function(lambda value: not is_true(value), 1, 1),
    "eq": Function(_equal, 2, ARGUMENTS_MAX),
    "ne": Function(lambda first, second: not _same(first, second), 2, 2),
    "lt": Function(_less, 2, 2),
    "le": Function(lambda first, second: not _less(second, first), 2, 2),
    "gt": Function(lambda first, second: _less(second, first), 2, 2),
    "ge": Function(lambda first, second: not _less(first, second), 2, 2),
    "len": Function(_length, 1, 1),
    "index": Function(_index, 1, ARGUMENTS_MAX),
    "slice": Function(_slice, 1, 3),
    "print": Function(_print, 0, ARGUMENTS_MAX),
    "println": Function(_println, 0, ARGUMENTS_MAX),
    "printf": Function(_printf, 1, ARGUMENTS_MAX),
    "html": Function(_html, 1, ARGUMENTS_MAX),
    "js": Function(_js, 1, ARGUMENTS_MAX),
    "urlquery": Function(_urlquery, 1, ARGUMENTS_MAX),
    # Ours.
    "base64": Function(lambda text: base64.b64encode(printed(text).encode()).decode(), 1, 1),
    "upper": Function(lambda text: printed(text).upper(), 1, 1),
    "lower": Function(lambda text: printed(text).lower(), 1, 1),
    "join": Function(_join, 2, 2),
    "split": Function(_split, 2, 2),
    "date": Function(_date, 2, 2),
}
