import hashlib
from datetime import date

import pytest

from keyservice.domain.errors import Invalid
from keyservice.domain.key_cells import cut_lines
from keyservice.domain.key_file import (
    ColumnMapping,
    KeyFileFormat,
    KeyFileLimits,
    KeyFileRefused,
    KeyRow,
    MalformedRow,
    guess_format,
)
from keyservice.domain.key_records import RecordReader
from tests.domain.key_files import CSV, JSONL, TODAY, TSV, TXT, faults, read, reader_of, refusal, texts

COLUMNS = "key,expires_on,publisher_key_id,notes\n"


def test_every_column_of_a_row_is_read() -> None:
    rows = read(COLUMNS + 'AAA-1,2027-02-28,id 1,"first, ""best""\r\nseller"\nAAA-2,,,\n')
    assert rows == [
        KeyRow(2, "AAA-1", date(2027, 2, 28), "id 1", 'first, "best"\r\nseller'),
        KeyRow(3, "AAA-2", None, None, None),
    ]


def test_a_key_without_a_date_of_its_own_gets_the_date_of_the_batch() -> None:
    reader = reader_of(default_expires_on=date(2028, 1, 1))
    rows = read("key,expires_on\nAAA,\nBBB,2027-01-01\n", reader)
    assert [row.expires_on for row in rows if isinstance(row, KeyRow)] == [date(2028, 1, 1), date(2027, 1, 1)]


def test_a_batch_that_is_expired_already_is_refused() -> None:
    assert reader_of(default_expires_on=TODAY)
    with pytest.raises(Invalid, match="expiry date is past"):
        reader_of(default_expires_on=date(2026, 11, 21))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("file_format", [CSV, TSV, TXT])
def test_every_line_end_ends_a_row_and_the_last_row_needs_none(file_format: KeyFileFormat, line_end: str) -> None:
    mapping = ColumnMapping(has_header=file_format is not TXT)
    lines = ["AAA", "BBB", "CCC"] if file_format is TXT else ["key", "AAA", "BBB", "CCC"]
    assert texts(read(line_end.join(lines), reader_of(file_format, mapping))) == ["AAA", "BBB", "CCC"]
    assert texts(read(line_end.join([*lines, ""]), reader_of(file_format, mapping))) == ["AAA", "BBB", "CCC"]


def test_line_ends_may_be_mixed() -> None:
    assert [row.row_number for row in read("key\rA1\nA2\r\nA3\r\r\nA4")] == [2, 3, 4, 6]


def test_characters_that_only_look_like_line_ends_do_not_end_a_row() -> None:
    odd = "A\u2028B\x85C\x0bD\x0cE\x1cF"
    assert texts(read(f"{odd}\n", reader_of(TXT, check=lambda text: None))) == [odd]
    assert texts(read(f'key\n"{odd}"\n', reader_of(check=lambda text: None))) == [odd]


def test_blank_rows_are_counted_and_are_not_malformed() -> None:
    reader = reader_of()
    rows = read('\n\nkey,notes\n\nAAA,\n,\n \t,  \n"",""\n,,\n', reader)
    assert [row.row_number for row in rows] == [5]
    assert (reader.rows_seen, reader.blank_rows, reader.header_rows) == (9, 7, 1)


def test_a_file_in_text_format_is_one_key_a_line_with_nothing_interpreted() -> None:
    keys = ['"AAA"', "B,B", "C;C|C", '=HYPERLINK("x")', "-1+1", "@x", "<script>", "'; DROP TABLE keys --", "{{7*7}}"]
    assert texts(read("\n".join(keys), reader_of(TXT))) == keys


def test_formulas_and_markup_in_quoted_cells_are_inert_keys() -> None:
    keys = [
        '=HYPERLINK("http://x","y")',
        "-1+1",
        "@x",
        "<script>alert(1)</script>",
        "'; DROP TABLE keys --",
        "../../etc",
    ]
    quoted = ['"' + key.replace('"', '""') + '"' for key in keys]
    assert texts(read("\n".join(["key", *quoted]))) == keys


def test_no_cell_is_ever_altered() -> None:
    rows = read("key,publisher_key_id,notes\n AAA ,  7 , hm \n", reader_of(check=lambda text: None))
    assert rows == [KeyRow(2, " AAA ", None, "  7 ", " hm ")]


