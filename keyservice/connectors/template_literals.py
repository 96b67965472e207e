"""Constants in templates, written as in Go: numbers, characters and quoted strings."""

import re
from typing import Final

_INTEGER = re.compile(
    r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?[0-7])*|[1-9](?:_?[0-9])*)"
)
_DECIMAL = re.compile(r"[+-]?(?:[0-9](?:_?[0-9])*)?\.?(?:[0-9](?:_?[0-9])*)?(?:[eE][+-]?[0-9]{1,3})?")
_ESCAPE = re.compile(r"""\\(?:([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv\\"'])|(.?))""")
_PLAIN_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_INTEGER_MAX: Final = 2**63 - 1


def number_of(text: str) -> int | float:
    """Raises ValueError for what is no number, or is larger than 64 bits."""
    if _INTEGER.fullmatch(text):
        value = _integer(text.replace("_", ""))
        if not -_INTEGER_MAX - 1 <= value <= _INTEGER_MAX:
            raise ValueError("this number does not fit into 64 bits")
        return value
    if not _DECIMAL.fullmatch(text) or not any(character.isdigit() for character in text):
        raise ValueError("this is not a number")
    return float(text)


def _integer(digits: str) -> int:
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    is_octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    return sign * (int(digits, 8) if is_octal else int(digits, 0))


def string_of(quoted: str) -> str:
    """The text of an interpreted string with its quotes. Raises ValueError for an escape that Go does not know."""
    if '\\"' not in quoted and "\\" not in quoted:
        return quoted[1:-1]
    text = _ESCAPE.sub(lambda found: _unescaped(found, quote='"'), quoted[1:-1])
    return _whole(text)


def character_of(quoted: str) -> int:
    """The number of a character in single quotes."""
    text = _ESCAPE.sub(lambda found: _unescaped(found, quote="'"), quoted[1:-1])
    if len(text) != 1:
        raise ValueError("single quotes hold one character; use double quotes for text")
    return ord(text)


def _unescaped(found: re.Match[str], *, quote: str) -> str:
    octal, byte, short, long, plain, unknown = found.groups()
    if unknown is not None or (plain in ("'", '"') and plain != quote):
        raise ValueError(f"\\{unknown or plain or ''} is no escape of Go")
    if plain is not None:
        return _PLAIN_ESCAPES.get(plain, plain)
    # A byte beyond ASCII would be half a character, which cannot be sent as text.
    number = int(octal, 8) if octal else int(byte or short or long, 16)
    if (octal or byte) and number > 0x7F:
        raise ValueError("write characters beyond ASCII as they are, or as \\u00e9, not byte by byte")
    if number > 0x10FFFF:
        raise ValueError("there is no such character")
    return chr(number)


def _whole(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half of a surrogate pair is no character")
    return text
