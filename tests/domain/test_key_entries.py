import gzip
import io
import tarfile
import zipfile

import pytest

from keyservice.domain.key import check_key_text
from keyservice.domain.key_entries import EntryReader, mime_of
from keyservice.domain.key_file import KeyFileLimits, KeyFileRefused, KeyRow, MalformedRow
from keyservice.domain.key_table import RowCount
from keyservice.domain.row_law import RowLaw
from tests.domain.key_files import TODAY


def reader_of(count: RowCount | None = None) -> EntryReader:
    law = RowLaw(limits=KeyFileLimits(), default_expires_on=None, today=TODAY, key_check=check_key_text)
    return EntryReader(law, count or RowCount(10))


def one(name: str | None, content: bytes = b"x", *, is_folder: bool = False, defect: str | None = None) -> object:
    return reader_of().entry(name, content, is_folder=is_folder, defect=defect)


def test_a_file_is_a_key_with_the_last_part_of_its_name_and_a_type() -> None:
    row = one("folder/Key of May.pdf", b"\0%PDF")
    assert row == KeyRow(1, "", None, None, None, "application/pdf", "Key of May.pdf", b"\0%PDF")
    assert isinstance(row, KeyRow)
    assert row.raw == b"\0%PDF"


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("a.txt", "text/plain"),
        ("a.PDF", "application/pdf"),
        ("a.html", "text/html"),
        ("a.lic", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.csv.gz", "application/octet-stream"),
        ("a.p12", "application/x-pkcs12"),
    ],
)
def test_the_type_is_told_by_the_extension(name: str, mime: str) -> None:
    assert mime_of(name) == mime


def packed_in(form: str) -> bytes:
    stream = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("a", b"x")
    elif form == "tar":
        with tarfile.open(fileobj=stream, mode="w") as tape:
            tape.addfile(tarfile.TarInfo("a"))
    else:
        return gzip.compress(b"x")
    return stream.getvalue()


@pytest.mark.parametrize("form", ["zip", "tar", "gzip"])
def test_an_archive_in_an_archive_is_no_key(form: str) -> None:
    assert one("a.lic", packed_in(form)) == MalformedRow(1, "nested-archive", None)


def test_folders_are_blank_and_what_has_a_defect_is_told() -> None:
    count = RowCount(10)
    reader = reader_of(count)
    assert reader.entry("a/", b"", is_folder=True, defect=None) is None
    assert reader.entry("a/b", b"", is_folder=False, defect="file-too-large") == MalformedRow(2, "file-too-large", None)
    assert reader.entry("a/c", b"", is_folder=False, defect=None) == MalformedRow(3, "empty-key", None)
    assert (count.rows_seen, count.blank_rows) == (3, 1)


def test_entries_are_rows_and_have_their_limit() -> None:
    reader = reader_of(RowCount(1))
    reader.entry("x", b"x", is_folder=False, defect=None)
    with pytest.raises(KeyFileRefused, match="more than 1 rows"):
        reader.entry("y", b"x", is_folder=False, defect=None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *(
            (name, "unusable-name")
            for name in (None, "", "..", "../a", "a/../b", "/a", "a//b", "a/ ", "a/.", "x\0", "x\n")
        ),
        *(
            (name, "unusable-name")
            for name in ("C:\\a", "C:a", "a\\b", 'a"', "a|b", "a?", "a*", "a<b", "\u202ea", "\u200ba", "a" * 256)
        ),
        *((name, "system-file") for name in ("__MACOSX/a", ".DS_Store", "a/Thumbs.db", "a/desktop.INI", "a/._b")),
    ],
)
def test_a_name_that_could_do_harm_is_no_key(name: str | None, reason: str) -> None:
    assert one(name) == MalformedRow(1, reason, None)


@pytest.mark.parametrize("name", ["a", "...a", ".hidden", "a b (1).lic", "Schlüssel", "a" * 255, "a/b/c.d"])
def test_other_names_are_used(name: str) -> None:
    assert isinstance(one(name), KeyRow)
