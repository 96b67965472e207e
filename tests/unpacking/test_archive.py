import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyservice.unpacking.archive import Archive, Entry
from keyservice.unpacking.frames import Unreadable
from tests.unpacking.archives import archive_of, changed_ends, changed_heads, joined, with_mode

FILES = {"a.lic": b"AAA" * 50, "folder/b.lic": b"B", "c.bin": bytes(range(256)) * 9}


def opened(content: bytes, *, entries_max: int = 100, bytes_max: int = 10_000_000) -> Archive:
    return Archive(io.BytesIO(content), entries_max=entries_max, unpacked_bytes_max=bytes_max)


def read(content: bytes, **limits: int) -> dict[str | None, bytes]:
    archive = opened(content, **limits)
    return {entry.name: b"".join(archive.read(entry)) for entry in archive.entries}


def refusal(content: bytes, **limits: int) -> str:
    with pytest.raises(Unreadable) as caught:
        read(content, **limits)
    assert all(name not in str(caught.value) for name in FILES)
    return caught.value.reason


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("is_streamed", [False, True], ids=["sizes in front", "sizes behind"])
def test_entries_are_read_in_the_order_of_the_directory(method: int, is_streamed: bool) -> None:
    content = archive_of(FILES, method=method, is_streamed=is_streamed)
    assert list(read(content).items()) == list(FILES.items())
    assert [entry.number for entry in opened(content).entries] == [1, 2, 3]


@settings(deadline=None)
@given(
    st.dictionaries(st.text("abc./", min_size=1, max_size=6), st.binary(max_size=200_000), max_size=4), st.booleans()
)
def test_any_archive_that_the_library_writes_is_read(files: dict[str, bytes], is_streamed: bool) -> None:
    files = {name: content for name, content in files.items() if not name.endswith("/")}
    if files:
        content = archive_of(files, is_streamed=is_streamed)
        assert read(content, bytes_max=10**9) == files


WHOLE = archive_of(FILES)