def test_a_byte_order_mark_is_not_part_of_the_first_name_or_key() -> None:
    assert texts(read(b"\xef\xbb\xbfkey\nAAA\n")) == ["AAA"]
    assert texts(read(b"\xef\xbb\xbfAAA\n", reader_of(TXT))) == ["AAA"]
    assert faults(read(b"AAA\n\xef\xbb\xbfBBB\n", reader_of(TXT))) == [(2, "invalid-key")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("AAA", "too-few-columns"),
        ("AAA,,", "too-few-columns"),
        ("AAA,,,,", "too-many-columns"),
        (",2027-01-01,id,", "empty-key"),
        (" ,,id,", "empty-key"),
        ("key,expires_on,publisher_key_id,notes", "repeated-header"),
        ('"AAA\nBBB",,,', "line-break-in-key"),
        ('"AAA\r",,,', "line-break-in-key"),
        ("A" * 1025 + ",,,", "key-too-long"),
        ("\u00c4" * 513 + ",,,", "key-too-long"),
        ("NULL,,,", "invalid-key"),
        ("A\u200bB,,,", "invalid-key"),
        ("AAA,,,a\0b", "nul-character"),
        ("A\0A,,,", "nul-character"),
        ("AAA,2027-02-29,,", "invalid-expiry"),
        ("AAA,2027-02-30,,", "invalid-expiry"),
        ("AAA,2027-01-01T24:00,,", "invalid-expiry"),
        ("AAA,0000-01-01,,", "invalid-expiry"),
        ("AAA,10000-01-01,,", "invalid-expiry"),
        ("AAA,20270101,,", "invalid-expiry"),
        ("AAA,2027-W01-1,,", "invalid-expiry"),
        ("AAA,01/02/2027,,", "invalid-expiry"),
        ("AAA, 2027-01-01,,", "invalid-expiry"),
        ("AAA,\u0662\u0660\u0662\u0667-01-01,,", "invalid-expiry"),
        ("AAA,2026-11-21,,", "already-expired"),
        (f"AAA,,{'i' * 129},", "invalid-publisher-key-id"),
        ("AAA,,a\tb,", "invalid-publisher-key-id"),
        (f"AAA,,,{'n' * 1025}", "notes-too-long"),
        ("AAA,,,a\x1bb", "control-character-in-notes"),
        ('"AAA"x,,,', "text-after-quote"),
        ('"AAA" ,,,', "text-after-quote"),
        ('A"A,,,', "stray-quote"),
        (' "AAA",,,', "stray-quote"),
        ('=HYPERLINK("x"),,,', "stray-quote"),
    ],
)
def test_a_malformed_row_is_reported_by_number_and_its_neighbours_are_kept(row: str, reason: str) -> None:
    rows = read(f"{COLUMNS}BEFORE,,,\n{row}\nAFTER,,,\n")
    assert faults(rows) == [(3, reason)]
    assert [(row.row_number, row.text) for row in rows if isinstance(row, KeyRow)] == [(2, "BEFORE"), (4, "AFTER")]


@pytest.mark.parametrize(
    "row",
    [
        f"{'A' * 1024},,,",
        f"{'Ä' * 512},,,",
        "AAA,2026-11-22,,",
        "AAA,2028-02-29,,",
        "AAA,9999-12-31,,",
        f"AAA,,{'i' * 128},",
        f'AAA,,,"{"ñ" * 1022}\r\n"',
        'AAA,,,"tab\tand line\nbreak"',
        '"A""A",,,',
        '"AAA","2027-01-01","",""',
    ],
)
def test_a_row_at_the_edge_of_the_rules_is_accepted(row: str) -> None:
    assert isinstance(read(f"{COLUMNS}{row}\n")[0], KeyRow)


def test_a_malformed_row_carries_the_publishers_own_id_where_it_can_be_trusted() -> None:
    rows = read(f"{COLUMNS}NULL,,id-1,\nAAA,,{'i' * 129},\nid-2\n")
    assert [(row.reason, row.publisher_key_id) for row in rows if isinstance(row, MalformedRow)] == [
        ("invalid-key", "id-1"),
        ("invalid-publisher-key-id", None),
        ("too-few-columns", None),
    ]


