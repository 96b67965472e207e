import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyservice.crypto.signing import written
from keyservice.domain.canonical import canonical_json, instant_text
from keyservice.domain.errors import Invalid
from keyservice.fulfillment.pinned_keys import NotAuthentic, PinnedKey, read_pinned_keys
from tests.fulfillment.proofs import (
    batch_statement,
    members_of,
    rehashed,
    signed_page,
    signed_statement,
    verified,
    verified_pages,
)
from tests.fulfillment.tampering import rechain
from tests.fulfillment.test_make_statement import batch_of
from tests.lab.shop import Shop

OURS = Ed25519PrivateKey.generate()
NOW = datetime.now(UTC)
PINNED = {"ours": PinnedKey(OURS.public_key(), NOW - timedelta(days=1), NOW + timedelta(days=1))}
HEAD = {
    "kind": "statement",
    "format": 1,
    "of": "batch",
    "publisher": "acme",
    "made_at": instant_text(NOW),
    "batch": {"batch_id": "b"},
}
KEY = {"kind": "key", "state": "issued", "claimed_at": None, "disclosed_at": None, "ended_at": None}
COUNTS = {"kind": "counts", "keys": 1, "states": {"issued": 1}}


def page(behind: int, count: int, previous: str = "00" * 32, **more: Any) -> dict[str, Any]:
    entries: list[dict[str, Any]] = [
        {"revocation_id": f"r{behind + n}", "kind": "revoked", "reason": "", "happened_at": "", "batch_id": None}
        | {"row_number": behind + n, "publisher_key_id": None, "acknowledged_at": None}
        for n in range(1, count + 1)
    ]
    made: dict[str, Any] = {"feed": "revocations", "format": 1, "publisher": "acme", "behind": behind}
    made |= {"is_unacknowledged_only": False, "previous_hash": previous, "entries": entries}
    made |= {"made_at": instant_text(NOW), "after": None}
    rechain(made)
    return made | more


def signed(one: dict[str, Any]) -> bytes:
    return signed_page(one, OURS, "ours")


def chained(*counts: int) -> list[dict[str, Any]]:
    pages = [page(0, counts[0])]
    for count in counts[1:]:
        pages.append(page(pages[-1]["last_sequence"], count, pages[-1]["last_hash"]))
    return pages


def test_what_the_service_wrote_is_valid() -> None:
    found = verified(signed_statement([HEAD, KEY, COUNTS], OURS, "ours"), PINNED)
    assert str(found) == f"statement of batch b of acme, made at {HEAD['made_at']}: 1 keys"
    assert found.key_id == "ours"


@pytest.mark.parametrize(
    ("lines", "place", "wrong"),
    [
        ([HEAD, KEY, {**COUNTS, "keys": 2}], "line 3", "the counts are not those"),
        ([HEAD, KEY, {**COUNTS, "states": {"revoked": 1}}], "line 3", "the counts are not those"),
        ([HEAD, KEY], "line 3", "ends before its counts"),
        ([HEAD, KEY, COUNTS, COUNTS], "line 4", "does not belong here"),
        ([KEY, COUNTS], "line 1", "does not belong here"),
        ([HEAD, HEAD, COUNTS], "line 2", "does not belong here"),
        ([HEAD, KEY, {**KEY, "kind": "batch"}, COUNTS], "line 3", "does not belong here"),
        ([HEAD, {**KEY, "kind": []}, COUNTS], "line 2", "does not belong here"),
        ([{**HEAD, "format": 2}, KEY, COUNTS], "line 1", "newer than this program"),
        ([HEAD, {"kind": "key", "state": "issued"}, COUNTS], "line 2", "lacks what it should say"),
        ([{**HEAD, "of": "month"}, KEY, COUNTS], "line 1", "lacks what it should say"),
        ([{**HEAD, "of": "month", "month": "2026-13"}, KEY, COUNTS], "line 1", "lacks what it should say"),
        ([{**HEAD, "made_at": instant_text(NOW - timedelta(days=9))}, KEY, COUNTS], "line 4", "did not sign"),
        ([{**HEAD, "made_at": "yesterday"}, KEY, COUNTS], "line 4", "does not say when"),
    ],
)
def test_a_statement_that_contradicts_itself_is_not_valid_even_when_it_is_signed(
    lines: list[dict[str, Any]], place: str, wrong: str
) -> None:
    with pytest.raises(NotAuthentic, match=f"{place}: .*{wrong}"):
        verified(signed_statement(lines, OURS, "ours"), PINNED)


GOOD = signed_statement([HEAD, KEY, COUNTS], OURS, "ours")
SIGNATURE = json.loads(GOOD.splitlines()[-1])["signature"]


