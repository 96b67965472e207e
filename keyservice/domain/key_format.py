"""Which formats a key file may have, told from its name and media type, and checked against its first bytes."""

from enum import StrEnum
from typing import Final

from keyservice.domain.key_rows import KeyFileRefused


class KeyFileFormat(StrEnum):
    CSV = "csv"
    TSV = "tsv"
    TXT = "txt"


HEAD_BYTES: Final = 16  # enough to tell every signature below

_BY_EXTENSION: Final = {
    "csv": KeyFileFormat.CSV,
    "tsv": KeyFileFormat.TSV,
    "tab": KeyFileFormat.TSV,
    "txt": KeyFileFormat.TXT,
}
_BY_MEDIA_TYPE: Final = {
    "text/csv": KeyFileFormat.CSV,
    "application/csv": KeyFileFormat.CSV,
    "text/tab-separated-values": KeyFileFormat.TSV,
    "text/plain": KeyFileFormat.TXT,
}
_FOREIGN_EXTENSIONS: Final = frozenset(
    {
        *("xlsx", "xlsm", "xlsb", "xls", "ods", "numbers", "doc", "docx", "pdf", "json", "xml", "html"),
        *("zip", "gz", "gzip", "tgz", "bz2", "xz", "zst", "7z", "rar"),
    }
)
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_SIGNATURES: Final = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook (XLSX)"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"PK\x07\x08", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (XLS)"),
    (b"BZh91AY&SY", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"%PDF-", "a PDF document"),
)
_DOCUMENTS: Final = (
    *((beginning, "an HTML page") for beginning in (b"<!doctype", b"<html", b"<head", b"<body", b"<!--")),
    (b"<?xml", "an XML document"),
)
_ADVICE: Final = "save it as CSV, TSV or as text with one key a line, in UTF-8 and not compressed"


def guess_format(file_name: str, content_type: str | None) -> KeyFileFormat:
    """By the extension, else by the media type; where both contradict each other, the file is refused."""
    _, dot, extension = file_name.rpartition(".")
    extension = extension.casefold() if dot else ""
    media_type, _, parameters = (content_type or "").casefold().partition(";")
    media_type = media_type.strip()
    _check_charset(parameters)
    if extension in _FOREIGN_EXTENSIONS:
        raise KeyFileRefused(f"this kind of file is not accepted here; {_ADVICE}", reason="format-not-accepted")
    named = _BY_EXTENSION.get(extension)
    declared = _BY_MEDIA_TYPE.get(media_type)
    # text/plain is true of every key file, so it contradicts none.
    if named is not None and (declared in (None, named) or media_type == "text/plain"):
        return named
    if named is None and declared is not None:
        return declared
    raise KeyFileRefused(
        "name and media type do not tell the format; say whether it is csv, tsv or txt", reason="format-undeclared"
    )


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, charset = parameter.partition("=")
        if name.strip() == "charset" and charset.strip().strip('"') not in _CHARSETS:
            raise KeyFileRefused("only UTF-8 is accepted; save the file as UTF-8", reason="not-utf8")


def foreign_format(head: bytes) -> KeyFileRefused | None:
    """The refusal of a file that begins like something else than text in UTF-8."""
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
