import json
from collections.abc import Iterable
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyservice.domain.errors import Invalid
from keyservice.domain.key import check_key_text
from keyservice.domain.key_file import ColumnMapping, KeyRow, MalformedRow
from keyservice.domain.key_parts import PARTS_MIME, KeyPart, encode_parts
from tests.domain.key_files import JSONL, faults, read, reader_of, refusal, texts


def lines(*objects: object) -> bytes:
    return "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in objects).encode()


def rows_of(*objects: object, mapping: ColumnMapping | None = None) -> list[KeyRow | MalformedRow]:
    return read(lines(*objects), reader_of(JSONL, mapping))


def parts_text(*parts: tuple[str, str]) -> str:
    return encode_parts([KeyPart(*part) for part in parts]).decode()


def test_an_object_a_line_is_a_key_with_what_stands_beside_it() -> None:
    told = {"expires_on": "2027-01-31", "publisher_key_id": "id 1", "notes": "first\nsecond"}
    assert rows_of({"key": "AAA", **told}, {"key": "BBB"}, {"key": "CCC", "expires_on": None, "notes": " "}) == [
        KeyRow(1, "AAA", date(2027, 1, 31), "id 1", "first\nsecond"),
        KeyRow(2, "BBB", None, None, None),
        KeyRow(3, "CCC", None, None, None),
    ]


def test_members_are_found_by_the_names_that_columns_are_found_by_and_others_are_passed_over() -> None:
    rows = rows_of({"License Key": "AAA", "validUntil": "x", "Valid until": "2027-01-31", "product": {"deep": [1]}})
    assert rows == [KeyRow(1, "AAA", date(2027, 1, 31), None, None)]


def test_a_member_may_be_named() -> None:
    mapping = ColumnMapping(key="Schlüssel", notes="was")
    assert rows_of({"key": "NOT", "schlüssel": "AAA", "Was": "x"}, mapping=mapping) == [
        KeyRow(1, "AAA", None, None, "x")
    ]
    assert faults(rows_of({"key": "NOT"}, {"Schlüssel": "AAA"}, mapping=mapping)) == [(1, "empty-key")]


def test_blank_lines_count_and_the_last_line_needs_no_end() -> None:
    reader = reader_of(JSONL)
    assert texts(read(b'\n{"key":"AAA"}\r\n \n{"key":"BBB"}', reader)) == ["AAA", "BBB"]
    assert (reader.rows_seen, reader.blank_rows, reader.header_rows) == (4, 2, 0)


def test_parts_are_one_key() -> None:
    told = [{"label": "Serial", "value": "S-1"}, {"value": "C-2", "label": "Code"}]
    (row,) = rows_of({"parts": told, "notes": "x"})
    assert row == KeyRow(1, parts_text(("Serial", "S-1"), ("Code", "C-2")), None, None, "x", PARTS_MIME)


def test_members_may_be_named_as_parts() -> None:
    mapping = ColumnMapping(parts=("Serial", "Code"))
    rows = rows_of({"serial": "S-1", "code": "C-2", "key": "passed over"}, {"serial": "S-1"}, mapping=mapping)
    assert rows[0] == KeyRow(1, parts_text(("Serial", "S-1"), ("Code", "C-2")), None, None, None, PARTS_MIME)
    assert rows[1] == MalformedRow(2, "empty-key", None, "part 2")


