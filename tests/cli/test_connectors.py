"""A connector from its first draft to its use, by commands alone."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyservice.domain.caller import CallerKind
from keyservice.sandbox.misbehaviour import Wrong
from keyservice.sandbox.publisher import Publisher, running_publisher
from keyservice.settings import Settings
from tests.cli.command import Ended, run_keyservice
from tests.cli.importing import new_token
from tests.lab.real_time import RealTime, document_for
from tests.lab.shop import Shop, texts_of


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Publishers live on this machine, on any port and without TLS."""
    data = Path(tmp_path_factory.mktemp("data"))
    return Settings(
        data_directory=data,
        catalogue_seconds=0,
        egress_networks="127.0.0.0/8",
        egress_ports="",
        egress_plain_http=True,
    )


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with running_publisher() as running:
        yield running


async def run(url: str, token: str, *words: object) -> Ended:
    return await run_keyservice(*words, KEYSERVICE_URL=url, KEYSERVICE_TOKEN=token)


async def done(url: str, token: str, *words: object) -> str:
    ended = await run(url, token, *words)
    assert ended.status == 0, ended.errors
    return ended.output


def made(publisher: Publisher) -> tuple[str, ...]:
    base = f"base_url={publisher.url_of('nexway')}"
    user = f"authentication.user={publisher.credentials.user}"
    return ("connectors", "create", "licenses", "--preset", "nexway", "--fill-in", base, "--fill-in", user)


def secrets_file(directory: Path, publisher: Publisher) -> Path:
    path = directory / "secrets.json"
    path.write_text(json.dumps({"password": publisher.credentials.password}))
    return path


async def test_a_connector_is_made_tried_and_used(url: str, token: str, publisher: Publisher, tmp_path: Path) -> None:
    told = await done(url, token, *made(publisher))
    assert "missing secrets: password" in told
    assert "of the buyer: " in told
    told = await done(url, token, "connectors", "secrets", "licenses", secrets_file(tmp_path, publisher))
    assert publisher.credentials.password not in told
    assert "missing secrets: none" in told
    previewed = await done(url, token, "connectors", "preview", "licenses", "create")
    assert previewed.startswith(f"POST {publisher.url_of('nexway')}/licenses/new")
    assert publisher.credentials.password not in previewed
    tried = json.loads(await done(url, token, "connectors", "handshake", "licenses", "--issue-and-void", "--json"))
    assert tried["is_good"] is True
    assert publisher.ledger.issued == publisher.ledger.voided == 1
    assert "state: enabled" in await done(url, token, "connectors", "switch", "licenses", "enabled")
    listed = json.loads(await done(url, token, "connectors", "list", "--json"))
    assert [(one["name"], one["state"]) for one in listed["connectors"]] == [("licenses", "enabled")]


async def test_a_document_is_printed_changed_and_given_back(
    url: str, token: str, publisher: Publisher, tmp_path: Path
) -> None:
    await done(url, token, *made(publisher))
    document = json.loads(await done(url, token, "connectors", "document", "licenses"))
    file = tmp_path / "document.json"
    file.write_text(json.dumps({**document, "budget_seconds": 7}))
    assert "2 is the newest" in await done(url, token, "connectors", "change", "licenses", file)
    assert json.loads(await done(url, token, "connectors", "document", "licenses"))["budget_seconds"] == 7
    file.write_text(json.dumps({**document, "budget_seconds": 0}))
    ended = await run(url, token, "connectors", "change", "licenses", file)
    assert ended.status == 1
    assert ended.reason == "budget_seconds: Input should be greater than 0"
    assert json.loads(await done(url, token, "connectors", "document", "licenses"))["budget_seconds"] == 7


async def test_a_publisher_that_does_not_answer_as_it_should_is_told_with_advice(
    url: str, token: str, publisher: Publisher, tmp_path: Path
) -> None:
    await done(url, token, *made(publisher))
    await done(url, token, "connectors", "secrets", "licenses", secrets_file(tmp_path, publisher))
    publisher.script(*[Wrong.HTML_PAGE] * 5)
    ended = await run(url, token, "connectors", "handshake", "licenses", "--issue-and-void")
    assert ended.status == 1
    assert "NOT GOOD" in ended.output
    assert len(ended.reason) > 20
    refused = await run(url, token, "connectors", "switch", "licenses", "enabled")
    assert (refused.status, "handshake" in refused.reason) == (1, True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("connectors", "create", "x"), "give --preset or --document, one of the two"),
        (("connectors", "create", "x", "--preset", "nexway", "--fill-in", "base_url"), "base_url is not PATH=VALUE"),
        (("connectors", "create", "x", "--preset", "nobody"), "preset: there is none of this name"),
        (("connectors", "create", "x", "--document", "/nowhere.json"), "/nowhere.json cannot be read: No such file"),
        (
            ("connectors", "show", "nobody"),
            "there is no connector of this id or name; this publisher's connectors: none",
        ),
        (("connectors", "secrets", "nobody"), "standard input is not a JSON object"),
        (("connectors", "switch", "nobody", "on"), "there is no connector of this id or name"),
        (("key-requests", "decide", "0f5c0d9e-6c5a-4c39-9d2f-3f2f1f0c7b11", "refused"), "there is no such"),
    ],
)
async def test_what_cannot_be_done_is_refused_in_one_line(
    url: str, token: str, words: tuple[str, ...], reason: str
) -> None:
    ended = await run(url, token, *words)
    assert ended.status == 1
    assert reason in ended.reason
    assert "Traceback" not in ended.errors


async def test_presets_are_listed_with_what_is_to_be_filled_in(url: str, token: str) -> None:
    told = await done(url, token, "connectors", "presets")
    assert "nexway: create" in told
    assert "    operations.create.keys.0.path: " in told


async def test_a_request_that_waits_for_a_person_is_found_and_decided(
    shop: Shop, url: str, token: str, publisher: Publisher, tmp_path: Path
) -> None:
    real_time = await RealTime.opened(shop, publisher, document_for(publisher, capabilities={}))
    publisher.script(Wrong.RESET_AFTER)
    purchase = await real_time.buy("HELD-1")
    (request,) = await real_time.requests(purchase.order_id)
    assert str(request.key_request_id) in await done(url, token, "key-requests", "list", "--state", "held")
    (key,) = publisher.keys_of(request.license_ref)
    keys = tmp_path / "keys.txt"
    keys.write_text("NO-KEY-OF-THIS-PUBLISHER\n")
    decide = ("key-requests", "decide", request.key_request_id, "issued", "--keys", keys)
    refused = await run(url, token, *decide)
    assert refused.status == 1
    assert "NO-KEY" not in refused.errors + refused.output
    keys.write_text(f"{key}\n")
    stranger = await new_token(await Shop.opened(shop.services), CallerKind.PUBLISHER)
    assert (await run(url, stranger, *decide)).status == 1
    assert "create is issued now" in await done(url, token, *decide)
    assert texts_of(await real_time.buy("HELD-1")) == [key]
    assert str(request.key_request_id) not in await done(url, token, "key-requests", "list", "--state", "held")
    assert "issued" in await done(url, token, "key-requests", "list")
