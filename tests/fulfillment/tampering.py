"""Ways to tamper with a statement or with pages of a feed. Of each, every second one makes all hashes fit again."""

import json
import random
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyservice.domain.revocation import chain_hash
from keyservice.domain.statement import split_line
from tests.fulfillment.proofs import Members, members_of, rehashed, signed_page, signed_statement

Files = list[bytes]
HASHED: Final = (
    *("sequence", "revocation_id", "kind", "reason", "happened_at", "batch_id", "row_number", "publisher_key_id"),
)


class Tamperer:
    """Works on a statement (one file) or a feed (several pages); `is_clever` makes the hashes fit."""

    def __init__(self, rng: random.Random, *, stranger: Ed25519PrivateKey, key_id: str) -> None:
        self._rng = rng
        self._stranger = stranger
        self._key_id = key_id

    @property
    def ways(self) -> Mapping[str, tuple[Callable[..., bytes], Callable[..., Files]]]:
        """By what is done: to a statement, and to a feed."""
        return {
            "edit": (self._edit_line, self._edit_entry),
            "delete": (self._delete_line, self._delete_entry),
            "insert": (self._insert_line, self._insert_entry),
            "reorder": (self._reorder_lines, self._reorder_entries),
            "truncate": (self._truncate_statement, self._truncate_feed),
            "rewrite": (self._rewrite_statement, self._rewrite_page),
        }

    # ---------------------------------------------------------------------------------------------- statements
    def _edit_line(self, statement: bytes, *, is_clever: bool) -> bytes:
        if is_clever:
            return self._changed(statement, lambda lines, at: lines.__setitem__(at, self._edited(lines[at])))
        return self._altered(statement)

    def _delete_line(self, statement: bytes, *, is_clever: bool) -> bytes:
        if is_clever:
            return self._changed(statement, lambda lines, at: lines.pop(at))
        lines = statement.splitlines(keepends=True)
        del lines[self._rng.randrange(len(lines))]
        return b"".join(lines)

    def _insert_line(self, statement: bytes, *, is_clever: bool) -> bytes:
        if is_clever:
            return self._changed(statement, lambda lines, at: lines.insert(at, self._edited(lines[at])))
        lines = statement.splitlines(keepends=True)
        lines.insert(self._rng.randrange(len(lines) + 1), self._rng.choice(lines))
        return b"".join(lines)

    def _reorder_lines(self, statement: bytes, *, is_clever: bool) -> bytes:
        if is_clever:
            return self._changed(statement, lambda lines, at: lines.insert(self._other(lines, at), lines.pop(at)))
        lines = statement.splitlines(keepends=True)
        one = self._rng.randrange(len(lines))
        other = self._other(lines, one)
        lines[one], lines[other] = lines[other], lines[one]
        return b"".join(lines)

    def _truncate_statement(self, statement: bytes, *, is_clever: bool) -> bytes:
        if is_clever:
            lines = members_of(statement)
            return rehashed(lines[: self._rng.randrange(len(lines))], _signature(statement))
        return statement[: self._rng.randrange(len(statement))]

    def _rewrite_statement(self, statement: bytes, *, is_clever: bool) -> bytes:
        lines = members_of(statement)
        at = self._rng.randrange(len(lines))
        lines[at] = self._edited(lines[at])
        return signed_statement(lines, self._stranger, self._key_id if is_clever else "stranger")

    def _changed(self, statement: bytes, change: Callable[[list[Members], int], object]) -> bytes:
        lines = members_of(statement)
        change(lines, self._rng.randrange(len(lines)))
        return rehashed(lines, _signature(statement))

    # ---------------------------------------------------------------------------------------------- pages of a feed
    def _edit_entry(self, pages: Files, *, is_clever: bool) -> Files:
        if is_clever:
            return self._rechained(pages, lambda entries, at: entries.__setitem__(at, self._edited(entries[at])))
        at = self._rng.randrange(len(pages))
        return [*pages[:at], self._altered(pages[at]), *pages[at + 1 :]]

    def _delete_entry(self, pages: Files, *, is_clever: bool) -> Files:
        return self._rechained(pages, lambda entries, at: entries.pop(at), is_clever=is_clever)

    def _insert_entry(self, pages: Files, *, is_clever: bool) -> Files:
        return self._rechained(
            pages, lambda entries, at: entries.insert(at, self._edited(entries[at])), is_clever=is_clever
        )

    def _reorder_entries(self, pages: Files, *, is_clever: bool) -> Files:
        return self._rechained(
            pages,
            lambda entries, at: entries.insert(self._other(entries, at), entries.pop(at)),
            is_clever=is_clever,
        )

    def _truncate_feed(self, pages: Files, *, is_clever: bool) -> Files:
        if is_clever:
            return self._rechained(pages, lambda entries, at: entries.__delitem__(slice(at, None)))
        at = self._rng.randrange(len(pages))
        return [*pages[:at], pages[at][: self._rng.randrange(len(pages[at]))], *pages[at + 1 :]]

    def _rewrite_page(self, pages: Files, *, is_clever: bool) -> Files:
        at = self._rng.randrange(len(pages))
        page = json.loads(pages[at])
        entry = self._rng.randrange(len(page["entries"]))
        page["entries"][entry] = self._edited(page["entries"][entry])
        rechain(page)
        forged = signed_page(page, self._stranger, self._key_id if is_clever else "stranger")
        return [*pages[:at], forged, *pages[at + 1 :]]

    def _rechained(
        self, pages: Files, change: Callable[[list[Members], int], object], *, is_clever: bool = True
    ) -> Files:
        at = self._rng.randrange(len(pages))
        page = json.loads(pages[at])
        change(page["entries"], self._rng.randrange(len(page["entries"])))
        if is_clever:
            rechain(page)
        return [*pages[:at], json.dumps(page).encode(), *pages[at + 1 :]]

    # ---------------------------------------------------------------------------------------------- both
    def _altered(self, content: bytes) -> bytes:
        """With another letter or digit in the place of one."""
        places = [at for at, byte in enumerate(content) if chr(byte) in string.ascii_letters + string.digits]
        at = self._rng.choice(places)
        others = [one for one in string.ascii_letters + string.digits if ord(one) != content[at]]
        return content[:at] + self._rng.choice(others).encode() + content[at + 1 :]

    def _edited(self, members: Members) -> Members:
        """With one member that says something else, and that nobody who makes the hashes fit puts right again."""
        edited = dict(members)
        name = self._rng.choice(sorted(edited.keys() - {"sequence", "chain_hash"}))
        edited[name] = _other_than(edited[name])
        return edited

    def _other(self, things: Sequence[Any], at: int) -> int:
        return self._rng.choice([other for other in range(len(things)) if things[other] != things[at]])


def rechain(page: Members) -> None:
    """Number and chain the entries anew, and end the page where they end."""
    last = bytes.fromhex(page["previous_hash"])
    for sequence, entry in enumerate(page["entries"], start=page["behind"] + 1):
        entry["sequence"] = sequence
        last = chain_hash(last, [None if entry[name] is None else str(entry[name]) for name in HASHED])
        entry["chain_hash"] = last.hex()
    page["last_sequence"], page["last_hash"] = page["behind"] + len(page["entries"]), last.hex()


def _signature(statement: bytes) -> Members:
    last = statement.splitlines()[-1]
    assert split_line(last + b"\n") is None
    signature: Members = json.loads(last)["signature"]
    return signature


def _other_than(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return f"{value}0"
        case None:
            return "0"
        case dict():
            return {**value, "more": 1}
        case _:
            return None
