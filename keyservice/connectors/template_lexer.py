"""Cuts a template into its text and the words of its actions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    FIELD = "field"
    DOT = "dot"
    VARIABLE = "variable"
    WORD = "word"
    NUMBER = "number"
    STRING = "string"
    RAW_STRING = "raw string"
    CHARACTER = "character"
    PIPE = "pipe"
    OPEN = "opening parenthesis"
    CLOSE = "closing parenthesis"
    COMMA = "comma"
    DECLARE = "declaration"
    ASSIGN = "assignment"
    SPACE = "space"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class TextPiece:
    text: str


@dataclass(frozen=True, slots=True)
class ActionPiece:
    """The words between `{{` and `}}`, with an END behind them."""

    tokens: tuple[Token, ...]
    position: int


class TemplateSyntaxError(Exception):
    """Where in the template, and what is wrong there."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


SPACES: Final = " \t\r\n"
_OPENING: Final = "{{"
_CLOSING: Final = "}}"
_COMMENT_CLOSING: Final = "*/"

_TRIMMING_END = re.compile(r"[ \t\r\n]-\}\}")
_TOKEN = re.compile(
    r"""
      (?P<SPACE>[ \t\r\n]+?(?=[ \t\r\n]-\}\})|[ \t\r\n]+)
    | (?P<NUMBER>[+-]?\.?[0-9](?:[eEpP][+-]|[\w.])*)
    | (?P<FIELD>\.\w+)
    | (?P<DOT>\.)
    | (?P<VARIABLE>\$\w*)
    | (?P<WORD>[^\W0-9]\w*)
    | (?P<STRING>"(?:[^"\\\n]++|\\.)*+")
    | (?P<RAW_STRING>`[^`]*`)
    | (?P<CHARACTER>'(?:[^'\\\n]++|\\.)++')
    | (?P<DECLARE>:=)
    | (?P<ASSIGN>=)
    | (?P<PIPE>\|)
    | (?P<OPEN>\()
    | (?P<CLOSE>\))
    | (?P<COMMA>,)
    """,
    re.VERBOSE,
)


def pieces_of(source: str) -> Iterator[TextPiece | ActionPiece]:
    """Text and actions in turn, comments left out and trimmed text trimmed. Raises TemplateSyntaxError."""
    position, is_trimmed = 0, False
    while True:
        start = source.find(_OPENING, position)
        text = source[position:] if start < 0 else source[position:start]
        text = text.lstrip(SPACES) if is_trimmed else text
        if start < 0:
            yield TextPiece(text)
            return
        inside = start + len(_OPENING)
        if source.startswith("-", inside) and source[inside + 1 : inside + 2] in tuple(SPACES):
            text, inside = text.rstrip(SPACES), inside + 2
        yield TextPiece(text)
        if source.startswith("/*", inside):
            position, is_trimmed = _behind_comment(source, inside)
        else:
            tokens, position, is_trimmed = _tokens_of(source, inside)
            yield ActionPiece(tokens, start)


def _behind_comment(source: str, start: int) -> tuple[int, bool]:
    end = source.find(_COMMENT_CLOSING, start)
    if end < 0:
        raise TemplateSyntaxError("this comment has no end", start)
    end += len(_COMMENT_CLOSING)
    ended = _end_at(source, end)
    if ended is None:
        raise TemplateSyntaxError("a comment has to fill its braces: {{/* so */}}", start)
    return ended


def _end_at(source: str, position: int) -> tuple[int, bool] | None:
    if source.startswith(_CLOSING, position):
        return position + len(_CLOSING), False
    found = _TRIMMING_END.match(source, position)
    return None if found is None else (found.end(), True)


def _tokens_of(source: str, start: int) -> tuple[tuple[Token, ...], int, bool]:
    tokens: list[Token] = []
    position = start
    while True:
        ended = _end_at(source, position)
        if ended is not None:
            tokens.append(Token(Kind.END, _CLOSING, position))
            return tuple(tokens), *ended
        if position >= len(source):
            raise TemplateSyntaxError("this action has no closing braces", start)
        found = _TOKEN.match(source, position)
        if found is None or found.lastgroup is None:
            raise TemplateSyntaxError(f"{source[position]!r} is not understood inside braces", position)
        tokens.append(Token(Kind[found.lastgroup], found.group(), position))
        position = found.end()