@pytest.mark.parametrize(
    ("statement", "place", "wrong"),
    [
        (b"", "line 1", "the end of the file is missing"),
        (GOOD[:-1], "line 4", "the end of the file is missing"),
        (b"".join(GOOD.splitlines(keepends=True)[:3]), "line 3", "the end of the file is missing"),
        (GOOD + b"\n", "line 4", "added behind the signature"),
        (GOOD + GOOD, "line 4", "added behind the signature"),
        (GOOD.replace(b"issued", b"held", 1), "line 2", "does not follow"),
        (GOOD.replace(b"acme", b"acne", 1), "line 1", "does not follow"),
        (b"\n" + GOOD, "line 1", "no line of a statement"),
        (GOOD.replace(b"\n", b"\r\n"), "line 1", "no line of a statement"),
        (b"x" * 2_000_000 + b"\n", "line 1", "no line of a statement"),
        (
            rehashed([HEAD, KEY, KEY, {**COUNTS, "keys": 2, "states": {"issued": 2}}], SIGNATURE),
            "line 5",
            "does not fit",
        ),
        (rehashed([HEAD, KEY, COUNTS], {**SIGNATURE, "key_id": "theirs"}), "line 4", "not among the pinned ones"),
        (rehashed([HEAD, KEY, COUNTS], {**SIGNATURE, "algorithm": "none"}), "line 4", "is not one by Ed25519"),
        (rehashed([HEAD, KEY, COUNTS], {**SIGNATURE, "value": "AAAA"}), "line 4", "not the base64 of 64 bytes"),
        (rehashed([HEAD, KEY, COUNTS], {**SIGNATURE, "value": "?"}), "line 4", "not base64"),
        (rehashed([HEAD, KEY, COUNTS], {**SIGNATURE, "value": 7}), "line 4", "is not one by"),
        (rehashed([HEAD, KEY, COUNTS], {"value": SIGNATURE["value"]}), "line 4", "does not have the members"),
        (signed_statement([HEAD, KEY, COUNTS], Ed25519PrivateKey.generate(), "ours"), "line 4", "does not fit"),
    ],
)
def test_what_is_wrong_with_a_statement_is_said_with_its_line(statement: bytes, place: str, wrong: str) -> None:
    with pytest.raises(NotAuthentic, match=f"{place}: .*{wrong}"):
        verified(statement, PINNED)


def test_the_hashes_alone_find_the_line_though_the_signature_would_tell_too() -> None:
    lines = GOOD.splitlines(keepends=True)
    for at in range(3):
        without = b"".join([*lines[:at], *lines[at + 1 :]])
        with pytest.raises(NotAuthentic, match=r"does not follow|is one over other lines"):
            verified(without, PINNED)


def test_pages_of_one_feed_are_whole_in_whatever_order_they_are_named() -> None:
    pages = [signed(one) for one in chained(3, 3, 2)]
    assert [one.last_sequence for one in verified_pages(pages[::-1], PINNED)] == [8, 6, 3]
    grown = signed(page(6, 5, chained(3, 3)[1]["last_hash"]))
    verified_pages([*pages, grown, signed(page(11, 0, json.loads(grown)["last_hash"]))], PINNED)
    verified_pages(pages[1:], PINNED)


def test_a_page_may_be_reformatted_and_stays_valid() -> None:
    (one,) = chained(2)
    verified_pages([json.dumps(json.loads(signed(one)), indent=2).encode()], PINNED)


def test_pages_of_what_is_not_acknowledged_are_signed_and_not_chained() -> None:
    one = page(0, 3)
    gaps = {**one, "entries": one["entries"][::2], "is_unacknowledged_only": True, "previous_hash": None}
    (found,) = verified_pages([signed({**gaps, "last_hash": None})], PINNED)
    assert (found.previous_hash, str(found)) == (None, "page of acme's feed: 2 unacknowledged entries behind 0")


@pytest.mark.parametrize(
    ("pages", "wrong"),
    [
        ([chained(3, 3, 2)[0], chained(3, 3, 2)[2]], "page 1: entries 4 to 6 are missing between it and page 0"),
        ([page(0, 2), page(2, 2, "ab" * 32)], "page 1: it does not belong to the same feed"),
        ([page(0, 2, "ab" * 32)], "page 0: a feed begins with another hash"),
    ],
)
def test_a_page_that_is_missing_or_of_another_feed_is_found(pages: list[dict[str, Any]], wrong: str) -> None:
    files = [signed(one) for one in pages]
    with pytest.raises(NotAuthentic, match=wrong):
        verified_pages(files, PINNED)


