from datetime import date, timedelta

import pytest

from keyservice.domain.key_state import KeyState, Shelf, key_state

TODAY = date(2026, 11, 22)


def shelf(
    *, segment: str = "open", expires_on: date | None = None, is_open: bool = True, days_left_min: int = 0
) -> Shelf:
    return Shelf(segment, expires_on, is_open, days_left_min)


@pytest.mark.parametrize("state", ["held", "issued", "revoked", "replaced", "withdrawn"])
def test_a_key_that_was_taken_is_what_its_claim_is_wherever_it_lies(state: str) -> None:
    for place in (shelf(), shelf(segment="withdrawn"), shelf(expires_on=date(2000, 1, 1)), shelf(is_open=False)):
        assert key_state(state, place, TODAY) == state


@pytest.mark.parametrize(
    ("place", "state"),
    [
        (shelf(), KeyState.FOR_SALE),
        (shelf(segment="exhausted"), KeyState.FOR_SALE),
        (shelf(segment="held"), KeyState.OFF_SALE),
        (shelf(segment="receiving"), KeyState.OFF_SALE),
        (shelf(is_open=False), KeyState.OFF_SALE),
        (shelf(segment="withdrawn"), KeyState.WITHDRAWN),
        (shelf(expires_on=TODAY), KeyState.FOR_SALE),
        (shelf(expires_on=TODAY - timedelta(days=1)), KeyState.EXPIRED),
        (shelf(expires_on=TODAY + timedelta(days=4), days_left_min=5), KeyState.NEAR_EXPIRY),
        (shelf(expires_on=TODAY + timedelta(days=5), days_left_min=5), KeyState.FOR_SALE),
        (shelf(expires_on=TODAY - timedelta(days=1), days_left_min=5), KeyState.EXPIRED),
    ],
)
def test_a_key_that_nobody_took_is_where_it_lies(place: Shelf, state: KeyState) -> None:
    assert key_state(None, place, TODAY) is state
