"""Keygen, Cryptlex and LicenseSpring, as far as their documents say."""

from typing import Any

from keyservice.sandbox.publisher import Publisher
from tests.sandbox.asking import Caller, Got, new_reference

KEYGEN = "/v1/accounts/acme/licenses"


async def _keygen(caller: Caller, method: str, path: str = "", body: Any = None, token: str | None = None) -> Got:
    headers = {"Authorization": f"Bearer {token or caller.publisher.credentials.token}"}
    return await caller.ask(method, "keygen", KEYGEN + path, json=body, headers=headers)


def _license(reference: str) -> dict[str, Any]:
    policy = {"data": {"type": "policies", "id": "p"}}
    return {"data": {"type": "licenses", "id": reference, "relationships": {"policy": policy}}}


async def test_keygen_takes_our_id_and_a_conflict_is_looked_up(publisher: Publisher, caller: Caller) -> None:
    reference = new_reference()
    made = await _keygen(caller, "POST", body=_license(reference))
    assert (made.status, made.json["data"]["id"]) == (201, reference)
    again = await _keygen(caller, "POST", body=_license(reference))
    assert (again.status, again.json["errors"][0]["code"]) == (409, "CONFLICT")
    found = await _keygen(caller, "GET", f"/{reference}")
    assert found.json["data"]["attributes"]["key"] == made.json["data"]["attributes"]["key"]
    assert (await _keygen(caller, "GET", f"/{new_reference()}")).status == 404
    assert publisher.ledger.issued == 1


async def test_keygen_suspends_reinstates_and_revokes(publisher: Publisher, caller: Caller) -> None:
    reference = new_reference()
    await _keygen(caller, "POST", body=_license(reference))
    assert (await _keygen(caller, "POST", f"/{reference}/actions/suspend")).json["data"]["attributes"]["suspended"]
    assert (await _keygen(caller, "POST", f"/{reference}/actions/reinstate")).status == 200
    assert (await _keygen(caller, "DELETE", f"/{reference}/actions/revoke")).status == 204
    assert publisher.ledger.voided == 1
    assert publisher.ledger.entries[reference].operations == ["pause", "resume"]


async def test_keygen_refuses_a_wrong_token_and_tells_of_an_empty_pool(publisher: Publisher, caller: Caller) -> None:
    assert (await _keygen(caller, "POST", body=_license(new_reference()), token="x")).status == 401
    publisher.counter.stock = 0
    empty = await _keygen(caller, "POST", body=_license(new_reference()))
    assert (empty.status, empty.json["errors"][0]["detail"]) == (422, "pool is empty")
    assert publisher.ledger.issued == 0


async def test_cryptlex_issues_again_what_is_asked_again_and_is_searched_by_metadata(
    publisher: Publisher, caller: Caller
) -> None:
    headers = {"Authorization": f"Bearer {publisher.credentials.token}"}
    reference = new_reference()
    body = {"productId": "p", "metadata": [{"key": "order_id", "value": reference, "visible": False}]}
    made = [await caller.ask("POST", "cryptlex", "/v3/licenses", json=body, headers=headers) for _ in range(2)]
    assert [got.status for got in made] == [201, 201]
    assert made[0].json["key"] != made[1].json["key"]
    query = {"metadata.key": "order_id", "metadata.value": reference}
    found = await caller.ask("GET", "cryptlex", "/v3/licenses", params=query, headers=headers)
    assert found.json[0]["id"] == made[1].json["id"]
    path = f"/v3/licenses/{made[0].json['id']}"
    revoked = await caller.ask("PATCH", "cryptlex", path, json={"revoked": True}, headers=headers)
    assert revoked.json["revoked"] is True
    assert publisher.live_keys_of(reference) == (made[1].json["key"],)
    assert (await caller.ask("PATCH", "cryptlex", path, json={}, headers=headers)).status == 400
    assert (await caller.ask("PATCH", "cryptlex", path, json={"revoked": True})).status == 401


async def test_licensespring_makes_an_order_and_disables_its_license(publisher: Publisher, caller: Caller) -> None:
    headers = {"Authorization": f"Api-Key {publisher.credentials.api_key}"}
    reference = new_reference()
    body = {"id": reference, "is_test": True, "items": [{"product_code": "office", "licenses": [{}, {}]}]}
    path = "/api/v1/orders/create_order/"
    made = await caller.ask("POST", "licensespring", path, json=body, headers=headers)
    assert tuple(one["license_key"] for one in made.json["licenses"]) == publisher.keys_of(reference)
    assert [issue.is_test for issue in publisher.ledger.issues()] == [True]
    ids = [made.json["licenses"][0]["id"]]
    ended = await caller.ask("POST", "licensespring", "/api/v1/licenses/disable_bulk/", json=ids, headers=headers)
    assert ended.status == 200
    assert publisher.ledger.voided == 2
    assert (await caller.ask("POST", "licensespring", path, json=body)).status == 401
