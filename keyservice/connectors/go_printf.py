"""Go's Printf for the values that templates have. Where Go would print `%!d(string=x)` this refuses instead."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from keyservice.connectors.go_text import Pieces, ValueRefused, kind_of, printed, printed_float

WIDTH_MAX: Final = 1_000
"""Of a field, and of the digits behind a decimal point."""

_VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>[0-9]{0,9})(?:\.(?P<precision>[0-9]{0,9}))?(?P<verb>.?)", re.DOTALL)
_BASES: Final = {"d": "d", "b": "b", "o": "o", "x": "x", "X": "X", "O": "o"}
_PREFIXES: Final = {"x": "0x", "X": "0X", "b": "0b", "o": "0", "O": "0o"}


class _Verb:
    __slots__ = ("flags", "letter", "precision", "width")

    def __init__(self, found: re.Match[str]) -> None:
        self.flags, self.letter = found["flags"], found["verb"]
        self.width = _bounded(found["width"] or "0")
        self.precision = None if found["precision"] is None else _bounded(found["precision"] or "0")

    def padded(self, text: str, *, is_number: bool = False) -> str:
        if "-" in self.flags:
            return text.ljust(self.width)
        if "0" not in self.flags or (is_number and self.precision is not None and self.letter in _BASES):
            return text.rjust(self.width)
        sign = text[:1] if is_number and text[:1] in ("+", "-", " ") else ""
        return sign + text[len(sign) :].rjust(self.width - len(sign), "0")


def printf(form: str, arguments: Sequence[Any]) -> str:
    """Raises ValueRefused for a verb that does not fit its value, and for too few or too many values."""
    pieces, position, used = Pieces(), 0, 0
    for found in _VERB.finditer(form):
        pieces.add(form[position : found.start()])
        position = found.end()
        if found["verb"] == "%":
            pieces.add("%")
            continue
        if used == len(arguments):
            raise ValueRefused("printf has more verbs than values")
        _write(pieces, _Verb(found), arguments[used])
        used += 1
    if used != len(arguments):
        raise ValueRefused("printf has more values than verbs")
    pieces.add(form[position:])
    return pieces.joined()


def _bounded(digits: str) -> int:
    number = int(digits)
    if number > WIDTH_MAX:
        raise ValueRefused(f"printf pads to at most {WIDTH_MAX} characters")
    return number


def _write(pieces: Pieces, verb: _Verb, value: Any) -> None:
    if isinstance(value, (list, tuple)):
        pieces.add("[")
        for number, member in enumerate(value):
            if number:
                pieces.add(" ")
            _write(pieces, verb, member)
        pieces.add("]")
    elif isinstance(value, Mapping):
        pieces.add("map[")
        for number, name in enumerate(sorted(value)):
            if number:
                pieces.add(" ")
            _write(pieces, verb, name)
            pieces.add(":")
            _write(pieces, verb, value[name])
        pieces.add("]")
    else:
        pieces.add(_scalar(verb, "" if value is None else value))


def _scalar(verb: _Verb, value: Any) -> str:
    if verb.letter == "v" and "#" not in verb.flags:
        match value:
            case bool():
                return verb.padded(printed(value))
            case int():
                return _integer(verb, value)
            case float():
                return _float(verb, value)
            case _:
                return _text(verb, str(value))
    match value:
        case bool() if verb.letter == "t":
            return verb.padded(printed(value))
        case str() if verb.letter in ("s", "q", "x", "X"):
            return _text(verb, value)
        case int() if not isinstance(value, bool) and verb.letter in (*_BASES, "c", "q", "U"):
            return _integer(verb, value)
        case float() if verb.letter in ("e", "E", "f", "F", "g", "G"):
            return _float(verb, value)
        case _:
            return _refuse(verb, value)


def _refuse(verb: _Verb, value: Any) -> str:
    raise ValueRefused(f"printf's %{verb.flags}{verb.letter} does not fit {kind_of(value)}")


def _text(verb: _Verb, value: str) -> str:
    if verb.precision is not None:
        value = value[: verb.precision]
    match verb.letter:
        case "q":
            return verb.padded(quoted(value))
        case "x" | "X":
            digits = value.encode().hex()
            return verb.padded(digits.upper() if verb.letter == "X" else digits)
        case _:
            return verb.padded(value)


def quoted(text: str) -> str:
    """As strconv.Quote writes it."""
    return '"' + "".join(_quoted_character(character, '"') for character in text) + '"'


_QUOTED: Final = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}


def _quoted_character(character: str, quote: str) -> str:
    if character == quote:
        return "\\" + quote
    if character in _QUOTED:
        return _QUOTED[character]
    number = ord(character)
    if character.isprintable():
        return character
    if number < 0x20 or number == 0x7F:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def _integer(verb: _Verb, value: int) -> str:
    match verb.letter:
        case "c":
            return verb.padded(_character(value))
        case "q":
            return verb.padded("'" + _quoted_character(_character(value), "'") + "'")
        case "U":
            return verb.padded(f"U+{value:04X}")
    digits = format(abs(value), _BASES.get(verb.letter, "d"))
    if verb.precision is not None:
        digits = "" if verb.precision == 0 and value == 0 else digits.rjust(verb.precision, "0")
    if "#" in verb.flags or verb.letter == "O":
        digits = _PREFIXES.get(verb.letter, "") + digits
    return verb.padded(_signed(verb, value < 0, digits), is_number=True)


def _character(value: int) -> str:
    if not 0 <= value <= 0x10FFFF or 0xD800 <= value <= 0xDFFF:
        raise ValueRefused("there is no such character")
    return chr(value)


def _signed(verb: _Verb, is_negative: bool, digits: str) -> str:
    if is_negative:
        return "-" + digits
    return ("+" if "+" in verb.flags else " " if " " in verb.flags else "") + digits


def _float(verb: _Verb, value: float) -> str:
    if "#" in verb.flags:
        return _refuse(verb, value)
    letter = verb.letter
    if letter == "v" and verb.precision is None:
        text = printed_float(abs(value))
    elif letter in ("e", "E"):
        text = format(abs(value), f".{6 if verb.precision is None else verb.precision}{letter}")
    elif letter in ("f", "F"):
        text = _fixed(abs(value), 6 if verb.precision is None else verb.precision)
    else:
        text = _general(abs(value), verb.precision, "E" if letter == "G" else "e")
    return verb.padded(_signed(verb, value < 0, text), is_number=True)


def _fixed(value: float, places: int) -> str:
    return format(value, f".{places}f")


def _general(value: float, precision: int | None, letter: str) -> str:
    if precision is None:
        text = printed_float(value)
        return text.upper() if letter == "E" else text
    return format(value, f".{precision or 1}{'G' if letter == 'E' else 'g'}")
