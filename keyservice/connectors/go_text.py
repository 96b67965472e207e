"""Values as Go's fmt and encoding/json write them."""

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

TEXT_CHARACTERS_MAX: Final = 262_144
"""Of any one value while a template runs, and of what it comes to."""

_EXPONENT_MIN: Final = -4
_EXPONENT_MAX: Final = 6
_JSON_SMALL: Final = 1e-6
_JSON_LARGE: Final = 1e21


class ValueRefused(ValueError):
    """A value is of the wrong kind, or becomes too large. The message never repeats the value."""


class Pieces:
    """Text that grows, up to a bound."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.length = 0

    def add(self, text: str) -> None:
        self.length += len(text)
        if self.length > TEXT_CHARACTERS_MAX:
            raise ValueRefused(f"this comes to more than {TEXT_CHARACTERS_MAX} characters")
        self._pieces.append(text)

    def joined(self) -> str:
        return "".join(self._pieces)


def kind_of(value: Any) -> str:
    """In words, for messages."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case Mapping():
            return "a map"
        case _:
            return "a list"


def is_true(value: Any) -> bool:
    """Empty and zero are false."""
    return bool(value)


def printed(value: Any) -> str:
    """As `%v` writes it. What is missing is printed as nothing."""
    if type(value) is str:
        return value
    pieces = Pieces()
    print_into(pieces, value)
    return pieces.joined()


def print_into(pieces: Pieces, value: Any) -> None:
    match value:
        case None:
            pass
        case str():
            pieces.add(value)
        case bool():
            pieces.add("true" if value else "false")
        case int():
            pieces.add(str(value))
        case float():
            pieces.add(printed_float(value))
        case Mapping():
            pieces.add("map[")
            for number, name in enumerate(sorted(value)):
                pieces.add(f" {name}:" if number else f"{name}:")
                print_into(pieces, value[name])
            pieces.add("]")
        case _:
            pieces.add("[")
            for number, member in enumerate(value):
                if number:
                    pieces.add(" ")
                print_into(pieces, member)
            pieces.add("]")


def printed_float(value: float) -> str:
    """The shortest digits that mean this number, as `%v` writes them."""
    if not math.isfinite(value):
        raise ValueRefused("this number is not finite")
    digits, exponent = shortest(value)
    if exponent < _EXPONENT_MIN or exponent >= _EXPONENT_MAX:
        return scientific(value, digits, exponent, "e")
    return _plain(value)


def _plain(value: float) -> str:
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def shortest(value: float) -> tuple[str, int]:
    """The digits of a number and the decimal exponent of the first of them."""
    _, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    if not stripped or not isinstance(exponent, int):
        return "0", 0
    return stripped, len(text) - 1 + exponent


def scientific(value: float, digits: str, exponent: int, letter: str) -> str:
    sign = "-" if math.copysign(1, value) < 0 else ""
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}{letter}{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


# ---------------------------------------------------------------------------------------------------- JSON
def to_json(value: Any) -> str:
    """As encoding/json's Marshal writes it: members by name, and neither `<` nor `&` for the sake of web pages."""
    pieces = Pieces()
    _json_into(pieces, value)
    return pieces.joined()


def _json_into(pieces: Pieces, value: Any) -> None:
    match value:
        case None:
            pieces.add("null")
        case str():
            pieces.add(f'"{_json_escaped(value)}"')
        case bool():
            pieces.add("true" if value else "false")
        case int():
            pieces.add(str(value))
        case float():
            pieces.add(json_float(value))
        case Mapping():
            pieces.add("{")
            for number, name in enumerate(sorted(value)):
                pieces.add(f'{"," if number else ""}"{_json_escaped(str(name))}":')
                _json_into(pieces, value[name])
            pieces.add("}")
        case _:
            pieces.add("[")
            for number, member in enumerate(value):
                if number:
                    pieces.add(",")
                _json_into(pieces, member)
            pieces.add("]")


def json_float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueRefused("this number is not finite")
    if value == 0 or _JSON_SMALL <= abs(value) < _JSON_LARGE:
        return _plain(value)
    text = scientific(value, *shortest(value), "e")
    return re.sub(r"e-0(?=\d$)", "e-", text)


_JSON_UNSAFE = re.compile("[<>&\u2028\u2029]")


def _json_escaped(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    return _JSON_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", escaped)