def test_pages_may_overlap() -> None:
    verified_pages([signed(page(0, 2)), signed(page(1, 2, page(0, 1)["last_hash"]))], PINNED)


def test_another_entry_under_a_number_that_was_seen_is_found() -> None:
    first, second = chained(2, 2)
    forked = page(2, 2, first["last_hash"])
    forked["entries"][0]["reason"] = "told differently"
    rechain(forked)
    with pytest.raises(NotAuthentic, match="does not belong to the same feed"):
        verified_pages([signed(first), signed(second), signed(forked)], PINNED)


def test_two_publishers_feeds_do_not_mix() -> None:
    verified_pages([signed(page(0, 2)), signed(page(0, 3) | {"publisher": "other"})], PINNED)


def _without(one: dict[str, Any], name: str) -> dict[str, Any]:
    return {member: value for member, value in one.items() if member != name}


@pytest.mark.parametrize(
    ("one", "wrong"),
    [
        (page(0, 2) | {"last_sequence": 3}, "does not end where it says"),
        (page(0, 2) | {"last_hash": "00" * 32}, "does not end where it says"),
        (page(0, 2) | {"behind": 1}, "entry 2: it does not follow"),
        (page(0, 2) | {"format": 2}, "newer than this program"),
        (page(0, 2) | {"entries": None}, "lacks what it should say"),
        (page(0, 2) | {"previous_hash": "zz"}, "lacks what it should say"),
        (_without(page(0, 2), "entries"), "lacks what it should say"),
        (_without(page(0, 2), "made_at"), "does not say when"),
        (page(0, 2) | {"made_at": instant_text(NOW + timedelta(days=9))}, "did not sign"),
        (page(0, 2) | {"feed": "other"}, "no page of a feed"),
    ],
)
def test_a_page_that_contradicts_itself_is_not_valid_even_when_it_is_signed(one: dict[str, Any], wrong: str) -> None:
    with pytest.raises(NotAuthentic, match=wrong):
        verified_pages([signed(one)], PINNED)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b"\xff", b'{"feed":"revocations"', b"{" * 10_000])
def test_what_is_no_page_is_no_page(content: bytes) -> None:
    with pytest.raises(NotAuthentic):
        verified_pages([content], PINNED)


def test_a_page_with_a_member_twice_is_not_read_as_either() -> None:
    text = signed(page(0, 1)).decode()
    with pytest.raises(NotAuthentic, match="no page of a feed"):
        verified_pages([text.replace('"behind":0', '"behind":0,"behind":0').encode()], PINNED)


def test_a_signature_under_a_page_is_none_under_a_statement() -> None:
    forged = rehashed([HEAD, KEY, COUNTS], json.loads(signed(page(0, 1)))["signature"])
    with pytest.raises(NotAuthentic, match="does not fit"):
        verified(forged, PINNED)


def test_a_key_that_signs_no_longer_still_verifies_what_it_signed() -> None:
    ended = replace(PINNED["ours"], signs_until=NOW + timedelta(seconds=1))
    verified(GOOD, {"ours": ended})
    with pytest.raises(NotAuthentic, match="did not sign"):
        verified(GOOD, {"ours": replace(ended, signs_until=NOW - timedelta(hours=2))})


async def test_members_are_read_back_as_they_were_written(shop: Shop) -> None:
    statement = await batch_statement(shop, await batch_of(shop, await shop.load(["BACK"])))
    assert rehashed(members_of(statement), json.loads(statement.splitlines()[-1])["signature"]) == statement


_LISTED: Final = {
    "key_id": "a",
    "algorithm": "Ed25519",
    "public_key": written(OURS.public_key().public_bytes_raw()),
    "signs_from": "2026-01-01T00:00:00Z",
    "signs_until": "2027-01-01T00:00:00Z",
}


def test_keys_that_were_put_aside_are_read_back() -> None:
    (found,) = read_pinned_keys(canonical_json({"keys": [_LISTED]})).values()
    assert found.public.public_bytes_raw() == OURS.public_key().public_bytes_raw()
    assert found.signs_until == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b"[]", b'{"keys":[{}]}'),
        canonical_json({"keys": [{**_LISTED, "algorithm": "RSA"}]}),
        canonical_json({"keys": [{**_LISTED, "public_key": "AA=="}]}),
        canonical_json({"keys": [{**_LISTED, "public_key": "?"}]}),
        canonical_json({"keys": [{**_LISTED, "signs_from": "2026-01-01T00:00:00"}]}),
        canonical_json({"keys": [{**_LISTED, "signs_until": None}]}),
    ],
)
def test_what_is_no_file_of_keys_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid, match="statement keys"):
        read_pinned_keys(content)
