"""A publisher connects its own API over HTTP, and sees and decides what was asked of it."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from keyservice.api.application import build_application
from keyservice.api.key_document import key_document
from keyservice.api.server import ServiceRunner, serve_on
from keyservice.sandbox.misbehaviour import Misbehaviour, Wrong
from keyservice.sandbox.publisher import Publisher
from keyservice.services import Services
from tests.api.publisher.desk import Desk, Reply, desk_of
from tests.lab.real_time import RealTime, add_product, document_for
from tests.lab.shop import Shop, texts_of


@pytest.fixture(scope="module")
async def http(services: Services) -> AsyncIterator[aiohttp.ClientSession]:
    runner = ServiceRunner(build_application(services), shutdown_seconds=5)
    await serve_on(runner, host="127.0.0.1", port=0, reuse_port=False)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        yield session
    await runner.cleanup()


@pytest.fixture
async def desk(http: aiohttp.ClientSession, shop: Shop) -> Desk:
    return await desk_of(http, shop)


async def made(desk: Desk, publisher: Publisher, preset: str = "nexway", **fill_in: str) -> Reply:
    filled = {"base_url": publisher.url_of(preset), "authentication.user": publisher.credentials.user, **fill_in}
    return await desk.post("/publisher/connectors", json={"name": "licenses", "preset": preset, "fill_in": filled})


async def enabled(desk: Desk, publisher: Publisher) -> UUID:
    """A connector that has its secret, has shaken hands and is enabled."""
    connector_id = (await made(desk, publisher)).json["connector_id"]
    path = f"/publisher/connectors/{connector_id}"
    await desk.ask("PUT", f"{path}/secrets", json={"secrets": {"password": publisher.credentials.password}})
    hands = await desk.post(f"{path}/handshake", json={"issue_and_void": True})
    assert hands.json["is_good"], hands.json
    switched = await desk.ask("PATCH", path, json={"state": "enabled"})
    assert (switched.status, switched.json["state"]) == (200, "enabled")
    return UUID(connector_id)


async def test_from_a_preset_to_a_key(desk: Desk, shop: Shop, publisher: Publisher) -> None:
    connector_id = await enabled(desk, publisher)
    product_ref = await add_product(shop, {"steps": [{"source": "connector", "connector": str(connector_id)}]})
    purchase = await shop.submit(shop.with_lines(shop.order("ROUTE-1"), (product_ref, 1)))
    (key,) = texts_of(purchase)
    assert key in {one for issue in publisher.ledger.issues() for one in issue.keys if issue.cancelled_at is None}
    page = await desk.get("/publisher/key-requests")
    (request,) = page.json["key_requests"]
    assert (request["operation"], request["state"]) == ("create", "issued")
    one = await desk.get(f"/publisher/key-requests/{request['key_request_id']}")
    (attempt,) = one.json["attempts"]
    assert (attempt["outcome"], attempt["http_status"]) == ("done", 200)
    assert key not in page.body.decode() + one.body.decode()


async def test_nothing_is_enabled_before_it_has_everything_and_was_tried(desk: Desk, publisher: Publisher) -> None:
    connector_id = (await made(desk, publisher)).json["connector_id"]
    path = f"/publisher/connectors/{connector_id}"
    for body in ({"state": "enabled"}, {"state": "testing"}):
        refused = await desk.ask("PATCH", path, json=body)
        assert refused.status == 409
        assert "password" in refused.json["detail"]
    assert (await desk.post(f"{path}/handshake", json={})).status == 409
    await desk.ask("PUT", f"{path}/secrets", json={"secrets": {"password": "not the right one"}})
    hands = await desk.post(f"{path}/handshake", json={})
    assert (hands.status, hands.json["is_good"]) == (200, False)
    assert hands.json["advice"]
    assert (await desk.ask("PATCH", path, json={"state": "enabled"})).status == 409
    assert publisher.ledger.issued == 0


async def test_no_secret_comes_back(desk: Desk, publisher: Publisher) -> None:
    connector_id = await enabled(desk, publisher)
    path = f"/publisher/connectors/{connector_id}"
    shown = [
        await desk.get(path),
        await desk.get("/publisher/connectors"),
        await desk.post(f"{path}/preview", json={"operation": "create"}),
        await desk.post(f"{path}/handshake", json={"issue_and_void": True}),
        await desk.get("/publisher/events"),
    ]
    for reply in shown:
        assert reply.status == 200
        assert publisher.credentials.password not in reply.body.decode()
    assert "handshake@example.com" in shown[2].json["body"]
    keys = {key for issue in publisher.ledger.issues() for key in issue.keys}
    assert keys
    assert not any(key in reply.body.decode() for key in keys for reply in shown)


async def test_what_about_the_buyer_leaves_the_house_is_told(desk: Desk, publisher: Publisher) -> None:
    told = {field["name"] for field in (await made(desk, publisher)).json["buyer_fields"]}
    assert {"Email", "FirstName", "LastName"} <= told


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://169.254.169.254/latest", "address"),
        ("https://user:word@licenses.example.com", "user name"),
        ("gopher://licenses.example.com", "https://"),
        ("https://2130706433/", "notation"),
    ],
)
async def test_a_hostile_url_is_refused_when_it_is_written(
    desk: Desk, publisher: Publisher, url: str, why: str
) -> None:
    refused = await made(desk, publisher, base_url=url)
    assert refused.status == 422
    assert refused.json["field"] == "base_url"
    assert why in refused.json["detail"]


async def test_a_document_that_cannot_be_used_says_where(desk: Desk, publisher: Publisher) -> None:
    whole = document_for(publisher).model_dump(mode="json")
    broken = {**whole, "key_law": {"pattern": "("}}
    refused = await desk.post("/publisher/connectors", json={"name": "broken", "document": broken})
    assert (refused.status, refused.json["field"]) == (422, "key_law.pattern")
    unknown = {**whole, "nobody": 1}
    refused = await desk.post("/publisher/connectors", json={"name": "broken", "document": unknown})
    assert (refused.status, refused.json["field"]) == (422, "document.nobody")
    both = {"name": "broken", "document": whole, "preset": "nexway"}
    assert (await desk.post("/publisher/connectors", json=both)).status == 422
    assert (await desk.get("/publisher/connectors")).json["connectors"] == []


async def test_a_new_version_waits_until_it_is_enabled(desk: Desk, publisher: Publisher) -> None:
    connector_id = await enabled(desk, publisher)
    path = f"/publisher/connectors/{connector_id}"
    document = (await desk.get(path)).json["document"]
    changed = {**document, "budget_seconds": 3}
    reply = await desk.ask("PUT", f"{path}/document", json={"edited_version": 1, "document": changed})
    assert (reply.status, reply.json["version"], reply.json["newest_version"]) == (200, 1, 2)
    again = await desk.ask("PUT", f"{path}/document", json={"edited_version": 1, "document": changed})
    assert (again.status, again.json["newest_version"]) == (200, 2)
    other = {**document, "budget_seconds": 4}
    assert (await desk.ask("PUT", f"{path}/document", json={"edited_version": 1, "document": other})).status == 409
    assert (await desk.ask("PATCH", path, json={"state": "enabled"})).status == 409
    await desk.post(f"{path}/handshake", json={})
    assert (await desk.ask("PATCH", path, json={"state": "enabled"})).json["version"] == 2


async def test_a_secret_that_was_never_tried_is_not_enabled(desk: Desk, publisher: Publisher) -> None:
    connector_id = await enabled(desk, publisher)
    path = f"/publisher/connectors/{connector_id}"
    await desk.ask("PATCH", path, json={"state": "disabled"})
    await desk.ask("PUT", f"{path}/secrets", json={"secrets": {"password": "another"}})
    assert (await desk.ask("PATCH", path, json={"state": "enabled"})).status == 409


async def test_a_handshake_takes_back_what_may_have_been_issued(desk: Desk, publisher: Publisher) -> None:
    connector_id = (await made(desk, publisher)).json["connector_id"]
    path = f"/publisher/connectors/{connector_id}"
    await desk.ask("PUT", f"{path}/secrets", json={"secrets": {"password": publisher.credentials.password}})
    publisher.script(Misbehaviour(Wrong.RESET_AFTER, operation="create"))
    hands = await desk.post(f"{path}/handshake", json={"issue_and_void": True})
    assert not hands.json["is_good"]
    assert publisher.ledger.issued == publisher.ledger.voided == 1


async def test_presets_say_what_they_leave_open(desk: Desk) -> None:
    presets = {one["name"]: one for one in (await desk.get("/publisher/connector-presets")).json["presets"]}
    assert {"nexway", "keygen", "cryptlex", "licensespring", "plugin"} <= presets.keys()
    assert presets["nexway"]["secrets"] == ["password"]
    assert {part["path"] for part in presets["keygen"]["to_fill_in"]} == {"parameters.account", "parameters.policy"}


async def test_a_person_decides_what_nobody_can_find_out(desk: Desk, shop: Shop, publisher: Publisher) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher, capabilities={}))
    publisher.script(Wrong.RESET_AFTER)
    purchase = await real_time.buy("ROUTE-2")
    (held,) = (await desk.get("/publisher/key-requests", params={"state": "held"})).json["key_requests"]
    path = f"/publisher/key-requests/{held['key_request_id']}/decision"
    (key,) = publisher.keys_of(held["license_ref"])
    wrong = await desk.post(path, json={"decision": "issued", "keys": ["NO-KEY-OF-THIS-PUBLISHER"]})
    assert wrong.status == 422
    assert "pattern" in wrong.body.decode()
    assert "NO-KEY" not in wrong.body.decode()
    assert (await desk.post(path, json={"decision": "acknowledged"})).status == 409
    decided = await desk.post(path, json={"decision": "issued", "keys": [key]})
    assert (decided.status, decided.json["state"]) == (200, "issued")
    assert texts_of(await real_time.buy("ROUTE-2")) == [key]
    assert await real_time.status(purchase.order_id) == "COMPLETED"
    events = (await desk.get("/publisher/events")).json["events"]
    assert {"key_request.held", "key_request.decided"} <= {event["name"] for event in events}


async def test_a_publisher_tells_its_keys_by_itself(desk: Desk, shop: Shop, publisher: Publisher) -> None:
    document = document_for(publisher, capabilities={"pushes_back": True})
    real_time = await RealTime.opened(shop, publisher, document, answer_seconds=0)
    purchase = await real_time.buy("ROUTE-3")
    (request,) = await real_time.requests(purchase.order_id)
    told = {"reference": str(request.license_ref), "license_id": "L-9", "keys": ["SANDBOX-AAAAA-BBBBB-CCCCC-DDDDD"]}
    for _ in range(2):
        heard = await desk.post("/publisher/key-answers", json=told)
        assert (heard.status, heard.json["state"], heard.json["publisher_license_id"]) == (200, "issued", "L-9")
    assert texts_of(await real_time.buy("ROUTE-3")) == told["keys"]
    stranger = await desk_of(desk.http, await Shop.opened(shop.services))
    assert (await stranger.post("/publisher/key-answers", json=told)).status == 404


@pytest.mark.parametrize(
    ("key", "law", "document"),
    [
        (
            {"parts": [{"label": "serial", "value": "S-1"}, {"label": "code", "value": "C-1"}]},
            {},
            {"kind": "parts", "parts": [{"label": "serial", "value": "S-1"}, {"label": "code", "value": "C-1"}]},
        ),
        (
            {"mime": "application/x-license", "base64": "AAEC/w==", "name": "a.lic"},
            {},
            {"kind": "file", "file": {"name": "a.lic", "mime": "application/x-license", "base64": "AAEC/w=="}},
        ),
    ],
)
async def test_a_key_of_parts_or_a_file_is_decided_too(
    desk: Desk, shop: Shop, publisher: Publisher, key: dict[str, Any], law: dict[str, Any], document: dict[str, Any]
) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher, capabilities={}, key_law=law))
    publisher.script(Wrong.RESET_AFTER)
    purchase = await real_time.buy(f"ROUTE-{document['kind']}")
    (held,) = (await desk.get("/publisher/key-requests", params={"state": "held"})).json["key_requests"]
    path = f"/publisher/key-requests/{held['key_request_id']}/decision"
    refused: tuple[dict[str, Any], ...] = (
        *({"mime": "x", "base64": "AAEC/w=="}, {"mime": "application/vnd.keyservice.parts+json", "base64": "AAEC/w=="}),
        *({"mime": "a/b", "base64": "%%%%"}, {"mime": "a/b", "base64": "AAEC", "name": "../a"}, {"parts": []}),
        {"parts": [{"label": "a", "value": "<html>"}]},
    )
    for wrong in refused:
        assert (await desk.post(path, json={"decision": "issued", "keys": [wrong]})).status == 422, wrong
    decided = await desk.post(path, json={"decision": "issued", "keys": [key]})
    assert (decided.status, decided.json["state"]) == (200, "issued")
    (unit,) = (unit for line in (await real_time.buy(f"ROUTE-{document['kind']}")).lines for unit in line.units)
    assert unit.key is not None
    shown = key_document(unit.key, unit.mime, unit.name).model_dump(mode="json", exclude_none=True)
    assert shown == document
    assert await real_time.status(purchase.order_id) == "COMPLETED"


async def test_what_a_connector_was_before_can_be_read(desk: Desk, publisher: Publisher) -> None:
    connector_id = await enabled(desk, publisher)
    path = f"/publisher/connectors/{connector_id}"
    document = (await desk.get(path)).json["document"]
    changed = {"edited_version": 1, "document": {**document, "budget_seconds": 3}}
    assert (await desk.ask("PUT", f"{path}/document", json=changed)).status == 200
    first = await desk.get(f"{path}/versions", params={"limit": "1"})
    rest = await desk.get(f"{path}/versions", params={"after": first.json["after"]})
    assert [one["version"] for one in first.json["versions"] + rest.json["versions"]] == [2, 1]
    assert rest.json["after"] is None
    before = (await desk.get(f"{path}/versions/1")).json
    assert before["document"] == document
    assert before["is_handshake_good"] is True
    assert before["steps"][0]["sent"]["method"] == "POST"
    assert publisher.credentials.password not in str(before)
    for missing in ("0", "3", "x", "1001", "٣"):
        assert (await desk.get(f"{path}/versions/{missing}")).status == 404, missing


async def test_a_secret_is_deleted_unless_the_version_in_use_needs_it(desk: Desk, publisher: Publisher) -> None:
    path = f"/publisher/connectors/{await enabled(desk, publisher)}"
    assert (await desk.ask("DELETE", f"{path}/secrets/password")).status == 409
    await desk.ask("PATCH", path, json={"state": "disabled"})
    for _ in range(2):
        gone = await desk.ask("DELETE", f"{path}/secrets/password")
        assert (gone.status, gone.json["secrets"], gone.json["missing_secrets"]) == (200, [], ["password"])
    for name in ("Password", "%C2%84", "pass-word", "a" * 33):
        assert (await desk.ask("DELETE", f"{path}/secrets/{name}")).status == 404


async def test_a_preview_of_two_phases_shows_what_the_first_one_would_have_told(desk: Desk) -> None:
    create = {
        "body": {"kind": "json", "template": '{"id":"{{.Reserved.LicenseID}}","seat":{{.Reserved.seat}}}'},
        "keys": [{"source": "json", "path": "$.k"}],
    }
    reserve = {"additional": {"seat": {"source": "json", "path": "$.seat"}}}
    document = {
        "base_url": "https://a.example",
        "operations": {"create": create, "reserve": reserve},
        "surplus": "hold",
    }
    made = await desk.post("/publisher/connectors", json={"name": "two phases", "document": document})
    shown = await desk.post(f"/publisher/connectors/{made.json['connector_id']}/preview", json={"operation": "create"})
    assert shown.json["body"] == '{"id":"RESERVED","seat":["RESERVED"]}'
