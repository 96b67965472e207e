"""Forms as they should not be, each a good one that is spoilt in one place. `@1` to `@9` stand for keys of the row's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from keyservice.api.multipart import FILE_NAME_CHARACTERS_MAX, HEAD_BYTES_MAX, HEAD_LINES_MAX
from tests.api.raw_http import PLANTED

BOUNDARY: Final = "----form7MA4YWxk"
FORM_TYPE: Final = f"multipart/form-data; boundary={BOUNDARY}"
DISPOSITION: Final = 'Content-Disposition: form-data; name="file"; filename="keys.csv"'
FILE: Final = b"key\n@1\n@2\n"


def part(content: bytes = FILE, *, lines: tuple[str, ...] = (DISPOSITION, "Content-Type: text/csv")) -> bytes:
    head = "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")
    return b"--" + BOUNDARY.encode() + b"\r\n" + head + b"\r\n" + content + b"\r\n"


END: Final = b"--" + BOUNDARY.encode() + b"--\r\n"
GOOD: Final = part() + END
_TEXT_FIELD: Final = part(PLANTED.encode(), lines=('Content-Disposition: form-data; name="comment"',))


def named(file_name: str, *more: str) -> bytes:
    return part(lines=(f'Content-Disposition: form-data; name="file"; filename="{file_name}"', *more)) + END


@dataclass(frozen=True, slots=True)
class BadForm:
    """400 where the form cannot be read; 422, with a reason, where its file is refused."""

    body: bytes = field(repr=False)
    status: int = 400
    reason: str | None = None
    content_type: str = FORM_TYPE
    lines: tuple[str, ...] = ()


_NOT_ONE: Final = (422, "not-one-file")
BAD_FORMS: Final[Mapping[str, BadForm]] = {
    # ------------------------------------------------------------------------------------------------ the type
    "no type": BadForm(GOOD, 415, content_type=""),
    "JSON": BadForm(GOOD, 415, content_type="application/json"),
    "the file itself": BadForm(FILE, 415, content_type="text/csv"),
    "another multipart": BadForm(GOOD, 415, content_type=f"multipart/mixed; boundary={BOUNDARY}"),
    "urlencoded": BadForm(b"file=" + PLANTED.encode(), 415, content_type="application/x-www-form-urlencoded"),
    "two types": BadForm(GOOD, lines=("Content-Type: text/csv",)),
    "no boundary": BadForm(GOOD, content_type="multipart/form-data"),
    "an empty boundary": BadForm(GOOD, content_type="multipart/form-data; boundary="),
    "an empty quoted boundary": BadForm(GOOD, content_type='multipart/form-data; boundary=""'),
    "two boundaries": BadForm(GOOD, content_type=f"{FORM_TYPE}; boundary=x"),
    "an open quote": BadForm(GOOD, content_type='multipart/form-data; boundary="x'),
    "71 characters": BadForm(
        GOOD.replace(BOUNDARY.encode(), b"x" * 71), content_type=f"multipart/form-data; boundary={'x' * 71}"
    ),
    "a boundary of nothing but blanks": BadForm(GOOD, content_type='multipart/form-data; boundary="   "'),
    "a boundary with a strange character": BadForm(GOOD, content_type='multipart/form-data; boundary="a;b"'),
    "another boundary": BadForm(GOOD, content_type="multipart/form-data; boundary=other"),
    "a content encoding": BadForm(GOOD, 415, lines=("Content-Encoding: gzip",)),
    "a range": BadForm(GOOD, lines=("Content-Range: bytes 0-9/100",)),
    # ------------------------------------------------------------------------------------------------ the frame
    "nothing": BadForm(b""),
    "only the end": BadForm(END),
    "only the first boundary": BadForm(b"--" + BOUNDARY.encode()),
    "a preamble": BadForm(b"This is a form.\r\n" + GOOD),
    "bare line feeds": BadForm(GOOD.replace(b"\r\n", b"\n")),
    "blanks behind the boundary": BadForm(GOOD.replace(b"\r\n", b" \r\n", 1)),
    "the headers do not end": BadForm(part()[:90]),
    "the file does not end": BadForm(part(), *_NOT_ONE),
    "the end is cut": BadForm(part() + END[:-5], *_NOT_ONE),
    "one hyphen is missing": BadForm(part() + END[:-3] + b"\r\n", *_NOT_ONE),
    "an epilogue": BadForm(GOOD + b"more", *_NOT_ONE),
    "much of an epilogue": BadForm(GOOD + b"x" * 100_000, *_NOT_ONE),
    "two forms": BadForm(GOOD + GOOD, *_NOT_ONE),
    "a longer boundary in the file": BadForm(part(FILE + b"\r\n--" + BOUNDARY.encode() + b"x\n@3\n") + END, *_NOT_ONE),
    # ------------------------------------------------------------------------------------------------ the parts
    "two files": BadForm(part() + part(b"key\n@3\n") + END, *_NOT_ONE),
    "a field before the file": BadForm(_TEXT_FIELD + GOOD),
    "a field behind the file": BadForm(part() + _TEXT_FIELD + END, *_NOT_ONE),
    "the file as a text field": BadForm(part(lines=('Content-Disposition: form-data; name="file"',)) + END),
    "2,000 parts": BadForm(_TEXT_FIELD * 2_000 + GOOD),
    "2,000 parts behind the file": BadForm(part() + _TEXT_FIELD * 2_000 + END, *_NOT_ONE),
    # ------------------------------------------------------------------------------------------------ the part's headers
    "no headers": BadForm(part(lines=()) + END),
    "no disposition": BadForm(part(lines=("Content-Type: text/csv",)) + END),
    "a disposition twice": BadForm(part(lines=(DISPOSITION, DISPOSITION)) + END),
    "another disposition": BadForm(part(lines=(DISPOSITION.replace("form-data", "attachment"),)) + END),
    "no name": BadForm(part(lines=('Content-Disposition: form-data; filename="keys.csv"',)) + END),
    "a name twice": BadForm(part(lines=(f'{DISPOSITION}; name="x"',)) + END),
    "an open quote in a name": BadForm(part(lines=(DISPOSITION[:-1],)) + END),
    "a header without a colon": BadForm(part(lines=(DISPOSITION, PLANTED)) + END),
    "a header with a blank in its name": BadForm(part(lines=(DISPOSITION, "X Y: z")) + END),
    "a folded header": BadForm(part(lines=(DISPOSITION, "X-Y: z", " folded")) + END),
    "NUL in a header": BadForm(part(lines=(DISPOSITION, "X-Y: \0")) + END),
    "a control in a name": BadForm(named("keys\x07.csv")),
    "NUL in a name": BadForm(named("keys\0.csv")),
    "a right-to-left mark in a name": BadForm(named("keys\u202evsc.csv")),
    "latin-1 in a name": BadForm(part(lines=(DISPOSITION.replace("keys", "\udce9"),)) + END),
    "4 KB of a name": BadForm(named("x" * 4_096 + ".csv")),
    "a name that is a character too long": BadForm(named("x" * (FILE_NAME_CHARACTERS_MAX - 3) + ".csv")),
    "too many headers": BadForm(part(lines=(DISPOSITION, *(f"X-{n}: y" for n in range(HEAD_LINES_MAX)))) + END),
    "too long a header": BadForm(part(lines=(DISPOSITION, f"X-Y: {'z' * HEAD_BYTES_MAX}")) + END),
    "1 MB of headers": BadForm(part(lines=(DISPOSITION, f"X-Y: {PLANTED * 80_000}")) + END, status=413),
    "base64": BadForm(part(lines=(DISPOSITION, "Content-Transfer-Encoding: base64")) + END, 415),
    "an unknown transfer encoding": BadForm(part(lines=(DISPOSITION, "Content-Transfer-Encoding: x-own")) + END, 415),
    # ------------------------------------------------------------------------------------------------ the file
    "an empty file": BadForm(part(b"") + END, 422, "no-rows"),
    "only a header": BadForm(part(b"key\n") + END, 422, "no-rows"),
    "text, by its name": BadForm(named("keys.txt"), 422, "format-not-accepted"),
    "packed, by its name": BadForm(named("keys.csv.gz"), 422, "format-not-accepted"),
    "a workbook, by its name": BadForm(named("keys.xlsx"), 422, "format-not-accepted"),
    "an archive, by its type": BadForm(named("", "Content-Type: application/zip"), 422, "format-undeclared"),
    "an unknown ending": BadForm(named("keys.dat"), 422, "format-undeclared"),
    "another charset": BadForm(named("keys.csv", "Content-Type: text/csv; charset=latin-1"), 422, "not-utf8"),
    "an archive, by its bytes": BadForm(part(b"PK\x03\x04" + b"x" * 50) + END, 422, "format-not-accepted"),
    "not UTF-8": BadForm(part(b"key\n\xe9\n") + END, 422, "not-utf8"),
    "an open quote in the file": BadForm(part(b'key\n"@1\n@2\n') + END, 422, "unclosed-quote"),
}  # fmt: skip

_TOKENS: Final = "content-disposition: form-data; name=file; filename=keys.csv"
_HYPHENS: Final = b"key,notes\n@1,\r\n--\n@2,--" + BOUNDARY[:-1].encode() + b"\n"
# As clients send them, with what is stored as the file's name.
GOOD_FORMS: Final[Mapping[str, tuple[bytes, str, str | None]]] = {
    "a browser": (GOOD, FORM_TYPE, "keys.csv"),
    "curl": (named("keys.csv", "Content-Type: application/octet-stream"), FORM_TYPE, "keys.csv"),
    "Windows without an Excel": (named("keys.csv", "Content-Type: application/vnd.ms-excel"), FORM_TYPE, "keys.csv"),
    "plain text": (named("keys.CSV", "Content-Type: text/plain; charset=utf-8"), FORM_TYPE, "keys.CSV"),
    "with a path": (named(r"C:\Users\Ada\keys.csv"), FORM_TYPE, "keys.csv"),
    "with another path": (named("../../etc/keys.csv"), FORM_TYPE, "keys.csv"),
    "with quotes in the name": (named(r"a\"b\\c.csv").replace(rb"\\c", b"c"), FORM_TYPE, 'a"bc.csv'),
    "with letters of the world": (named("Schlüssel 鍵.csv"), FORM_TYPE, "Schlüssel 鍵.csv"),
    "without a name of the file": (named(""), FORM_TYPE, None),
    "with a token for a name": (part(lines=(_TOKENS,)) + END, FORM_TYPE, "keys.csv"),
    "with a second name": (part(lines=(f"{DISPOSITION}; filename*=UTF-8''x.csv",)) + END, FORM_TYPE, "keys.csv"),
    "with a length": (named("keys.csv", f"Content-Length: {len(FILE)}"), FORM_TYPE, "keys.csv"),
    "with a transfer encoding": (named("keys.csv", "Content-Transfer-Encoding: 8bit"), FORM_TYPE, "keys.csv"),
    "a line break before it": (b"\r\n" + GOOD, FORM_TYPE, "keys.csv"),
    "no line break behind it": (GOOD[:-2], FORM_TYPE, "keys.csv"),
    "a quoted boundary": (GOOD, f'Multipart/Form-Data; charset=utf-8; Boundary="{BOUNDARY}"', "keys.csv"),
    "no line break behind the last row": (part(FILE[:-1]) + END, FORM_TYPE, "keys.csv"),
    "Windows line breaks": (part(FILE.replace(b"\n", b"\r\n")) + END, FORM_TYPE, "keys.csv"),
    "hyphens like a boundary's": (part(_HYPHENS) + END, FORM_TYPE, "keys.csv"),
}  # fmt: skip
