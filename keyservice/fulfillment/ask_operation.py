"""Asking a publisher to do something about a license that it has issued: renew it, upgrade it, pause it, resume it, end it."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.errors import Conflict, NotFound
from keyservice.domain.key_request import OPEN, RequestState
from keyservice.domain.order_state import DEAD, UnitStatus
from keyservice.fulfillment.connector_shelf import ConnectorShelf
from keyservice.fulfillment.end_claims import end_claims
from keyservice.fulfillment.end_requests import end_requests, insert_requests
from keyservice.fulfillment.read_requests import read_request
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.fulfillment.stored_claim import (
    Change,
    StoredClaim,
    UnitChange,
    change_units,
    lock_claim,
    write_event,
)
from keyservice.fulfillment.stored_request import KeyRequest, new_request
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

ASKABLE: Final = frozenset(
    {ConnectorOperation.RENEW, ConnectorOperation.UPGRADE, ConnectorOperation.PAUSE, ConnectorOperation.RESUME}
)
_MAY_BRING_A_KEY: Final = frozenset({ConnectorOperation.RENEW, ConnectorOperation.UPGRADE})


class NotAskable(Conflict):
    """The license, or the connector that it came by, does not allow this."""

    code = "not-askable"


async def ask_operation(
    database: Database,
    shelf: ConnectorShelf,
    publisher_id: int,
    license_ref: UUID,
    operation: ConnectorOperation,
    *,
    reason: str,
    caller_id: int,
) -> KeyRequest:
    """The request that was stored for it, or the one that is under way already. Raises NotFound, NotAskable."""
    created = await read_license(database, publisher_id, license_ref)
    shelved = await shelf.take(publisher_id, created.connector_id, created.connector_version)
    if operation not in ASKABLE or operation not in shelved.connector.document.operations:
        raise NotAskable(f"the connector of this license has no operation {operation}")

    async def work(connection: Connection) -> KeyRequest:
        claim = await lock_claim(connection, created.order_id, None)
        rows = await connection.fetch(statement("key_requests.of_license"), publisher_id, license_ref)
        requests = [KeyRequest.of(row) for row in rows]
        for one in requests:
            if one.operation is operation and one.state in OPEN:
                return one
        _demand_living(claim, created)
        retry = shelved.connector.document.retry
        asked = new_request(
            publisher_id=publisher_id,
            connector_id=created.connector_id,
            connector_version=created.connector_version,
            operation=operation,
            order_id=created.order_id,
            line_number=created.line_number,
            unit_ids=created.unit_ids,
            state=RequestState.PLANNED,
            now=claim.now,
            give_up_at=claim.now + timedelta(seconds=retry.give_up_seconds),
            next_at=claim.now,
            license_ref=license_ref,
            is_test=created.is_test,
            reason=reason,
            replaces_claim_id=_only_claim(claim, created) if operation in _MAY_BRING_A_KEY else None,
        )
        await insert_requests(connection, [asked])
        facts = {"key_request_id": asked.key_request_id, "license_ref": license_ref, "reason": reason}
        name, status = f"license.{operation}.requested", claim.order["status"]
        await write_event(connection, claim, name, status, facts, caller_id=caller_id)
        return asked

    return await short_transaction(database, work)


async def end_license(
    database: Database, publisher_id: int, license_ref: UUID, *, reason: str, caller_id: int
) -> KeyRequest:
    """Its keys are dead here at once, and the publisher is asked to take them back. Raises NotFound."""
    created = await read_license(database, publisher_id, license_ref)

    async def work(connection: Connection) -> None:
        claim = await lock_claim(connection, created.order_id, None)
        units = [
            unit
            for unit in claim.units
            if unit["line_item_data_id"] in created.unit_ids and UnitStatus(unit["fulfillment_status"]) not in DEAD
        ]
        if not units:
            return
        ended = await end_claims(connection, units, reason=reason, now=claim.now)
        asked = await end_requests(connection, claim, units, ended.delivered_by, reason=reason, now=claim.now)
        ids = [unit["line_item_data_id"] for unit in units]
        change = Change(claim, [UnitChange(one, asked.get(one, UnitStatus.ENDED)) for one in ids])
        status = await change_units(connection, change)
        facts = {"license_ref": license_ref, "reason": reason, "revoked": ended.revoked}
        await write_event(connection, claim, "license.ended", status, facts, caller_id=caller_id)

    await short_transaction(database, work)
    return created


async def read_license(database: Database, publisher_id: int, license_ref: UUID) -> KeyRequest:
    """The request that created it. Raises NotFound, for another publisher's too."""
    created = await read_request(database, publisher_id, license_ref)
    if created.operation is not ConnectorOperation.CREATE:
        raise NotFound("there is no such license")
    return created


async def read_operations(database: Database, publisher_id: int, license_ref: UUID) -> list[KeyRequest]:
    """Everything that was asked about a license, oldest first."""
    async with database.of_publisher(publisher_id).reading() as connection:
        rows = await connection.fetch(statement("key_requests.of_license"), publisher_id, license_ref)
    return [KeyRequest.of(row) for row in rows]


def _demand_living(claim: StoredClaim, created: KeyRequest) -> None:
    issued = {unit["line_item_data_id"] for unit in claim.units_in(UnitStatus.ISSUED)}
    if created.state is not RequestState.ISSUED or not issued & set(created.unit_ids):
        raise NotAskable("the license was not issued, or has ended")


def _only_claim(claim: StoredClaim, created: KeyRequest) -> UUID | None:
    """What a new key would take the place of; of several keys nobody can tell which."""
    if len(created.unit_ids) != 1:
        return None
    unit = next(one for one in claim.units if one["line_item_data_id"] == created.unit_ids[0])
    claim_id: UUID | None = unit["claim_id"]
    return claim_id
