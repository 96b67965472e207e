"""A license key's text, its place on the tape, and the law on what may be one."""

import hmac
import re
import unicodedata
from typing import Final, NamedTuple, NoReturn, final

from keyservice.domain.errors import Invalid

KEY_CHARACTERS_MAX: Final = 1024
_SHOWN_CHARACTERS_MAX: Final = 4


class KeyPlace(NamedTuple):
    """Where a key lies: the position counts inside its segment, from 1, and is never reused."""

    publisher_id: int
    segment_id: int
    position: int


@final
class KeyText:
    """The delivered bytes of one license key. Not a dataclass, whose asdict() would unwrap it."""

    __slots__ = ("_raw",)

    _raw: bytes

    def __init__(self, raw: bytes) -> None:
        object.__setattr__(self, "_raw", raw)

    @property
    def raw(self) -> bytes:
        return self._raw

    def reveal(self) -> str:
        """The text exactly as it was uploaded; a key that is a file has none and raises Invalid."""
        text = _decoded(self._raw)
        if text is None:
            raise Invalid("this key is not text: deliver its bytes as a file")
        return text

    @property
    def tail(self) -> str:
        """What a person may see to recognise the key: at most its last four characters and never more than a quarter."""
        return _tail(self._raw)

    def __repr__(self) -> str:
        return f"KeyText(…{self.tail})"

    def __format__(self, specification: str) -> str:
        return format(repr(self), specification)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KeyText):
            return NotImplemented
        return hmac.compare_digest(self._raw, other._raw)

    # No sets of key texts: they would compare in variable time, and searching for equals is the fingerprint's work.
    __hash__ = None  # type: ignore[assignment]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a key text never changes")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a key text never changes")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key text is never pickled or copied: pass its place or its sealed form")


def check_key_text(text: str) -> str | None:
    """Why this text is refused as a key, in words that never repeat it, or None. Nothing is ever normalised."""
    if _PLAIN.fullmatch(text) is None:
        reason = _refusal(text)
        if reason is not None:
            return reason
    if len(text) <= _PLACEHOLDER_CHARACTERS_MAX and (text.upper() in _PLACEHOLDERS or not text.strip("#")):
        return "is a placeholder that a spreadsheet or an export wrote, not a key"
    return None


def _refusal(text: str) -> str | None:
    if not text:
        return "is empty"
    if len(text) > KEY_CHARACTERS_MAX:
        return f"is longer than {KEY_CHARACTERS_MAX} characters"
    if not text.isprintable() or _SUSPICIOUS.search(text):
        for number, character in enumerate(text, start=1):
            kind = _forbidden_kind(character)
            if kind is not None:
                return f"has {kind} (U+{ord(character):04X}) at character {number}"
    if text != text.strip():
        return "begins or ends with white space"
    return None


def _forbidden_kind(character: str) -> str | None:
    if character == "\ufffd":
        return "a sign that its file was decoded wrongly"
    match unicodedata.category(character):
        case "Cc":
            return "a control character"
        case "Zl" | "Zp":
            return "a line break"
        case "Cs":
            return "half of a surrogate pair"
        case "Cf":
            return "an invisible character"
        case _:
            return "an invisible character" if _SUSPICIOUS.match(character) else None


def _decoded(raw: bytes) -> str | None:
    # An exception of the decoder would carry the whole key with it, so none leaves this function.
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _tail(raw: bytes) -> str:
    text = _decoded(raw)
    if text is None:
        return ""
    shown = min(_SHOWN_CHARACTERS_MAX, len(text) // 4)
    tail = text[len(text) - shown :]
    return tail if tail.isprintable() else ""


_PLAIN = re.compile(rf"[!-~](?:[ -~]{{0,{KEY_CHARACTERS_MAX - 2}}}[!-~])?")

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt) beyond category Cf: no width, nothing to type.
_SUSPICIOUS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\ufffd\U000e0000-\U000e0fff]"
)

_PLACEHOLDERS: Final = frozenset(
    {
        *("NULL", "(NULL)", "<NULL>", "NIL", "NONE", "(NONE)", "NAN", "NA", "N/A", "UNDEFINED", "(BLANK)"),
        *("#N/A", "#N/A!", "#NA", "#NULL!", "#REF!", "#VALUE!", "#NAME?", "#NUM!", "#DIV/0!", "#ERROR!", "#ERR!"),
        *("#GETTING_DATA", "#SPILL!", "#CALC!", "#FIELD!", "#BLOCKED!", "#CONNECT!", "#BUSY!", "#UNKNOWN!"),
        *("#EXTERNAL!", "#PYTHON!", "#TIMEOUT!"),
    }
)
_PLACEHOLDER_CHARACTERS_MAX: Final = 16
