import copy
import os
import pickle
import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.crypto.sealing import DataKey, aad, key_aad, people_aad, seal_keys, sealed_data_key_id
from keyservice.domain.errors import Tampered
from keyservice.domain.key import KeyPlace

TEXT = b"ABCDE-FGHIJ-KLMNO-PQRST-WXYZ1"
PLACE = KeyPlace(publisher_id=7, segment_id=3, position=41)
RAW = bytes(range(32))


@pytest.fixture
def data_key() -> DataKey:
    return DataKey(5, RAW)


def test_a_sealed_key_differs_from_its_text_and_opens_to_it(data_key: DataKey) -> None:
    sealed = data_key.seal(TEXT, key_aad(PLACE))
    assert TEXT not in sealed
    assert TEXT[:8] not in sealed
    assert data_key.open(sealed, key_aad(PLACE)) == TEXT


def test_equal_texts_are_sealed_differently(data_key: DataKey) -> None:
    first, second = (data_key.seal(TEXT, key_aad(PLACE)) for _ in range(2))
    chunk = seal_keys(data_key, [(PLACE, TEXT), (PLACE, TEXT)])
    assert len({first, second, *chunk}) == 4
    assert len({sealed[9 + 12 :] for sealed in (first, second, *chunk)}) == 4


def test_every_flipped_bit_of_a_sealed_key_is_noticed(data_key: DataKey) -> None:
    sealed = data_key.seal(TEXT, key_aad(PLACE))
    for bit in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Tampered):
            data_key.open(bytes(altered), key_aad(PLACE))
    assert data_key.open(sealed, key_aad(PLACE)) == TEXT


@pytest.mark.parametrize(
    "elsewhere",
    [
        PLACE._replace(publisher_id=8),
        PLACE._replace(segment_id=4),
        PLACE._replace(position=42),
        KeyPlace(PLACE.segment_id, PLACE.publisher_id, PLACE.position),
        PLACE._replace(position=-PLACE.position),
    ],
)
def test_a_sealed_key_moved_to_another_place_does_not_open(data_key: DataKey, elsewhere: KeyPlace) -> None:
    sealed = data_key.seal(TEXT, key_aad(PLACE))
    with pytest.raises(Tampered, match="another place"):
        data_key.open(sealed, key_aad(elsewhere))


def test_a_sealed_key_does_not_open_as_anything_but_a_key(data_key: DataKey) -> None:
    order_id = UUID(int=7)
    with pytest.raises(Tampered):
        data_key.open(data_key.seal(TEXT, key_aad(PLACE)), people_aad(order_id))
    with pytest.raises(Tampered):
        data_key.open(data_key.seal(TEXT, people_aad(order_id)), people_aad(UUID(int=8)))
    assert data_key.open(data_key.seal(TEXT, people_aad(order_id)), people_aad(order_id)) == TEXT


def test_a_sealed_key_cut_at_any_length_or_lengthened_does_not_open(data_key: DataKey) -> None:
    sealed = data_key.seal(TEXT * 3, key_aad(PLACE))
    for length in range(len(sealed)):
        with pytest.raises(Tampered):
            data_key.open(sealed[:length], key_aad(PLACE))
    for length in range(1, 70):
        with pytest.raises(Tampered):
            data_key.open(sealed + bytes(length), key_aad(PLACE))


def test_another_data_key_or_another_data_key_id_does_not_open_a_key(data_key: DataKey) -> None:
    sealed = data_key.seal(TEXT, key_aad(PLACE))
    with pytest.raises(Tampered, match="another place"):
        DataKey(5, os.urandom(32)).open(sealed, key_aad(PLACE))
    with pytest.raises(Tampered, match="another data key"):
        DataKey(6, RAW).open(sealed, key_aad(PLACE))


def test_a_sealed_key_relabelled_with_another_data_key_id_does_not_open(data_key: DataKey) -> None:
    sealed = data_key.seal(TEXT, key_aad(PLACE))
    relabelled = sealed[:1] + (6).to_bytes(8) + sealed[9:]
    with pytest.raises(Tampered):
        DataKey(6, RAW).open(relabelled, key_aad(PLACE))


def test_a_sealed_value_tells_which_data_key_opens_it(data_key: DataKey) -> None:
    largest = DataKey((1 << 63) - 1, RAW)
    assert sealed_data_key_id(data_key.seal(b"", b"")) == 5
    assert sealed_data_key_id(largest.seal(b"", b"")) == (1 << 63) - 1
    with pytest.raises(Tampered, match="too short"):
        sealed_data_key_id(b"")
    with pytest.raises(Tampered, match="unknown sealed form 2"):
        sealed_data_key_id(b"\x02" + data_key.seal(b"", b"")[1:])


