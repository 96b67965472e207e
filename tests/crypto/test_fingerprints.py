import hmac
import unicodedata
from uuid import RFC_4122, UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyservice.crypto.fingerprints import Fingerprints
from keyservice.crypto.keyring import PURPOSES, Keyring, Secret, UnknownSecret
from tests.crypto.conftest import NOW

TEXT = b"ABCDE-FGHIJ-KLMNO-PQRST-WXYZ1"
ORDER = UUID("01234567-89ab-8def-8123-456789abcdef")


FIXED = Fingerprints(
    Keyring(
        NOW,
        [
            Secret(purpose=purpose, secret_id=f"{purpose[0]}1", value=bytes([byte]) * 32, state="current", created=NOW)
            for byte, purpose in enumerate(PURPOSES, start=1)
        ],
    )
)


@pytest.fixture
def fingerprints(keyring: Keyring) -> Fingerprints:
    return Fingerprints(keyring)


# Known answers: if one of these changes, every stored value of its kind is lost.


def test_a_keys_fingerprint_is_fixed(fingerprints: Fingerprints) -> None:
    assert fingerprints.key(7, TEXT).hex() == "b464b2afc22f7e53fb5f290f2f35d17e5df34abc05712153f6d5360adba1a1ad"
    spelled_out = b"\0\0\0\x04key1" + b"\0\0\0\x08" + (7).to_bytes(8) + len(TEXT).to_bytes(4) + TEXT
    assert fingerprints.key(7, TEXT) == hmac.digest(b"\x02" * 32, spelled_out, "sha256")


def test_a_suffix_token_is_fixed(fingerprints: Fingerprints) -> None:
    assert fingerprints.suffix(7, TEXT).hex() == "c875a5d39b97746f"
    spelled_out = b"\0\0\0\x07suffix1" + b"\0\0\0\x08" + (7).to_bytes(8) + b"\0\0\0\x05WXYZ1"
    assert fingerprints.suffix(7, TEXT) == hmac.digest(b"\x03" * 32, spelled_out, "sha256")[:8]


def test_a_shoppers_id_is_fixed(fingerprints: Fingerprints) -> None:
    assert fingerprints.shopper("ann@example.org") == UUID("51fa5e46-9d9b-8446-81f4-d787be430c02")


@pytest.mark.parametrize(
    ("kind", "order_id"),
    [
        ("connect", "46d1c3df-c968-83f3-ab8f-1ec365932b82"),
        ("cart", "ccbb97fa-047c-8a3f-8da5-ca2f4c915d27"),
        ("lean", "cb2723bd-b36a-8c18-8c22-5a3f39ea372b"),
    ],
)
def test_an_orders_id_is_fixed(fingerprints: Fingerprints, kind: str, order_id: str) -> None:
    assert fingerprints.order_id(3, kind, "PO-2026-1") == UUID(order_id)  # type: ignore[arg-type]


def test_a_bodys_hash_is_fixed(fingerprints: Fingerprints) -> None:
    assert fingerprints.body(b'{"a":1}').hex() == "c88cfa341e19c749f6fe16b37f026ce57d3b25414b17ad8d7b2144be8c81a150"


def test_the_ids_below_an_order_are_fixed() -> None:
    assert Fingerprints.line_item_id(ORDER, 1) == UUID("f7b3f665-4aeb-885c-a7c2-9d16c70e6ed4")
    assert Fingerprints.unit_id(ORDER, 1, 1) == UUID("b55f1a0c-52ec-8b06-bb3c-699c5ea1dd92")


# Keys


def test_equal_keys_of_one_publisher_have_one_fingerprint_and_no_others_do(fingerprints: Fingerprints) -> None:
    found = fingerprints.key(7, TEXT)
    assert found == fingerprints.key(7, TEXT)
    others = [(8, TEXT), (7, TEXT.lower()), (7, TEXT + b" "), (7, TEXT[:-1]), (7, b"")]
    assert len({found, *(fingerprints.key(publisher, text) for publisher, text in others)}) == 6
    assert len(found) == 32


