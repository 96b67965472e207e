import json
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keyservice.crypto.signing import SIGNATURE_BYTES, read_bytes, verify
from keyservice.domain.caller import CallerKind, Scope
from keyservice.domain.canonical import canonical_json
from keyservice.domain.revocation import FEED_PAGE_PURPOSE
from tests.api.publisher.desk import Desk, desk_of, token_of
from tests.fulfillment.feeds import cancelled
from tests.lab.shop import Shop

PATH = "/publisher/revocations"


async def fed(shop: Shop, count: int) -> None:
    await shop.load([f"API-{shop.publisher_id}-{number:04}" for number in range(count)])
    await cancelled(shop, f"gone-{count}", quantity=count)


async def demand_signed(shop: Shop, page: dict[str, Any]) -> None:
    unsigned = {name: value for name, value in page.items() if name != "signature"}
    signature = page["signature"]
    key = await shop.services.statement_keys.verifying(signature["key_id"])
    public = Ed25519PublicKey.from_public_bytes(key.public.public_bytes_raw())
    raw = read_bytes(signature["value"], SIGNATURE_BYTES)
    verify(public, FEED_PAGE_PURPOSE, signature["key_id"], canonical_json(unsigned), raw)


async def test_the_feed_is_read_page_by_page_each_signed(desk: Desk, shop: Shop) -> None:
    await fed(shop, 5)
    after, seen = "", []
    while after is not None:
        page = (await desk.get(f"{PATH}?limit=2{after and f'&after={after}'}")).json
        await demand_signed(shop, page)
        seen += page["entries"]
        after = page["after"]
    assert [entry["sequence"] for entry in seen] == [1, 2, 3, 4, 5]
    assert [entry["row_number"] for entry in seen] == [1, 2, 3, 4, 5]
    first = seen[0]
    assert (first["kind"], first["reason"], first["key_ends_with"]) == ("revoked", "order canceled: 2", "0000"[-2:])
    assert "key" not in first
    assert page["last_hash"] == seen[-1]["chain_hash"]
    assert (page["publisher"], page["last_sequence"]) == (shop.publisher, 5)


async def test_a_page_that_is_not_full_yet_goes_on_where_it_ended(desk: Desk, shop: Shop) -> None:
    await fed(shop, 1)
    page = (await desk.get(PATH)).json
    assert (page["after"], page["last_sequence"]) == (None, 1)
    empty = (await desk.get(f"{PATH}?after=1")).json
    assert (empty["entries"], empty["last_sequence"], empty["previous_hash"]) == ([], 1, page["last_hash"])
    await shop.load(["NEWS"])
    await cancelled(shop, "news")
    news = (await desk.get(f"{PATH}?after=1")).json
    assert [entry["sequence"] for entry in news["entries"]] == [2]
    assert news["previous_hash"] == page["last_hash"]


async def test_the_keys_themselves_are_shown_on_request(desk: Desk, shop: Shop) -> None:
    await fed(shop, 2)
    page = (await desk.get(f"{PATH}?reveal=true")).json
    await demand_signed(shop, page)
    texts = [f"API-{shop.publisher_id}-{number:04}" for number in range(2)]
    assert [entry["key"] for entry in page["entries"]] == [
        {"kind": "text", "text": text, "parts": None, "file": None} for text in texts
    ]
    events = (await desk.get("/publisher/events")).json["events"]
    assert [event["facts"]["sequences"] for event in events if event["name"] == "keys.disclosed"] == [[1, 2]]