def test_rows_sealed_by_the_first_release_still_open(data_key: DataKey) -> None:
    sealed = bytes.fromhex(
        "0100000000000000056465666768696a6b6c6d6e6f09599d223cc410d9762b15c5912927b30def565bd93fa75ff089f512ca23a548cd82d10e0b8543c23e13e23ba7ad62eb"
    )
    assert data_key.open(sealed, key_aad(PLACE)) == TEXT


def test_the_length_of_a_sealed_key_does_not_tell_its_edition(data_key: DataKey) -> None:
    lengths = [len(data_key.seal(bytes(length), b"")) for length in range(65)]
    assert lengths == [69] * 32 + [101] * 32 + [133]


@pytest.mark.parametrize("text", [b"\x80", b"\x80\0", b"\0" * 31, b"\0" * 32, b"A\x80\0\0", b"\x80" * 64])
def test_texts_that_look_like_padding_come_back_whole(data_key: DataKey, text: bytes) -> None:
    assert data_key.open(data_key.seal(text, b""), b"") == text


@pytest.mark.parametrize("padded", [bytes(32), b"A" * 32, b"A\x80" + bytes(62)])
def test_an_authentic_value_with_foreign_padding_is_refused(data_key: DataKey, padded: bytes) -> None:
    nonce = bytes(12)
    sealed = data_key._header + nonce + data_key._cipher.encrypt(nonce, padded, data_key._header + b"")
    with pytest.raises(Tampered, match="did not seal"):
        data_key.open(sealed, b"")


@given(st.binary(max_size=4096), st.binary(max_size=64))
def test_any_bytes_come_back_as_they_were(text: bytes, bound: bytes) -> None:
    data_key = DataKey(5, RAW)
    assert data_key.open(data_key.seal(text, bound), bound) == text


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x01" + (5).to_bytes(8)]))
def test_opening_any_other_bytes_raises_tampered_and_nothing_else(sealed: bytes, header: bytes) -> None:
    with pytest.raises(Tampered):
        DataKey(5, RAW).open(header + sealed, b"")


def test_a_chunk_is_sealed_in_order_each_key_at_its_own_place(data_key: DataKey) -> None:
    rows = [(PLACE._replace(position=position), b"KEY-%d" % position) for position in range(1, 50)]
    sealed = seal_keys(data_key, rows)
    assert [data_key.open(value, key_aad(place)) for value, (place, _) in zip(sealed, rows, strict=True)] == [
        text for _, text in rows
    ]
    with pytest.raises(Tampered):
        data_key.open(sealed[0], key_aad(rows[1][0]))
    assert seal_keys(data_key, []) == []


def test_no_nonce_repeats_in_a_hundred_thousand_seals(data_key: DataKey) -> None:
    rows = [(PLACE, TEXT)] * 50_000
    sealed = seal_keys(data_key, rows) + [data_key.seal(TEXT, b"") for _ in range(50_000)]
    assert len({value[9:21] for value in sealed}) == 100_000


def test_bound_parts_are_told_apart_wherever_they_are_split() -> None:
    assert (
        len({aad("p", b"ab", b"c"), aad("p", b"a", b"bc"), aad("p", b"abc"), aad("pa", b"bc"), aad("p", b"abc", b"")})
        == 5
    )
    assert aad("p", b"\0\0\0\x01x") != aad("p", b"", b"x")
    assert aad("key1", b"x").hex() == "000000046b6579310000000178"


def test_a_keys_place_is_bound_in_the_general_form() -> None:
    assert key_aad(PLACE) == aad("key1", struct.pack(">qqq", 7, 3, 41))
    assert key_aad(KeyPlace(1, 2, 3)).hex() == (
        "000000046b65793100000018000000000000000100000000000000020000000000000003"
    )


def test_a_generated_data_key_is_the_raw_bytes_that_come_with_it() -> None:
    data_key, raw = DataKey.generate(9)
    _, other = DataKey.generate(9)
    assert len(raw) == 32
    assert raw != other
    assert DataKey(9, raw).open(data_key.seal(TEXT, b""), b"") == TEXT


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33, 64])
def test_a_data_key_of_another_strength_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DataKey(5, bytes(length))


@pytest.mark.parametrize("data_key_id", [-1, 1 << 63])
def test_a_data_key_id_that_no_row_can_hold_is_refused(data_key_id: int) -> None:
    with pytest.raises(ValueError, match="bigint"):
        DataKey(data_key_id, RAW)


def test_a_data_key_shows_only_its_id_and_is_never_pickled(data_key: DataKey) -> None:
    assert repr(data_key) == f"{data_key}" == "DataKey(5)"
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(data_key)
    with pytest.raises(TypeError, match="never pickled"):
        copy.copy(data_key)
