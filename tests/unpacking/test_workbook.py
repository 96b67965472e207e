import io
from collections.abc import Sequence
from datetime import date, datetime

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyservice.unpacking.archive import Archive
from keyservice.unpacking.errand import Errand
from keyservice.unpacking.frames import SheetRow, Unreadable
from keyservice.unpacking.process import Unpacker, spooled
from keyservice.unpacking.sheet import SheetReader
from keyservice.unpacking.workbook import Parts, chosen, open_workbook, unescaped
from tests.unpacking.workbooks import HEAD, MAIN, Cell, packed, parts_of, row, sheet, table, workbook

BYTES_MAX = 1_000_000_000
DATE = 's="1"'
STYLES = '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="20"/></cellXfs>'
FORMATS = (
    '<numFmts><numFmt numFmtId="164" formatCode="[$-407]TT\\.MM\\.yyyy"/>'
    '<numFmt numFmtId="165" formatCode="0 &quot;days&quot;"/></numFmts>'
)


def rows_of(content: bytes, wanted: str | int | None = None, *, columns_max: int = 100) -> list[SheetRow]:
    parts = Parts(Archive(io.BytesIO(content), entries_max=1_000, unpacked_bytes_max=BYTES_MAX))
    found = open_workbook(parts, strings_bytes_max=BYTES_MAX, cell_characters_max=4_096)
    rows: list[SheetRow] = []
    reader = SheetReader(found, on_row=rows.append, columns_max=columns_max, cell_characters_max=4_096)
    reader.read(parts.stream(chosen(found.sheets, wanted).path, bytes_max=BYTES_MAX))
    return rows


def cells_of(content: bytes, wanted: str | int | None = None) -> list[Sequence[object]]:
    return [row.cells for row in rows_of(content, wanted)]


def refusal(content: bytes, wanted: str | int | None = None) -> tuple[str, str]:
    with pytest.raises(Unreadable) as caught:
        rows_of(content, wanted)
    return caught.value.reason, str(caught.value)


def with_cells(
    *cells: Cell, strings: Sequence[str] | None = None, styles: str | None = None, properties: str = ""
) -> bytes:
    return packed(parts_of({"Keys": table([cells])}, strings=strings, styles=styles, properties=properties))


def test_texts_are_read_to_the_letter_wherever_they_are_stored() -> None:
    texts = [" a ", "0012", "=1+1", "é\u0301", "😀", "<&>", "NULL"]
    assert cells_of(with_cells(*texts)) == [texts]
    strings = [f"<t>{text}</t>".replace("<&>", "&lt;&amp;&gt;") for text in texts]
    shared = [('t="s"', f"<v>{at}</v>") for at in range(len(texts))]
    assert cells_of(with_cells(*shared, strings=strings)) == [texts]


def test_what_is_no_text_is_told_with_what_it_shows() -> None:
    cells: list[Cell] = [
        ("", "<v>00123</v>"),
        ('t="n"', "<v>1.2345678901234567E+19</v>"),
        ('t="b"', "<v>1</v>"),
        ('t="e"', "<v>#REF!</v>"),
        ("", "<f>A1+1</f><v>124</v>"),
        ('t="str"', "<f>A1&amp;B1</f><v>AB</v>"),
        ('t="str"', "<v>AB</v>"),
        ('t="d"', "<v>2027-12-31T00:00:00</v>"),
        ('t="s"', "<f>A1</f><v>0</v>"),
        ('t="inlineStr"', "<f>A1</f><is><t>x</t></is>"),
        ('t="n"', "<v>NaN</v>"),
    ]
    assert cells_of(with_cells(*cells, strings=["<t>shared</t>"])) == [
        [
            ("number", "00123"),
            ("number", "1.2345678901234567E+19"),
            ("boolean", "TRUE"),
            ("error", "#REF!"),
            ("formula", "124"),
            ("formula", "AB"),
            "AB",
            ("date", "2027-12-31"),
            ("formula", "shared"),
            ("formula", "x"),
            ("number", "NaN"),
        ]
    ]


