import ipaddress
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from keyservice.api.connect.requests import Profile
from keyservice.api.connect.validation import read_order
from keyservice.domain.order import NewOrder
from tests.api.connect.connect_bodies import LINE, accepted, full_body, with_value, without

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=True, allow_infinity=True)
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["US", "US-CA", "EUR", "Percents", "2004-02-12T15:19:21Z", "a@b.c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
_POINTERS = [
    *(f"/{name}" for name in full_body()),
    *(f"/customer/{name}" for name in full_body()["customer"]),
    *(f"/customer/locationInvoice/{name}" for name in full_body()["customer"]["locationInvoice"]),
    *(f"{LINE}/{name}" for name in full_body()["orderLines"][0]),
    *(f"/discounts/0/{name}" for name in full_body()["discounts"][0]),
    *("/metadata/0", "/metadata/0/key", "/metadata/0/value", LINE, "/payment/paymentMethod", "/payment/transactionId"),
]


@given(st.lists(st.tuples(st.sampled_from(_POINTERS), _JSON), max_size=4), st.sampled_from(Profile))
def test_whatever_is_sent_is_either_accepted_or_refused_with_a_code_and_a_pointer(
    spoilt: list[tuple[str, Any]], profile: Profile
) -> None:
    body = full_body()
    # The deepest first, since a shallower one may take its place away.
    for pointer, value in sorted(spoilt, key=lambda each: -each[0].count("/")):
        body = with_value(body, pointer, value)
    answer = read_order(body, profile=profile)
    if isinstance(answer, NewOrder):
        json.dumps([answer.people, answer.document], allow_nan=False).encode()
    else:
        pointers = [refusal.pointer for refusal in answer.refusals]
        assert answer.refusals
        assert len(set(pointers)) == len(pointers)
        assert all(refusal.message.startswith(refusal.code.message) for refusal in answer.refusals)


@given(st.lists(st.tuples(st.sampled_from(_POINTERS), st.sampled_from([None, "", " ", [], {}])), max_size=6))
@example([(pointer, []) for pointer in ("/discounts", f"{LINE}/discounts", "/metadata")])
@example([("/payment", {})])
def test_nothing_in_place_of_a_member_is_the_same_as_its_absence(emptied: list[tuple[str, Any]]) -> None:
    with_nothing, absent = full_body(), full_body()
    for pointer, nothing in sorted(dict(emptied).items(), key=lambda each: -each[0].count("/")):
        if pointer not in ("/metadata/0", LINE):
            with_nothing, absent = with_value(with_nothing, pointer, nothing), without(absent, pointer)
    assert read_order(with_nothing) == read_order(absent)


@given(st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str) | st.text("0123456789abcdef:.%", max_size=24))
def test_the_verdict_on_an_ip_address_is_that_of_the_standard_library(address: str) -> None:
    for version, name in ((4, "ipV4"), (6, "ipV6")):
        answer = read_order(with_value(without(full_body(), "/payment"), f"/customer/{name}", address))
        assert isinstance(answer, NewOrder) == (not address or _is_address(address, version))


def _is_address(address: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(address).version == version and "%" not in address
    except ValueError:
        return False


_WALL_CLOCK = [datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (1970, 2199)]


@given(st.datetimes(*_WALL_CLOCK), st.integers(-1439, 1439))
def test_every_moment_that_python_writes_is_read(naive: datetime, minutes: int) -> None:
    delta = timedelta(minutes=minutes)
    text = f"{naive.isoformat()}{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    assert accepted(with_value(full_body(), "/orderDate", text)).ordered_at == naive.replace(tzinfo=UTC) - delta
