"""Key files as they should not be, each with what must become of it. `@1` to `@9` stand for keys of the row's own."""

import gzip
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.api.raw_http import PLANTED

BYTES_MAX: Final = 262_144
ROWS_MAX: Final = 2_000
EXPIRY_DATES_MAX: Final = 5
# More than one piece of the reader, so that chunks are stored before the end is seen.
_MANY_ROWS: Final = b"".join(b"@1-%06d-%b\n" % (number, b"x" * 40) for number in range(1_500))


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """Nothing of it may become stock. Without a reason it is refused before it is looked into.

    `pack` makes the file of the content, when the row's own keys are in it.
    """

    content: bytes = field(repr=False)
    reason: str | None
    line: int | None = None
    status: int = 422
    content_type: str = "text/csv"
    query: str = ""
    lines: tuple[str, ...] = ()
    byte_offset: int | None = None
    pack: Callable[[bytes], bytes] = bytes


@dataclass(frozen=True, slots=True)
class TakenFile:
    """`keys` are sold to the letter; `refused` says why by row; the rest are blank rows and headers."""

    content: bytes = field(repr=False)
    keys: tuple[str, ...]
    refused: Mapping[int, str] = field(default_factory=dict)
    blank: int = 0
    header: int = 1
    content_type: str = "text/csv"
    query: str = ""
    lines: tuple[str, ...] = ()
    pack: Callable[[bytes], bytes] = bytes


