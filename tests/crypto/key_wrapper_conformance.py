"""What every KeyWrapper promises. To test another one, subclass KeyWrapperConformance and give it the two fixtures."""

import os

import pytest

from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.errors import Sealed, Tampered

CONTEXT = {"publisher": "7", "batch": "41"}


class KeyWrapperConformance:
    @pytest.fixture
    def wrapper(self) -> KeyWrapper:
        raise NotImplementedError("give the wrapper to test")

    @pytest.fixture
    def stranger(self) -> KeyWrapper:
        """Another service's wrapper: the same kind, other secrets."""
        raise NotImplementedError("give a wrapper with other secrets")

    async def test_a_data_key_comes_back_and_is_not_to_be_seen_in_its_wrap(self, wrapper: KeyWrapper) -> None:
        data_key = os.urandom(32)
        wrapped = await wrapper.wrap(data_key, CONTEXT)
        assert data_key not in wrapped
        assert await wrapper.unwrap(wrapped, CONTEXT) == data_key

    async def test_the_order_of_the_contexts_members_does_not_count(self, wrapper: KeyWrapper) -> None:
        wrapped = await wrapper.wrap(bytes(32), CONTEXT)
        assert await wrapper.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == bytes(32)

    async def test_the_same_data_key_is_wrapped_differently_each_time(self, wrapper: KeyWrapper) -> None:
        assert await wrapper.wrap(bytes(32), CONTEXT) != await wrapper.wrap(bytes(32), CONTEXT)

    @pytest.mark.parametrize(
        "elsewhere",
        [
            {"publisher": "8", "batch": "41"},
            {"publisher": "7", "batch": "42"},
            {"publisher": "41", "batch": "7"},
            {"publisher": "7"},
            {"publisher": "7", "batch": "41", "pool": "1"},
            {"publisher": "7", "shopper": "41"},
            {"publisher": "7", "batc": "h41"},
        ],
    )
    async def test_a_wrap_moved_to_another_context_does_not_open(
        self, wrapper: KeyWrapper, elsewhere: dict[str, str]
    ) -> None:
        wrapped = await wrapper.wrap(bytes(32), CONTEXT)
        with pytest.raises(Tampered):
            await wrapper.unwrap(wrapped, elsewhere)

    async def test_a_data_key_is_never_wrapped_for_nothing_in_particular(self, wrapper: KeyWrapper) -> None:
        with pytest.raises(ValueError, match="context"):
            await wrapper.wrap(bytes(32), {})

    async def test_no_flipped_bit_goes_unnoticed(self, wrapper: KeyWrapper) -> None:
        wrapped = await wrapper.wrap(bytes(32), CONTEXT)
        for bit in range(len(wrapped) * 8):
            altered = bytearray(wrapped)
            altered[bit // 8] ^= 1 << bit % 8
            # Sealed where the bit makes the name of a secret that nobody has.
            with pytest.raises((Tampered, Sealed)):
                await wrapper.unwrap(bytes(altered), CONTEXT)

    async def test_no_cut_or_lengthened_wrap_opens(self, wrapper: KeyWrapper) -> None:
        wrapped = await wrapper.wrap(bytes(32), CONTEXT)
        for altered in [wrapped[:length] for length in range(len(wrapped))] + [wrapped + b"\0"]:
            with pytest.raises((Tampered, Sealed)):
                await wrapper.unwrap(altered, CONTEXT)

    async def test_another_services_wrapper_does_not_open_ours(self, wrapper: KeyWrapper, stranger: KeyWrapper) -> None:
        wrapped = await wrapper.wrap(bytes(32), CONTEXT)
        with pytest.raises((Tampered, Sealed)):
            await stranger.unwrap(wrapped, CONTEXT)

    async def test_a_wrapper_names_its_version_and_nothing_more(self, wrapper: KeyWrapper) -> None:
        assert wrapper.current_id
        assert wrapper.current_id.isprintable()
