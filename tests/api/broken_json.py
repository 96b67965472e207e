"""What is no JSON, no JSON that this service reads, or JSON of another kind than an object: for any entrance at all."""

import gzip
import json
from collections.abc import Callable
from typing import Final

from tests.api.raw_http import PLANTED

Spoiler = Callable[[str], bytes]

_BYTES_MAX: Final = 1024 * 1024


def _beside(fragment: str | bytes) -> Spoiler:
    """The body, with one more member of this value in front."""
    raw = fragment.encode() if isinstance(fragment, str) else fragment
    return lambda text: b'{"extra":' + raw + b"," + text[1:].encode()


def _twice(text: str) -> bytes:
    name, value = next(iter(json.loads(text).items()))
    return f"{text[:-1]},{json.dumps(name)}:{json.dumps(value)}}}".encode()


def _twice_by_escape(text: str) -> bytes:
    name, value = next(iter(json.loads(text).items()))
    escaped = f'"\\u{ord(name[0]):04x}{name[1:]}"'
    return f"{text[:-1]},{escaped}:{json.dumps(value)}}}".encode()


# Each is answered with 400.
NOT_JSON: Final[dict[str, Spoiler]] = {
    "a member twice": _twice,
    "a member twice, once by an escape": _twice_by_escape,
    "an unknown member twice": lambda text: f'{{"{PLANTED}":1,"{PLANTED}":1,{text[1:]}'.encode(),
    "a member twice deep inside": _beside('{"a":[{"b":1,"b":1}]}'),
    "NaN": _beside("NaN"),
    "Infinity": _beside("Infinity"),
    "minus Infinity": _beside("-Infinity"),
    "1e999": _beside("1e999"),
    "minus 1e999": _beside("-1e999"),
    "1e-999": _beside("1e-999"),
    "a number of 5,000 digits": _beside("9" * 5_000),
    "a fraction of 5,000 digits": _beside("0." + "3" * 5_000),
    "29 significant digits": _beside("1.0000000000000000000000000001"),
    "a power of ten of 5,000 digits": _beside("1e" + "9" * 5_000),
    "2^63": _beside(str(2**63)),
    "below -2^63": _beside(str(-(2**63) - 1)),
    "10^30": _beside("1" + "0" * 30),
    "a leading zero": _beside("01"),
    "a plus sign": _beside("+1"),
    "no digit before the point": _beside(".5"),
    "no digit behind the point": _beside("1."),
    "a hexadecimal number": _beside("0x10"),
    "an underscore in a number": _beside("1_000"),
    "True": _beside("True"),
    "undefined": _beside("undefined"),
    "a single quotation mark": _beside(f"'{PLANTED}'"),
    "a name without quotation marks": lambda text: f"{{extra:1,{text[1:]}".encode(),
    "a comment": lambda text: f"/* {PLANTED} */{text}".encode(),
    "a comma at the end": lambda text: f"{text[:-1]},}}".encode(),
    "NUL as an escape": _beside(f'"{PLANTED}\\u0000"'),
    "NUL as an escape in a name": lambda text: f'{{"{PLANTED}\\u0000":1,{text[1:]}'.encode(),
    "NUL behind two backslashes and an escape": _beside('"\\\\\\u0000"'),
    "NUL as it is": _beside(b'"\0"'),
    "a line break in a text": _beside(f'"{PLANTED}\n"'),
    "a tab in a text": _beside(f'"{PLANTED}\t"'),
    "an unknown escape": _beside(f'"{PLANTED}\\x41"'),
    "half of an escape": _beside('"\\u00"'),
    "a high surrogate alone": _beside('"\\ud800"'),
    "a low surrogate alone": _beside('"\\udc00"'),
    "surrogates the wrong way round": _beside('"\\udc00\\ud800"'),
    "a surrogate in a name": lambda text: f'{{"\\ud800":1,{text[1:]}'.encode(),
    "a surrogate as bytes": _beside(b'"\xed\xa0\x80"'),
    "an overlong slash": _beside(b'"\xc0\xaf"'),
    "an overlong NUL": _beside(b'"\xc0\x80"'),
    "half of a character": _beside(b'"\xe2\x82"'),
    "beyond U+10FFFF": _beside(b'"\xf4\x90\x80\x80"'),
    "latin-1": _beside('"Müller"'.encode("latin-1")),
    "33 arrays": _beside("[" * 33 + "]" * 33),
    "33 objects": _beside('{"a":' * 33 + "1" + "}" * 33),
    "100,000 arrays": _beside("[" * 100_000 + "]" * 100_000),
    "100,000 open arrays": _beside("[" * 100_000),
    "50,000 objects": _beside('{"a":' * 50_000 + "1" + "}" * 50_000),
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-16 the other way round": lambda text: text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "garbage behind": lambda text: text.encode() + PLANTED.encode(),
    "a NUL behind": lambda text: text.encode() + b"\0",
    "a second document": lambda text: f"{text}{text}".encode(),
    "a second document on a line of its own": lambda text: f"{text}\n{text}\n".encode(),
    "the first half": lambda text: text[: len(text) // 2].encode(),
    "all but the last brace": lambda text: text[:-1].encode(),
    "nothing": lambda _: b"",
    "white space": lambda _: b" \r\n\t ",
    "a form": lambda _: f"name={PLANTED}".encode(),
    "XML": lambda _: f"<order>{PLANTED}</order>".encode(),
    "a prefix against hijacking": lambda text: b")]}'," + text.encode(),
    "gzip that is not said": lambda text: gzip.compress(text.encode()),
}

# Well-formed; each entrance knows how it answers what is no object.
NOT_AN_OBJECT: Final[dict[str, Spoiler]] = {
    "null": lambda _: b"null",
    "true": lambda _: b"true",
    "a number": lambda _: b"5",
    "a text": lambda _: f'"{PLANTED}"'.encode(),
    "the body as a text": lambda text: json.dumps(text).encode(),
    "no elements": lambda _: b"[]",
    "the body in an array": lambda text: f"[{text}]".encode(),
    "an object without members": lambda _: b"{}",
}

# Content-Type lines, and what answers them; an empty one is not sent.
CONTENT_TYPES: Final[dict[str, tuple[str, int]]] = {
    "none": ("", 415),
    "an empty one": ("Content-Type:", 415),
    "junk": (f"Content-Type: {PLANTED}", 415),
    "plain text": ("Content-Type: text/plain", 415),
    "JSON as text": ("Content-Type: text/json", 415),
    "a form": ("Content-Type: application/x-www-form-urlencoded", 415),
    "parts": ("Content-Type: multipart/form-data; boundary=b", 415),
    "XML": ("Content-Type: application/xml", 415),
    "a problem": ("Content-Type: application/problem+json", 415),
    "a patch": ("Content-Type: application/merge-patch+json", 415),
    "JSON and more": ("Content-Type: application/jsonp", 415),
    "anything": ("Content-Type: */*", 415),
    "a charset that does not exist": (f"Content-Type: application/json; charset={PLANTED}", 415),
    "a charset that is none": ("Content-Type: application/json; charset=hex", 415),
    "UTF-16": ("Content-Type: application/json; charset=utf-16", 415),
    "latin-1": ("Content-Type: application/json; charset=iso-8859-1", 415),
    "two charsets": ("Content-Type: application/json; charset=utf-8; charset=latin-1", 415),
    "two in a line": ("Content-Type: application/json, application/json", 415),
    "bytes beyond ASCII": ("Content-Type: application/json; charset=\xff", 415),
    "gzip that is said": ("Content-Type: application/json\r\nContent-Encoding: gzip", 415),
    "an unknown encoding": (f"Content-Type: application/json\r\nContent-Encoding: {PLANTED}", 415),
    "two encodings": ("Content-Type: application/json\r\nContent-Encoding: gzip, identity", 415),
}

# Odd, and as good as application/json.
HARMLESS_CONTENT_TYPES: Final = (
    "Content-Type: APPLICATION/JSON",
    "Content-Type: application/json;charset=UTF-8",
    'Content-Type: application/json; charset="utf-8"',
    "Content-Type: application/json; charset=utf8; profile=x",
    "Content-Type: application/json\r\nContent-Encoding: identity",
)


def too_large(text: str) -> bytes:
    """One byte more than any entrance takes, and well-formed."""
    return text.encode() + b" " * (_BYTES_MAX + 1 - len(text))


def in_chunks(raw: bytes) -> bytes:
    """The same request with its body in two chunks and no length."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]) + chunks + b"0\r\n\r\n"