PART = {"label": "Serial", "value": "S-1"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"key":"A"', "invalid-json"),
        ('{"key":"A"} x', "invalid-json"),
        ("{'key':'A'}", "invalid-json"),
        ('{"key":NaN}', "invalid-json"),
        ('{"key":"A","notes":Infinity}', "invalid-json"),
        ('{"key":"\\ud800"}', "invalid-json"),
        ('{"key":"A\x01"}', "invalid-json"),
        ('{"a":' + "[" * 2_000 + "]" * 2_000 + "}", "invalid-json"),
        ('{"key":"A","key":"A"}', "repeated-member"),
        ('{"key":"A","x":{"a":1,"a":2}}', "repeated-member"),
        ('"AAA"', "not-an-object"),
        ("null", "not-an-object"),
        ('["AAA"]', "not-an-object"),
        ("{}", "empty-key"),
        ('{"key":null}', "empty-key"),
        ('{"key":" "}', "empty-key"),
        ('{"key":""}', "empty-key"),
        ('{"key":123}', "key-not-text"),
        ('{"key":1E400}', "key-not-text"),
        ('{"key":true}', "key-not-text"),
        ('{"key":["A"]}', "key-not-text"),
        ('{"key":"A\\nB"}', "line-break-in-key"),
        ('{"key":"A\\u0000"}', "invalid-key"),
        ('{"key":"A\\t"}', "invalid-key"),
        ('{"key":"NULL"}', "invalid-key"),
        ('{"key":"' + "x" * 1_025 + '"}', "key-too-long"),
        ('{"key":"A","serial":"B"}', "ambiguous-member"),
        ('{"key":"A","parts":[]}', "ambiguous-member"),
        ('{"key":"A","expires_on":20991231}', "invalid-expiry"),
        ('{"key":"A","expires_on":"31.12.2099"}', "invalid-expiry"),
        ('{"key":"A","expires_on":"2020-01-01"}', "already-expired"),
        ('{"key":"A","publisher_key_id":7}', "invalid-publisher-key-id"),
        ('{"key":"A","notes":{}}', "invalid-notes"),
        ('{"key":"A","notes":"\\u0007"}', "control-character-in-notes"),
        ('{"parts":[]}', "invalid-parts"),
        ('{"parts":{}}', "invalid-parts"),
        ('{"parts":["A"]}', "invalid-parts"),
        (json.dumps({"parts": [PART] * 11}), "invalid-parts"),
        (json.dumps({"parts": [{**PART, "more": 1}]}), "invalid-parts"),
        (json.dumps({"parts": [{"value": "A"}]}), "invalid-parts"),
        (json.dumps({"parts": [{**PART, "label": ""}]}), "invalid-parts"),
        (json.dumps({"parts": [{**PART, "label": " a"}]}), "invalid-parts"),
        (json.dumps({"parts": [{**PART, "label": "x" * 65}]}), "invalid-parts"),
        (json.dumps({"parts": [{**PART, "label": 1}]}), "invalid-parts"),
        (json.dumps({"parts": [PART, {**PART, "value": 1}]}), "key-not-text"),
        (json.dumps({"parts": [PART, {**PART, "value": ""}]}), "empty-key"),
        (json.dumps({"parts": [PART, {**PART, "value": "N/A"}]}), "invalid-key"),
    ],
)
def test_a_line_that_holds_no_key_is_told_and_its_neighbours_are_read(line: str, reason: str) -> None:
    rows = rows_of({"key": "BEFORE"}, line, {"key": "BEHIND"})
    assert faults(rows) == [(2, reason)]
    assert [row.text for row in rows if isinstance(row, KeyRow)] == ["BEFORE", "BEHIND"]


def test_what_is_wrong_with_a_part_is_told_by_its_number_and_never_quoted() -> None:
    (row,) = rows_of({"parts": [PART, {"label": "Code", "value": "SECRET "}]}, {"key": "A"})[:1]
    assert isinstance(row, MalformedRow)
    assert row.detail == "part 2 begins or ends with white space"


@pytest.mark.parametrize("data", [b'[{"key":"A"}]\n', b'{\n  "key": "A"\n}\n', b'\n\n[\n{"key":"A"}\n]\n'])
def test_another_kind_of_json_is_refused_with_advice(data: bytes) -> None:
    error = refusal(data, reader_of(JSONL))
    assert (error.reason, "on a line of its own" in str(error)) == ("not-json-lines", True)


@pytest.mark.parametrize(
    "mapping",
    [
        ColumnMapping(key=1),
        ColumnMapping(parts=("a", 2)),
        ColumnMapping(has_header=True),
        ColumnMapping(has_header=False),
        ColumnMapping(delimiter=","),
        ColumnMapping(key=" "),
    ],
)
def test_a_mapping_that_json_lines_cannot_satisfy_is_refused(mapping: ColumnMapping) -> None:
    with pytest.raises(Invalid):
        reader_of(JSONL, mapping)


_members: Iterable[str] = ("key", "serial", "notes", "expires_on", "parts", "x")
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda some: (
        st.lists(some, max_size=3) | st.dictionaries(st.sampled_from(["label", "value", "a"]), some, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(sorted(_members)), _values, max_size=4), min_size=1, max_size=6))
def test_every_object_is_a_key_or_told(objects: list[dict[str, object]]) -> None:
    rows = rows_of(*objects)
    assert [row.row_number for row in rows] == list(range(1, len(objects) + 1))
    for row, told in zip(rows, objects, strict=True):
        if isinstance(row, KeyRow) and row.mime is None:
            assert row.text in told.values()
            assert check_key_text(row.text) is None
