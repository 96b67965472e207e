import tracemalloc
from datetime import date

import pytest

from keyservice.domain.key_file import KeyFileLimits, KeyFileRefused
from tests.domain.key_files import TODAY, TXT, faults, read, reader_of, refusal, texts


@pytest.mark.parametrize(
    ("limits", "fits", "breaks", "reason"),
    [
        (KeyFileLimits(bytes_max=8), "AAA\nBBB\n", "AAA\nBBB\n\n", "file-too-large"),
        (KeyFileLimits(rows_max=2), "AAA\nBBB", "AAA\nBBB\nCCC", "too-many-rows"),
        (KeyFileLimits(rows_max=2), "\nBBB", "\n\n\n", "too-many-rows"),
        (KeyFileLimits(row_bytes_max=4), "AAAA\nÄÄ\r\n", "AAAA\nÄÄA\nB", "row-too-long"),
    ],
)
def test_a_file_over_a_limit_is_refused_and_one_at_the_limit_is_not(
    limits: KeyFileLimits, fits: str, breaks: str, reason: str
) -> None:
    assert read(fits, reader_of(TXT, limits=limits))
    assert refusal(breaks, reader_of(TXT, limits=limits)).reason == reason


def test_the_header_does_not_count_against_the_rows() -> None:
    limits = KeyFileLimits(rows_max=2)
    assert texts(read("key\nAAA\nBBB\n", reader_of(limits=limits))) == ["AAA", "BBB"]
    assert refusal("key\nAAA\nBBB\nCCC\n", reader_of(limits=limits)).line == 4


def test_a_cell_that_nobody_reads_is_limited_too() -> None:
    rows = read(f"key,other\nAAA,{'x' * 4096}\nBBB,{'x' * 4097}\nCCC,x\n")
    assert (len(rows), faults(rows)) == (3, [(3, "cell-too-long")])


def test_more_expiry_dates_than_a_batch_may_have_segments_are_refused() -> None:
    dates = [date.fromordinal(TODAY.toordinal() + day).isoformat() for day in range(1001)]
    body = "key,expires_on\n" + "".join(f"K{number},{day}\n" for number, day in enumerate(dates[:1000]))
    assert len(read(f"{body}AAA,2026-11-21\nBBB,{dates[999]}\n")) == 1002
    error = refusal(f"{body}AAA,{dates[1000]}\n")
    assert (error.reason, error.line) == ("too-many-expiry-dates", 1002)
    assert refusal(f"{body}AAA,\n").reason == "too-many-expiry-dates"


def test_an_endless_line_is_refused_at_once_and_held_in_little_memory() -> None:
    for head in (b"key\n", b'key\n"'):
        reader = reader_of()
        piece = b"A" * 2**25
        tracemalloc.start()
        try:
            with pytest.raises(KeyFileRefused) as caught:
                reader.feed(head + piece)
            peak = tracemalloc.get_traced_memory()[1] - len(piece)
        finally:
            tracemalloc.stop()
        assert (caught.value.reason, caught.value.line) == ("row-too-long", 2)
        assert peak < 2**20


def test_memory_does_not_grow_with_the_file() -> None:
    reader = reader_of()
    block = b"".join(b'KEY-%06d,2027-01-01,id-%d,"some\nnotes"\n' % (number, number) for number in range(1000))
    tracemalloc.start()
    try:
        reader.feed(b"key,expires_on,publisher_key_id,notes\n")
        counts = [len(reader.feed(block)) for _ in range(50)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(counts) + len(reader.finish()) == 50_000
    assert peak < 3 * 2**20


def test_limits_that_the_reader_could_not_keep_are_refused() -> None:
    assert KeyFileLimits(row_bytes_max=131_072)
    for wrong in ({"row_bytes_max": 131_073}, {"row_bytes_max": 0}, {"block_bytes": 0}):
        with pytest.raises(ValueError, match="must be"):
            KeyFileLimits(**wrong)