async def test_entries_are_acknowledged_one_by_one_several_and_up_to(desk: Desk, shop: Shop) -> None:
    await fed(shop, 6)
    page = (await desk.get(PATH)).json
    ids = {entry["sequence"]: entry["revocation_id"] for entry in page["entries"]}
    for path, body, answer in (
        (f"{PATH}/2/acknowledge", None, {"entries": 1, "new": 1}),
        (f"{PATH}/2/acknowledge", None, {"entries": 1, "new": 0}),
        (f"{PATH}/{ids[5]}/acknowledge", None, {"entries": 1, "new": 1}),
        (f"{PATH}/acknowledge", {"sequences": [5, 6, 6]}, {"entries": 2, "new": 1}),
        (f"{PATH}/acknowledge", {"up_to": 3}, {"entries": 3, "new": 2}),
    ):
        reply = await desk.post(path, json=body)
        assert (reply.status, reply.json) == (200, answer), path
    left = (await desk.get(f"{PATH}?unacknowledged=true")).json
    await demand_signed(shop, left)
    assert [entry["sequence"] for entry in left["entries"]] == [4]
    assert (left["previous_hash"], left["last_hash"], left["is_unacknowledged_only"]) == (None, None, True)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"sequences": []},
        {"sequences": None, "up_to": None},
        {"sequences": [1], "up_to": 1},
        {"sequences": [0]},
        {"sequences": [-1]},
        {"sequences": [True]},
        {"sequences": ["1"]},
        {"sequences": [1.0]},
        {"sequences": [10**18]},
        {"sequences": list(range(1, 1_002))},
        {"up_to": 0},
        {"up_to": 2},
        {"up_to": "1"},
        {"up_to": 1, "by": "me"},
    ],
)
async def test_an_acknowledgement_that_names_nothing_that_can_be_is_refused(
    desk: Desk, shop: Shop, body: object
) -> None:
    await fed(shop, 1)
    await desk.get(PATH)
    refusal = await desk.post(f"{PATH}/acknowledge", json=body)
    assert (refusal.status, refusal.headers["content-type"]) == (422, "application/problem+json")
    assert (await desk.get(PATH)).json["entries"][0]["acknowledged_at"] is None


async def test_an_entry_that_is_not_there_is_not_found_however_it_is_named(
    desk: Desk, shop: Shop, http: aiohttp.ClientSession
) -> None:
    neighbour = await Shop.opened(shop.services)
    await fed(neighbour, 2)
    foreign = (await (await desk_of(http, neighbour)).get(PATH)).json["entries"][1]["revocation_id"]
    await fed(shop, 1)
    await desk.get(PATH)
    for name in ("2", "0", "-1", "01", "1.0", "9" * 18, "9" * 40, foreign, str(uuid4()), "x", "%27"):
        assert (await desk.post(f"{PATH}/{name}/acknowledge")).status == 404, name
    assert (await desk.post(f"{PATH}/acknowledge", json={"sequences": [1, 2]})).status == 404


@pytest.mark.parametrize(
    "query", ["after=3", "after=-1", "unacknowledged=yes", "reveal=1", "limit=501", "kind=revoked"]
)
async def test_a_query_that_cannot_be_answered_is_refused(desk: Desk, shop: Shop, query: str) -> None:
    await fed(shop, 2)
    assert (await desk.get(PATH)).json["last_sequence"] == 2
    assert (await desk.get(f"{PATH}?{query}")).status == 422


async def test_only_the_publisher_itself_acknowledges_and_sees_the_keys(
    http: aiohttp.ClientSession, shop: Shop
) -> None:
    await fed(shop, 1)
    for kind in (CallerKind.ADMIN, CallerKind.AUDITOR):
        overseer = Desk(http, await token_of(shop, kind))
        assert (await overseer.get(PATH)).status == 422
        page = await overseer.get(f"{PATH}?publisher={shop.publisher}")
        assert [entry["sequence"] for entry in page.json["entries"]] == [1]
        assert (await overseer.get(f"{PATH}?publisher={shop.publisher}&reveal=true")).status == 403
        assert (await overseer.post(f"{PATH}/1/acknowledge?publisher={shop.publisher}")).status == 403
        bulk = f"{PATH}/acknowledge?publisher={shop.publisher}"
        assert (await overseer.post(bulk, json={"up_to": 1})).status == 403
    reader = await desk_of(http, shop, Scope.REVOCATIONS_READ)
    assert (await reader.get(PATH)).status == 200
    assert (await reader.post(f"{PATH}/1/acknowledge")).status == 403
    writer = await desk_of(http, shop, Scope.REVOCATIONS_ACKNOWLEDGE)
    assert (await writer.get(PATH)).status == 403
    assert (await writer.post(f"{PATH}/1/acknowledge")).status == 200


async def test_a_neighbour_s_feed_is_its_own(desk: Desk, shop: Shop) -> None:
    neighbour = await Shop.opened(shop.services)
    await fed(neighbour, 3)
    assert (await desk.get(PATH)).json["entries"] == []
    assert (await desk.get(f"{PATH}?publisher={neighbour.publisher}")).status == 404
    assert json.loads((await desk.get(PATH)).body)["last_sequence"] == 0
