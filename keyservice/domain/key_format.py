"""Which formats a key file may have, told from its name and media type, and checked against its first bytes."""

from enum import StrEnum
from typing import Final, NamedTuple

from keyservice.domain.key_gzip import GZIP_MAGIC
from keyservice.domain.key_rows import KeyFileRefused


class KeyFileFormat(StrEnum):
    CSV = "csv"
    TSV = "tsv"
    TXT = "txt"
    JSONL = "jsonl"
    XLSX = "xlsx"
    ZIP = "zip"

    @property
    def is_container(self) -> bool:
        """Whether a file has to be there as a whole before its first row can be read: its directory is at its end."""
        return self in (KeyFileFormat.XLSX, KeyFileFormat.ZIP)


class FileKind(NamedTuple):
    """A format, and whether the file is compressed with gzip."""

    file_format: KeyFileFormat
    is_gzip: bool


HEAD_BYTES: Final = 16  # enough to tell every signature below

_BY_EXTENSION: Final = {
    "csv": KeyFileFormat.CSV,
    "tsv": KeyFileFormat.TSV,
    "tab": KeyFileFormat.TSV,
    "txt": KeyFileFormat.TXT,
    "jsonl": KeyFileFormat.JSONL,
    "ndjson": KeyFileFormat.JSONL,
    "xlsx": KeyFileFormat.XLSX,
    "zip": KeyFileFormat.ZIP,
}
_BY_MEDIA_TYPE: Final = {
    "text/csv": KeyFileFormat.CSV,
    "application/csv": KeyFileFormat.CSV,
    "text/tab-separated-values": KeyFileFormat.TSV,
    "text/plain": KeyFileFormat.TXT,
    "application/jsonl": KeyFileFormat.JSONL,
    "application/x-ndjson": KeyFileFormat.JSONL,
    "application/x-jsonlines": KeyFileFormat.JSONL,
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": KeyFileFormat.XLSX,
    "application/zip": KeyFileFormat.ZIP,
    "application/x-zip-compressed": KeyFileFormat.ZIP,
}
_GZIP_EXTENSIONS: Final = frozenset({"gz", "gzip"})
MEDIA_TYPES: Final = tuple(_BY_MEDIA_TYPE)
GZIP_MEDIA_TYPES: Final = ("application/gzip", "application/x-gzip")
_FOREIGN_EXTENSIONS: Final = frozenset(
    {
        *("xlsm", "xlsb", "xls", "ods", "numbers", "doc", "docx", "pdf", "json", "xml", "html"),
        *("tgz", "bz2", "xz", "zst", "7z", "rar"),
    }
)
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_ZIP: Final = b"PK\x03\x04"
_OLD_WORKBOOK: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SIGNATURES: Final = (
    (b"PK\x05\x06", "a ZIP archive without files"),
    (b"PK\x07\x08", "a part of a ZIP archive"),
    (_OLD_WORKBOOK, "an old Excel workbook (XLS)"),
    (b"BZh91AY&SY", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"%PDF-", "a PDF document"),
)
_ARCHIVES: Final = (
    *(_ZIP, b"PK\x05\x06", b"PK\x07\x08", GZIP_MAGIC, b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"),
    *(b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"MSCF", b"!<arch>\n"),
)
_TAR_AT: Final = 257
_DOCUMENTS: Final = (
    *((beginning, "an HTML page") for beginning in (b"<!doctype", b"<html", b"<head", b"<body", b"<!--")),
    (b"<?xml", "an XML document"),
)
_ADVICE: Final = (
    "save it as XLSX, or in UTF-8 as CSV, TSV, JSON Lines or text with one key a line; keys that are files go into a"
    " ZIP archive"
)


def guess_format(
    file_name: str, content_type: str | None, *, named: str | None = None, is_gzip: bool = False
) -> FileKind:
    """By the name it is given, else by the extension, else by the media type; where they contradict each other, the file
    is refused. `is_gzip` when that was said otherwise than by name and media type.
    """
    stem, extension = _split(file_name)
    media_type, _, parameters = (content_type or "").casefold().partition(";")
    media_type = media_type.strip()
    _check_charset(parameters)
    is_gzip = is_gzip or extension in _GZIP_EXTENSIONS or media_type in GZIP_MEDIA_TYPES
    if extension in _GZIP_EXTENSIONS:
        _, extension = _split(stem)
    extension = named or extension
    if extension in _FOREIGN_EXTENSIONS:
        raise KeyFileRefused(f"this kind of file is not accepted here; {_ADVICE}", reason="format-not-accepted")
    by_name = _BY_EXTENSION.get(extension)
    declared = _BY_MEDIA_TYPE.get(media_type)
    # text/plain is true of every file of text, so it contradicts none.
    is_text = by_name is not None and not by_name.is_container and media_type == "text/plain"
    found = by_name or declared
    if found is None:
        raise KeyFileRefused(
            f"name and media type do not tell the format; say whether it is {', '.join(KeyFileFormat)}",
            reason="format-undeclared",
        )
    if not is_text and declared not in (None, found):
        raise KeyFileRefused(
            f"the file is {found} by its name and {declared} by its media type; correct the one that is wrong",
            reason="format-undeclared",
        )
    if found.is_container and is_gzip:
        raise KeyFileRefused(
            f"upload the {found} file without gzip; it is packed already", reason="format-not-accepted"
        )
    return FileKind(found, is_gzip)


def _split(file_name: str) -> tuple[str, str]:
    """Without its extension, and the extension."""
    name, dot, extension = file_name.rpartition(".")
    return (name, extension.casefold()) if dot else (file_name, "")


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, charset = parameter.partition("=")
        if name.strip() == "charset" and charset.strip().strip('"') not in _CHARSETS:
            raise KeyFileRefused("only UTF-8 is accepted; save the file as UTF-8", reason="not-utf8")


def foreign_container(head: bytes) -> KeyFileRefused | None:
    """The refusal of a workbook or an archive that does not begin like one."""
    if head.startswith(_ZIP):
        return None
    if head.startswith(b"PK\x05\x06"):
        return KeyFileRefused("the file has no keys; upload one with a key in each row", reason="no-rows")
    if head.startswith(_OLD_WORKBOOK):
        return KeyFileRefused(
            "the file is an old Excel workbook (XLS) or one with a password; save it as XLSX without one",
            reason="format-not-accepted",
        )
    name = next((name for signature, name in _SIGNATURES if head.startswith(signature)), "neither XLSX nor ZIP")
    return KeyFileRefused(f"the file is {name}; {_ADVICE}", reason="format-not-accepted")


def archive_in(content: bytes) -> bool:
    """Whether these are the bytes of another archive."""
    return content.startswith(_ARCHIVES) or content[_TAR_AT : _TAR_AT + 5] == b"ustar"


def foreign_format(head: bytes) -> KeyFileRefused | None:
    """The refusal of a file that begins like something else than text in UTF-8."""
    if head.startswith(_ZIP):
        return KeyFileRefused(
            "the file is a ZIP archive or an Excel workbook; say so with format=zip or format=xlsx, or by its name",
            reason="format-not-accepted",
        )
    if head.startswith(GZIP_MAGIC):
        return KeyFileRefused(
            "the file is a gzip archive; say so with Content-Encoding: gzip or a name that ends in .gz, and pack it once",
            reason="format-not-accepted",
        )
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return KeyFileRefused(f"the file is {name}; {_ADVICE}", reason="format-not-accepted")
    beginning = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for signature, name in _DOCUMENTS:
        if beginning.startswith(signature):
            return KeyFileRefused(f"the file is {name}; {_ADVICE}", reason="format-not-accepted")
    if _is_utf_16(head):
        return KeyFileRefused(
            "the file is in UTF-16; save it as UTF-8 (Excel: CSV UTF-8)", reason="not-utf8", line=1, byte_offset=0
        )
    return None


def _is_utf_16(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    zeros = tuple(byte == 0 for byte in head[:4])
    return zeros in ((False, True, False, True), (True, False, True, False))
