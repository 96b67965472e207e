"""Tokens that are fetched once for everybody, and purchases in two phases, against a small publisher on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from keyservice.connectors.calls import Connector, ConnectorCall
from keyservice.connectors.context import template_context
from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.engine import ConnectorEngine, running_engine
from keyservice.domain.connector import CallOutcome, CallResult, ConnectorOperation, Refusal
from tests.connectors.test_engine import Clock
from tests.connectors.test_presets import LOOPBACK, facts_of

CREATE = ConnectorOperation.CREATE


@dataclass(slots=True)
class Desk:
    """A publisher with a token endpoint, that sells in two phases when it is asked so."""

    url: str = ""
    lifetime: float = 300
    fetched: int = 0
    token_status: int = 200
    good: set[str] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    reserve_status: int = 200
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def token(self, request: web.Request) -> web.Response:
        self.fetched += 1
        await self.release.wait()
        if self.token_status != 200:
            return web.json_response({"error": "x"}, status=self.token_status, headers={"Retry-After": "7"})
        told = parse_qs((await request.read()).decode())
        assert told["grant_type"] == ["client_credentials"]
        assert request.headers["Authorization"].startswith("Basic ")
        token = f"token-{self.fetched}"
        self.good.add(token)
        return web.json_response({"access_token": token, "expires_in": self.lifetime})

    async def new(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.good and token not in self.good:
            return web.json_response({}, status=401)
        body = await request.json()
        self.asked.append(body)
        return web.json_response({"key": f"KEY-{len(self.asked):05}"})

    async def reserve(self, _: web.Request) -> web.Response:
        return web.json_response({"id": "RES-9", "seat": "S-1", "code": "SOLD_OUT"}, status=self.reserve_status)


@asynccontextmanager
async def opened() -> AsyncIterator[Desk]:
    desk = Desk()
    desk.release.set()
    application = web.Application()
    application.add_routes(
        [web.post("/token", desk.token), web.post("/new", desk.new), web.post("/reserve", desk.reserve)]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    desk.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield desk
    finally:
        await runner.cleanup()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with opened() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def engine(clock: Clock) -> AsyncIterator[ConnectorEngine]:
    async with running_engine(LOOPBACK, clock=clock) as running:
        yield running


def json_at(path: str) -> dict[str, str]:
    return {"source": "json", "path": path}


def document_of(desk: Desk, **operations: Any) -> ConnectorDocument:
    body = {"kind": "json", "template": '{"reference":"{{.LicenseID}}","seat":{{.Reserved.seat}}}'}
    create = {"path": "/new", "body": body, "keys": [json_at("$.key")]}
    return ConnectorDocument.model_validate(
        {
            "base_url": desk.url,
            "authentication": {"kind": "oauth2", "token_url": f"{desk.url}/token", "client_id": "c", "scope": "keys"},
            "operations": {"create": create, **operations},
        }
    )


async def ask(engine: ConnectorEngine, document: ConnectorDocument, secret: str = "s") -> CallResult:  # noqa: S107 - of nobody
    connector = Connector(1, UUID(int=1), 1, document, {"client_secret": secret})
    return await engine.call(ConnectorCall(connector, CREATE, template_context(facts_of(CREATE, uuid4()), document)))


async def test_one_token_serves_all_who_wait_for_it(engine: ConnectorEngine, desk: Desk) -> None:
    desk.release.clear()
    waiting = [asyncio.create_task(ask(engine, document_of(desk))) for _ in range(10)]
    while not desk.fetched:
        await asyncio.sleep(0.01)
    desk.release.set()
    assert {result.outcome for result in await asyncio.gather(*waiting)} == {CallOutcome.DONE}
    assert (await ask(engine, document_of(desk))).outcome is CallOutcome.DONE
    assert desk.fetched == 1


async def test_another_secret_does_not_go_on_with_the_token_of_the_one_before(
    engine: ConnectorEngine, desk: Desk
) -> None:
    await ask(engine, document_of(desk))
    assert (await ask(engine, document_of(desk), "rotated")).outcome is CallOutcome.DONE
    assert desk.fetched == 2


async def test_a_token_is_fetched_anew_before_it_expires(engine: ConnectorEngine, desk: Desk, clock: Clock) -> None:
    await ask(engine, document_of(desk))
    clock.now += 200
    await ask(engine, document_of(desk))
    assert desk.fetched == 1
    clock.now += 90
    await ask(engine, document_of(desk))
    assert desk.fetched == 2


async def test_a_token_that_is_refused_is_fetched_anew_once(engine: ConnectorEngine, desk: Desk) -> None:
    await ask(engine, document_of(desk))
    desk.good = {"nobody"}
    assert (await ask(engine, document_of(desk))).outcome is CallOutcome.DONE
    assert desk.fetched == 2
    assert len(desk.asked) == 2


@pytest.mark.parametrize(("status", "code"), [(400, "token-refused"), (500, "token-refused"), (429, "token-throttled")])
async def test_without_a_token_nothing_is_asked(engine: ConnectorEngine, desk: Desk, status: int, code: str) -> None:
    desk.token_status = status
    result = await ask(engine, document_of(desk))
    assert (result.outcome, result.code) == (CallOutcome.NOT_EXECUTED, code)
    assert desk.asked == []
    if status == 429:
        assert result.retry_after_seconds == 7
        await ask(engine, document_of(desk))
        assert desk.fetched == 1, "who is asked to wait does so"


async def test_what_was_reserved_is_told_in_the_second_phase(engine: ConnectorEngine, desk: Desk) -> None:
    reserve = {"path": "/reserve", "license_id": json_at("$.id"), "additional": {"seat": json_at("$.seat")}}
    result = await ask(engine, document_of(desk, reserve=reserve))
    assert result.outcome is CallOutcome.DONE
    assert [told["seat"] for told in desk.asked] == [["S-1"]]


async def test_what_cannot_be_reserved_is_not_bought(engine: ConnectorEngine, desk: Desk) -> None:
    sold_out = {
        "when": {"statuses": ["409"], "value": json_at("$.code"), "equals": "SOLD_OUT"},
        "means": "out-of-stock",
    }
    document = document_of(desk, reserve={"path": "/reserve", "errors": [sold_out]})
    desk.reserve_status = 409
    assert (await ask(engine, document)).refusal is Refusal.OUT_OF_STOCK
    desk.reserve_status = 500
    result = await ask(engine, document)
    assert (result.outcome, result.code) == (CallOutcome.NOT_EXECUTED, "reserve-http-500")
    assert desk.asked == []