@pytest.mark.parametrize(
    ("style", "value", "shown"),
    [
        ("1", "46387", ("date", "2026-12-31")),
        ("2", "61", ("date", "1900-03-01")),
        ("1", "60", ("date", "60")),
        ("1", "2958465", ("date", "9999-12-31")),
        ("1", "2958466", ("date", "2958466")),
        ("1", "46387.5", ("date", "46387.5")),
        ("1", "-1", ("date", "-1")),
        ("1", "INF", ("date", "INF")),
        ("0", "46387", ("number", "46387")),
        ("3", "46387", ("number", "46387")),
        ("4", "0.5", ("number", "0.5")),
        ("9", "46387", ("number", "46387")),
    ],
)
def test_a_number_is_a_date_where_its_style_shows_one(style: str, value: str, shown: tuple[str, str]) -> None:
    content = with_cells((f's="{style}"', f"<v>{value}</v>"), styles=FORMATS + STYLES)
    assert cells_of(content) == [[shown]]


def test_the_calendar_of_1904_is_known() -> None:
    content = with_cells((DATE, "<v>44925</v>"), styles=STYLES, properties='<workbookPr date1904="1"/>')
    assert cells_of(content) == [[("date", "2026-12-31")]]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("A_x000D_B", "A\rB"),
        ("A_x005F_x000D_B", "A_x000D_B"),
        ("AAx005F_BB", "AAx005F_BB"),
        ("_x00g1_", "_x00g1_"),
        ("_xD83D__xDE00_", "😀"),
        ("_xD83D_", "\ufffd"),
    ],
)
def test_escaped_characters_are_what_they_stand_for(stored: str, shown: str) -> None:
    assert unescaped(stored) == shown
    assert cells_of(with_cells(stored)) == [[shown]]
    assert cells_of(with_cells(('t="s"', "<v>0</v>"), strings=[f"<t>{stored}</t>"])) == [[shown]]


def test_runs_are_joined_and_reading_aids_are_left_out() -> None:
    item = "<r><rPr><b/></rPr><t>AB</t></r><r><t>CD</t></r><rPh sb='0' eb='1'><t>KANA</t></rPh><phoneticPr fontId='1'/>"
    assert cells_of(with_cells(('t="s"', "<v>0</v>"), strings=[item])) == [["ABCD"]]
    assert cells_of(with_cells(('t="inlineStr"', f"<is>{item}</is>"))) == [["ABCD"]]


def test_rows_and_cells_keep_their_places_and_nothing_is_laid_out_between_them() -> None:
    rows = rows_of(packed(parts_of({"S": sheet([row(2, [None, "B2"]), row(7, []), row(1_048_576, ["end"])])})))
    assert [(one.number, one.cells) for one in rows] == [(2, ["", "B2"]), (1_048_576, ["end"])]
    bare = sheet(['<row><c t="str"><v>A</v></c><c t="str"><v>B</v></c></row>'])
    assert cells_of(packed(parts_of({"S": bare}))) == [["A", "B"]]


@pytest.mark.parametrize("dimension", ["A1", "A1:A3", "XFD1048576", "A1:XFD1048576", "nonsense", ""])
def test_what_a_sheet_says_of_its_size_is_not_believed(dimension: str) -> None:
    content = packed(parts_of({"S": sheet((row(n, [f"K{n}"]) for n in range(1, 501)), dimension=dimension)}))
    assert cells_of(content) == [[f"K{n}"] for n in range(1, 501)]


def test_one_far_cell_is_told_and_not_laid_out() -> None:
    far = '<row r="1048576"><c r="XFD1048576" t="str"><v>far</v></c></row>'
    rows = rows_of(packed(parts_of({"S": sheet([row(1, ["key"]), far])})))
    assert [(one.number, one.cells, one.defect) for one in rows[1:]] == [(1_048_576, [], "too-many-columns")]


def test_a_cell_that_is_too_long_is_told_wherever_it_is_stored() -> None:
    long = "x" * 4_097
    for told in (long, ('t="str"', f"<v>{long}</v>"), ("", f"<v>{long}</v>"), ('t="s"', "<v>0</v>")):
        (only,) = rows_of(with_cells("A", told, strings=[f"<t>{long}</t>"]))
        assert (only.defect, only.cells) == ("cell-too-long", [])


