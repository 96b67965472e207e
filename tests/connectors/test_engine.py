"""The engine's safeguards: breaker, bulkhead, budget, tokens, certificates, and that nothing secret shows."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from keyservice.connectors.breaker import CircuitBreaker
from keyservice.connectors.bulkhead import Bulkhead, BulkheadFull
from keyservice.connectors.calls import Connector, ConnectorCall
from keyservice.connectors.context import template_context
from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.engine import ConnectorEngine, preview, running_engine
from keyservice.connectors.presets import preset
from keyservice.domain.connector import CallOutcome, CallResult, ConnectorOperation, Refusal
from keyservice.sandbox.misbehaviour import Misbehaviour, Wrong
from keyservice.sandbox.publisher import Publisher, running_publisher
from tests.connectors.test_presets import LOOPBACK, facts_of
from tests.lab.filled_presets import filled

CREATE = ConnectorOperation.CREATE


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with running_publisher() as running:
        yield running


@pytest.fixture
async def engine() -> AsyncIterator[ConnectorEngine]:
    async with running_engine(LOOPBACK) as running:
        yield running


def document_of(publisher: Publisher, name: str = "nexway", **members: Any) -> ConnectorDocument:
    filled = {part.path: "x" for part in preset(name).to_fill_in}
    made = preset(
        name, fill_in={**filled, **({"authentication.user": "keyservice"} if "authentication.user" in filled else {})}
    )
    return ConnectorDocument.model_validate({**made.model_dump(), "base_url": publisher.url_of(name), **members})


def call_of(document: ConnectorDocument, publisher: Publisher, **members: Any) -> ConnectorCall:
    connector = Connector(1, UUID(int=int(members.pop("connector", 1))), 1, document, publisher.credentials.secrets)
    operation = members.pop("operation", CREATE)
    context = template_context(facts_of(operation, members.pop("reference", uuid4())), document)
    return replace(ConnectorCall(connector, operation, context), **members)


# ------------------------------------------------------------------------------------------------ breaker and bulkhead
def test_a_breaker_opens_after_failures_in_a_row_and_one_call_finds_out() -> None:
    clock = Clock()
    breaker = CircuitBreaker(failures_max=3, open_seconds=10, clock=clock)
    for _ in range(2):
        assert breaker.admit()
        breaker.failed()
    breaker.succeeded()
    for _ in range(3):
        assert breaker.admit()
        breaker.failed()
    assert not breaker.admit()
    assert breaker.seconds_left == 10
    clock.now += 10
    assert breaker.admit()
    assert not breaker.admit(), "one finds out, and nobody else"
    breaker.failed()
    assert not breaker.admit()
    clock.now += 10
    assert breaker.admit()
    breaker.left_open()
    assert breaker.admit()
    breaker.succeeded()
    assert breaker.admit()
    assert breaker.admit()


async def test_a_bulkhead_lets_so_many_in_and_so_many_wait() -> None:
    bulkhead = Bulkhead(2)
    leave = asyncio.Event()
    inside = 0

    async def stay() -> None:
        nonlocal inside
        async with bulkhead.place(60):
            inside += 1
            await leave.wait()

    stays = [asyncio.create_task(stay()) for _ in range(4)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert inside == 2
    with pytest.raises(BulkheadFull):
        async with bulkhead.place(60):
            pass
    leave.set()
    await asyncio.gather(*stays)
    async with bulkhead.place(60):
        pass
    with pytest.raises(BulkheadFull):
        async with bulkhead.place(60), bulkhead.place(60), bulkhead.place(0.01):
            pass


async def test_a_publisher_that_fails_is_left_alone_for_a_while(publisher: Publisher) -> None:
    clock = Clock()
    document = document_of(publisher, breaker={"failures": 3, "open_seconds": 20})
    async with running_engine(LOOPBACK, clock=clock) as engine:
        publisher.script(*[Wrong.STATUS_BEFORE] * 3)
        for _ in range(3):
            assert (await engine.call(call_of(document, publisher))).outcome is CallOutcome.UNKNOWN
        asked = len(publisher.ledger.requests)
        refused = await engine.call(call_of(document, publisher))
        assert (refused.outcome, refused.code) == (CallOutcome.NOT_EXECUTED, "breaker-open")
        assert refused.retry_after_seconds == 20
        assert len(publisher.ledger.requests) == asked
        other = await engine.call(call_of(document, publisher, connector=2))
        assert other.outcome is CallOutcome.DONE, "another connector's calls go on"
        clock.now += 20
        assert (await engine.call(call_of(document, publisher))).outcome is CallOutcome.DONE
        assert (await engine.call(call_of(document, publisher))).outcome is CallOutcome.DONE


async def test_a_documented_refusal_does_not_open_the_breaker(engine: ConnectorEngine, publisher: Publisher) -> None:
    document = document_of(publisher, breaker={"failures": 1, "open_seconds": 20})
    publisher.script(*[Wrong.OUT_OF_STOCK] * 5)
    for _ in range(5):
        assert (await engine.call(call_of(document, publisher))).refusal is Refusal.OUT_OF_STOCK
    assert (await engine.call(call_of(document, publisher))).outcome is CallOutcome.DONE


async def test_one_that_hangs_takes_its_own_places_and_nobody_elses(
    engine: ConnectorEngine, publisher: Publisher
) -> None:
    hanging = document_of(publisher, concurrency=2, budget_seconds=1)
    publisher.script(*[Wrong.HANG] * 2)
    stuck = [asyncio.create_task(engine.call(call_of(hanging, publisher))) for _ in range(2)]
    while len(publisher.ledger.requests) < 2:
        await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(engine.call(call_of(hanging, publisher, budget_seconds=0.1))) for _ in range(2)]
    await asyncio.sleep(0)
    turned_away = await engine.call(call_of(hanging, publisher))
    assert (turned_away.outcome, turned_away.code) == (CallOutcome.NOT_EXECUTED, "too-many-calls")
    other = await engine.call(call_of(document_of(publisher), publisher, connector=2))
    assert other.outcome is CallOutcome.DONE
    assert {one.code for one in await asyncio.gather(*waiting)} == {"too-many-calls"}
    assert {one.code for one in await asyncio.gather(*stuck)} == {"timed-out"}


async def test_a_budget_is_kept_and_a_late_call_is_not_sent(engine: ConnectorEngine, publisher: Publisher) -> None:
    document = document_of(publisher, budget_seconds=0.3)
    publisher.script(Wrong.HANG)
    started = time.monotonic()
    result = await engine.call(call_of(document, publisher))
    assert (result.outcome, result.code) == (CallOutcome.UNKNOWN, "timed-out")
    assert 0.25 < time.monotonic() - started < 2
    asked = len(publisher.ledger.requests)
    late = await engine.call(call_of(document, publisher, send_before=time.monotonic() - 1))
    assert (late.outcome, late.code) == (CallOutcome.NOT_EXECUTED, "too-late")
    assert len(publisher.ledger.requests) == asked


async def test_nobody_at_home_is_known_not_to_have_heard(engine: ConnectorEngine, publisher: Publisher) -> None:
    document = document_of(publisher).model_copy(update={"base_url": "http://127.0.0.1:1"})
    result = await engine.call(call_of(document, publisher))
    assert result.outcome is CallOutcome.NOT_EXECUTED


async def test_what_the_document_cannot_do_is_said(engine: ConnectorEngine, publisher: Publisher) -> None:
    result = await engine.call(call_of(document_of(publisher), publisher, operation=ConnectorOperation.LOOK_UP))
    assert (result.outcome, result.refusal) == (CallOutcome.REFUSED, Refusal.UNSUPPORTED)
    whole = document_of(publisher)
    create = whole.operations[CREATE].model_copy(update={"path": "/licenses/{{.Nobody.Knows}}/../x"})
    broken = whole.model_copy(update={"operations": {**whole.operations, CREATE: create}})
    result = await engine.call(call_of(broken, publisher))
    assert (result.outcome, result.code) == (CallOutcome.REFUSED, "template-failed")
    missing = replace(call_of(whole, publisher), connector=Connector(1, UUID(int=9), 1, whole, {}))
    result = await engine.call(missing)
    assert (result.outcome, result.code) == (CallOutcome.NOT_EXECUTED, "secret-missing")
    assert publisher.ledger.requests == []


async def test_a_cancelled_call_does_not_keep_the_probe(publisher: Publisher) -> None:
    clock = Clock()
    document = document_of(publisher, breaker={"failures": 1, "open_seconds": 5}, budget_seconds=30)
    async with running_engine(LOOPBACK, clock=clock) as engine:
        publisher.script(Wrong.STATUS_BEFORE, Wrong.HANG)
        await engine.call(call_of(document, publisher))
        clock.now += 5
        probe = asyncio.create_task(engine.call(call_of(document, publisher)))
        while len(publisher.ledger.requests) < 2:
            await asyncio.sleep(0.01)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert (await engine.call(call_of(document, publisher))).outcome is CallOutcome.DONE


# ------------------------------------------------------------------------------------------------ certificates
@pytest.mark.parametrize("kind", ["self-signed", "expired", "wrong-name"])
async def test_a_certificate_that_proves_nothing_ends_it_before_anything_is_said(kind: Any) -> None:
    async with running_publisher(tls=kind) as publisher, running_engine(LOOPBACK) as engine:
        assert publisher.certificates is not None
        transport = {"ca_certificate": publisher.certificates.root_pem}
        result = await engine.call(call_of(document_of(publisher, transport=transport), publisher))
        assert result.outcome is CallOutcome.NOT_EXECUTED
        assert publisher.ledger.requests == []


async def test_a_publishers_own_root_and_a_certificate_of_ours() -> None:
    async with (
        running_publisher(tls="good", demands_client_certificate=True) as publisher,
        running_engine(LOOPBACK) as engine,
    ):
        certificates = publisher.certificates
        assert certificates is not None
        certificate, key = certificates.client_pem, certificates.client_key_pem
        transport = {"ca_certificate": certificates.root_pem, "client_certificate": certificate}
        document = document_of(publisher, transport=transport)
        secrets = {**publisher.credentials.secrets, "client_key": key}
        call = call_of(document, publisher)
        good = await engine.call(replace(call, connector=replace(call.connector, secrets=secrets)))
        assert good.outcome is CallOutcome.DONE, good.code
        bare = document_of(publisher, transport={"ca_certificate": certificates.root_pem})
        refused = await engine.call(call_of(bare, publisher, connector=2))
        # With TLS 1.3 the request may have left before the server says that it wants a certificate.
        assert refused.outcome in (CallOutcome.NOT_EXECUTED, CallOutcome.UNKNOWN)
        assert publisher.ledger.issued == 1
        unknown = await engine.call(call_of(document_of(publisher), publisher, connector=3))
        assert unknown.outcome is CallOutcome.NOT_EXECUTED, "a root that nobody knows"


# ------------------------------------------------------------------------------------------------ what shows
async def test_no_secret_and_no_key_is_in_what_is_told_of_a_call(
    engine: ConnectorEngine, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    document = document_of(publisher)
    reference = uuid4()
    call = call_of(document, publisher, reference=reference)
    result = await engine.call(call)
    shown = preview(document, CREATE, call.context)
    told = repr((call, call.connector, result, shown)) + caplog.text
    (key,) = publisher.keys_of(reference)
    assert key not in told
    assert publisher.credentials.password not in told
    assert ("Authorization", "Basic ••••••••") in shown.headers
    assert shown.url == f"{publisher.url_of('nexway')}/licenses/new"


def test_a_preview_of_what_a_private_key_signs_needs_no_key() -> None:
    document = filled("paddle-classic")
    shown = preview(document, CREATE, template_context(facts_of(CREATE, uuid4()), document))
    assert shown.body is not None
    assert shown.body.endswith(f"&p_signature={'%E2%80%A2' * 8}")


async def test_a_result_is_data_and_carries_the_digest_of_what_was_sent(
    engine: ConnectorEngine, publisher: Publisher
) -> None:
    reference = uuid4()
    first = await engine.call(call_of(document_of(publisher), publisher, reference=reference))
    again = await engine.call(call_of(document_of(publisher), publisher, reference=reference))
    assert isinstance(first, CallResult)
    assert first.request_sha256 == again.request_sha256
    publisher.script(Misbehaviour(Wrong.RESET_AFTER))
    lost = await engine.call(call_of(document_of(publisher), publisher, reference=reference))
    assert lost.request_sha256 == first.request_sha256, "also of what was never answered"