UNCERTAIN = {
    "nothing": b"",
    "a beginning": b"PK\x03\x04",
    "a byte short": WHOLE[:-1],
    "half": WHOLE[: len(WHOLE) // 2],
    "no end": WHOLE[:-22],
    "bytes in front": b"%PDF-1.7\n" + WHOLE,
    "bytes behind": WHOLE + b"x",
    "two in one": WHOLE + WHOLE,
    "an end in the comment": WHOLE[:-2] + struct.pack("<H", 22) + WHOLE[-22:],
    "an end in the last entry": archive_of({**FILES, "inner.zip": WHOLE}, method=zipfile.ZIP_STORED),
}


@pytest.mark.parametrize("content", UNCERTAIN.values(), ids=UNCERTAIN)
def test_a_file_whose_end_is_not_certain_is_refused(content: bytes) -> None:
    assert refusal(content) in ("broken-archive", "ambiguous-archive")


def test_an_archive_may_have_a_comment() -> None:
    assert read(WHOLE[:-2] + struct.pack("<H", 4) + b"note") == FILES


END = struct.Struct("<4s4H2LH")


@pytest.mark.parametrize(
    ("field", "value"),
    [(1, 1), (2, 1), (3, 2), (4, 2), (4, 65_535), (5, 1), (5, 0xFFFFFFFF), (6, 0), (6, 0xFFFFFFFF)],
)
def test_an_end_that_does_not_fit_the_file_is_refused(field: int, value: int) -> None:
    told = list(END.unpack(WHOLE[-22:]))
    told[field] = value
    assert refusal(WHOLE[:-22] + END.pack(*told)) in ("broken-archive", "ambiguous-archive", "too-many-rows")


def test_the_larger_format_is_refused() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(65_536):
            archive.writestr(str(number), b"")
    assert refusal(stream.getvalue(), entries_max=1_000_000) in ("ambiguous-archive", "broken-archive")


def test_entries_are_counted_before_they_are_looked_at() -> None:
    content = archive_of({str(number): b"x" for number in range(101)})
    assert refusal(content) == "too-many-rows"
    assert len(read(content, entries_max=101)) == 101


HEADS: dict[str, tuple[Callable[[dict[str, int]], None], bool, bool]] = {
    # What is changed, in the directory, in front of the entry.
    "a size that is too small": (lambda head: head.update(size=10), True, True),
    "a size that is too large": (lambda head: head.update(size=1_000), True, True),
    "a size that differs": (lambda head: head.update(size=10), False, True),
    "a packed size that is too small": (lambda head: head.update(packed=5), True, True),
    "a packed size that is too large": (lambda head: head.update(packed=10**6), True, True),
    "a packed size of the larger format": (lambda head: head.update(packed=0xFFFFFFFF), True, True),
    "a checksum that is wrong": (lambda head: head.update(crc=1), True, True),
    "a checksum that differs": (lambda head: head.update(crc=1), False, True),
    "another method": (lambda head: head.update(method=0), True, True),
    "another method in front": (lambda head: head.update(method=0), False, True),
    "an unknown method": (lambda head: head.update(method=99), True, True),
    "a method that is not read": (lambda head: head.update(method=12), True, True),
    "encryption": (lambda head: head.update(flags=1), True, True),
    "encryption in front": (lambda head: head.update(flags=1), False, True),
    "strong encryption": (lambda head: head.update(flags=0x41), True, True),
    "sizes behind that are not there": (lambda head: head.update(flags=8), True, True),
}


@pytest.mark.parametrize(("change", "in_directory", "in_front"), HEADS.values(), ids=HEADS)
def test_what_an_entry_is_said_to_be_must_be_true(
    change: Callable[[dict[str, int]], None], in_directory: bool, in_front: bool
) -> None:
    content = WHOLE
    if in_directory:
        content = changed_ends(content, 0, change)
    if in_front:
        content = changed_heads(content, 0, change)
    assert refusal(content) in ("broken-archive", "ambiguous-archive", "encrypted-archive")


def test_more_behind_the_end_of_an_entry_is_not_passed_over() -> None:
    """zipfile stops at the declared size: the rest of the key would be lost, and its checksum fit what is left."""
    whole = b"FIRST-HALF-SECOND-HALF"
    for inside in (zlib.compress(whole, wbits=-15), zlib.compress(whole[:10], wbits=-15) + b"hidden"):
        content = joined([("a.lic", inside, whole[:10])])
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.read("a.lic") == whole[:10]
        assert refusal(content) == "broken-archive"


def test_overlapping_entries_are_refused() -> None:
    stored = zlib.compress(b"x" * 1_000, wbits=-15)
    content = joined([("a", stored, b"x" * 1_000), ("b", stored, b"x" * 1_000)], share_data=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert len(archive.namelist()) == 2
    assert refusal(content) in ("ambiguous-archive", "broken-archive")


def test_bytes_between_entries_are_refused() -> None:
    stored = zlib.compress(b"x" * 10, wbits=-15)
    assert refusal(joined([("a", stored, b"x" * 10), ("b", stored, b"x" * 10)], gap=b"hidden")) == "ambiguous-archive"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_refused() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.lic", b"A")
        archive.writestr("a.lic", b"B")
    assert refusal(stream.getvalue()) == "ambiguous-archive"


def test_what_is_in_an_archive_is_bounded_while_it_is_read() -> None:
    zeros = archive_of({"zeros": bytes(20_000_000)})
    assert refusal(zeros, bytes_max=10**9) == "unpacks-too-far"
    assert refusal(archive_of({str(n): bytes(400_000) for n in range(10)}), bytes_max=10**9) == "unpacks-too-far"
    halves = {"a": bytes(range(256)) * 2_000, "b": bytes(range(255, -1, -1)) * 2_000}
    assert refusal(archive_of(halves, method=zipfile.ZIP_STORED), bytes_max=1_000_000) == "unpacks-too-far"
    assert read(archive_of(halves, method=zipfile.ZIP_STORED), bytes_max=1_024_000) == halves


def entry_of(content: bytes) -> Entry:
    (entry,) = opened(content).entries
    return entry


def test_links_devices_and_folders_are_no_files() -> None:
    for mode in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR):
        assert not entry_of(with_mode("a", b"/etc/passwd", mode)).is_plain_file
    assert entry_of(with_mode("a", b"x", stat.S_IFREG | 0o644)).is_plain_file
    assert entry_of(with_mode("a", b"x", 0)).is_plain_file
    folder, heavy = entry_of(with_mode("a/", b"", 0)), entry_of(with_mode("a/", b"x", 0))
    assert (folder.is_folder, folder.is_plain_file, heavy.is_folder, heavy.is_plain_file) == (True, False, False, False)


@pytest.mark.parametrize(
    ("raw", "is_said", "name"),
    [
        ("Schlüssel.lic".encode(), True, "Schlüssel.lic"),
        ("Schlüssel.lic".encode(), False, "Schlüssel.lic"),
        ("Schlüssel.lic".encode("cp850"), False, None),
        (b"a\0b.lic", False, "a\0b.lic"),
        (b"../../a", False, "../../a"),
        (b"C:\\a", False, "C:\\a"),
    ],
)
def test_a_name_is_what_it_is_in_utf_8(raw: bytes, is_said: bool, name: str | None) -> None:
    content = joined([(raw, zlib.compress(b"x", wbits=-15), b"x")], flags=0x800 if is_said else 0)
    assert entry_of(content).name == name


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_no_change_of_a_byte_gives_another_content(at: int, flip: int) -> None:
    changed = WHOLE[:at] + bytes([WHOLE[at] ^ flip]) + WHOLE[at + 1 :]
    try:
        found = read(changed)
    except Unreadable:
        return
    assert list(found.values()) == list(FILES.values())