def test_a_chunk_has_the_fingerprints_of_its_keys_in_order(fingerprints: Fingerprints) -> None:
    texts = [b"KEY-%d" % number for number in range(100)] + [b"", TEXT * 50]
    assert fingerprints.keys(7, texts) == [fingerprints.key(7, text) for text in texts]
    assert fingerprints.keys(7, []) == []


@given(st.binary(max_size=4096), st.integers(0, 2**63 - 1))
def test_a_fingerprint_is_an_hmac_of_the_framed_key(text: bytes, publisher_id: int) -> None:
    spelled_out = b"\0\0\0\x04key1\0\0\0\x08" + publisher_id.to_bytes(8) + len(text).to_bytes(4) + text
    assert FIXED.keys(publisher_id, [text]) == [hmac.digest(b"\x02" * 32, spelled_out, "sha256")]


# Suffixes


def test_support_finds_a_key_by_what_the_shopper_reads_out_from_its_end(fingerprints: Fingerprints) -> None:
    assert fingerprints.suffix(7, b"WXYZ1") == fingerprints.suffix(7, TEXT)
    assert fingerprints.suffix(7, b"OTHER-KEY-WXYZ1") == fingerprints.suffix(7, TEXT)
    assert fingerprints.suffix(7, "Schlüssel-ÄÖÜ12".encode()) == fingerprints.suffix(7, "ÄÖÜ12".encode())
    assert fingerprints.suffix(7, "ÄÖÜ12".encode()) != fingerprints.suffix(7, "äÖÜ12".encode())
    assert len(fingerprints.suffix(7, TEXT)) == 8


def test_a_suffix_is_told_apart_by_publisher_letter_and_length(fingerprints: Fingerprints) -> None:
    tokens = [
        fingerprints.suffix(*asked)
        for asked in [(7, TEXT), (8, TEXT), (7, b"wxyz1"), (7, b"XYZ1"), (7, b"WXYZ2"), (7, b"")]
    ]
    assert len(set(tokens)) == 6


def test_a_key_that_is_no_text_has_a_suffix_too(fingerprints: Fingerprints) -> None:
    assert fingerprints.suffix(7, b"file-\xff\xfe\xfd12") == fingerprints.suffix(7, b"\xff\xfe\xfd12")
    assert fingerprints.suffix(7, b"\xff" * 5) != fingerprints.suffix(7, b"\xfe" * 5)


# Shoppers


@pytest.mark.parametrize("spelling", ["Ann.É@Example.org", "  ann.é@example.org\n", "ANN.E\u0301@EXAMPLE.ORG"])
def test_one_address_is_one_shopper_however_it_is_written(fingerprints: Fingerprints, spelling: str) -> None:
    assert fingerprints.shopper(spelling) == fingerprints.shopper("ann.é@example.org")


@pytest.mark.parametrize("other", ["ann@example.com", "ann+1@example.org", "a.nn@example.org", "anne@example.org", ""])
def test_another_address_is_another_shopper(fingerprints: Fingerprints, other: str) -> None:
    assert fingerprints.shopper(other) != fingerprints.shopper("ann@example.org")


@given(st.text(max_size=60))
@example("\u03ac\u0345\u0301@example.org")
def test_no_unicode_form_or_capitalisation_makes_a_second_shopper(address: str) -> None:
    found = FIXED.shopper(address)
    for form in ("NFC", "NFD"):
        assert FIXED.shopper(unicodedata.normalize(form, address)) == found
    assert FIXED.shopper(unicodedata.normalize("NFD", address).lower()) == found


# Orders


def test_a_repeated_order_has_the_same_id_and_no_other_order_has_it(fingerprints: Fingerprints) -> None:
    found = fingerprints.order_id(3, "connect", "PO-1")
    assert found == fingerprints.order_id(3, "connect", "PO-1")
    others = [
        fingerprints.order_id(4, "connect", "PO-1"),
        fingerprints.order_id(3, "cart", "PO-1"),
        fingerprints.order_id(3, "lean", "PO-1"),
        fingerprints.order_id(3, "connect", "po-1"),
        fingerprints.order_id(3, "connect", "PO-1 "),
        fingerprints.order_id(3, "connect", "PO-\u0031\u0301"),
        fingerprints.order_id(3, "connect", ""),
    ]
    assert len({found, *others}) == 8


