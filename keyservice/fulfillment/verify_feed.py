"""Verifying saved pages of a feed offline: each one, and that nothing is missing between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jiter

from keyservice.domain.canonical import canonical_json
from keyservice.domain.revocation import FEED_PAGE_PURPOSE, FIRST_HASH, chain_hash
from keyservice.fulfillment.pinned_keys import NotAuthentic, PinnedKey, verify_signature

FEED_FORMAT: Final = 1
# What of an entry is hashed, in this order.
_HASHED: Final = (
    *("sequence", "revocation_id", "kind", "reason", "happened_at", "batch_id", "row_number", "publisher_key_id"),
)


@dataclass(frozen=True, slots=True)
class VerifiedPage:
    """A page that the service signed. The hashes are those of the chain at its two ends; None where it has no chain."""

    name: str
    publisher: str
    behind: int
    last_sequence: int
    previous_hash: bytes | None
    hashes: Mapping[int, bytes]
    key_id: str

    def __str__(self) -> str:
        if self.previous_hash is None:
            return (
                f"page of {self.publisher}'s feed: {len(self.hashes):,} unacknowledged entries behind {self.behind:,}"
            )
        return f"page of {self.publisher}'s feed: entries {self.behind + 1:,} to {self.last_sequence:,}"


def verify_page(content: bytes, pinned: Mapping[str, PinnedKey], *, name: str) -> VerifiedPage:
    """Raises NotAuthentic. White space and the order of members may differ from what was sent, and nothing else."""
    page = _parsed(content)
    if page is None or page.get("feed") != "revocations":
        raise NotAuthentic("", "this is no page of a feed: it was altered, or its end is missing")
    signature = page.pop("signature", None)
    key_id = verify_signature(pinned, FEED_PAGE_PURPOSE, canonical_json(page), signature, page.get("made_at"), place="")
    if page.get("format") != FEED_FORMAT:
        raise NotAuthentic("", "this page has a form that is newer than this program")
    try:
        return _chained(page, name, key_id)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NotAuthentic("", "this page lacks what it should say") from None


def _chained(page: Mapping[str, Any], name: str, key_id: str) -> VerifiedPage:
    entries = page["entries"]
    hashes = {entry["sequence"]: bytes.fromhex(entry["chain_hash"]) for entry in entries}
    previous = None
    if not page["is_unacknowledged_only"]:
        previous = bytes.fromhex(page["previous_hash"])
        _demand_chain(page, previous)
    return VerifiedPage(name, page["publisher"], page["behind"], page["last_sequence"], previous, hashes, key_id)


def _demand_chain(page: Mapping[str, Any], last_hash: bytes) -> None:
    last_sequence = page["behind"]
    for entry in page["entries"]:
        last_sequence += 1
        texts = [None if entry[name] is None else str(entry[name]) for name in _HASHED]
        last_hash = chain_hash(last_hash, texts)
        if entry["sequence"] != last_sequence or entry["chain_hash"] != last_hash.hex():
            raise NotAuthentic(f"entry {last_sequence}", "it does not follow from the entry before it")
    if (page["last_sequence"], page["last_hash"]) != (last_sequence, last_hash.hex()):
        raise NotAuthentic("", "the page does not end where it says that it ends")


@dataclass(slots=True)
class FeedChain:
    """The pages of one publisher's feed, put together in the order of their numbers."""

    publisher: str
    hashes: dict[int, bytes] = field(default_factory=lambda: {0: FIRST_HASH})
    last: VerifiedPage | None = None

    def take(self, page: VerifiedPage) -> None:
        """The page that begins next. Raises NotAuthentic for a gap, and for a page of another chain."""
        if page.previous_hash is None:
            return
        if self.last is None or self.last.last_sequence < page.behind:
            self._demand_no_gap(page)
            self.hashes[page.behind] = page.previous_hash
        if self.hashes[page.behind] != page.previous_hash or any(
            self.hashes.get(sequence, found) != found for sequence, found in page.hashes.items()
        ):
            raise NotAuthentic("", "it does not belong to the same feed as the pages before it")
        self.hashes.update(page.hashes)
        if self.last is None or page.last_sequence > self.last.last_sequence:
            self.last = page

    def _demand_no_gap(self, page: VerifiedPage) -> None:
        if self.last is not None:
            first, last = self.last.last_sequence + 1, page.behind
            raise NotAuthentic("", f"entries {first:,} to {last:,} are missing between it and {self.last.name}")
        if page.behind == 0 and page.previous_hash != FIRST_HASH:
            raise NotAuthentic("", "a feed begins with another hash")


def demand_whole(pages: list[VerifiedPage]) -> None:
    """That no page is missing between any two of a publisher's. Raises NotAuthentic, with the page's name."""
    chains: dict[str, FeedChain] = {}
    for page in sorted(pages, key=lambda one: (one.behind, one.last_sequence)):
        chain = chains.setdefault(page.publisher, FeedChain(page.publisher))
        try:
            chain.take(page)
        except NotAuthentic as error:
            raise NotAuthentic(page.name, str(error)) from None


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        value = jiter.from_json(content, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
