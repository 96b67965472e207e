import base64
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from keyservice.crypto.sealing import DataKey, key_aad
from keyservice.domain.caller import CallerKind, Scope
from keyservice.domain.key import KeyPlace
from keyservice.domain.key_parts import PARTS_MIME, KeyPart, encode_parts
from keyservice.postgres.statements import statement
from tests.api.publisher.desk import Desk, desk_of, token_of
from tests.fulfillment.feeds import cancelled
from tests.lab.shop import Shop

OWN, SOLD = "/publisher/keys/search", "/fulfillment/keys/search"
ALL, ENDING = "/admin/keys/search", "/admin/keys/search-by-ending"


@pytest.fixture
async def desk(http: aiohttp.ClientSession, shop: Shop) -> Desk:
    return await desk_of(http, shop)


@pytest.fixture
async def admin(http: aiohttp.ClientSession, shop: Shop) -> Desk:
    return Desk(http, await token_of(shop, CallerKind.ADMIN))


@pytest.fixture
async def pipeline(http: aiohttp.ClientSession, shop: Shop) -> Desk:
    return Desk(http, await token_of(shop, CallerKind.PIPELINE))


async def _sell_as(shop: Shop, token: str, number: str) -> None:
    """An order of the caller behind this token."""
    await replace(shop, reseller=await shop.services.gatekeeper.identify(token)).buy(number)


async def _store(shop: Shop, raw: bytes, mime: str) -> None:
    """Put other bytes in the place of a key that was loaded."""
    services = shop.services
    segment_id = await shop.load([f"STAND-IN-{shop.publisher_id}-{len(raw)}"])
    async with services.database.transaction() as connection:
        row = await connection.fetchrow(
            "SELECT d.data_key_id, d.batch_id, d.wrapped FROM segments s JOIN data_keys d USING (publisher_id, batch_id)"
            " WHERE segment_id = $1",
            segment_id,
        )
        assert row is not None
        context = {"purpose": "keys", "publisher": str(shop.publisher_id), "batch": str(row["batch_id"])}
        data_key = DataKey(row["data_key_id"], await services.wrapper.unwrap(row["wrapped"], context))
        sealed = data_key.seal(raw, key_aad(KeyPlace(shop.publisher_id, segment_id, 1)))
        prints = services.fingerprints
        await connection.execute(statement("batches.purge_keys"), shop.publisher_id, segment_id, 1, 1)
        values = (segment_id, 1, 1, sealed, prints.key(shop.publisher_id, raw), prints.suffix(shop.publisher_id, raw))
        columns = [[value] for value in (*values, None, None, mime, None)]
        await connection.execute(statement("batches.insert_keys"), shop.publisher_id, row["batch_id"], *columns)


async def test_a_publisher_finds_its_key_by_its_text(desk: Desk, shop: Shop) -> None:
    text = f"KEY-{shop.publisher_id}"
    await shop.load([text])
    await cancelled(shop, "gone")
    found = await desk.post(OWN, json={"key": text})
    assert found.status == 200
    (key,) = found.json["keys"]
    assert (key["pool_id"], key["pool_name"], key["row_number"], key["state"]) == (
        str(shop.pool_id),
        "main",
        1,
        "revoked",
    )
    assert key["claimed_at"]
    assert key["ended_at"]
    assert text.encode() not in found.body
    assert not {"order_id", "caller_id", "email"} & set(key)


async def test_keys_of_parts_and_files_are_found_by_all_of_them(desk: Desk, shop: Shop) -> None:
    parts = [KeyPart("serial", f"S-{shop.publisher_id}"), KeyPart("code", "C-1")]
    await _store(shop, encode_parts(parts), PARTS_MIME)
    await _store(shop, b"\x00\xff\xfe binary", "application/octet-stream")
    sought = [part._asdict() for part in parts]
    assert len((await desk.post(OWN, json={"parts": sought})).json["keys"]) == 1
    for other in (sought[::-1], sought[:1], [{**sought[0], "label": "Serial"}, sought[1]]):
        assert (await desk.post(OWN, json={"parts": other})).json["keys"] == []
    file = base64.b64encode(b"\x00\xff\xfe binary").decode()
    assert len((await desk.post(OWN, json={"file_base64": file})).json["keys"]) == 1
    assert (await desk.post(OWN, json={"file_base64": base64.b64encode(b"other").decode()})).json["keys"] == []


async def test_what_is_foreign_is_answered_like_what_does_not_exist(desk: Desk, shop: Shop, pipeline: Desk) -> None:
    neighbour = await Shop.opened(shop.services)
    text = f"FOREIGN-{shop.publisher_id}"
    await neighbour.load([text])
    unsold = f"UNSOLD-{shop.publisher_id}"
    await shop.load([unsold])
    for asker, path, texts in ((desk, OWN, (text, "NOBODY-S")), (pipeline, SOLD, (text, unsold, "NOBODY-S"))):
        answers = [await asker.post(path, json={"key": one}) for one in texts]
        assert {(answer.status, answer.body) for answer in answers} == {(200, b'{"keys":[]}')}


async def test_a_pipeline_finds_the_order_of_its_key_and_nobody_elses(shop: Shop, pipeline: Desk) -> None:
    text = f"PIPED-{shop.publisher_id}"
    await shop.load([text])
    await _sell_as(shop, pipeline.token, "ref-1")
    (key,) = (await pipeline.post(SOLD, json={"key": text})).json["keys"]
    assert (key["reference"], key["state"], key["line_number"], key["unit_number"]) == ("ref-1", "issued", 1, 1)
    other = Desk(pipeline.http, await token_of(shop, CallerKind.PIPELINE))
    assert (await other.post(SOLD, json={"key": text})).json == {"keys": []}


