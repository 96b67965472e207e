import gzip
import hashlib
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyservice.domain.key_file import KeyFileLimits, KeyFileReader, KeyFileRefused
from tests.domain.key_files import JSONL, TXT, read, reader_of, refusal, texts

pytestmark = pytest.mark.slow

MANY = [f"KEY-{zlib.crc32(str(number).encode()):08X}-{number}" for number in range(20_000)]
PLAIN = "".join(f"{key}\n" for key in MANY).encode()


def packed(limits: KeyFileLimits | None = None) -> KeyFileReader:
    return reader_of(TXT, limits=limits, is_gzip=True)


def test_what_was_packed_is_read() -> None:
    assert texts(read(gzip.compress(PLAIN), packed())) == MANY
    assert texts(read(gzip.compress(b'{"key":"AAA"}\n'), reader_of(JSONL, is_gzip=True))) == ["AAA"]


def test_bytes_and_digest_are_those_that_came() -> None:
    reader, data = packed(), gzip.compress(PLAIN)
    read(data, reader)
    assert (reader.bytes_seen, reader.digest_so_far()) == (len(data), hashlib.sha256(data).digest())


def test_files_that_were_packed_apart_and_joined_are_one_file() -> None:
    data = gzip.compress(b"AAA\nBB") + gzip.compress(b"") + gzip.compress(b"B\nCCC\n")
    assert texts(read(data, packed())) == ["AAA", "BBB", "CCC"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 5_000), max_size=8), st.integers(0, 9))
def test_it_does_not_matter_how_it_is_cut(sizes: list[int], level: int) -> None:
    data, reader = gzip.compress(PLAIN, level), packed()
    rows, at = [], 0
    for size in [*sizes, len(data)]:
        rows += reader.feed(data[at : at + size])
        at += size
    assert texts(rows + reader.finish()) == MANY


WHOLE = gzip.compress(PLAIN)
BROKEN = {
    "nothing": b"",
    "plain": PLAIN,
    "a byte short": WHOLE[:-1],
    "cut": WHOLE[:5_000],
    "one byte": WHOLE[:1],
    "more behind": WHOLE + b"x",
    "half a member behind": WHOLE + WHOLE[:9],
    "a wrong checksum": WHOLE[:-8] + bytes(8),
    "zlib": zlib.compress(PLAIN),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_not_whole_is_refused(data: bytes) -> None:
    assert refusal(data, packed()).reason == "broken-gzip"


def test_no_wrong_byte_goes_unnoticed() -> None:
    data = gzip.compress(b"".join(PLAIN.splitlines(keepends=True)[:40]))
    # The first ten bytes are the header, whose time, system and name nobody checks.
    for at in range(10, len(data)):
        refusal(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :], packed())


def test_an_archive_in_an_archive_is_refused() -> None:
    assert refusal(gzip.compress(WHOLE), packed()).reason == "format-not-accepted"


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(b"\n" * 2**28)
    tracemalloc.start()
    try:
        error = refusal(bomb[:8192], packed(KeyFileLimits(rows_max=2**28)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.reason == "unpacks-too-far"
    assert peak < 20 * 2**20


def test_the_limit_on_bytes_holds_for_both_forms() -> None:
    limits = KeyFileLimits(bytes_max=len(PLAIN))
    assert len(read(WHOLE, packed(limits))) == len(MANY)
    assert refusal(WHOLE, packed(KeyFileLimits(bytes_max=len(PLAIN) - 1))).reason == "file-too-large"
    # Empty blocks: bytes that unpack to nothing.
    idle = zlib.compressobj(wbits=31)
    head = idle.compress(b"AAA\n") + idle.flush(zlib.Z_FULL_FLUSH)
    reader = packed(KeyFileLimits(bytes_max=1_000))
    with pytest.raises(KeyFileRefused, match="larger than 1000 bytes"):
        reader.feed(head + b"\x00\x00\x00\xff\xff" * 200)