def _zip(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


_CSV: Final = b"key\n@1\n@2\n"
_FOREIGN: Final = "format-not-accepted"

REFUSED: Final[dict[str, RefusedFile]] = {
    "nothing": RefusedFile(b"", "no-rows"),
    "nothing as text": RefusedFile(b"", "no-rows", content_type="text/plain"),
    "a byte order mark alone": RefusedFile(b"\xef\xbb\xbf", "no-rows"),
    "blank rows": RefusedFile(b"\n \n\t\n\r\n", "no-rows"),
    "a header alone": RefusedFile(b"key\n", "no-rows"),
    "a header without line end": RefusedFile(b"key", "no-rows"),
    "a header and blank rows": RefusedFile(b"key\n\n\n", "no-rows"),
    "no header": RefusedFile(b"@1\n@2\n", "header-undeclared", 1),
    "no header, two columns": RefusedFile(b"@1,2099-01-01\n", "header-undeclared", 1),
    "a header behind blank rows that is none": RefusedFile(b"\n\n@1\n", "header-undeclared", 3),
    "a column twice": RefusedFile(b"key,notes,key\n@1,a,@2\n", "duplicate-column", 1),
    "a column twice in other cases": RefusedFile(b"key,KEY\n@1,@2\n", "duplicate-column", 1),
    "two columns of keys": RefusedFile(b"key,serial\n@1,@2\n", "ambiguous-column", 1),
    "two columns of dates": RefusedFile(b"key,expires,expiry\n@1,,\n", "ambiguous-column", 1),
    "semicolons": RefusedFile(b"key;expires_on\n@1;2099-01-01\n", "delimiter-undeclared", 1),
    "tabs in CSV": RefusedFile(b"key\texpires_on\n@1\t2099-01-01\n", "delimiter-undeclared", 1),
    "bars": RefusedFile(b"key|notes\n@1|a\n", "delimiter-undeclared", 1),
    "commas in TSV": RefusedFile(b"key,notes\n@1,a\n", "delimiter-undeclared", 1, content_type="text/tab-separated-values"),
    "columns in text": RefusedFile(b"key,notes\n@1,a\n", "format-undeclared", 1, content_type="text/plain"),
    "101 columns": RefusedFile(b"key" + b",a" * 100 + b"\n@1\n", "too-many-columns", 1),
    "100,000 columns": RefusedFile(b"key" + b"," * 100_000 + b"\n@1\n", "row-too-long", 1),
    "100,000 columns in row 3": RefusedFile(_CSV + b"," * 100_000 + b"\n", "row-too-long", 4),
    "a cell of 131,073 characters": RefusedFile(b"key\n@1\n" + b"x" * 131_073 + b"\n", "row-too-long", 3),
    "a quoted cell of 131,073 characters": RefusedFile(b'key\n@1\n"' + b"x" * 131_073 + b'"\n', "row-too-long", 3),
    "a line without end": RefusedFile(b"x" * BYTES_MAX, "row-too-long", 1, content_type="text/plain"),
    "a line without end behind keys": RefusedFile(_CSV + b"x" * 200_000, "row-too-long", 4),
    "an open quote": RefusedFile(b'key\n"@1\n@2\n@3\n', "unclosed-quote", 2),
    "an open quote that swallows 1,500 rows": RefusedFile(b'key\n@2\n"@1\n' + _MANY_ROWS, "unclosed-quote", 3),
    "an open quote at the end": RefusedFile(b'key\n@1\n"', "unclosed-quote", 3),
    "a quote that runs over lines": RefusedFile(b'key,notes\n@1,a"b\n@2,"c\n@3,"d\n', "misplaced-quote", 3),
    "an open quote in the header": RefusedFile(b'"key\n@1\n', "unclosed-quote", 1),
    "NUL in the header": RefusedFile(b"key\0\n@1\n", "wrong-header", 1),
    "UTF-16": RefusedFile("key\n@1\n".encode("utf-16"), "not-utf8", 1, byte_offset=0),
    "UTF-16 without a mark": RefusedFile("key\n@1\n".encode("utf-16-le"), "not-utf8", 1, byte_offset=0),
    "UTF-16 the other way round": RefusedFile("key\n@1\n".encode("utf-16-be"), "not-utf8", 1, byte_offset=0),
    "UTF-32": RefusedFile("key\n@1\n".encode("utf-32"), "not-utf8", 1),
    "latin-1": RefusedFile(b"key\nM\xfcller-@1\n", "not-utf8", 2, byte_offset=5),
    "latin-1 in a column that nobody reads": RefusedFile(b"key,city\n@1,K\xf6ln\n", "not-utf8", 2),
    "windows-1252": RefusedFile(b"key\n@1\n\x93quoted\x94\n", "not-utf8", 3),
    "one latin-1 row among 1,500": RefusedFile(_MANY_ROWS + b"M\xfcller\n@2\n", "not-utf8", 1_501, content_type="text/plain"),
    "an overlong slash": RefusedFile(b"key\n@1\nA\xc0\xaf\n", "not-utf8", 3),
    "an overlong NUL": RefusedFile(b"key\n@1\nA\xc0\x80\n", "not-utf8", 3),
    "half of a surrogate pair": RefusedFile(b"key\n@1\nA\xed\xa0\x80\n", "not-utf8", 3),
    "beyond U+10FFFF": RefusedFile(b"key\n@1\nA\xf4\x90\x80\x80\n", "not-utf8", 3),
    "half of a character at the end": RefusedFile(b"key\n@1\nA\xe2\x82", "not-utf8", 3),
    "bytes at random": RefusedFile(bytes(range(255, 0, -1)) * 20, "not-utf8", content_type="text/plain"),
    "a row too many": RefusedFile(
        b"".join(b"@1-%d\n" % n for n in range(ROWS_MAX + 1)), "too-many-rows", ROWS_MAX + 1, content_type="text/plain"
    ),
    "200,000 blank rows": RefusedFile(b"key\n@1\n" + b"\n" * 200_000, "too-many-rows", ROWS_MAX + 2),
    "a date too many": RefusedFile(
        b"key,expires_on\n" + b"".join(b"@%d,2099-01-0%d\n" % (n, n) for n in range(1, EXPIRY_DATES_MAX + 2)),
        "too-many-expiry-dates",
        EXPIRY_DATES_MAX + 2,
    ),
    "an Excel workbook": RefusedFile(_zip("xl/workbook.xml", b"<workbook/>"), _FOREIGN),
    "an Excel workbook as text": RefusedFile(_zip("xl/workbook.xml", b"<workbook/>"), _FOREIGN, content_type="text/plain"),
    "a ZIP archive": RefusedFile(_zip("keys.csv", b"key\n@1\n"), _FOREIGN),
    "a ZIP archive of 20 MB of zeros": RefusedFile(_zip("keys.csv", bytes(20_000_000)), _FOREIGN),
    "an empty ZIP archive": RefusedFile(b"PK\x05\x06" + bytes(18), _FOREIGN),
    "a ZIP archive behind keys": RefusedFile(_CSV + _zip("keys.csv", b"key\n"), "not-utf8"),
    "gzip": RefusedFile(gzip.compress(b"key\n@1\n"), _FOREIGN),
    "bzip2": RefusedFile(b"BZh91AY&SY" + bytes(20), _FOREIGN),
    "xz": RefusedFile(b"\xfd7zXZ\x00" + bytes(20), _FOREIGN),
    "Zstandard": RefusedFile(b"\x28\xb5\x2f\xfd" + bytes(20), _FOREIGN),
    "7-Zip": RefusedFile(b"7z\xbc\xaf\x27\x1c" + bytes(20), _FOREIGN),
    "RAR": RefusedFile(b"Rar!\x1a\x07\x00" + bytes(20), _FOREIGN),
    "an old workbook": RefusedFile(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), _FOREIGN),
    "PDF": RefusedFile(b"%PDF-1.7\nkey\n@1\n", _FOREIGN),
    "PDF as text": RefusedFile(b"%PDF-1.7\n@1\n", _FOREIGN, content_type="text/plain"),
    "an HTML page": RefusedFile(b"<!DOCTYPE html>\n<p>key</p>\n@1\n", _FOREIGN),
    "an HTML page behind blanks and a mark": RefusedFile(b"\xef\xbb\xbf \n<!doctype html>\nkey\n@1\n", _FOREIGN),
    "an HTML page as text": RefusedFile(b"<!DOCTYPE html>\n@1\n", _FOREIGN, content_type="text/plain"),
    "XML": RefusedFile(b'<?xml version="1.0"?>\n<keys>@1</keys>\n', _FOREIGN),
    "XML that laughs": RefusedFile(
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cc"><!ENTITY c "&b;&b;">]><a>&c;</a>', _FOREIGN
    ),
    "a name of a workbook": RefusedFile(_CSV, "format-undeclared", query="file_name=keys.xlsx"),
    "a name of a workbook with macros": RefusedFile(_CSV, _FOREIGN, query="file_name=keys.csv.xlsm"),
    "a name of an archive": RefusedFile(_CSV, "format-undeclared", query="file_name=KEYS.ZIP"),
    "a name of another format": RefusedFile(_CSV, "format-undeclared", query="file_name=keys.tsv"),
    "a type that tells nothing": RefusedFile(_CSV, "format-undeclared", content_type="application/octet-stream"),
    "a type of junk": RefusedFile(_CSV, "format-undeclared", content_type=PLANTED),
    "no type": RefusedFile(_CSV, "format-undeclared", content_type=""),
    "a form": RefusedFile(_CSV, "format-undeclared", content_type="application/x-www-form-urlencoded"),
    "a charset of UTF-16": RefusedFile(_CSV, "not-utf8", content_type="text/csv; charset=utf-16"),
    "a charset of latin-1": RefusedFile(_CSV, "not-utf8", content_type="text/csv; charset=ISO-8859-1"),
    "a charset that does not exist": RefusedFile(_CSV, "not-utf8", content_type=f"text/csv; charset={PLANTED}"),
    "parts": RefusedFile(
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="../../@1.csv"\r\n\r\nkey\n@1\n\r\n--b--\r\n',
        None,
        status=415,
        content_type="multipart/form-data; boundary=b",
    ),
    "parts without boundary": RefusedFile(_CSV, None, status=415, content_type="multipart/form-data"),
    "JSON": RefusedFile(b'{"keys":["@1"]}', None, status=415, content_type="application/json"),
    "two encodings": RefusedFile(_CSV, None, status=415, lines=("Content-Encoding: identity, br",)),
    "an unknown encoding": RefusedFile(_CSV, None, status=415, lines=(f"Content-Encoding: {PLANTED}",)),
    "too many bytes": RefusedFile(
        b"".join(b"@1-%06d-%b\n" % (number, b"x" * 140) for number in range(1_900)),
        "file-too-large",
        status=413,
        content_type="text/plain",
    ),
    "a digest of another file": RefusedFile(_CSV, "digest-mismatch", lines=(f"Repr-Digest: sha-256=:{'A' * 43}=:",)),
}  # fmt: skip


