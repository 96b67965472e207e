from datetime import UTC, datetime, timedelta, timezone

import pytest

from keyservice.domain.canonical import canonical_json, framed, instant_text
from keyservice.domain.errors import NotFound
from keyservice.domain.statement import Month, RunningHash, Tally, split_line, written_line


def key(
    state: str, claimed: str | None = None, disclosed: str | None = None, ended: str | None = None
) -> dict[str, object]:
    return {"state": state, "claimed_at": claimed, "disclosed_at": disclosed, "ended_at": ended}


def test_different_lists_of_parts_never_are_the_same_bytes() -> None:
    lists = [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b""), (b"abc", None), (b"", b"abc"), (None, b"abc"), ()]
    assert len({framed(*parts) for parts in lists}) == len(lists)


def test_equal_values_are_equal_bytes_in_whatever_order_their_members_come() -> None:
    assert canonical_json({"b": 1, "a": "ä"}) == canonical_json({"a": "ä", "b": 1}) == '{"a":"ä","b":1}'.encode()


def test_an_instant_is_one_text_in_whatever_zone_it_is_told() -> None:
    instant = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
    assert instant_text(instant) == "2026-11-22T09:30:00.000000Z"
    assert instant_text(instant.astimezone(timezone(timedelta(hours=5)))) == instant_text(instant)


def test_a_line_is_bound_to_all_lines_before_it() -> None:
    first, second = RunningHash(), RunningHash()
    written_line(first, {"n": 1})
    written_line(second, {"n": 2})
    line = written_line(first, {"n": 3})
    assert line != written_line(second, {"n": 3})
    content, check = split_line(line) or (b"", "")
    assert (content, len(check)) == (b'{"n":3}', 16)
    assert first.hex.startswith(check)


@pytest.mark.parametrize("line", [b"", b"\n", b"{}\n", b'{"n":1}\n', b'{"n":1,"check":"0123456789ABCDEF"}\n',
                                  b'{"n":1,"check":"0123456789abcdef"}', b'{"n":1,"check":"0123456789abcdef"} \n'])  # fmt: skip
def test_what_has_no_check_digits_at_its_end_is_no_line(line: bytes) -> None:
    assert split_line(line) is None


def test_a_tally_counts_states_and_what_changed_in_the_period() -> None:
    tally = Tally(("2026-11-01T00:00:00.000000Z", "2026-12-01T00:00:00.000000Z"))
    before, first, last, after = (
        *("2026-10-31T23:59:59.999999Z", "2026-11-01T00:00:00.000000Z"),
        *("2026-11-30T23:59:59.999999Z", "2026-12-01T00:00:00.000000Z"),
    )
    for one in (
        key("issued", first, first),
        key("issued", before, last),
        key("revoked", before, before, last),
        key("replaced", first, first, first),
        key("revoked", last, last, after),
        key("withdrawn", first),
        key("held", last),
    ):
        tally.add(one)
    assert tally.members() == {
        "kind": "counts",
        "keys": 7,
        "states": {"issued": 2, "revoked": 2, "replaced": 1, "withdrawn": 1, "held": 1},
        "changes": {"claimed": 4, "disclosed": 4, "revoked": 1, "replaced": 1, "withdrawn": 1},
    }
    plain = Tally(None)
    plain.add(key("issued", first, first))
    assert plain.members() == {"kind": "counts", "keys": 1, "states": {"issued": 1}}


def test_a_month_ends_where_the_next_one_begins() -> None:
    assert Month.named("2026-12").ends == Month.named("2027-01").begins == datetime(2027, 1, 1, tzinfo=UTC)
    assert Month.named("2024-02").ends - Month.named("2024-02").begins == timedelta(days=29)


@pytest.mark.parametrize(
    "name",
    [
        *("", "2026", "2026-13", "2026-00", "2026-1", "26-11", "2026-11-01", " 2026-11", "2026-11\n", "0000-01"),
        *("9999-12", "\u0662\u0660\u0662\u0666-11"),
    ],
)  # fmt: skip
def test_what_is_no_month_names_nothing(name: str) -> None:
    with pytest.raises(NotFound):
        Month.named(name)
