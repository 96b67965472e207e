import pytest

from keyservice.domain.errors import Invalid
from keyservice.domain.key_file import ColumnMapping, KeyFileFormat, KeyFileLimits, KeyRow
from tests.domain.key_files import CSV, TSV, TXT, read, reader_of, refusal, texts

ROW = "AAA,2027-01-01,7,x\n"


@pytest.mark.parametrize("name", ["key", "KEY", " License Key ", "licence-key", "activation_code", "Serial", "code"])
def test_the_key_is_found_by_a_known_name(name: str) -> None:
    assert texts(read(f"product,{name}\nP,AAA\n")) == ["AAA"]


def test_other_columns_are_found_by_known_names_too_and_can_be_shown() -> None:
    reader = reader_of()
    rows = read("Notes,Valid until,Key ID,Key\nx,2027-01-01,7,AAA\n", reader)
    assert rows == read(f"key,expires_on,publisher_key_id,notes\n{ROW}")
    columns = reader.columns
    assert columns is not None
    assert (columns.key, columns.expires_on, columns.publisher_key_id, columns.notes) == (3, 1, 2, 0)


def test_columns_are_mapped_by_name_without_case() -> None:
    mapping = ColumnMapping(key="Schlüssel", expires_on="BIS", publisher_key_id="nr", notes="was")
    rows = read("Nr,schlüssel,Was,Bis\n7,AAA,x,2027-01-01\n", reader_of(CSV, mapping))
    assert rows == read(f"key,expires_on,publisher_key_id,notes\n{ROW}")


@pytest.mark.parametrize(("has_header", "head"), [(False, ""), (True, "a,b,c,d\n")])
def test_columns_are_mapped_by_number_where_the_header_is_declared(has_header: bool, head: str) -> None:
    mapping = ColumnMapping(key=1, expires_on=2, publisher_key_id=3, notes=4, has_header=has_header)
    rows = read(head + ROW, reader_of(CSV, mapping))
    assert [row.text for row in rows if isinstance(row, KeyRow)] == ["AAA"]
    assert rows[0].row_number == 1 + has_header


@pytest.mark.parametrize(
    ("data", "mapping"),
    [
        ("AAA\nBBB\n", ColumnMapping(has_header=False)),
        ("Schlüssel\nAAA\nBBB\n", ColumnMapping(has_header=True)),
        ("AAA;BBB\nBBB\n", ColumnMapping(has_header=False, delimiter=",")),
    ],
)
def test_the_only_column_is_the_key_where_the_header_is_declared(data: str, mapping: ColumnMapping) -> None:
    assert texts(read(data, reader_of(CSV, mapping)))[-1] == "BBB"


def test_a_text_file_may_have_a_header_that_is_declared() -> None:
    assert texts(read("Keys of May\nAAA\n", reader_of(TXT, ColumnMapping(has_header=True)))) == ["AAA"]


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_a_declared_delimiter_is_used(delimiter: str) -> None:
    data = delimiter.join(["key", "notes"]) + "\n" + delimiter.join(["AAA", "x"])
    assert texts(read(data, reader_of(CSV, ColumnMapping(delimiter=delimiter)))) == ["AAA"]


def test_a_tab_separated_file_keeps_its_commas() -> None:
    assert texts(read('key\tnotes\nA,A\tx\n"B\tB"\t"x"\n', reader_of(TSV, check=lambda text: None))) == ["A,A", "B\tB"]


@pytest.mark.parametrize(
    ("file_format", "data", "mapping", "reason"),
    [
        (CSV, "key;notes\nAAA;x\n", ColumnMapping(), "delimiter-undeclared"),
        (CSV, "AAA;x\n", ColumnMapping(has_header=False), "delimiter-undeclared"),
        (CSV, "key\tnotes\nAAA\tx\n", ColumnMapping(key="key"), "delimiter-undeclared"),
        (TSV, "key,notes\nAAA,x\n", ColumnMapping(), "delimiter-undeclared"),
        (TXT, "key,notes\nAAA,x\n", ColumnMapping(), "format-undeclared"),
        (CSV, "AAA\nBBB\n", ColumnMapping(), "header-undeclared"),
        (CSV, "Schlüssel\nBBB\n", ColumnMapping(), "header-undeclared"),
        (CSV, "key\nAAA\n", ColumnMapping(has_header=False), "header-undeclared"),
        (CSV, "notes,key\nx,AAA\n", ColumnMapping(key=2, has_header=False), "header-undeclared"),
        (TXT, "Key\nAAA\n", ColumnMapping(), "header-undeclared"),
        (CSV, "a,b\nAAA,x\n", ColumnMapping(has_header=True), "key-column-undeclared"),
        (CSV, "a,b\nAAA,x\n", ColumnMapping(notes="b"), "key-column-undeclared"),
        (CSV, "AAA,x\n", ColumnMapping(has_header=False), "key-column-undeclared"),
        (CSV, "AAA,x\n", ColumnMapping(notes=2, has_header=False), "key-column-undeclared"),
        (CSV, "key,Serial,x\nAAA,x,y\n", ColumnMapping(), "ambiguous-column"),
        (CSV, "key,expires,expiry\nAAA,x,y\n", ColumnMapping(), "ambiguous-column"),
        (CSV, "key,notes, NOTES\nAAA,x,y\n", ColumnMapping(), "duplicate-column"),
        (CSV, "key,notes\nAAA,x\n", ColumnMapping(key="schlüssel"), "unknown-column"),
        (CSV, "AAA,x\n", ColumnMapping(key=3, has_header=False), "unknown-column"),
        (CSV, "key,notes\nAAA,x\n", ColumnMapping(key="key", notes="KEY"), "column-mapped-twice"),
        (CSV, 'key,"notes"x\nAAA,x\n', ColumnMapping(), "wrong-header"),
        (CSV, "key,no\0tes\nAAA,x\n", ColumnMapping(key="key"), "wrong-header"),
        (CSV, "key" + "," * 100 + "\n", ColumnMapping(), "too-many-columns"),
    ],
)
def test_a_file_that_could_be_read_in_two_ways_or_none_is_refused(
    file_format: KeyFileFormat, data: str, mapping: ColumnMapping, reason: str
) -> None:
    error = refusal("\n" + data, reader_of(file_format, mapping))
    assert (error.reason, error.line) == (reason, 2)


