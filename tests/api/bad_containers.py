"""Workbooks and archives as they should not be, each with what must become of it.

The content of a workbook is written as lines of cells; a cell that is no text begins with its kind and a colon.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from tests.api.bad_key_files import BYTES_MAX, ROWS_MAX, RefusedFile, TakenFile
from tests.unpacking.archives import archive_of, changed_ends, changed_heads, joined
from tests.unpacking.workbooks import Cell, packed, parts_of, row, sheet

_XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_ZIP: Final = "application/zip"
_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "n": ('t="n"', "<v>{}</v>"),
    "b": ('t="b"', "<v>{}</v>"),
    "e": ('t="e"', "<v>{}</v>"),
    "f": ('t="str"', "<f>A1</f><v>{}</v>"),
    "d": ('s="1"', "<v>{}</v>"),
}
_STYLES: Final = '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'
_LAUGHS: Final = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def _cell(text: str) -> Cell:
    kind, colon, value = text.partition(":")
    if not (colon and kind in _KINDS):
        return text or None
    attributes, inside = _KINDS[kind]
    return attributes, inside.format(value)


def _rows(content: bytes, *, hidden: frozenset[int] = frozenset()) -> list[str]:
    lines = content.decode().splitlines()
    return [
        row(number, list(map(_cell, line.split(","))), 'hidden="1"' if number in hidden else "")
        for number, line in enumerate(lines, start=1)
        if line
    ]


def book_of(
    content: bytes, *, changes: Mapping[str, Callable[[str], str | None]] | None = None, **options: Any
) -> bytes:
    """A workbook of one sheet; its parts are changed by their paths, or left out."""
    parts = parts_of({"Keys": sheet(_rows(content, **options))}, styles=_STYLES)
    asked: Mapping[str, Callable[[str], str | None]] = changes or {}
    for path, change in asked.items():
        changed = change(parts.pop(path, ""))
        if changed is not None:
            parts[path] = changed
    return packed(parts)


def _sheets(content: bytes) -> bytes:
    return packed(
        parts_of({"Keys": sheet(_rows(content)), "More": sheet([])}, states={"More": "hidden"}, styles=_STYLES)
    )


def _far(content: bytes) -> bytes:
    rows = [*_rows(content), '<row r="1048576"><c r="XFD1048576" t="str"><v>far</v></c></row>']
    return packed(parts_of({"Keys": sheet(rows)}))


def _lying(content: bytes, dimension: str) -> bytes:
    return packed(parts_of({"Keys": sheet(_rows(content), dimension=dimension)}, styles=_STYLES))


def _refused_book(reason: str, content: bytes = b"key\n@1\n", **more: Any) -> RefusedFile:
    options: dict[str, Any] = {name: more.pop(name) for name in ("query", "content_type", "status") if name in more}
    pack = more.pop("pack", partial(book_of, **more))
    return RefusedFile(content, reason, **{"content_type": _XLSX, "pack": pack, **options})


def _refused_archive(reason: str, pack: Callable[[bytes], bytes], **options: Any) -> RefusedFile:
    return RefusedFile(b"@1", reason, **{"content_type": _ZIP, "pack": pack, **options})


def _one(content: bytes) -> bytes:
    return archive_of({"a.lic": content * 30})


def _twice(content: bytes) -> bytes:
    stored = zlib.compress(content, wbits=-15)
    return joined([("a", stored, content), ("a", stored, content)])


def _overlapping(content: bytes) -> bytes:
    stored = zlib.compress(content * 50, wbits=-15)
    return joined([("a", stored, content * 50), ("b", stored, content * 50)], share_data=True)


def _longer_than_said(content: bytes) -> bytes:
    return joined([("a", zlib.compress(content * 2, wbits=-15), content)])


def _ten(head: dict[str, int]) -> None:
    head["size"] = 10


def _encrypted(head: dict[str, int]) -> None:
    head["flags"] = 1


def _unknown(head: dict[str, int]) -> None:
    head["method"] = 99


_BROKEN: Final = "broken-workbook"
_AMBIGUOUS: Final = "ambiguous-archive"
_ALL_PARTS: Final = (
    "[Content_Types].xml",
    "_rels/.rels",
    "xl/workbook.xml",
    "xl/_rels/workbook.xml.rels",
    "xl/worksheets/sheet1.xml",
)
_MACROS: Final = ("spreadsheetml.sheet.main", "ms-excel.sheet.macroEnabled.main")


def _left_out(_: str) -> None:
    return None


def _laughing(body: str) -> str:
    return _LAUGHS + body.partition("\n")[2]


def _cut_off(body: str) -> str:
    return body[:-9]


REFUSED_CONTAINERS: Final[dict[str, RefusedFile]] = {
    **{f"a workbook without {part}": _refused_book(_BROKEN, changes={part: _left_out}) for part in _ALL_PARTS},
    **{
        f"a billion laughs in {part}": _refused_book(_BROKEN, changes={part: _laughing})
        for part in (*_ALL_PARTS, "xl/styles.xml")
    },
    **{f"a broken {part}": _refused_book(_BROKEN, changes={part: _cut_off}) for part in _ALL_PARTS},
    "a workbook that is cut off": _refused_book("broken-archive", pack=lambda csv: book_of(csv)[:-40]),
    "a workbook with bytes in front": _refused_book("format-not-accepted", pack=lambda csv: b"%PDF-1.7\n" + book_of(csv)),
    "a workbook with bytes behind": _refused_book(_AMBIGUOUS, pack=lambda csv: book_of(csv) + b"%EOF"),
    "a workbook with macros": _refused_book(
        "format-not-accepted", changes={"[Content_Types].xml": lambda body: body.replace(*_MACROS)}
    ),
    "an old workbook by the new name": _refused_book(
        "format-not-accepted", pack=lambda _: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    ),
    "a page by the name of a workbook": _refused_book("format-not-accepted", pack=lambda _: b"<html><table>"),
    "a table by the name of a workbook": _refused_book("format-not-accepted", pack=bytes),
    "nothing by the name of a workbook": _refused_book("no-rows", pack=lambda _: b""),
    "an archive by the name of a workbook": _refused_book(_BROKEN, pack=_one),
    "a workbook with gzip": _refused_book("format-not-accepted", query="file_name=keys.xlsx.gz", content_type=""),
    "a workbook of another name": _refused_book("format-undeclared", query="file_name=keys.csv"),
    "an empty sheet": _refused_book("no-rows", b""),
    "a sheet of a header": _refused_book("no-rows", b"key\n"),
    "a sheet of spaces": _refused_book("no-rows", b" \n  \n"),
    "a sheet without header": _refused_book("header-undeclared", b"@1\n@2\n"),
    "a sheet with two columns of keys": _refused_book("ambiguous-column", b"key,serial\n@1,@2\n"),
    "a sheet with a header that is too wide": _refused_book("wrong-header", b"key" + b"," * 100 + b"x\n@1\n"),
    "a sheet with a row too many": _refused_book(
        "too-many-rows", b"key\n" + b"".join(b"@1-%d\n" % number for number in range(ROWS_MAX + 1))
    ),
    "a sheet with one far cell": _refused_book("too-many-rows", pack=_far),
    "several sheets and none is named": _refused_book("sheet-undeclared", pack=_sheets),
    "a sheet that is not there": _refused_book("unknown-sheet", query="sheet=Other"),
    "a sheet of a number that is not there": _refused_book("unknown-sheet", query="sheet=2"),
    "a workbook that unpacks to too much": _refused_book(
        "unpacks-too-far", changes={"xl/worksheets/sheet1.xml": lambda body: body + " " * 20_000_000}
    ),
    "shared texts that unpack to too much": _refused_book(
        "unpacks-too-far",
        pack=lambda _: packed(parts_of({"Keys": sheet([])}, strings=["<t>" + "x" * 20_000_000 + "</t>"])),
    ),
    "a workbook of more bytes than it may have": RefusedFile(
        b"x" * (BYTES_MAX + 1), "file-too-large", status=413, content_type=_XLSX, pack=lambda junk: b"PK\x03\x04" + junk
    ),
    "an archive with an end missing": _refused_archive("broken-archive", lambda key: _one(key)[:-22]),
    "an archive with bytes behind": _refused_archive(_AMBIGUOUS, lambda key: _one(key) + b"x"),
    "two archives in one": _refused_archive(_AMBIGUOUS, lambda key: _one(key) * 2),
    "an archive without files": _refused_archive("no-rows", lambda _: archive_of({})),
    "an archive of folders": _refused_archive("no-rows", lambda _: archive_of({"a/": b"", "b/": b""})),
    "an archive with one name twice": _refused_archive(_AMBIGUOUS, _twice),
    "an archive whose entries overlap": _refused_archive(_AMBIGUOUS, _overlapping),
    "an entry that is longer than it is said to be": _refused_archive("broken-archive", _longer_than_said),
    "an entry that is said to be of ten bytes": _refused_archive(
        "broken-archive", lambda key: changed_heads(changed_ends(_one(key), 0, _ten), 0, _ten)
    ),
    "an entry with two sizes": _refused_archive("broken-archive", lambda key: changed_ends(_one(key), 0, _ten)),
    "an archive with a password": _refused_archive("encrypted-archive", lambda key: changed_ends(_one(key), 0, _encrypted)),
    "an archive of an unknown method": _refused_archive("broken-archive", lambda key: changed_ends(_one(key), 0, _unknown)),
    "an archive in several parts": _refused_archive("broken-archive", lambda key: _one(key)[:-18] + b"\1" + _one(key)[-17:]),
    "an archive with an entry too many": _refused_archive(
        "too-many-rows", lambda _: archive_of({f"{number}.lic": b"x" for number in range(51)})
    ),
    "an archive that is said to have 65,535 entries": _refused_archive(
        "too-many-rows", lambda key: _one(key)[:-14] + struct.pack("<HH", 65_535, 65_535) + _one(key)[-10:]
    ),
    "an archive of zeros": _refused_archive(
        "unpacks-too-far", lambda _: archive_of({f"{number}.lic": bytes(8_000) for number in range(40)})
    ),
    "an archive of an unknown name": _refused_archive("format-undeclared", _one, content_type=""),
    "an archive with columns": _refused_archive("", _one, query="key_column=1&header=present", status=422),
    "an archive with gzip": _refused_archive("format-not-accepted", _one, query="file_name=keys.zip.gz", content_type=""),
    "an archive by the name of text": _refused_archive("format-not-accepted", _one, content_type="text/plain"),
    "a workbook by the name of text": _refused_book("format-not-accepted", content_type="text/csv"),
}  # fmt: skip

_KINDS_ROWS: Final = (
    b"key,expires_on,publisher_key_id,notes\n"
    b"@1,d:50000,n:7,n:1.5\n"
    b"n:123\n"
    b"b:1\n"
    b"e:#REF!\n"
    b"f:@9\n"
    b"d:50000\n"
    b"#REF!\n"
    b"\n"
    b"@2,2099-12-31,x,f:seen\n"
    b"@9,n:50000\n"
    b"@9,d:40000\n"
    b"@9,d:50000.5\n"
    b",d:50000\n"
    b"@9,,,,,x\n"
    b"@1\n"
    b" @9\n"
    b"key,expires_on\n"
    b"@9_x000D_\n"
    b"@3_x005F_x0041_\n"
    b"@4\n"
    b"@9\n"
)

TAKEN_CONTAINERS: Final[dict[str, TakenFile]] = {
    "every kind of cell": TakenFile(
        _KINDS_ROWS,
        ("@1", "@2", "@3_x0041_", "@4"),
        {
            3: "number-in-key",
            4: "boolean-in-key",
            5: "error-in-key",
            6: "formula-in-key",
            7: "date-in-key",
            8: "invalid-key",
            **dict.fromkeys((11, 13), "invalid-expiry"),
            12: "already-expired",
            14: "empty-key",
            15: "too-many-columns",
            16: "duplicate_in_file",
            17: "invalid-key",
            18: "repeated-header",
            19: "line-break-in-key",
            22: "hidden-row",
        },
        blank=1,
        content_type=_XLSX,
        pack=partial(book_of, hidden=frozenset({22})),
    ),
    "a sheet that is named": TakenFile(b"key\n@1\n", ("@1",), content_type=_XLSX, query="sheet=keys", pack=_sheets),
    "a sheet that is counted": TakenFile(b"key\n@1\n", ("@1",), content_type=_XLSX, query="sheet=1", pack=_sheets),
    "a sheet by the file's name": TakenFile(b"key\n@1\n", ("@1",), content_type="", query="file_name=A.XLSX", pack=book_of),
    "a sheet that says it has one cell": TakenFile(
        b"key\n@1\n@2\n", ("@1", "@2"), content_type=_XLSX, pack=partial(_lying, dimension="A1")
    ),
    "a sheet that says it has all cells": TakenFile(
        b"key\n@1\n@2\n", ("@1", "@2"), content_type=_XLSX, pack=partial(_lying, dimension="A1:XFD1048576")
    ),
    "a sheet without header that is said to have none": TakenFile(
        b"@1\n\n@2\n", ("@1", "@2"), blank=1, header=0, content_type=_XLSX, query="header=absent", pack=book_of
    ),
    "a sheet of numbers": TakenFile(b"key\nn:1\n", (), {2: "number-in-key"}, content_type=_XLSX, pack=book_of),
}  # fmt: skip
