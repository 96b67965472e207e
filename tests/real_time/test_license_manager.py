"""The reference's license manager as a door: licenses, operations, replays, and definitions that are taken over."""

from typing import Any

import pytest
from pydantic import ValidationError

from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.exporting import exported
from keyservice.connectors.importing import LicenseProviderDefinition, imported
from keyservice.connectors.rendering import render
from keyservice.domain.connector import ConnectorOperation, ConnectorRefused
from keyservice.sandbox.publisher import Publisher
from tests.api.publisher.desk import Desk, desk_of
from tests.lab.real_time import RealTime, add_product, document_for
from tests.lab.shop import Shop, texts_of
from tests.real_time.test_routes import desk, http

__all__ = ["desk", "http"]


def definition(publisher: Publisher, **members: Any) -> dict[str, Any]:
    body = (
        '{"fulfillmentId":"{{.LicenseID}}","checkout":{"orderId":"{{.Checkout.OrderID}}",'
        '"lineItemId":"{{.Checkout.LineItemID}}"},"product":{"id":"{{.Product.ID}}"}}'
    )
    paths = {
        "activationCode": "$.activationCode+",
        "PublisherLicenseID": "$.PublisherLicenseID",
        "errorCode": "$.errorCode",
    }
    return {
        "name": "taken over",
        "baseUrl": publisher.url_of("nexway"),
        "bodyType": "json",
        "supportedOperations": ["create", "cancel"],
        "operationDefinitions": {
            "create": {"urlComplement": "/licenses/new", "bodyTemplate": body, "responsePaths": paths},
            "cancel": {"urlComplement": "/licenses/cancel", "bodyTemplate": body},
        },
        "permanentErrorsDefinition": {"errorCodes": ["BAD_REQUEST"], "httpStatusCodes": [400]},
        "user": publisher.credentials.user,
        **members,
    }


async def test_a_definition_is_taken_over_and_sells(desk: Desk, shop: Shop, publisher: Publisher) -> None:
    made = await desk.post("/license-manager/license-provider-definitions", json=definition(publisher))
    assert made.status == 201, made.json
    path = made.headers["location"]
    await desk.ask("PUT", f"{path}/secrets", json={"secrets": {"password": publisher.credentials.password}})
    hands = await desk.post(f"{path}/handshake", json={"issue_and_void": True})
    assert hands.json["is_good"], hands.json
    await desk.ask("PATCH", path, json={"state": "enabled"})
    plan = {"steps": [{"source": "connector", "connector": made.json["id"]}]}
    product_ref = await add_product(shop, plan)
    purchase = await shop.submit(shop.with_lines(shop.order("LM-1"), (product_ref, 1)))
    (key,) = texts_of(purchase)
    page = await desk.get("/license-manager/license")
    (license_,) = page.json["licenses"]
    assert (license_["status"], license_["orderId"]) == ("Running", str(purchase.order_id))
    assert license_["publisherLicenseId"]
    assert key not in page.body.decode()


async def test_a_definition_that_cannot_be_used_says_where(desk: Desk, publisher: Publisher) -> None:
    for members, field in (
        ({"baseUrl": "https://10.0.0.1/"}, "base_url"),
        ({"supportedOperations": ["create", "renew"]}, "operationDefinitions.renew"),
        ({"operationDefinitions": {"default": {"bodyTemplate": "{{nobody}}"}}}, "operations.create.body.template"),
    ):
        refused = await desk.post(
            "/license-manager/license-provider-definitions", json=definition(publisher, **members)
        )
        assert (refused.status, refused.json["field"]) == (422, field)
    unknown = await desk.post("/license-manager/license-provider-definitions", json=definition(publisher, nobody=1))
    assert unknown.status == 422


async def test_a_definition_is_read_back_as_it_was_taken_over(desk: Desk, shop: Shop, publisher: Publisher) -> None:
    path = "/license-manager/license-provider-definitions"
    given = definition(publisher, testModeParameters={"account": "test"})
    made = await desk.post(path, json=given)
    listed = {"id": made.json["id"], "name": "taken over", "status": "Disable"}
    assert made.json == listed
    assert (await desk.get(path)).json == {"definitions": [listed], "after": None}
    read = await desk.get(f"{path}/{made.json['id']}")
    assert read.status == 200
    for member in ("name", "baseUrl", "bodyType", "supportedOperations", "user", "testModeParameters"):
        assert read.json[member] == given[member]
    for name, operation in given["operationDefinitions"].items():
        told = read.json["operationDefinitions"][name]
        assert (told["urlComplement"], told["bodyTemplate"]) == (operation["urlComplement"], operation["bodyTemplate"])
        paths = {called: one["path"] for called, one in told["responsePaths"].items()}
        assert paths == operation.get("responsePaths", {})
    copy = await desk.post(path, json={**read.json, "name": "once more"})
    first, second = [await desk.get(f"/publisher/connectors/{one.json['id']}") for one in (made, copy)]
    assert first.json["document"] == second.json["document"]
    stranger = await desk_of(desk.http, await Shop.opened(shop.services))
    assert (await stranger.get(f"{path}/{made.json['id']}")).status == 404
    assert (await stranger.get(path)).json["definitions"] == []