def test_a_header_at_the_limit_of_columns_is_accepted() -> None:
    assert texts(read("key" + "," * 99 + "\nAAA" + "," * 99)) == ["AAA"]
    assert refusal("key,a\n", reader_of(limits=KeyFileLimits(columns_max=1))).reason == "too-many-columns"


def test_a_mapped_column_wins_over_a_known_name() -> None:
    mapping = ColumnMapping(publisher_key_id="code", key="serial")
    rows = read("key,serial,code\nX,AAA,7\n", reader_of(CSV, mapping))
    assert rows == [KeyRow(2, "AAA", None, "7", None)]
    assert texts(read("key,code\nAAA,7\n", reader_of(CSV, ColumnMapping(publisher_key_id="code")))) == ["AAA"]


def test_a_first_row_that_cannot_be_read_is_a_malformed_row_where_there_is_no_header() -> None:
    mapping = ColumnMapping(key=1, has_header=False)
    rows = read('"AAA"x,y\nBBB,y\n', reader_of(CSV, mapping))
    assert [row.row_number for row in rows if isinstance(row, KeyRow)] == [2]
    assert [type(row).__name__ for row in read("A\0A\nBBB\n", reader_of(TXT))] == ["MalformedRow", "KeyRow"]


def test_the_refusal_lists_the_columns_that_are_there() -> None:
    error = refusal("Schlüssel,Verkauft am,notes\nAAA,x,y\n", reader_of(CSV, ColumnMapping(key="k")))
    assert str(error) == (
        "line 1: the column mapped to key is not in the header, which has:"
        " (column 1, not shown), (column 2, not shown), notes"
    )
    assert "key, code;" in str(refusal("key,notes,code\nAAA,x,y\n"))


@pytest.mark.parametrize("hidden", ["AAAA-BBBB-CCCC", "abc4d-efg", "x" * 65, "a\u200bb", "Z"])
def test_the_refusal_does_not_show_what_may_be_a_key(hidden: str) -> None:
    error = refusal(f"notes,{hidden}\nx,y\n", reader_of(CSV, ColumnMapping(key="k")))
    assert hidden not in str(error)
    assert "notes, (column 2, not shown)" in str(error)


def test_the_refusal_lists_no_more_than_twenty_columns() -> None:
    header = ",".join("x" * width for width in range(1, 31))
    assert str(refusal(f"{header}\n", reader_of(CSV, ColumnMapping(key="k")))).endswith(" and 10 more")


@pytest.mark.parametrize(
    ("file_format", "mapping", "field"),
    [
        (TXT, ColumnMapping(key=1, has_header=False), "mapping"),
        (TXT, ColumnMapping(delimiter=","), "delimiter"),
        (TSV, ColumnMapping(delimiter=","), "delimiter"),
        (CSV, ColumnMapping(delimiter="x"), "delimiter"),
        (CSV, ColumnMapping(delimiter=""), "delimiter"),
        (CSV, ColumnMapping(key="key", has_header=False), "mapping"),
        (CSV, ColumnMapping(key=1), "has_header"),
        (CSV, ColumnMapping(key=0, has_header=False), "key"),
        (CSV, ColumnMapping(notes=" "), "notes"),
    ],
)
def test_a_mapping_that_no_file_could_satisfy_is_refused_before_the_file(
    file_format: KeyFileFormat, mapping: ColumnMapping, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        reader_of(file_format, mapping)
    assert caught.value.field == field
