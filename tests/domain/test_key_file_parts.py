import pytest

from keyservice.domain.errors import Invalid
from keyservice.domain.key_file import ColumnMapping, KeyFileFormat, KeyRow, MalformedRow
from keyservice.domain.key_parts import PARTS_MIME, KeyPart, encode_parts
from tests.domain.key_files import CSV, TSV, TXT, faults, read, reader_of, refusal

SERIAL_AND_CODE = ColumnMapping(parts=("serial", "activation code"))


def text_of(*parts: tuple[str, str]) -> str:
    return encode_parts([KeyPart(*part) for part in parts]).decode()


def test_several_columns_are_one_key_with_the_names_in_the_header_as_labels() -> None:
    data = "Notes, Serial ,Activation code\nx,S-1,C-1\n,S-2,C-2\n"
    assert read(data, reader_of(CSV, SERIAL_AND_CODE)) == [
        KeyRow(2, text_of(("Serial", "S-1"), ("Activation code", "C-1")), None, None, "x", PARTS_MIME),
        KeyRow(3, text_of(("Serial", "S-2"), ("Activation code", "C-2")), None, None, None, PARTS_MIME),
    ]


def test_columns_may_be_given_by_number_and_in_another_order() -> None:
    mapping = ColumnMapping(parts=(2, "a"), has_header=True)
    rows = read("a\tb\n1-1\t2-2\n", reader_of(TSV, mapping))
    assert rows == [KeyRow(2, text_of(("b", "2-2"), ("a", "1-1")), None, None, None, PARTS_MIME)]


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ("S-1,", "empty-key", "part 2"),
        (" ,C-1", "empty-key", "part 1"),
        ("S-1,NULL", "invalid-key", "part 2 is a placeholder that a spreadsheet or an export wrote, not a key"),
        ('"S\n1",C-1', "line-break-in-key", "part 1"),
        (f"S-1,{'x' * 1025}", "key-too-long", "part 2"),
        ("serial,activation code", "repeated-header", None),
        ("S-1", "too-few-columns", None),
    ],
)
def test_a_row_without_all_its_parts_is_no_key(row: str, reason: str, detail: str | None) -> None:
    rows = read(f"serial,activation code\n{row}\nS-9,C-9\n", reader_of(CSV, SERIAL_AND_CODE))
    assert rows[0] == MalformedRow(2, reason, None, detail)
    assert isinstance(rows[1], KeyRow)


def test_a_row_without_any_part_is_blank() -> None:
    reader = reader_of(CSV, SERIAL_AND_CODE)
    assert faults(read("serial,activation code\n,\nS-9,C-9\n", reader)) == []
    assert reader.blank_rows == 1


@pytest.mark.parametrize(
    ("file_format", "mapping"),
    [
        (TXT, SERIAL_AND_CODE),
        (CSV, ColumnMapping(key="key", parts=("a",))),
        (CSV, ColumnMapping(parts=(1, 2))),
        (CSV, ColumnMapping(parts=(1, 2), has_header=False)),
        (CSV, ColumnMapping(parts=("a", " "))),
        (CSV, ColumnMapping(parts=(0, 1), has_header=True)),
        (CSV, ColumnMapping(parts=tuple("abcdefghijk"))),
    ],
)
def test_parts_that_no_file_could_have_are_refused(file_format: KeyFileFormat, mapping: ColumnMapping) -> None:
    with pytest.raises(Invalid):
        reader_of(file_format, mapping)


@pytest.mark.parametrize(
    ("header", "mapping", "reason"),
    [
        ("serial,code", SERIAL_AND_CODE, "unknown-column"),
        ("serial,activation code", ColumnMapping(parts=("serial", "serial")), "column-mapped-twice"),
        ("serial,notes", ColumnMapping(parts=("serial", "notes"), notes="notes"), "column-mapped-twice"),
        (f"serial,{'x' * 65}", ColumnMapping(parts=("serial", 2)), "wrong-header"),
        ("serial,", ColumnMapping(parts=("serial", 2)), "wrong-header"),
        ("serial,a\u200bb", ColumnMapping(parts=("serial", 2)), "wrong-header"),
        ("serial,code", ColumnMapping(parts=("serial", 3)), "unknown-column"),
    ],
)
def test_columns_that_cannot_be_the_parts_refuse_the_file(header: str, mapping: ColumnMapping, reason: str) -> None:
    assert refusal(f"{header}\nS-1,C-1\n", reader_of(CSV, mapping)).reason == reason