async def test_a_definition_is_changed_by_its_name_and_ended_by_its_id(
    desk: Desk, shop: Shop, publisher: Publisher
) -> None:
    path = "/license-manager/license-provider-definitions"
    assert (await desk.ask("PUT", path, json=definition(publisher))).status == 404
    made = await desk.post(path, json=definition(publisher))
    assert (await desk.post(path, json=definition(publisher))).status == 409
    changed = definition(publisher, testModeParameters={"account": "other"})
    for _ in range(2):
        assert (await desk.ask("PUT", path, json=changed)).json == made.json
    there = f"/publisher/connectors/{made.json['id']}"
    assert (await desk.get(there)).json["version"] == 2
    assert (await desk.get(f"{path}/{made.json['id']}")).json["testModeParameters"] == {"account": "other"}
    assert (await desk.ask("PUT", path, json={**changed, "baseUrl": "https://10.0.0.1/"})).status == 422
    stranger = await desk_of(desk.http, await Shop.opened(shop.services))
    assert (await stranger.ask("PUT", path, json=changed)).status == 404
    assert (await stranger.ask("DELETE", f"{path}/{made.json['id']}")).status == 404
    await desk.ask("PUT", f"{there}/secrets", json={"secrets": {"password": publisher.credentials.password}})
    assert (await desk.post(f"{there}/handshake", json={"issue_and_void": True})).json["is_good"]
    await desk.ask("PATCH", there, json={"state": "enabled"})
    assert (await desk.get(path)).json["definitions"][0]["status"] == "Enable"
    for _ in range(2):
        ended = await desk.ask("DELETE", f"{path}/{made.json['id']}")
        assert (ended.status, ended.json["status"]) == (200, "Disable")
    assert (await desk.get(there)).json["state"] == "disabled"


async def test_a_connector_that_says_more_than_a_definition_can_is_not_shortened(
    desk: Desk, shop: Shop, publisher: Publisher
) -> None:
    await RealTime.opened(shop, publisher, document_for(publisher, budget_seconds=7))
    path = "/license-manager/license-provider-definitions"
    (listed,) = (await desk.get(path)).json["definitions"]
    assert listed["status"] == "Enable"
    refused = await desk.get(f"{path}/{listed['id']}")
    assert (refused.status, refused.json["title"]) == (422, "The connector's document cannot be used")
    assert refused.json["field"] in ConnectorDocument.model_fields


async def test_what_is_asked_about_a_license(desk: Desk, shop: Shop, publisher: Publisher) -> None:
    whole = document_for(publisher).model_dump()
    pause = {**whole["operations"][ConnectorOperation.CANCEL], "path": "/licenses/pause"}
    document = document_for(publisher, operations={**whole["operations"], "pause": pause})
    real_time = await RealTime.opened(shop, publisher, document)
    purchase = await real_time.buy("LM-2")
    (created,) = await real_time.requests(purchase.order_id)
    license_id = str(created.license_ref)
    asked = await desk.post("/license-manager/operations", json={"operation": "pause", "licenseId": license_id})
    assert (asked.status, asked.json["processingInProgress"]) == (200, True)
    await real_time.work_off()
    paused = await desk.get(f"/license-manager/license/{license_id}")
    assert paused.json["status"] == "Paused"
    assert [one["operation"] for one in paused.json["operationExecutions"]] == ["create", "pause"]
    execution = paused.json["operationExecutions"][1]
    assert (await desk.get(f"/license-manager/license/{license_id}/{execution['id']}")).json == execution
    assert (await desk.get(f"/license-manager/license/{execution['id']}/{execution['id']}")).status == 404
    assert (
        await desk.post("/license-manager/operations", json={"operation": "renew", "licenseId": license_id})
    ).status == 409
    for _ in range(2):
        ended = await desk.ask("DELETE", f"/license-manager/license/{license_id}")
        assert (ended.status, ended.json["status"]) == (200, "Canceled")
    await real_time.work_off()
    assert publisher.live_keys_of(license_id) == ()
    assert await real_time.status(purchase.order_id) == "CANCELED"


