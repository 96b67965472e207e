"""Answers that are wrong in what they say: other keys than those in the books, and bodies that no rule allows."""

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Final

from keyservice.sandbox.asked import Answer, Granted
from keyservice.sandbox.ledger import Ledger
from keyservice.sandbox.misbehaviour import Misbehaviour, Wrong

HUGE_BYTES: Final = 16 * 1024 * 1024
_BOMB_BYTES: Final = 64 * 1024 * 1024
_HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>Scheduled maintenance</title></head>\n"
    b"<body><h1>We will be back soon</h1><p>Please come again later.</p></body></html>\n"
)


def with_other_keys(granted: Granted, misbehaviour: Misbehaviour, ledger: Ledger) -> Granted:
    """The same grant with the keys that a misbehaviour shows in place of the real ones."""
    if not granted.keys:
        return granted
    first, *others = granted.keys
    match misbehaviour.kind:
        case Wrong.MORE_KEYS:
            return replace(granted, keys=(*granted.keys, "SANDBOX-MORE-THAN-WAS-ASKED"))
        case Wrong.FEWER_KEYS:
            return replace(granted, keys=tuple(others))
        case Wrong.DUPLICATE_KEY:
            other = first if others else _key_of_another(granted, ledger)
            return replace(granted, keys=(*granted.keys[:-1], other))
        case Wrong.FOREIGN_KEY:
            return replace(granted, keys=(misbehaviour.text or "FOREIGN-KEY-OF-SOMEBODY-ELSE", *others))
        case Wrong.MALFORMED_KEY:
            return replace(granted, keys=("%KEY_PLACEHOLDER%", *others))
        case Wrong.LATIN_1:
            return replace(granted, keys=(f"{first}-\xe9\xfc", *others))
        case _:
            return granted


def with_other_bytes(answer: Answer, misbehaviour: Misbehaviour) -> Answer:
    """The same answer with a body, and perhaps headers, that a misbehaviour makes of it."""
    made = _BODIES.get(misbehaviour.kind)
    return answer if made is None else made(answer)


def _html(answer: Answer) -> Answer:
    return replace(answer, status=200, body=_HTML, content_type="text/html")


def _types(answer: Answer) -> Answer:
    """Every text becomes a list with a number, in JSON; other protocols are answered in JSON all the same."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = {"result": "text"}
    return replace(answer, body=json.dumps(_numbers(found)).encode())


def _numbers(value: object) -> object:
    match value:
        case dict():
            return {name: _numbers(member) for name, member in value.items()}
        case list():
            return [_numbers(member) for member in value]
        case str():
            return [17, None]
        case _:
            return value


def _twice(answer: Answer) -> Answer:
    """Every member of a JSON object a second time, with other texts; any other body as a whole."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        return replace(answer, body=answer.body + b"\n" + answer.body)
    if not isinstance(found, dict) or not found:
        return replace(answer, body=answer.body + answer.body)
    others = json.dumps({name: "OTHER" if isinstance(member, str) else member for name, member in found.items()})
    return replace(answer, body=answer.body.rstrip()[:-1] + b"," + others.encode()[1:])


def _latin_1(answer: Answer) -> Answer:
    return replace(answer, body=answer.body.decode().encode("iso-8859-1", errors="replace"))


def _huge(answer: Answer) -> Answer:
    return replace(answer, body=answer.body + b" " * HUGE_BYTES)


@cache
def _bomb(encoding: str) -> bytes:
    zeros = b" " * _BOMB_BYTES
    return gzip.compress(zeros, 9) if encoding == "gzip" else zlib.compress(zeros, 9)


def _compressed(encoding: str) -> Callable[[Answer], Answer]:
    def compress(answer: Answer) -> Answer:
        return replace(answer, body=_bomb(encoding), headers={**answer.headers, "Content-Encoding": encoding})

    return compress


def _key_of_another(granted: Granted, ledger: Ledger) -> str:
    for reference, entry in reversed(ledger.entries.items()):
        if reference != granted.reference and entry.last is not None:
            return entry.last.keys[0]
    return granted.keys[0]


_BODIES: Final[dict[Wrong, Callable[[Answer], Answer]]] = {
    Wrong.HTML_PAGE: _html,
    Wrong.EMPTY: lambda answer: replace(answer, body=b""),
    Wrong.WRONG_TYPES: _types,
    Wrong.DUPLICATE_MEMBERS: _twice,
    Wrong.BYTE_ORDER_MARK: lambda answer: replace(answer, body=b"\xef\xbb\xbf" + answer.body),
    Wrong.LATIN_1: _latin_1,
    Wrong.HUGE_BODY: _huge,
    Wrong.GZIP_BOMB: _compressed("gzip"),
    Wrong.DEFLATE_BOMB: _compressed("deflate"),
}