def _text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


_MALFORMED: Final = b"key,expires_on,publisher_key_id,notes\n" + _text(
    "@1,,,",
    "@2,2099-02-30,,",
    "@3,2099-12-31T24:00,,",
    "@4,1795360761000,,",
    "@5,31.12.2099,,",
    "@6,1999-12-31,,",
    "@7,0000-01-01,,",
    "@8,10000-01-01,,",
    "@9,,line\x1bid,",
    f"@9,,{'i' * 129},",
    "@9,,,bell\x07",
    f"@9,,,{'n' * 1_025}",
    "@9",
    "@9,,",
    "@9,,,,",
    "@9,,,,,,,,",
    ",,an-id,",
    " ,2099-01-01,,",
    "key,expires_on,publisher_key_id,notes",
    '"@9"x,,,',
    'x"@9,,,',
    '"@9\n@9",,,',
    "@9\0,,,",
    "x" * 4_097 + ",,,",
    "x" * 1_025 + ",,,",
    '"",,,""',
    "",
    " \t ",
    ",,,",
    "@9,9999-12-31,,",
)

TAKEN: Final[dict[str, TakenFile]] = {
    "CR line ends": TakenFile(b"key\r@1\r@2\r", ("@1", "@2")),
    "CRLF line ends and none at the end": TakenFile(b"key\r\n@1\r\n@2", ("@1", "@2")),
    "all line ends": TakenFile(b"key\r@1\n@2\r\n\r@3\n\n", ("@1", "@2", "@3"), blank=2),
    "a byte order mark": TakenFile(b"\xef\xbb\xbfkey\n@1\n", ("@1",)),
    "a byte order mark and quotes": TakenFile(b'\xef\xbb\xbf"key"\n"@1"\n', ("@1",)),
    "a byte order mark as text": TakenFile(b"\xef\xbb\xbf@1\n", ("@1",), header=0, content_type="text/plain"),
    "quotes inside": TakenFile(b'key\n"@1 ""x"""\n', ('@1 "x"',)),
    "a header in capitals": TakenFile(b" License Key \n@1\n", ("@1",)),
    "a header twice": TakenFile(b"key\n@1\nkey\n@2\n", ("@1", "@2"), {3: "repeated-header"}),
    "blank rows everywhere": TakenFile(b"\n\nkey\n\n@1\n \n\n@2\n\n", ("@1", "@2"), blank=6),
    "a key twice": TakenFile(b"key\n@1\n@2\n@1\n@1\n", ("@1", "@2"), {4: "duplicate_in_file", 5: "duplicate_in_file"}),
    "keys that differ by case": TakenFile(b"key\n@1-a\n@1-A\n", ("@1-a", "@1-A")),
    "1,990 blank rows": TakenFile(b"key\n" + b"\n" * 1_990 + b"@1\n", ("@1",), blank=1_990),
    "an end of the world": TakenFile(b"key,expires_on\n@1,9999-12-31\n", ("@1",)),
    "an end of the world for all": TakenFile(b"key\n@1\n", ("@1",), query="expires_on=9999-12-31"),
    "semicolons that are declared": TakenFile(b"key;notes\n@1;a,b\n", ("@1",), query="delimiter=%3b"),
    "a name with a path": TakenFile(b"key\n@1\n", ("@1",), query="file_name=..%2f..%2f%22%3b%20DROP.csv"),
    "a type that lies about CSV": TakenFile(b"key\n@1\n", ("@1",), content_type="text/plain", query="file_name=a.txt.csv"),
    "every way to be malformed": TakenFile(
        _MALFORMED,
        ("@1", "@9"),
        {
            **dict.fromkeys((3, 4, 5, 6, 8, 9), "invalid-expiry"),
            7: "already-expired",
            **dict.fromkeys((10, 11), "invalid-publisher-key-id"),
            12: "control-character-in-notes",
            13: "notes-too-long",
            **dict.fromkeys((14, 15), "too-few-columns"),
            **dict.fromkeys((16, 17), "too-many-columns"),
            **dict.fromkeys((18, 19), "empty-key"),
            20: "repeated-header",
            21: "text-after-quote",
            22: "stray-quote",
            23: "line-break-in-key",
            24: "nul-character",
            25: "cell-too-long",
            26: "key-too-long",
        },
        blank=4,
    ),
    "no row that is a key": TakenFile(b"key\nNULL\n#REF!\n", (), {2: "invalid-key", 3: "invalid-key"}),
}  # fmt: skip

