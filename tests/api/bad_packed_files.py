"""Key files with gzip and in JSON Lines as they should not be, each with what must become of it."""

import gzip
from typing import Any, Final

from tests.api.bad_key_files import BYTES_MAX, RefusedFile, TakenFile

_CSV: Final = b"key\n@1\n@2\n"
_GZIP: Final[dict[str, Any]] = {"pack": gzip.compress, "lines": ("Content-Encoding: gzip",)}
_SAID: Final = ("Content-Encoding: gzip",)
_JSONL: Final = "application/jsonl"


def _with(head: bytes) -> dict[str, Any]:
    """JSON Lines with a good line and this one."""
    return {"content": b'{"key":"@1"}\n' + head, "content_type": _JSONL}


REFUSED_PACKED: Final[dict[str, RefusedFile]] = {
    "gzip in gzip": RefusedFile(_CSV, "format-not-accepted", pack=lambda csv: gzip.compress(gzip.compress(csv)), lines=_SAID),
    "gzip that is said and is none": RefusedFile(_CSV, "broken-gzip", lines=_SAID),
    "gzip in the name and it is none": RefusedFile(_CSV, "broken-gzip", query="file_name=keys.csv.gz"),
    "gzip in the type and it is none": RefusedFile(_CSV, "broken-gzip", query="format=csv", content_type="application/gzip"),
    "gzip of nobody knows what": RefusedFile(_CSV, "format-undeclared", content_type="application/gzip", pack=gzip.compress),
    "gzip that ends too soon": RefusedFile(_CSV, "broken-gzip", pack=lambda csv: gzip.compress(csv)[:-9], lines=_SAID),
    "gzip with a wrong checksum": RefusedFile(
        _CSV, "broken-gzip", pack=lambda csv: gzip.compress(csv)[:-8] + bytes(8), lines=_SAID
    ),
    "gzip and more": RefusedFile(_CSV, "broken-gzip", pack=lambda csv: gzip.compress(csv) + csv, lines=_SAID),
    "gzip of nothing": RefusedFile(b"", "no-rows", **_GZIP),
    "gzip of latin-1": RefusedFile(b"key\nM\xfcller-@1\n", "not-utf8", 2, byte_offset=5, **_GZIP),
    "gzip of PDF": RefusedFile(b"%PDF-1.7\nkey\n@1\n", "format-not-accepted", **_GZIP),
    "gzip of 16 MB of line ends": RefusedFile(b"key\n@1\n" + b"\n" * 2**24, "too-many-rows", 2_002, **_GZIP),
    "gzip of a little more than a file may have": RefusedFile(b"key\n@1" + b" " * BYTES_MAX, "row-too-long", 2, **_GZIP),
    "gzip of more than a file may have": RefusedFile(b"key\n" + (b"@1" + b"x" * 200 + b"\n") * 1_900, "file-too-large", **_GZIP),
    "gzip of a row too many": RefusedFile(b"key\n" + b"@1\n" * 2_001, "too-many-rows", 2_002, **_GZIP),
    "deflate": RefusedFile(_CSV, None, status=415, lines=("Content-Encoding: deflate",)),
    "gzip twice": RefusedFile(_CSV, None, status=415, lines=("Content-Encoding: gzip, gzip",)),
    "a JSON array": RefusedFile(b'[{"key":"@1"}]\n', "not-json-lines", 1, content_type=_JSONL),
    "JSON over several lines": RefusedFile(b'\n{\n"key":"@1"\n}\n', "not-json-lines", 2, content_type=_JSONL),
    "JSON Lines without lines": RefusedFile(b"\n\n", "no-rows", content_type=_JSONL),
    "JSON Lines in UTF-16": RefusedFile('{"key":"@1"}\n'.encode("utf-16"), "not-utf8", 1, content_type=_JSONL),
    "JSON Lines in latin-1": RefusedFile(reason="not-utf8", line=2, **_with(b'{"key":"\xfc"}\n')),
    "a line of JSON without end": RefusedFile(reason="row-too-long", line=2, **_with(b'{"key":"' + b"x" * 100_000)),
    "JSON that is nested without end": RefusedFile(reason="row-too-long", line=2, **_with(b'{"key":' + b"[" * 100_000)),
    "the name of a JSON document": RefusedFile(b'{"key":"@1"}\n', "format-not-accepted", query="file_name=a.json"),
    "parts that the header does not have": RefusedFile(b"a,b\n@1,@2\n", "unknown-column", 1, query="part_columns=a,c"),
    "a part twice": RefusedFile(b"a,b\n@1,@2\n", "column-mapped-twice", 1, query="part_columns=a,A"),
    "a part without name": RefusedFile(b"a,\n@1,@2\n", "wrong-header", 1, query="part_columns=a,2"),
}  # fmt: skip

_OBJECTS: Final = (
    '{"key":"@1"}',
    '{"Serial":"@2","notes":"a","expires_on":"9999-12-31","publisher_key_id":"7","x":[{"key":"@9"}]}',
    '{"key":"@9"',
    '{"key":"@9","key":"@9"}',
    '{"key":"@9","serial":"@9"}',
    '{"key":@9}',
    '{"key":NaN}',
    '{"key":1}',
    '{"key":"@9","notes":1}',
    '["@9"]',
    "@9",
    "",
    '{"parts":"@9"}',
    '{"parts":[{"label":"a","value":1}]}',
    '{"parts":[{"label":"","value":"@9"}]}',
    '{"key":"\\ud800@9"}',
    '{"key":"@9\\u0000"}',
    '{"key":"@1"}',
    '{"key":"\\u0041@3"}',
    '{"key":' + "[" * 3_000 + "]" * 3_000 + "}",
)
TAKEN_PACKED: Final[dict[str, TakenFile]] = {
    "gzip": TakenFile(_CSV, ("@1", "@2"), **_GZIP),
    "gzip by its old name": TakenFile(_CSV, ("@1", "@2"), pack=gzip.compress, lines=("Content-Encoding: X-GZIP",)),
    "gzip by the file's name": TakenFile(_CSV, ("@1", "@2"), pack=gzip.compress, query="file_name=a.csv.gz"),
    "gzip by its type": TakenFile(_CSV, ("@1", "@2"), pack=gzip.compress, query="format=csv", content_type="application/gzip"),
    "gzip in two pieces": TakenFile(
        _CSV, ("@1", "@2"), pack=lambda csv: gzip.compress(csv[:9]) + gzip.compress(csv[9:]), lines=_SAID
    ),
    "JSON Lines": TakenFile(
        "".join(f"{line}\n" for line in _OBJECTS).encode(),
        ("@1", "@2", "A@3"),
        {
            **dict.fromkeys((3, 6, 7, 11, 16, 20), "invalid-json"),
            4: "repeated-member",
            5: "ambiguous-member",
            **dict.fromkeys((8, 14), "key-not-text"),
            9: "invalid-notes",
            10: "not-an-object",
            **dict.fromkeys((13, 15), "invalid-parts"),
            17: "invalid-key",
            18: "duplicate_in_file",
        },
        blank=1,
        header=0,
        content_type=_JSONL,
    ),
}  # fmt: skip
