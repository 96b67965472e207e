import json
import timeit
from contextlib import suppress
from decimal import Decimal

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from keyservice.api.reading import BodyRefused, RequestRefused, parse_json, read_header

PLANTED = "XK7Q-94TM-PW2Z"


def refusal(body: bytes) -> BodyRefused:
    with pytest.raises(BodyRefused) as caught:
        parse_json(body)
    assert caught.value.status == 400
    assert PLANTED not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b" {} \r\n", {}),
        (b'{"a":[1,true,null,"x"]}', {"a": [1, True, None, "x"]}),
        (b"null", None),
        (b"19.90", Decimal("19.90")),
        (b"-9223372036854775808", -(2**63)),
        (b"9223372036854775807", 2**63 - 1),
        (b"1e99", Decimal("1E+99")),
        (b'"\\ud83d\\ude00 \\u00e9"', "\U0001f600 \u00e9"),
        (b'"\\\\u0000"', "\\u0000"),
        (b'{"a":{"b":1},"b":{"b":1}}', {"a": {"b": 1}, "b": {"b": 1}}),
        (nested(32), json.loads(nested(32))),
        (b'{"x":' * 32 + b"1" + b"}" * 32, json.loads(b'{"x":' * 32 + b"1" + b"}" * 32)),
        (b'"' + b"[" * 100 + b'"', "[" * 100),
        (b"[" + b"[]," * 1000 + b"[]]", [[]] * 1001),
    ],
)
def test_json_is_read_exactly(body: bytes, value: object) -> None:
    read = parse_json(body)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-32-le"),
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        b'{"\xff":1}',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e999",
        b"[-1E+999]",
        b"1e-999",
        b"0e999",
        b"1e100",
        b"1e99999999999999999999",
        b"0." + b"1" * 29,
        b"1" * 30 + b".5",
        b"1" * 5000,
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":{"a":1,"a":1}}',
        b'{"' + PLANTED.encode() + b'":1,"' + PLANTED.encode() + b'":2}',
        nested(33),
        nested(201),
        nested(200_000),
        b"[" * 200_000,
        b'{"x":' * 33 + b"1" + b"}" * 33,
        b"9223372036854775808",
        b'{"a":{"b":[-9223372036854775809]}}',
        b'"\\u0000"',
        b'{"\\u0000":1}',
        b'"\\\\\\u0000"',
        b'"\x00"',
        b'"\n"',
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\ud800"',
        b'{"\\udfff":1}',
        b"{} x",
        b"{}{}",
        b"[1,]",
        b'{"a":1,}',
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"{'a':1}",
        b"{a:1}",
        b"//x\n1",
        b'"' + PLANTED.encode(),
        PLANTED.encode(),
    ],
)
def test_json_that_two_readers_could_read_differently_is_refused(body: bytes) -> None:
    refusal(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a":1,\n"a":2}', "an object of the JSON has a member twice (line 2 column 5)"),
        (b'{"a":1,\n x}', "the body is not valid JSON in UTF-8 (line 2 column 2)"),
        (nested(33), "the JSON is nested more than 32 levels deep"),
        (nested(300), "the JSON is nested more than 32 levels deep"),
        (b"[9223372036854775808]", "the JSON contains an integer beyond 64 bits"),
        (b'["\\u0000"]', "the JSON contains the character U+0000; leave it out"),
        (b"1e400", "the JSON contains a number with too many digits or too large a power of ten"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(body: bytes, message: str) -> None:
    assert str(refusal(body)) == message


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), inner)
    ),
    max_leaves=30,
)


@given(JSON_VALUES, st.booleans())
def test_json_comes_back_as_it_was_written(value: object, ensure_ascii: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ensure_ascii).encode()) == value


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\u0de8-+.1enull ', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    with suppress(BodyRefused):
        parse_json(body)


@pytest.mark.parametrize(
    ("given", "value"), [([], None), ([""], ""), (["order-7"], "order-7"), (["a b"], "a b"), (["x" * 512], "x" * 512)]
)
def test_a_header_is_read_as_it_is(given: list[str], value: str | None) -> None:
    assert read_header(with_headers("Idempotency-Key", given), "idempotency-key") == value


@pytest.mark.parametrize("given", [["a", "a"], ["x" * 513], ["K\xf6ln"], ["a\tb"], [PLANTED, PLANTED]])
def test_a_header_that_is_repeated_long_or_not_plain_is_refused(given: list[str]) -> None:
    with pytest.raises(RequestRefused) as caught:
        read_header(with_headers("Idempotency-Key", given), "idempotency-key")
    assert caught.value.status == 400
    assert PLANTED not in str(caught.value)


def with_headers(name: str, values: list[str]) -> web.Request:
    return make_mocked_request("GET", "/", CIMultiDict((name, value) for value in values))


def test_an_order_is_read_in_little_time() -> None:
    line = {"productRef": "P-00001", "quantity": 2, "vatRate": 20.0, "amountDutyFree": 19.99, "amountTotal": 23.99}
    order = {"orderNumber": "A-1", "currency": "EUR", "customer": {"email": "ada@example.test"}, "lines": [line] * 13}
    body = json.dumps(order).encode()
    assert 1400 < len(body) < 1700
    parse_json(body)
    best = min(timeit.repeat(lambda: parse_json(body), number=200, repeat=20)) / 200
    assert best < 0.000_150  # an order of magnitude above what it takes on an idle machine
