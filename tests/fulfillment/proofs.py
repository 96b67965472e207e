"""Statements and pages of the feed as files, the keys that verify them, and a stranger who signs too."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyservice.crypto.signing import sign, written
from keyservice.domain.canonical import canonical_json
from keyservice.domain.revocation import FEED_PAGE_PURPOSE
from keyservice.domain.statement import STATEMENT_PURPOSE, Month, RunningHash, split_line, written_line
from keyservice.fulfillment.make_statement import state_batch, state_month
from keyservice.fulfillment.pinned_keys import PinnedKey
from keyservice.fulfillment.verify_feed import VerifiedPage, demand_whole, verify_page
from keyservice.fulfillment.verify_statement import VerifiedStatement, verify_statement
from keyservice.services import Services
from tests.lab.shop import Shop

Members = dict[str, Any]


async def pinned_keys(services: Services) -> dict[str, PinnedKey]:
    await services.statement_keys.signing()
    return {
        key.key_id: PinnedKey(key.public, key.signs_from, key.signs_until)
        for key in await services.statement_keys.published()
    }


async def batch_statement(shop: Shop, batch_id: UUID) -> bytes:
    file = io.BytesIO()
    await state_batch(shop.services.database, shop.services.statement_keys, shop.publisher_id, batch_id, file)
    return file.getvalue()


async def month_statement(shop: Shop, month: str) -> bytes:
    file = io.BytesIO()
    services = shop.services
    await state_month(services.database, services.statement_keys, shop.publisher_id, Month.named(month), file)
    return file.getvalue()


def verified(statement: bytes, pinned: Mapping[str, PinnedKey]) -> VerifiedStatement:
    return verify_statement(io.BytesIO(statement), pinned)


def verified_pages(pages: Sequence[bytes], pinned: Mapping[str, PinnedKey]) -> list[VerifiedPage]:
    found = [verify_page(page, pinned, name=f"page {number}") for number, page in enumerate(pages)]
    demand_whole(found)
    return found


def members_of(statement: bytes) -> list[Members]:
    """All lines but the signature, without their check digits."""
    found = []
    for line in statement.splitlines(keepends=True)[:-1]:
        parts = split_line(line)
        assert parts is not None
        found.append(json.loads(parts[0]))
    return found


def keys_in(statement: bytes) -> list[Members]:
    return [members for members in members_of(statement) if members["kind"] == "key"]


def counts_in(statement: bytes) -> Members:
    return members_of(statement)[-1]


def rehashed(lines: Sequence[Members], signature: Members) -> bytes:
    """A statement of these lines with hashes that fit, and whatever signature there is."""
    running = RunningHash()
    written_lines = [written_line(running, members) for members in lines]
    last = {"lines": running.lines, "sha256": running.hex, "signature": signature}
    return b"".join([*written_lines, canonical_json(last), b"\n"])


def signed_statement(lines: Sequence[Members], private: Ed25519PrivateKey, key_id: str) -> bytes:
    """The same, signed by this key under this name."""
    running = RunningHash()
    for members in lines:
        written_line(running, members)
    value = sign(private, STATEMENT_PURPOSE, key_id, running.signed_content)
    return rehashed(lines, {"algorithm": "Ed25519", "key_id": key_id, "value": written(value)})


def signed_page(page: Members, private: Ed25519PrivateKey, key_id: str) -> bytes:
    unsigned = {name: value for name, value in page.items() if name != "signature"}
    value = sign(private, FEED_PAGE_PURPOSE, key_id, canonical_json(unsigned))
    signature = {"algorithm": "Ed25519", "key_id": key_id, "value": written(value)}
    return canonical_json({**unsigned, "signature": signature})
