import csv
import io
import re
from dataclasses import replace
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyservice.domain.key_file import (
    ColumnMapping,
    KeyFileFormat,
    KeyFileLimits,
    KeyFileReader,
    KeyFileRefused,
    KeyRow,
    MalformedRow,
)
from tests.domain.key_files import CSV, TODAY, TSV, TXT, reader_of

CAREFULLY = settings(max_examples=400, deadline=None)
NARROW = KeyFileLimits(
    bytes_max=120,
    rows_max=12,
    row_bytes_max=24,
    cell_bytes_max=12,
    columns_max=4,
    key_bytes_max=6,
    expiry_dates_max=1,
    publisher_key_id_characters_max=4,
    notes_characters_max=5,
)

BITS = st.sampled_from(
    [
        *(
            b"\r",
            b"\n",
            b"\r\n",
            b'"',
            b'""',
            b",",
            b";",
            b"\t",
            b"|",
            b" ",
            b"A",
            b"BB",
            b"key,notes\n",
            b"expires_on",
        ),
        *(b"2027-01-01", b"2027-01-02", b"2027-01-03", b"2026-01-01", b"\0", b"\x1b", b"\xef\xbb\xbf", b"PK\x03\x04"),
        *("é".encode(), "€".encode(), "😀".encode(), b"\xff", b"\xe2\x82", b"\xc0\xaf", b"\xed\xa0\x80", b"C" * 9),
    ]
)
CELLS = st.sampled_from(
    [
        *(
            "A",
            "A",
            "A",
            "BB",
            "",
            " ",
            '""',
            '"A"',
            '"A,B"',
            '"A""B"',
            '"A\nB"',
            '"\r\n"',
            "é",
            '"😀é"',
            "\0",
            "=A+1",
            "NULL",
        ),
        *("2027-01-01", "2027-01-01", "2027-01-02", "2027-01-03", "2026-01-01", "C" * 9, "D" * 13, '"A', 'A"', '"A"B'),
    ]
)
LINES = st.tuples(st.lists(CELLS, min_size=1, max_size=3).map(",".join), st.sampled_from(["\n", "\n", "\r\n", "\r"]))
HEADS = st.sampled_from(["", "key,notes\n", "key,expires_on\r\n", "\ufeffkey\r", "\n\nA,A\n"])
LIKELY_FILES = st.tuples(HEADS, st.lists(LINES.map("".join), max_size=15).map("".join)).map("".join).map(str.encode)
FILES = LIKELY_FILES | st.tuples(LIKELY_FILES, BITS).map(b"".join) | st.lists(BITS, max_size=60).map(b"".join)
MAPPINGS = {
    CSV: [
        ColumnMapping(),
        ColumnMapping(key=1, has_header=True, delimiter=","),
        ColumnMapping(key=1, expires_on=2, has_header=False, delimiter=","),
        ColumnMapping(key=1, publisher_key_id=2, notes=3, has_header=False, delimiter=","),
    ],
    TSV: [ColumnMapping(key=1, has_header=False, delimiter="\t")],
    TXT: [ColumnMapping(), ColumnMapping(has_header=True)],
}
SETTINGS = st.sampled_from([(name, mapping) for name, mappings in MAPPINGS.items() for mapping in mappings])

Outcome = tuple[list[KeyRow | MalformedRow], tuple[int, int, int, bytes]] | tuple[str, str, int | None, int | None]


def outcome(reader: KeyFileReader, pieces: list[bytes]) -> Outcome:
    rows: list[KeyRow | MalformedRow] = []
    try:
        for piece in pieces:
            rows += reader.feed(piece)
        rows += reader.finish()
    except KeyFileRefused as refused:
        return str(refused), refused.reason, refused.line, refused.byte_offset
    assert len(rows) + reader.blank_rows + reader.header_rows == reader.rows_seen
    return rows, (reader.rows_seen, reader.blank_rows, reader.bytes_seen, reader.digest_so_far())


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


@CAREFULLY
@given(data=FILES, setting=SETTINGS, places=st.lists(st.integers(0, 400), max_size=12), block=st.integers(1, 40))
def test_a_file_is_read_the_same_however_it_is_cut_into_pieces_and_blocks(
    data: bytes, setting: tuple[KeyFileFormat, ColumnMapping], places: list[int], block: int
) -> None:
    small_blocks = replace(NARROW, block_bytes=block)
    whole = outcome(reader_of(*setting, limits=NARROW), [data])
    assert outcome(reader_of(*setting, limits=NARROW), cut_at(data, places)) == whole
    assert outcome(reader_of(*setting, limits=small_blocks), [data]) == whole
    assert outcome(reader_of(*setting, limits=small_blocks), [bytes([byte]) for byte in data]) == whole