def test_hidden_rows_are_told() -> None:
    rows = rows_of(
        packed(parts_of({"S": sheet([row(1, ["A"], 'hidden="1"'), row(2, ["B"], 'hidden="false"'), row(3, ["C"])])}))
    )
    assert [one.is_hidden for one in rows] == [True, False, False]


def test_the_sheet_is_named_when_there_are_several() -> None:
    sheets = {"Keys": table([["A"]]), "2027": table([["B"]]), "Secret": table([["C"]])}
    content = packed(parts_of(sheets, states={"Secret": "veryHidden"}))
    reason, message = refusal(content)
    assert (reason, message) == (
        "sheet-undeclared",
        "the workbook has 3 sheets, of which hidden: number 3; say which one with sheet",
    )
    assert refusal(content, "Other")[0] == refusal(content, 4)[0] == "unknown-sheet"
    assert "Secret" not in message
    assert [cells_of(content, wanted) for wanted in ("keys", 1, 2027, "secret", 3)] == [
        [["A"]],
        [["A"]],
        [["B"]],
        [["C"]],
        [["C"]],
    ]


BROKEN_ROWS = {
    "rows in another order": [row(2, ["A"]), row(1, ["B"])],
    "a row twice": [row(1, ["A"]), row(1, ["B"])],
    "a row beyond the last": ['<row r="1048577"/>'],
    "row 0": ['<row r="0"/>'],
    "a row number of junk": ['<row r="1e3"/>'],
    "a row in a row": ['<row r="1"><row r="2"/></row>'],
    "a cell outside of a row": ['<c r="A1" t="str"><v>A</v></c>'],
    "a cell twice": ['<row r="1"><c r="A1" t="str"><v>A</v></c><c r="A1" t="str"><v>B</v></c></row>'],
    "cells in another order": ['<row r="1"><c r="B1" t="str"><v>A</v></c><c r="A1" t="str"><v>B</v></c></row>'],
    "a cell of another row": ['<row r="1"><c r="A2" t="str"><v>A</v></c></row>'],
    "a cell beyond the last column": ['<row r="1"><c r="XFE1" t="str"><v>A</v></c></row>'],
    "a cell of junk": ['<row r="1"><c r="Ä1" t="str"><v>A</v></c></row>'],
    "a text that is not there": ['<row r="1"><c r="A1" t="s"><v>1</v></c></row>'],
    "a text by a wrong number": ['<row r="1"><c r="A1" t="s"><v>-1</v></c></row>'],
    "an unknown type": ['<row r="1"><c r="A1" t="x"><v>1</v></c></row>'],
    "a style of junk": ['<row r="1"><c r="A1" s="x"><v>1</v></c></row>'],
    "an open element": ["<row>"],
    "an entity that nobody knows": ["<row r='1'><c r='A1' t='str'><v>&lol;</v></c></row>"],
}


@pytest.mark.parametrize("rows", BROKEN_ROWS.values(), ids=BROKEN_ROWS)
def test_a_sheet_that_can_be_read_in_two_ways_or_none_is_refused(rows: list[str]) -> None:
    assert refusal(packed(parts_of({"S": sheet(rows)}, strings=["<t>x</t>"])))[0] == "broken-workbook"


LAUGHS = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
FILE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("part", ["[Content_Types].xml", "_rels/.rels", "xl/workbook.xml", "xl/_rels/workbook.xml.rels",
                                  "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/styles.xml"])  # fmt: skip
def test_every_part_is_refused_with_a_document_type_broken_or_missing(part: str) -> None:
    parts = parts_of({"S": table([["A"]])}, strings=["<t>x</t>"], styles=STYLES)
    body = parts[part].removeprefix(HEAD)
    for wrong in (LAUGHS + body, FILE + body, body[:-5], "", "\0", "<a/>x", "PK"):
        assert refusal(packed({**parts, part: wrong}))[0] == "broken-workbook"
    left = {path: content for path, content in parts.items() if path != part}
    if part in ("xl/sharedStrings.xml", "xl/styles.xml"):
        assert cells_of(packed(left)) == [["A"]]
    else:
        assert refusal(packed(left))[0] == "broken-workbook"