def test_an_orders_natural_key_counts_to_the_letter(fingerprints: Fingerprints) -> None:
    assert fingerprints.order_id(3, "connect", "Cl\u00e9") != fingerprints.order_id(3, "connect", "Cle\u0301")


def test_half_a_surrogate_pair_raises_nothing_that_could_carry_the_text(fingerprints: Fingerprints) -> None:
    assert fingerprints.order_id(3, "cart", "\ud800") != fingerprints.order_id(3, "cart", "\ud801")
    assert fingerprints.shopper("\ud800@example.org") != fingerprints.shopper("\ud801@example.org")


def test_every_unit_and_line_of_an_order_has_its_own_id() -> None:
    numbers = range(1, 40)
    units = {Fingerprints.unit_id(ORDER, line, unit) for line in numbers for unit in numbers}
    lines = {Fingerprints.line_item_id(ORDER, line) for line in numbers}
    assert len(units | lines | {ORDER}) == 39 * 39 + 39 + 1
    assert Fingerprints.unit_id(ORDER, 1, 2) == Fingerprints.unit_id(ORDER, 1, 2)
    assert Fingerprints.unit_id(UUID(int=1), 1, 2) != Fingerprints.unit_id(ORDER, 1, 2)
    assert Fingerprints.line_item_id(ORDER, 1) != Fingerprints.unit_id(ORDER, 1, 0)


def test_all_ids_are_version_8_uuids(fingerprints: Fingerprints) -> None:
    ids = [fingerprints.shopper(f"{number}@example.org") for number in range(50)]
    ids += [fingerprints.order_id(number, "lean", "x") for number in range(50)]
    ids += [Fingerprints.unit_id(ORDER, 1, number) for number in range(50)]
    ids += [Fingerprints.line_item_id(ORDER, number) for number in range(50)]
    assert {(found.version, found.variant) for found in ids} == {(8, RFC_4122)}


def test_a_body_is_told_apart_by_every_byte_and_is_no_order_id(fingerprints: Fingerprints) -> None:
    found = fingerprints.body(b'{"a":1}')
    assert found == fingerprints.body(b'{"a":1}')
    assert len({found, fingerprints.body(b'{"a":2}'), fingerprints.body(b""), fingerprints.body(b"\0")}) == 4
    assert len(found) == 32


# Secrets


def test_each_kind_of_value_hangs_on_its_own_secret_and_on_no_other(keyring: Keyring, rotated: Keyring) -> None:
    before, after = Fingerprints(keyring), Fingerprints(rotated)
    assert before.key(7, TEXT) != after.key(7, TEXT)
    assert before.suffix(7, TEXT) != after.suffix(7, TEXT)
    assert before.shopper("a@b") != after.shopper("a@b")
    assert before.order_id(1, "lean", "x") != after.order_id(1, "lean", "x")
    assert before.body(b"x") != after.body(b"x")


def test_during_a_rotation_values_of_the_retired_secret_can_still_be_made(keyring: Keyring, rotated: Keyring) -> None:
    before, after = Fingerprints(keyring), Fingerprints(rotated, versions={"fingerprint": "f1", "order": "o1"})
    assert after.key(7, TEXT) == before.key(7, TEXT)
    assert after.order_id(1, "lean", "x") == before.order_id(1, "lean", "x")
    assert after.suffix(7, TEXT) != before.suffix(7, TEXT)
    with pytest.raises(UnknownSecret, match="fingerprint:f2"):
        Fingerprints(keyring, versions={"fingerprint": "f2"})


def test_fingerprints_show_nothing(fingerprints: Fingerprints) -> None:
    assert repr(fingerprints) == "Fingerprints()"