@pytest.mark.parametrize("wrong", [b"\xff", b"\xe2\x82", b"\xf0\x9f\x98", "€".encode(), "😀".encode(), b'"', b"\n"])
@pytest.mark.parametrize("start", [b"", b'"', b'"a\n'])
@pytest.mark.parametrize("end", [b"", b"CC", b"C" * 9 + b"\n", b'"\nCC\n'])
def test_what_is_wrong_at_the_edge_of_a_row_is_told_the_same_for_every_block(
    start: bytes, wrong: bytes, end: bytes
) -> None:
    setting = CSV, ColumnMapping(key=1, has_header=False, delimiter=",")
    for size in range(NARROW.row_bytes_max - 6, NARROW.row_bytes_max + 6):
        data = b"A,B\n" * 4 + start.ljust(size, b"B") + wrong + end
        whole = outcome(reader_of(*setting, limits=NARROW), [data])
        for block in range(1, 31):
            limits = replace(NARROW, block_bytes=block)
            assert outcome(reader_of(*setting, limits=limits), [data]) == whole, (size, block)


@CAREFULLY
@given(lines=st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)), data=st.data())
def test_no_line_of_a_text_file_is_lost(lines: list[str], data: st.DataObject) -> None:
    ends = [data.draw(st.sampled_from(["\n", "\r\n", "\r"])) for _ in lines]
    text = "X\n" + "".join(line + end for line, end in zip(lines, ends, strict=True))
    reader = reader_of(TXT, check=lambda text: None)
    rows = reader.feed(text.encode()) + reader.finish()
    physical = re.split("\r\n|\r|\n", text)[:-1]
    assert reader.rows_seen == len(physical)
    for row in rows:
        assert isinstance(row, MalformedRow) or row.text == physical[row.row_number - 1]
    assert len(rows) == sum(bool(line.strip(" \t")) for line in physical)


WRITTEN = st.text(st.sampled_from('AZ09-é😀 ,;"\r\n\t='), min_size=1, max_size=12).filter(
    lambda cell: cell.strip(" \t")
)
ROWS = st.tuples(WRITTEN, st.dates(TODAY, date(2027, 12, 31)) | st.none(), WRITTEN | st.none())


@CAREFULLY
@given(rows=st.lists(ROWS, min_size=1, max_size=30), quote_all=st.booleans())
def test_what_a_csv_writer_writes_is_read_back(
    rows: list[tuple[str, date | None, str | None]], quote_all: bool
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    writer.writerow(["key", "expires_on", "notes"])
    writer.writerows(rows)
    found = outcome(reader_of(check=lambda text: None), [text.getvalue().encode()])[0]
    assert found == [
        MalformedRow(number, "line-break-in-key", None)
        if {"\r", "\n"} & set(key)
        else KeyRow(number, key, expires_on, None, notes)
        for number, (key, expires_on, notes) in enumerate(rows, start=2)
    ]


def rows_by_character(text: str) -> list[list[str] | None] | None:
    """RFC 4180 read one character at a time: None for a row with a wrong quote, None for all if that may swallow rows."""
    rows: list[list[str] | None] = []
    at = 0
    while at < len(text):
        cells, is_wrong, start = [""], False, at
        while at < len(text) and text[at] not in "\r\n":
            if text[at] == '"' and not cells[-1] and (at == start or text[at - 1] == ","):
                at += 1
                while text[at : at + 1] != '"' or text[at : at + 2] == '""':
                    if at >= len(text):
                        return None
                    cells[-1] += text[at]
                    at += 2 if text[at] == '"' else 1
                at += 1
                if text[at : at + 1] not in ("", ",", "\r", "\n"):
                    is_wrong = True
                    at += re.match("[^\r\n]*", text[at:]).end()  # type: ignore[union-attr]
            elif text[at] == ",":
                cells.append("")
                at += 1
            else:
                is_wrong |= text[at] == '"'
                cells[-1] += text[at]
                at += 1
        if is_wrong and re.search("[\r\n]", text[start:at]):
            return None
        rows.append(None if is_wrong else cells)
        at += 2 if text[at : at + 2] == "\r\n" else 1
    return rows


@CAREFULLY
@given(text=st.text(st.sampled_from('AB,,""""\n\n\r '), max_size=60), block=st.integers(1, 80))
@example(text='A,"x\n""y"\n"B"', block=3)
def test_rows_are_those_of_a_reading_by_single_characters(text: str, block: int) -> None:
    text = f"A,B\n{text}"
    mapping = ColumnMapping(key=1, has_header=False, delimiter=",")
    reader = reader_of(CSV, mapping, limits=KeyFileLimits(block_bytes=block), check=lambda text: None)
    expected = rows_by_character(text)
    found = outcome(reader, [text.encode()])
    if expected is None:
        assert found[1] in ("unclosed-quote", "misplaced-quote")
        return
    assert reader.rows_seen == len(expected)
    judged = {row.row_number: row for row in found[0] if not isinstance(row, str)}
    for number, cells in enumerate(expected, start=1):
        row = judged.pop(number, None)
        if isinstance(row, KeyRow):
            assert cells is not None
            assert (row.text, len(cells)) == (cells[0], 2)
        elif row is None:
            assert cells is not None
            assert not "".join(cells).strip(" \t,")
        else:
            assert cells is None or len(cells) != 2 or not cells[0].strip() or re.search("[\r\n]", cells[0])
    assert not judged


@CAREFULLY
@given(data=FILES, setting=SETTINGS)
def test_no_refusal_repeats_what_the_file_says(data: bytes, setting: tuple[KeyFileFormat, ColumnMapping]) -> None:
    found = outcome(reader_of(*setting, limits=NARROW), [data.replace(b"A", b"QX7")])
    assert "QX7" not in repr(found)