async def test_an_admin_finds_it_everywhere_or_at_one_publisher(shop: Shop, admin: Desk, pipeline: Desk) -> None:
    text = f"ADMIN-{shop.publisher_id}"
    await shop.load([text])
    await _sell_as(shop, pipeline.token, "ref-2")
    for query in ("", f"?publisher={shop.publisher}"):
        found = await admin.post(f"{ALL}{query}", json={"key": text, "purpose": "ticket 4"})
        (key,) = found.json["keys"]
        assert (key["publisher"], key["state"], key["order"]["partner_order_number"]) == (
            shop.publisher,
            "issued",
            "ref-2",
        )
        assert key["order"]["caller"].startswith("pipeline-")
        assert text.encode() not in found.body
    neighbour = await Shop.opened(shop.services)
    elsewhere = await admin.post(f"{ALL}?publisher={neighbour.publisher}", json={"key": text, "purpose": "ticket 4"})
    assert elsewhere.json == {"keys": [], "is_capped": False}
    assert (await admin.post(f"{ALL}?publisher=nobody", json={"key": text, "purpose": "ticket 4"})).status == 404
    events = (await admin.get(f"/publisher/events?publisher={shop.publisher}")).json["events"]
    recorded = [event["facts"]["purpose"] for event in events if event["name"] == "keys.searched"]
    assert recorded == ["ticket 4", "ticket 4"]
    everywhere = (await admin.get("/admin/events?limit=500")).json["events"]
    assert {event["name"] for event in everywhere} == {"keys.searched"}
    assert not any(text in str(event) for event in (*events, *everywhere))


async def test_an_admin_finds_keys_by_their_ending(shop: Shop, admin: Desk) -> None:
    await shop.load([f"{number:012}-ZXCVB" for number in range(21)])
    sought = {"ending": "ZXCVB", "publisher": shop.publisher, "purpose": "ticket 5"}
    found = await admin.post(ENDING, json=sought)
    assert (found.status, len(found.json["keys"]), found.json["is_capped"]) == (200, 20, True)
    assert {key["key_ends_with"] for key in found.json["keys"]} == {"XCVB"}
    assert (await admin.post(ENDING, json={**sought, "publisher": "nobody"})).status == 404


@pytest.mark.parametrize("path", [OWN, SOLD, ALL])
@pytest.mark.parametrize(
    "sought",
    [
        {},
        {"key": None},
        {"key": ""},
        {"key": "x" * 1_025},
        {"key": 7},
        {"key": "A", "file_base64": "QQ=="},
        {"key": "A", "parts": [{"label": "a", "value": "A"}]},
        {"parts": []},
        {"parts": [{"label": "a"}]},
        {"parts": [{"label": "a", "value": "A"}] * 11},
        {"parts": [{"label": "a", "value": "A", "more": 1}]},
        {"file_base64": "not base64"},
        {"file_base64": "QQ"},
        {"file_base64": ""},
        {"key": "A", "publisher": "acme"},
    ],
)
async def test_what_is_no_key_is_refused(
    path: str, sought: dict[str, Any], desk: Desk, pipeline: Desk, admin: Desk
) -> None:
    asker = {OWN: desk, SOLD: pipeline, ALL: admin}[path]
    body = {**sought, "purpose": "ticket"} if path == ALL else sought
    refusal = await asker.post(path, json=body)
    assert (refusal.status, refusal.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize(
    "body",
    [
        {"key": "ABCDEF"},
        {"key": "ABCDEF", "purpose": ""},
        {"key": "ABCDEF", "purpose": " x"},
        {"key": "ABCDEF", "purpose": "x" * 201},
        {"key": "ABCDEF", "purpose": "who has abcdef?"},
    ],
)
async def test_an_admin_says_what_a_search_is_for_and_not_what_is_searched_for(
    admin: Desk, body: dict[str, Any]
) -> None:
    assert (await admin.post(ALL, json=body)).status == 422


async def test_a_key_never_travels_in_the_query(desk: Desk, admin: Desk) -> None:
    assert (await desk.post(f"{OWN}?key=A", json={"key": "A"})).status == 422
    assert (await admin.post(f"{ALL}?key=A", json={"key": "A", "purpose": "t"})).status == 422


async def test_each_search_is_for_its_audience_with_its_scope(
    http: aiohttp.ClientSession, shop: Shop, desk: Desk, admin: Desk, pipeline: Desk
) -> None:
    key, inspected = {"key": "A"}, {"key": "A", "purpose": "t"}
    ending = {"ending": "ABCDE", "publisher": shop.publisher, "purpose": "t"}
    for asker in (admin, desk, pipeline):
        for path, body, owner in (
            (OWN, key, desk),
            (SOLD, key, pipeline),
            (ALL, inspected, admin),
            (ENDING, ending, admin),
        ):
            query = f"?publisher={shop.publisher}" if path == OWN and asker is admin else ""
            expected = 200 if asker is owner else 403
            assert (await asker.post(f"{path}{query}", json=body)).status == expected, (path, asker)
    for kind, scope in ((CallerKind.PUBLISHER, Scope.POOLS_READ), (CallerKind.ADMIN, Scope.POOLS_READ)):
        reader = Desk(http, await token_of(shop, kind, scope))
        path, body = (OWN, key) if kind is CallerKind.PUBLISHER else (ALL, inspected)
        assert (await reader.post(path, json=body)).status == 403
    assert (await Desk(http, shop.reseller_token).post(SOLD, json=key)).status == 403
    auditor = Desk(http, await token_of(shop, CallerKind.AUDITOR))
    for path, body in ((ALL, inspected), (ENDING, ending)):
        assert (await auditor.post(path, json=body)).status == 403
    assert (await auditor.get("/admin/events")).status == 200
    assert (await desk.get("/admin/events")).status == 403