def test_what_the_check_of_the_keys_text_says_is_the_detail() -> None:
    assert read("A\tB\n", reader_of(TXT)) == [
        MalformedRow(1, "invalid-key", None, "has a control character (U+0009) at character 2")
    ]


@pytest.mark.parametrize(
    ("data", "line", "byte_offset"),
    [
        (b"AAA\nBB\xe4B\nCCC\n", 2, 6),
        (b"AAA\r\nBBB\rC\xc0\xafC\n", 3, 10),
        (b"\xef\xbb\xbfAAA\n\xed\xa0\x80\n", 2, 7),
        (b"AAA\nBBB\xf0\x9f\x98", 2, 7),
        ("AAA\nBBB\n".encode("utf-16"), 1, 0),
        ("AAA\nBBB\n".encode("utf-16-le"), 1, 0),
        ("AAA\nBBB\n".encode("utf-16-be"), 1, 0),
        ("AAA\nBBB\n".encode("utf-32"), 1, 0),
    ],
    ids=["latin-1", "overlong", "surrogate", "cut-off", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
def test_a_file_that_is_not_utf_8_is_refused_with_the_place(data: bytes, line: int, byte_offset: int) -> None:
    error = refusal(data, reader_of(TXT))
    assert (error.reason, error.line, error.byte_offset) == ("not-utf8", line, byte_offset)
    assert error.facts == {"reason": "not-utf8", "line": line, "byteOffset": byte_offset}
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("data", "reason", "line"),
    [
        ('key,notes\nAAA,x\nBBB,"open\nCCC,x\n', "unclosed-quote", 3),
        ('key,notes\nAAA,"one\ntwo"\n"BBB\nCCC', "unclosed-quote", 4),
        ('key,notes\n"A\nA","open\n', "unclosed-quote", 3),
        ('key,notes\nAAA,"open\nBBB,x\nCCC,"x"\n', "misplaced-quote", 2),
        ('key,notes\nA"A,"x\ny"\nBBB,\n', "misplaced-quote", 2),
        ('key,notes\nAAA,"open\n' + "BBB,x\n" * 2000, "unclosed-quote", 2),
        ('key,notes\nAAA,"open\n' + "BBB,x\n" * 2000 + '"\nCCC,x\n', "unclosed-quote", 2),
    ],
)
def test_a_quote_never_swallows_the_rows_that_follow(data: str, reason: str, line: int) -> None:
    error = refusal(data)
    assert (error.reason, error.line) == (reason, line)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\r\n \n", b"key,notes\n", b"key,notes\n,\n\n"])
def test_a_file_without_keys_is_refused(data: bytes) -> None:
    assert refusal(data).reason == "no-rows"


@pytest.mark.parametrize(
    "head",
    [
        *(b"PK\x03\x04\x14\0\6\0", b"PK\x05\x06", b"\x1f\x8b\x08\0", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"%PDF-1.7"),
        *(b"BZh91AY&SY", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\1\0", b"\x28\xb5\x2f\xfd\4\0"),
        *(b"<!DOCTYPE html>", b"\xef\xbb\xbf\n<!doctype html>", b"<?xml version='1.0'?>"),
    ],
)
def test_a_workbook_or_archive_is_refused_by_its_first_piece_whatever_its_name(head: bytes) -> None:
    with pytest.raises(KeyFileRefused, match=r"save it as XLSX|Content-Encoding: gzip|format=xlsx") as caught:
        reader_of(TXT).feed(head.ljust(20, b"\n"))
    assert caught.value.reason == "format-not-accepted"
    assert refusal(head, reader_of(TXT)).reason == "format-not-accepted"


@pytest.mark.parametrize(
    ("name", "media_type", "expected"),
    [
        ("keys.csv", None, CSV),
        ("KEYS.CSV", "application/vnd.ms-excel", CSV),
        ("keys.csv", "text/plain; charset=utf-8", CSV),
        ("keys.tsv", "application/octet-stream", TSV),
        ("keys.2026.tab", "text/tab-separated-values", TSV),
        ("keys.txt", "text/plain", TXT),
        ("keys", 'text/csv; charset="UTF-8"', CSV),
        ("", "text/tab-separated-values", TSV),
        ("keys.lst", "text/plain", TXT),
        ("keys.jsonl", None, JSONL),
        ("keys.ndjson", "text/plain", JSONL),
        ("", "application/x-ndjson", JSONL),
        ("Keys.XLSX", "application/octet-stream", KeyFileFormat.XLSX),
        ("", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", KeyFileFormat.XLSX),
        ("keys.zip", "application/x-zip-compressed", KeyFileFormat.ZIP),
    ],
)
def test_the_format_is_told_by_name_and_media_type(name: str, media_type: str | None, expected: KeyFileFormat) -> None:
    assert guess_format(name, media_type) == (expected, False)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("keys.csv.gz", None),
        ("keys.csv.gz", "application/gzip"),
        ("keys.csv.gzip", "text/csv"),
        ("keys.csv", "application/x-gzip"),
        ("KEYS.CSV.GZ", "text/plain"),
    ],
)
def test_gzip_is_told_by_name_and_media_type(name: str, media_type: str | None) -> None:
    assert guess_format(name, media_type) == (CSV, True)


def test_a_name_that_is_given_stands_for_the_extension_and_leaves_gzip_as_it_is() -> None:
    assert guess_format("keys.dat.gz", None, named="tsv") == (TSV, True)
    assert guess_format("keys.dat", None, named="jsonl") == (JSONL, False)
    assert guess_format("keys.csv", "text/csv", is_gzip=True) == (CSV, True)


@pytest.mark.parametrize(
    ("name", "media_type", "reason"),
    [
        ("keys.xlsm", None, "format-not-accepted"),
        ("keys.xlsx.gz", None, "format-not-accepted"),
        ("keys.xlsx", "text/plain", "format-undeclared"),
        ("keys.xlsx", "application/zip", "format-undeclared"),
        ("keys.tgz", "text/csv", "format-not-accepted"),
        ("keys.zip.gz", None, "format-not-accepted"),
        ("keys.gz", None, "format-undeclared"),
        ("keys.json", None, "format-not-accepted"),
        ("keys.csv", "application/jsonl", "format-undeclared"),
        ("keys.zip", "text/plain", "format-undeclared"),
        ("keys", None, "format-undeclared"),
        ("csv", None, "format-undeclared"),
        ("keys.dat", "application/octet-stream", "format-undeclared"),
        ("keys.csv", "text/tab-separated-values", "format-undeclared"),
        ("keys.txt", "text/csv", "format-undeclared"),
        ("keys.csv", "text/csv; charset=iso-8859-1", "not-utf8"),
    ],
)
def test_a_format_that_is_foreign_or_unclear_is_refused(name: str, media_type: str | None, reason: str) -> None:
    with pytest.raises(KeyFileRefused) as caught:
        guess_format(name, media_type)
    assert caught.value.reason == reason


def test_the_bytes_are_counted_and_digested_as_they_came() -> None:
    reader = reader_of()
    data = b"\xef\xbb\xbfkey\r\nAAA\r\n"
    reader.feed(data[:9])
    assert reader.digest_so_far() == hashlib.sha256(data[:9]).digest()
    reader.feed(data[9:])
    reader.finish()
    assert (reader.bytes_seen, reader.digest_so_far()) == (len(data), hashlib.sha256(data).digest())


def test_a_reader_is_used_for_one_file_only() -> None:
    reader = reader_of(TXT)
    read("AAA\n", reader)
    refused = reader_of(TXT)
    refusal(b"\xff" * 20, refused)
    for closed in (reader, refused):
        with pytest.raises(RuntimeError, match="new reader"):
            closed.feed(b"BBB\n")
        with pytest.raises(RuntimeError, match="new reader"):
            closed.finish()


def test_no_representation_shows_a_key() -> None:
    rows = read("key,publisher_key_id,notes\nSECRET,SECRET,SECRET\nSECRET\nNULL,SECRET,\n")
    assert len(rows) == 3
    records = RecordReader(delimiter=",", limits=KeyFileLimits())
    assert len(list(records.push(memoryview(b"SECRET,SECRET\nSECRET,\n")))) == 1
    list(records.push(memoryview(b"SECRET,SECRET\n")))
    assert "SECRET" not in repr(rows) + str(rows) + repr(cut_lines("SECRET")) + repr(records.take())
