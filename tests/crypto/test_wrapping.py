from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from keyservice.crypto.keyring import Keyring, UnknownSecret
from keyservice.crypto.wrapping import KeyringWrapper, KeyWrapper
from keyservice.domain.errors import Sealed, Tampered
from tests.crypto.conftest import write
from tests.crypto.key_wrapper_conformance import CONTEXT, KeyWrapperConformance

DATA_KEY = bytes(range(32))


class TestKeyringWrapper(KeyWrapperConformance):
    @pytest.fixture
    def wrapper(self, keyring: Keyring) -> KeyWrapper:
        return KeyringWrapper(keyring)

    @pytest.fixture
    def stranger(self, path: Path, document: dict[str, Any]) -> KeyWrapper:
        document["purposes"]["wrapping"][0]["secret"] = b64encode(b"\x63" * 32).decode()
        return KeyringWrapper(Keyring.load(write(path.with_name("stranger.json"), document)))


async def test_what_a_retired_secret_wrapped_is_unwrapped_and_new_wraps_take_the_current_one(
    keyring: Keyring, rotated: Keyring
) -> None:
    before, after = KeyringWrapper(keyring), KeyringWrapper(rotated)
    assert (before.current_id, after.current_id) == ("w1", "w2")
    old = await before.wrap(DATA_KEY, CONTEXT)
    assert await after.unwrap(old, CONTEXT) == DATA_KEY
    new = await after.wrap(await after.unwrap(old, CONTEXT), CONTEXT)
    assert await after.unwrap(new, CONTEXT) == DATA_KEY
    assert b"w2" in new[:4]


async def test_a_wrap_of_an_unknown_secret_says_which_secret_is_missing(keyring: Keyring, rotated: Keyring) -> None:
    new = await KeyringWrapper(rotated).wrap(DATA_KEY, CONTEXT)
    with pytest.raises(UnknownSecret, match="wrapping:w2") as refusal:
        await KeyringWrapper(keyring).unwrap(new, CONTEXT)
    assert isinstance(refusal.value, Sealed)
    assert refusal.value.secret_id == "w2"


async def test_a_wrap_relabelled_with_another_known_secret_is_tampered(rotated: Keyring) -> None:
    wrapper = KeyringWrapper(rotated)
    wrapped = await wrapper.wrap(DATA_KEY, CONTEXT)
    with pytest.raises(Tampered):
        await wrapper.unwrap(wrapped.replace(b"w2", b"w1", 1), CONTEXT)


async def test_outside_the_secrets_id_every_flipped_bit_is_tampering(keyring: Keyring) -> None:
    wrapper = KeyringWrapper(keyring)
    wrapped = await wrapper.wrap(DATA_KEY, CONTEXT)
    for place in (0, 1, *range(4, len(wrapped))):
        for bit in range(8):
            altered = bytearray(wrapped)
            altered[place] ^= 1 << bit
            with pytest.raises(Tampered):
                await wrapper.unwrap(bytes(altered), CONTEXT)


async def test_a_wrap_of_a_later_release_is_called_newer_rather_than_moved(keyring: Keyring) -> None:
    wrapper = KeyringWrapper(keyring)
    wrapped = await wrapper.wrap(DATA_KEY, CONTEXT)
    with pytest.raises(Tampered, match="newer than this program"):
        await wrapper.unwrap(b"\x02" + wrapped[1:], CONTEXT)


@pytest.mark.parametrize("secret_id", [b"\xff\xfe", b"W1", b"\0\0", b"1w"])
async def test_what_could_not_be_a_secrets_id_is_tampering_and_is_not_repeated(
    keyring: Keyring, secret_id: bytes
) -> None:
    wrapper = KeyringWrapper(keyring)
    wrapped = await wrapper.wrap(DATA_KEY, CONTEXT)
    with pytest.raises(Tampered):
        await wrapper.unwrap(wrapped[:2] + secret_id + wrapped[4:], CONTEXT)


async def test_data_keys_wrapped_by_the_first_release_still_open(keyring: Keyring) -> None:
    wrapped = bytes.fromhex(
        "0102773129f8289c40b6e01abbf930f576ca8447a551d18467a4b00d541683fa2e46c063f8b55b36a64bca933a3968123d031f663157ee569db26653eebdd47c"
    )
    assert await KeyringWrapper(keyring).unwrap(wrapped, CONTEXT) == DATA_KEY


@pytest.mark.parametrize("length", [0, 16, 31, 33])
async def test_only_a_whole_data_key_is_wrapped(keyring: Keyring, length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        await KeyringWrapper(keyring).wrap(bytes(length), CONTEXT)


def test_a_wrapper_shows_only_which_secret_it_wraps_with(keyring: Keyring) -> None:
    assert repr(KeyringWrapper(keyring)) == "KeyringWrapper(w1)"
