"""What nobody can find out, a person decides; and a publisher that tells by itself is heard."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from pydantic_core import to_json

from keyservice.connectors.extracting import refuse_keys
from keyservice.domain.connector import CallOutcome, CallResult, ConnectorOperation, DeliveredKey, Refusal
from keyservice.domain.errors import Conflict, Invalid
from keyservice.domain.key_request import RequestState
from keyservice.domain.order_state import UnitStatus
from keyservice.fulfillment.ask_publishers import KeyAsker
from keyservice.fulfillment.connector_shelf import ConnectorShelf, ShelvedConnector
from keyservice.fulfillment.end_requests import CANCEL_DAYS
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.judge_answer import Answer
from keyservice.fulfillment.read_requests import read_request
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_claim import Change, UnitChange, change_units, lock_claim
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement


class Decision(StrEnum):
    """What a person knows of a request."""

    ISSUED = "issued"
    """The publisher has issued these keys for it."""

    NOT_ISSUED = "not-issued"
    """The publisher has done nothing: it is asked again."""

    REFUSED = "refused"
    """The publisher has done nothing and will not: nobody is asked again."""

    ACKNOWLEDGED = "acknowledged"
    """The publisher has done what was asked."""

    ASK_AGAIN = "ask-again"
    """What has ended without success is begun anew; what is about to be asked anyway is left alone."""


_ENDED_BADLY: Final = frozenset({RequestState.REFUSED, RequestState.UNSUPPORTED, RequestState.FAILED})


class NotDecidable(Conflict):
    """The request is not in a state in which this can be decided."""

    code = "not-decidable"


async def decide_request(
    database: Database,
    shelf: ConnectorShelf,
    asker: KeyAsker,
    publisher_id: int,
    key_request_id: UUID,
    decision: Decision,
    keys: Sequence[DeliveredKey],
    *,
    caller_id: int,
) -> KeyRequest:
    """The request as it stands afterwards. Raises NotFound, NotDecidable, Invalid for keys that its law refuses."""
    request = await read_request(database, publisher_id, key_request_id)
    _demand_decidable(request, decision)
    if (decision is Decision.ISSUED) is not bool(keys):
        raise Invalid("give the keys that were issued, and give keys only then", field="keys")
    if request.state is RequestState.PLANNED:
        return request
    if decision is Decision.ASK_AGAIN:
        await _ask_again(database, request)
    else:
        shelved = await shelf.take(publisher_id, request.connector_id, request.connector_version)
        called, result = _told(request, shelved, decision, keys)
        answer = Answer(request, shelved, called, result, request.updated_at, is_decision=True)
        await asker.record(answer)
    await _write_event(database, request, decision, caller_id)
    return await read_request(database, publisher_id, key_request_id)


async def hear_publisher(
    database: Database,
    shelf: ConnectorShelf,
    asker: KeyAsker,
    publisher_id: int,
    license_ref: UUID,
    keys: Sequence[DeliveredKey],
    license_id: str | None,
) -> KeyRequest:
    """The keys of a request that its publisher tells of by itself. Telling it again changes nothing.

    Raises NotFound, NotDecidable where the connector does not say that it does so, Invalid for keys that its law refuses.
    """
    request = await read_request(database, publisher_id, license_ref)
    shelved = await shelf.take(publisher_id, request.connector_id, request.connector_version)
    if not shelved.connector.document.capabilities.pushes_back:
        raise NotDecidable("the connector of this request does not say that its publisher tells by itself")
    delivered = _delivered(request, shelved, keys)
    result = CallResult(CallOutcome.DONE, code="told", keys=delivered, license_id=license_id)
    await asker.record(Answer(request, shelved, request.operation, result, request.updated_at))
    return await read_request(database, publisher_id, license_ref)


def _demand_decidable(request: KeyRequest, decision: Decision) -> None:
    if decision is Decision.ASK_AGAIN:
        is_possible = request.state in {RequestState.PLANNED, *_ENDED_BADLY}
    elif decision is Decision.ACKNOWLEDGED:
        creates = request.operation is ConnectorOperation.CREATE
        is_possible = not creates and request.state in {RequestState.HELD, *_ENDED_BADLY}
    else:
        is_possible = request.operation is ConnectorOperation.CREATE and request.state is RequestState.HELD
    if not is_possible:
        raise NotDecidable(f"a request that is {request.state} cannot be decided as {decision}")


def _told(
    request: KeyRequest, shelved: ShelvedConnector, decision: Decision, keys: Sequence[DeliveredKey]
) -> tuple[ConnectorOperation, CallResult]:
    """The decision as if it were an answer."""
    match decision:
        case Decision.ISSUED:
            delivered = _delivered(request, shelved, keys)
            return request.operation, CallResult(CallOutcome.DONE, code="decided", keys=delivered)
        case Decision.NOT_ISSUED:
            return ConnectorOperation.LOOK_UP, CallResult(CallOutcome.REFUSED, Refusal.NOT_FOUND, "decided")
        case Decision.REFUSED:
            return ConnectorOperation.LOOK_UP, CallResult(CallOutcome.REFUSED, Refusal.PERMANENT, "decided")
        case _:
            return request.operation, CallResult(CallOutcome.DONE, code="decided")


def _delivered(
    request: KeyRequest, shelved: ShelvedConnector, keys: Sequence[DeliveredKey]
) -> tuple[DeliveredKey, ...]:
    if len(keys) != len(request.unit_ids):
        raise Invalid(f"this request is for {len(request.unit_ids)} keys", field="keys")
    why = refuse_keys(shelved.connector.document, keys)
    if why is not None:
        raise Invalid(f"these are no keys of this publisher: {why}", field="keys")
    return tuple(keys)


async def _ask_again(database: Database, request: KeyRequest) -> None:
    async def work(connection: Connection) -> None:
        claim = await lock_claim(connection, request.order_id, None)
        name = (request.publisher_id, request.key_request_id)
        row = await connection.fetchrow(statement("key_requests.lock_key_request"), *name)
        if row is None or RequestState(row["state"]) not in _ENDED_BADLY:
            return
        await connection.execute(statement("key_requests.ask_again"), *name, claim.now, _until(request, claim.now))
        again = {UnitStatus.FAILED: UnitStatus.REQUESTED, UnitStatus.CANCEL_FAILED: UnitStatus.CANCELING}
        changes = [
            UnitChange(unit["line_item_data_id"], again[UnitStatus(unit["fulfillment_status"])])
            for unit in claim.units_in(*again)
            if unit["line_item_data_id"] in request.unit_ids
        ]
        if changes:
            await change_units(connection, Change(claim, changes))

    await short_transaction(database, work)


def _until(request: KeyRequest, now: datetime) -> datetime:
    if request.operation is ConnectorOperation.CANCEL:
        return now + timedelta(days=CANCEL_DAYS)
    return now + (request.give_up_at - request.created_at)


async def _write_event(database: Database, request: KeyRequest, decision: Decision, caller_id: int) -> None:
    facts = {"key_request_id": request.key_request_id, "order_id": request.order_id, "decision": decision}

    async def work(connection: Connection) -> None:
        now = await connection.fetchval("SELECT clock_timestamp()")
        event = (
            request.publisher_id,
            new_id(),
            None,
            None,
            caller_id,
            "key_request.decided",
            to_json(facts).decode(),
            now,
        )
        await connection.execute(statement("tape.insert_publisher_event"), *event)

    await short_transaction(database, work)