async def test_only_the_last_operation_and_only_one_that_failed_is_done_again(
    desk: Desk, shop: Shop, publisher: Publisher
) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher))
    purchase = await real_time.buy("LM-3")
    (created,) = await real_time.requests(purchase.order_id)
    books = publisher.ledger.entries.pop(str(created.license_ref))
    await real_time.cancel(purchase.order_id)
    await real_time.work_off()
    _, cancellation = await real_time.requests(purchase.order_id)
    assert await real_time.status(purchase.order_id) == "CANCELED_WITH_ERROR"
    path = "/license-manager/operation"
    assert (await desk.post(f"{path}/{created.key_request_id}")).status == 409
    publisher.ledger.entries[str(created.license_ref)] = books
    replayed = await desk.post(f"{path}/{cancellation.key_request_id}")
    assert (replayed.status, replayed.json["isScheduled"]) == (200, True)
    await real_time.work_off()
    done = await desk.get(f"{path}/{cancellation.key_request_id}")
    assert done.json["isSuccess"]
    assert await real_time.status(purchase.order_id) == "CANCELED"
    assert (await desk.post(f"{path}/{cancellation.key_request_id}")).status == 409
    stranger = await desk_of(desk.http, await Shop.opened(shop.services))
    assert (await stranger.get(f"{path}/{cancellation.key_request_id}")).status == 404
    assert (await stranger.ask("DELETE", f"/license-manager/license/{created.license_ref}")).status == 404


def test_an_imported_template_renders_the_same_bytes() -> None:
    template = '{"id": "{{ .LicenseID }}",  "mail":"{{- .User.Email -}}" , "n":{{.Product.Quantity}}}'
    paths = {"activationCode": {"path": "$.k+", "conversionTemplate": "{{.Value}}"}}
    document: ConnectorDocument = imported(
        LicenseProviderDefinition.model_validate(
            {
                "name": "x",
                "baseUrl": "https://p.example",
                "supportedOperations": ["create"],
                "operationDefinitions": {"default": {"bodyTemplate": template, "responsePaths": paths}},
            }
        )
    )
    context = {"LicenseID": "L", "User": {"Email": "a@b"}, "Product": {"Quantity": 2}}
    parts = render(document, ConnectorOperation.CREATE, context)
    assert parts.body == b'{"id": "L",  "mail":"a@b" , "n":2}'
    (key,) = document.operations[ConnectorOperation.CREATE].keys
    assert (key.path, key.all, key.convert) == ("$.k", True, "{{.Value}}")
    assert document.surplus == "hold"
    with pytest.raises(ConnectorRefused):
        imported(
            LicenseProviderDefinition.model_validate(
                {
                    "name": "x",
                    "baseUrl": "https://p.example",
                    "supportedOperations": ["create"],
                    "operationDefinitions": {},
                }
            )
        )


def test_an_activation_link_beside_the_code_is_kept_with_the_license() -> None:
    paths = {"activationLink": "$.link", "activationCode": "$.code", "activationFileContent": "$.file"}
    definition = LicenseProviderDefinition.model_validate(
        {
            "name": "p",
            "baseUrl": "https://p.example",
            "supportedOperations": ["create"],
            "operationDefinitions": {"create": {"responsePaths": paths}},
        }
    )
    document = imported(definition)
    create = document.operations[ConnectorOperation.CREATE]
    assert [key.path for key in create.keys] == ["$.code", "$.file", "$.link"]
    assert {name: one.path for name, one in create.additional.items()} == {
        "activationFileContent": "$.file",
        "activationLink": "$.link",
    }
    assert imported(exported("p", document, status="Disable")) == document


def test_a_definition_of_an_operation_that_nobody_knows_is_refused() -> None:
    given = {"name": "p", "baseUrl": "https://p.example", "supportedOperations": ["create"]}
    with pytest.raises(ValidationError, match="reactivate"):
        LicenseProviderDefinition.model_validate(
            {**given, "operationDefinitions": {"create": {}, "reactivate": {"bodyTemplate": "{}"}}}
        )


def test_every_member_that_only_a_document_has_keeps_it_from_being_told_as_a_definition() -> None:
    create = {"body": {"kind": "json", "template": "{}", "is_escaped": False}}
    plain: dict[str, Any] = {
        "base_url": "https://p.example",
        "authentication": {"kind": "basic", "user": "us"},
        "operations": {"create": create},
        "surplus": "hold",
    }
    told = exported("p", ConnectorDocument.model_validate(plain), status="Enable")
    assert (told.name, told.status, told.user) == ("p", "Enable", "us")
    for more in (
        {"operations": {"create": {**create, "method": "PUT"}}},
        {"operations": {"create": {**create, "query": [{"name": "a", "value": "b"}]}}},
        {"operations": {"create": {**create, "success": [{"statuses": ["201"]}]}}},
        {"operations": {"create": {"body": {"kind": "form", "fields": []}}}},
        {"operations": {"create": create, "look_up": create}},
        {"operations": {"create": {**create, "path": "p" * 2_000}}},
        {"authentication": {"kind": "bearer"}},
        {"permanent_errors": {"http_statuses": ["4xx"]}},
        {"capabilities": {"can_void": True}},
        {"key_law": {"pattern": "K.+"}},
        {"parameters": {"account": "7"}},
        {"surplus": "void"},
    ):
        with pytest.raises(ConnectorRefused):
            exported("p", ConnectorDocument.model_validate({**plain, **more}), status="Enable")
