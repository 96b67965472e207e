"""What the tests of key files share: a reader with the rules of a plain batch, and what it answers."""

from collections.abc import Callable
from datetime import date

import pytest

from keyservice.domain.key import check_key_text
from keyservice.domain.key_file import (
    ColumnMapping,
    KeyFileFormat,
    KeyFileLimits,
    KeyFileReader,
    KeyFileRefused,
    KeyRow,
    MalformedRow,
)
from keyservice.domain.row_law import RowLaw

CSV, TSV, TXT, JSONL = KeyFileFormat.CSV, KeyFileFormat.TSV, KeyFileFormat.TXT, KeyFileFormat.JSONL
TODAY = date(2026, 11, 22)


def reader_of(
    file_format: KeyFileFormat = CSV,
    mapping: ColumnMapping | None = None,
    *,
    limits: KeyFileLimits | None = None,
    default_expires_on: date | None = None,
    check: Callable[[str], str | None] = check_key_text,
    is_gzip: bool = False,
) -> KeyFileReader:
    limits = limits or KeyFileLimits()
    law = RowLaw(limits=limits, default_expires_on=default_expires_on, today=TODAY, key_check=check)
    return KeyFileReader(file_format, mapping or ColumnMapping(), law=law, limits=limits, is_gzip=is_gzip)


def read(data: str | bytes, reader: KeyFileReader | None = None) -> list[KeyRow | MalformedRow]:
    reader = reader or reader_of()
    rows = reader.feed(data.encode() if isinstance(data, str) else data) + reader.finish()
    assert len(rows) + reader.blank_rows + reader.header_rows == reader.rows_seen
    return rows


def texts(rows: list[KeyRow | MalformedRow]) -> list[str]:
    assert all(isinstance(row, KeyRow) for row in rows), rows
    return [row.text for row in rows if isinstance(row, KeyRow)]


def faults(rows: list[KeyRow | MalformedRow]) -> list[tuple[int, str]]:
    return [(row.row_number, row.reason) for row in rows if isinstance(row, MalformedRow)]


def refusal(data: str | bytes, reader: KeyFileReader | None = None) -> KeyFileRefused:
    with pytest.raises(KeyFileRefused) as caught:
        read(data, reader)
    return caught.value
