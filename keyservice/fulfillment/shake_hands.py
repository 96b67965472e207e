"""Trying a connector before it is used: every step is a real call, and its report says what was sent and what came back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from keyservice.connectors.calls import Connector, ConnectorCall
from keyservice.connectors.checking import check_document
from keyservice.connectors.context import template_context
from keyservice.connectors.egress import EgressPolicy
from keyservice.connectors.encoding import NotSendable
from keyservice.connectors.engine import ConnectorEngine, PreviewedRequest, preview
from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.connector import (
    Buyer,
    CallOutcome,
    CallResult,
    ConnectorOperation,
    ConnectorRefused,
    Refusal,
    RequestFacts,
    TemplateFailed,
)
from keyservice.fulfillment.connector_secrets import read_secrets
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_connector import ConnectorView, connector_view, lock_connector, write_connector_event
from keyservice.fulfillment.switch_connector import demand_usable
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement


@dataclass(frozen=True, slots=True)
class HandshakeStep:
    """One call. Whatever could be a key or a secret is not in it."""

    operation: ConnectorOperation
    purpose: str
    is_good: bool
    sent: PreviewedRequest | None
    outcome: CallOutcome
    refusal: Refusal | None
    code: str
    http_status: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Handshake:
    """What trying one version of a connector came to."""

    version: int
    at: datetime
    steps: tuple[HandshakeStep, ...] = field(default_factory=tuple)
    advice: str = ""

    @property
    def is_good(self) -> bool:
        return bool(self.steps) and all(step.is_good for step in self.steps)


async def shake_hands(
    database: Database,
    wrapper: KeyWrapper,
    engine: ConnectorEngine,
    policy: EgressPolicy,
    publisher_id: int,
    connector_id: UUID,
    *,
    issue_and_void: bool,
    caller_id: int,
    now: datetime,
) -> Handshake:
    """Try the newest version, and note beside it what that came to.

    With `issue_and_void` a key is asked for as a test and taken back. Raises NotFound, Conflict for what is still missing,
    ConnectorRefused for a document that cannot be used.
    """
    own = database.of_publisher(publisher_id)
    async with own.reading() as connection:
        view = await connector_view(connection, publisher_id, connector_id)
        secrets = await read_secrets(connection, wrapper, publisher_id, connector_id)
    demand_usable(view)
    check_document(view.newest.document, policy)
    connector = Connector(publisher_id, connector_id, view.newest.version, view.newest.document, secrets)
    handshake = await _shaken(engine, connector, issue_and_void=issue_and_void, now=now)
    await _keep(own, publisher_id, view, handshake, caller_id, now)
    return handshake


async def _shaken(engine: ConnectorEngine, connector: Connector, *, issue_and_void: bool, now: datetime) -> Handshake:
    operations = connector.document.operations
    steps: list[HandshakeStep] = []
    if ConnectorOperation.LOOK_UP in operations:
        steps.append(await _inquire(engine, connector, ConnectorOperation.LOOK_UP, now))
    elif ConnectorOperation.CANCEL in operations and connector.document.capabilities.can_void:
        steps.append(await _inquire(engine, connector, ConnectorOperation.CANCEL, now))
    if issue_and_void:
        steps += await _issue_and_void(engine, connector, now)
    advice = ""
    if not steps:
        advice = "this protocol can be tried only by issuing a key: say issue_and_void"
    elif issue_and_void and ConnectorOperation.CANCEL not in operations:
        advice = "the publisher cannot be asked to take the test key back: tell it of the reference in the request"
    elif not all(step.is_good for step in steps):
        advice = "see the first step that is not good: its code and status say what the publisher did not like"
    return Handshake(connector.version, now, tuple(steps), advice)


async def _inquire(
    engine: ConnectorEngine, connector: Connector, operation: ConnectorOperation, now: datetime
) -> HandshakeStep:
    """About a reference that nobody has: a publisher that says so has understood the question and the credentials."""
    facts = _facts(operation, new_id(), now)
    result = await _call(engine, connector, facts)
    good = result.outcome is CallOutcome.REFUSED and result.refusal in (Refusal.NOT_FOUND, Refusal.ALREADY_DONE)
    return _step(connector, facts, result, "a reference that does not exist", is_good=good)


async def _issue_and_void(engine: ConnectorEngine, connector: Connector, now: datetime) -> list[HandshakeStep]:
    facts = _facts(ConnectorOperation.CREATE, new_id(), now)
    created = await _call(engine, connector, facts)
    is_good = created.outcome in (CallOutcome.DONE, CallOutcome.ACCEPTED)
    steps = [_step(connector, facts, created, "a key that is asked for as a test", is_good=is_good)]
    # Also what may have been issued without an answer, or will be.
    may_be_there = created.outcome in (CallOutcome.DONE, CallOutcome.ACCEPTED, CallOutcome.UNKNOWN)
    if ConnectorOperation.CANCEL in connector.document.operations and may_be_there:
        back = _facts(ConnectorOperation.CANCEL, facts.license_ref, now, license_id=created.license_id or "")
        cancelled = await _call(engine, connector, back)
        is_good = cancelled.outcome is CallOutcome.DONE or cancelled.refusal is Refusal.ALREADY_DONE
        steps.append(_step(connector, back, cancelled, "the same key is taken back", is_good=is_good))
    return steps


async def _call(engine: ConnectorEngine, connector: Connector, facts: RequestFacts) -> CallResult:
    context = template_context(facts, connector.document)
    return await engine.call(ConnectorCall(connector, facts.operation, context, is_test=True))


def _step(
    connector: Connector, facts: RequestFacts, result: CallResult, purpose: str, *, is_good: bool
) -> HandshakeStep:
    return HandshakeStep(
        facts.operation,
        purpose,
        is_good,
        preview_of(connector, facts),
        result.outcome,
        result.refusal,
        result.code,
        result.http_status,
        result.seconds,
    )


def preview_of(connector: Connector, facts: RequestFacts) -> PreviewedRequest | None:
    """The request as it would be sent, secrets masked; None when none can be made."""
    context = template_context(facts, connector.document)
    if facts.operation is ConnectorOperation.CREATE and ConnectorOperation.RESERVE in connector.document.operations:
        told = connector.document.operations[ConnectorOperation.RESERVE].additional
        context["Reserved"] = {"LicenseID": "RESERVED", **{name: ["RESERVED"] for name in told}}
    try:
        return preview(connector.document, facts.operation, context)
    except (TemplateFailed, ConnectorRefused, NotSendable):
        return None


def example_facts(operation: ConnectorOperation, now: datetime) -> RequestFacts:
    """Facts of an order that does not exist, for looking at a request."""
    return _facts(operation, new_id(), now)


def _facts(operation: ConnectorOperation, license_ref: UUID, now: datetime, *, license_id: str = "") -> RequestFacts:
    buyer = Buyer(
        email="handshake@example.com",
        first_name="Hand",
        last_name="Shake",
        country="FR",
        locale="en_GB",
        city="Paris",
        zip_code="75001",
        street="1 rue de l'Exemple",
    )
    return RequestFacts(
        operation=operation,
        license_ref=license_ref,
        execution_id=new_id(),
        requested_at=now,
        order_id=new_id(),
        order_number=1,
        partner_order_number="HANDSHAKE-1",
        ordered_at=now,
        line_item_id=new_id(),
        line_number=1,
        quantity=1,
        key_count=1,
        product_ref=1,
        product_name="Handshake",
        publisher_product_id="HANDSHAKE",
        currency="EUR",
        buyer=buyer,
        publisher_license_id=license_id,
        reason="handshake" if operation is ConnectorOperation.CANCEL else "",
        is_test=True,
    )


async def _keep(
    own: Database, publisher_id: int, view: ConnectorView, handshake: Handshake, caller_id: int, now: datetime
) -> None:
    connector_id = view.listed.connector_id
    told = to_json({**handshake_facts(handshake), "is_good": handshake.is_good}).decode()

    async def work(connection: Connection) -> None:
        await lock_connector(connection, publisher_id, connector_id)
        kept = (publisher_id, connector_id, handshake.version, now, told)
        await connection.execute(statement("managed_connectors.put_handshake"), *kept)
        facts = {"version": handshake.version, "is_good": handshake.is_good}
        await write_connector_event(connection, publisher_id, connector_id, caller_id, "handshake", facts, now)

    await short_transaction(own, work)


def handshake_facts(handshake: Handshake) -> Mapping[str, Any]:
    """Plain members, for JSON."""
    return asdict(handshake)