# One key a line, in text: what is delivered is what was uploaded.
INERT_KEYS: Final = (
    *("@1 inner space", "@1  two", "@1\u00a0no-break space", "\u0410@1 cyrillic", "\uff21@1 full width", "e\u0301@1", "\u00e9@1"),
    *("\U0001f511@1", "\ufb01@1", "\u4e2d\u6587@1", "\u05d0@1", '=HYPERLINK("http://x.test","@1")', "=1+1@1", "-1+1 @1", "+@1"),
    *("@x @1", "<script>@1</script>", "javascript:@1", "'; DROP TABLE keys; -- @1", "{{7*7}}@1", "${jndi:ldap://x}@1"),
    *("../../etc/@1", "C:\\@1", "%s%n@1", "%00@1", "\\u0000@1", "\\x00@1", "\\n@1", '"@1"', "'@1'", '"@1', "@1,a"),
    *("$(id)@1", "@1;a", "@1|a", "#@1", "//@1", "--@1", "/*@1", "]]>@1", "&lt;@1", "\\N@1"),
    *("NULL@1", "https://x.test/@1?a=b#c", "@1" + "x" * 900, "~@1~"),
)  # fmt: skip

MALFORMED_KEYS: Final = (
    *(" @1", "@1 ", "\t@1", "@1\t", "\u00a0@1", "@1\u00a0", "\u3000@1", "@1\u2003", "@1\tx", "@1\u200bx", "@1\u200d"),
    *("\ufeff@1x", "@1\u00adx", "@1\u200ex", "\u202e@1", "@1\u2066x", "@1\ufe0fx", "@1\u3164x", "@1\u115fx"),
    *("@1\U000e0041x", "@1\u2028x", "@1\u2029x", "@1\x85x", "@1\x0bx", "@1\x0cx"),
    *("@1\x1b[2J", "@1\x07", "\x01@1", "@1\x7f", "@1\ufffdx", "@1\x1cx", "@1\x00x"),
    *("NULL", "null", "(null)", "N/A", "n/a", "#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "nan", "None", "undefined"),
    *("########", "(blank)", "@1" + "x" * 1_024, "\u00e9" * 513, "x" * 4_200),
)  # fmt: skip

# In the query of a good file: each is answered with 422 unless another status stands here.
QUERIES: Final[dict[str, int]] = {
    **dict.fromkeys(
        (
            *("dryrun=true", "dry-run=true", "Dry_Run=true", "dry_run[]=true", "dry_run=1", "dry_run=TRUE", "dry_run="),
            *("dry_run", "dry_run=true&dry_run=true", "dry_run=true&dry_run=false", "dry_run=true%20", "hold=yes", "hold="),
            *("header=yes", "header=", "header=PRESENT", "header=present&header=absent", "delimiter=", "delimiter=ab"),
            *("delimiter=%22", "delimiter=%0a", "delimiter=:", "delimiter=TAB", "delimiter=%e2%80%8b", "format=xlsx"),
            *("part_columns=", "part_columns=,", "part_columns=a,%20", "part_columns=1,2", "part_columns=nobody", "parts=key"),
            *("part_columns=key&key_column=key", "part_columns=key&header=absent", "part_columns=0&header=present"),
            *("part_columns=a,b,c,d,e,f,g,h,i,j,k", "part_columns=%1b", f"part_columns={'k' * 201}", "part_columns=key,key"),
            *("format=", "format=CSV", "format=csv&format=csv", "format=..%2fcsv", "format=json", "key_column="),
            *("key_column=%20", "key_column=0", "key_column=00", "key_column=0&header=present", "key_column=%0a"),
            *("key_column=-1", "key_column=nobody", "key_column=2&header=present", "key_column=1", "key_column=99999999"),
            *("key_column=1&expires_column=1&header=present", "key_column=key&header=absent", "id_column=key&key_column=key"),
            *("key_column=%d9%a1&header=present", f"key_column={'k' * 201}", "expires_column=nobody", "notes_column=%1b"),
            *("file_name=", f"file_name={'a' * 256}", "file_name=a%0d%0aX-A:%20b.csv", "file_name=%e2%80%aea.csv"),
            *("file_name=a%1b.csv", "file_name=a.csv&file_name=a.csv", "limit=1", "after=1", "pool_id=1", "state=released"),
            *("publisher_id=2", f"{PLANTED}=1", "%ff=1", f"{'a' * 4_000}=1", "=1", "a", ";", "batch_id=1", "warning_level=-1"),
            *("expires_on=2020-01-01", "expires_on=0001-01-01", "expires_on=0000-01-01", "expires_on=9999-13-01"),
            *("expires_on=10000-01-01", "expires_on=2099-02-30", "expires_on=2099-02-29", "expires_on=2099-00-10"),
            *("expires_on=2099-1-1", "expires_on=20990101", "expires_on=2099-12-31T24:00:00Z", "expires_on=24:00"),
            *("expires_on=2099-12-31%20", "expires_on=4102444800", "expires_on=tomorrow", "expires_on=infinity"),
            *("expires_on=", "expires_on=2099-12-31&expires_on=2099-12-31", "expires_on=%d9%a2099-12-31", "expires_on=-1"),
            *("priority=", "priority=1.0", "priority=+1", "priority=--1", "priority=-%201", "priority=1e3", "priority=%d9%a3"),
            *("priority=1000001", "priority=-1000001", f"priority={'9' * 19}", "priority=1&priority=1", "priority=high"),
            *("expires_on=2099-W01-1", "expires_on=31.12.2099", "publisher={own}&publisher={own}"),
        ),
        422,
    ),
    "file_name=%00.csv": 400,
    "publisher={foreign}": 404,
    "publisher=nobody-of-this-name": 404,
    "publisher={foreign}%00": 400,
    "publisher=%27%20OR%201=1": 404,
}  # fmt: skip