@pytest.mark.parametrize(
    ("content_type", "told"),
    [
        ("application/vnd.ms-excel.sheet.macroEnabled.main+xml", "XLSM"),
        ("application/vnd.ms-excel.sheet.binary.macroEnabled.main", "XLSM"),
    ],
)
def test_a_workbook_with_macros_is_refused(content_type: str, told: str) -> None:
    reason, message = refusal(packed(parts_of({"S": table([["A"]])}, workbook_type=content_type)))
    assert (reason, told in message) == ("format-not-accepted", True)


def test_parts_outside_of_the_package_are_not_followed() -> None:
    parts = parts_of({"S": table([["A"]])})
    for target in ("../../../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1/", "/xl/nowhere.xml"):
        wrong = parts["xl/_rels/workbook.xml.rels"].replace("worksheets/sheet1.xml", target)
        assert refusal(packed({**parts, "xl/_rels/workbook.xml.rels": wrong}))[0] == "broken-workbook"


def test_a_package_may_be_strict_and_have_prefixes() -> None:
    parts = parts_of({"S": table([["A"]])})
    strict = {
        path: content.replace(
            "http://schemas.openxmlformats.org/spreadsheetml/2006/main", "http://purl.oclc.org/ooxml/spreadsheetml/main"
        ).replace(
            "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
            "http://purl.oclc.org/ooxml/officeDocument/relationships",
        )
        for path, content in parts.items()
    }
    assert cells_of(packed(strict)) == [["A"]]
    inside = '<x:row r="1"><x:c r="A1" t="str"><x:v>A</x:v></x:c></x:row>'
    prefixed = f'{HEAD}<x:worksheet xmlns:x="{MAIN}"><x:sheetData>{inside}</x:sheetData></x:worksheet>'
    assert cells_of(packed({**parts, "xl/worksheets/sheet1.xml": prefixed})) == [["A"]]
    foreign = table([["A"]]).replace("</row>", '<c xmlns="urn:other" r="B1" t="str"><v>B</v></c></row>')
    assert cells_of(packed({**parts, "xl/worksheets/sheet1.xml": foreign})) == [["A"]]


_values = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).filter(
        lambda text: "_x" not in text and text[:1] not in ("=", "#")
    ),
    st.integers(-(2**40), 2**40),
    st.booleans(),
    st.dates(date(1901, 1, 1), date(9999, 12, 31)),
    st.none(),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(_values, max_size=5), min_size=1, max_size=8))
def test_a_workbook_is_read_as_the_library_that_wrote_it_reads_it(rows: list[list[object]]) -> None:
    book = openpyxl.Workbook(write_only=True)
    written = book.create_sheet()
    for one in rows:
        written.append(one)
    stream = io.BytesIO()
    book.save(stream)
    read = {one.number: list(one.cells) for one in rows_of(stream.getvalue())}
    others = openpyxl.load_workbook(stream).worksheets[0].iter_rows(values_only=True)
    for number, values in enumerate(others, start=1):
        told = list(map(_told, values))
        while told and told[-1] == "":
            told.pop()
        assert read.pop(number, []) == told
    assert not read


def _told(value: object) -> object:
    match value:
        case None:
            return ""
        case bool():
            return ("boolean", str(value).upper())
        case int():
            return ("number", str(value))
        case datetime():
            return ("date", value.date().isoformat())
        case _:
            return value


async def test_the_child_tells_the_rows_of_a_workbook() -> None:
    content = workbook([["key"], *([f"K-{number}"] for number in range(20_000))])
    with spooled() as spool:
        spool.write(content)
        frames = [frame async for frame in Unpacker().frames(Errand(spool.seal(), "xlsx"))]
    assert [one.number for frame in frames for one in frame.rows] == list(range(1, 20_002))
    assert [frame.is_end for frame in frames] == [False] * (len(frames) - 1) + [True]
    shares = [frame.share for frame in frames]
    assert len(frames) > 3
    assert shares == sorted(shares)
