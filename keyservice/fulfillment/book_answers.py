"""Recording what attempts came to: answers are judged behind their orders' locks, and written in one transaction."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

import structlog
from pydantic_core import to_json

from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.key_request import OPEN, RequestState
from keyservice.domain.order_state import UnitStatus
from keyservice.domain.revocation import RevocationKind
from keyservice.domain.tape import Wanted
from keyservice.fulfillment.booking import (
    BookingGroup,
    Judged,
    alarm_event,
    answer_event,
    attempt_row,
    follow_ups,
    settled_row,
    surplus_after,
    surplus_row,
)
from keyservice.fulfillment.claim_keys import lock_tapes
from keyservice.fulfillment.connector_shelf import ConnectorShelf
from keyservice.fulfillment.end_claims import dead_claim
from keyservice.fulfillment.end_requests import end_replaced, insert_requests
from keyservice.fulfillment.fall_back import fall_back
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.judge_answer import Answer, Found, KnownKey, UnitNow, Verdict, judge
from keyservice.fulfillment.lay_keys import Delivery, KeyLayer, Laid
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.record_revocations import record_revocations
from keyservice.fulfillment.request_facts import license_data_aad
from keyservice.fulfillment.revoke_units import stop_waiting
from keyservice.fulfillment.stored_claim import Change, UnitChange, lock_claims, write_changes
from keyservice.fulfillment.stored_request import KeyRequest, intent_row
from keyservice.fulfillment.watch_pools import settle_alarm
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bookings:
    """What a group of answers becomes."""

    layer: KeyLayer
    opener: KeyOpener
    shelf: ConnectorShelf

    async def serve(self, connection: Connection, answers: Sequence[Answer]) -> Sequence[Verdict | Exception]:
        """Judge and write them in the open transaction: orders are locked first, then requests, then pools."""
        group, found = await self._lock(connection, answers)
        judged = [_judge(group, answer, keys) for answer, keys in zip(answers, found, strict=True)]
        served = [one for one in judged if one is not None]
        await self._leave_queues(connection, group, served)
        await self._end_replaced(connection, group, served)
        await _revive(connection, group, served)
        await self._lay(connection, group, served)
        for one in served:
            if one.verdict.falls_back:
                await self._fall_back(connection, group, one)
        await _write(connection, group, served)
        for one in served:
            _log(one)
        return [Verdict(RequestState.ABANDONED, is_stale=True) if one is None else one.verdict for one in judged]

    async def _lock(self, connection: Connection, answers: Sequence[Answer]) -> tuple[BookingGroup, list[list[Found]]]:
        claims = await lock_claims(connection, {answer.request.order_id for answer in answers})
        now = max((claim.now for claim in claims.values()), default=None)
        if now is None:
            now = await connection.fetchval("SELECT clock_timestamp()")
        names = sorted({(answer.request.publisher_id, answer.request.key_request_id) for answer in answers})
        stored = await connection.fetchmany(statement("key_requests.lock_key_request"), names)
        rows = {(row["publisher_id"], row["key_request_id"]): KeyRequest.of(row) for row in stored}
        found = [
            [Found(key, self.layer.fingerprint(answer.request.publisher_id, key)) for key in answer.result.keys]
            for answer in answers
        ]
        known = await _known(connection, answers, found)
        units = {
            order_id: {
                unit["line_item_data_id"]: UnitNow(UnitStatus(unit["fulfillment_status"]), unit["claim_id"])
                for unit in claim.units
            }
            for order_id, claim in claims.items()
        }
        return BookingGroup(now, claims, rows, known, units), found

    async def _leave_queues(self, connection: Connection, group: BookingGroup, served: Sequence[Judged]) -> None:
        """Units that had begun to wait for a pool, and are served by their publisher after all."""
        waiting = [
            unit
            for one in served
            for unit in group.claims[one.row.order_id].units_in(UnitStatus.WAITING)
            if unit["line_item_data_id"] in one.claim_ids
        ]
        await stop_waiting(connection, waiting)

    async def _end_replaced(self, connection: Connection, group: BookingGroup, served: Sequence[Judged]) -> None:
        """The old key dies when the new one is there, and its publisher is told to take it back."""
        for one in served:
            if one.row.replaces_claim_id is None or one.row.enables_again or not one.claim_ids:
                continue
            claim = group.claims[one.row.order_id]
            (unit_id,) = one.claim_ids
            takes_back = one.row.operation is ConnectorOperation.CREATE
            await end_replaced(connection, claim, unit_id, reason=one.row.reason, now=group.now, takes_back=takes_back)

    async def _lay(self, connection: Connection, group: BookingGroup, served: Sequence[Judged]) -> None:
        deliveries = [delivery for one in served for delivery in _deliveries(one)]
        stock = {(one.publisher_id, one.pool_id) for one in deliveries if one.state == "stock"}
        wanted = [Wanted(0, publisher_id, (pool_id,), ()) for publisher_id, pool_id in sorted(stock)]
        if wanted:
            await lock_tapes(connection, wanted)
        laid = await self.layer.lay(connection, deliveries, group.now)
        if wanted:
            tapes = await lock_tapes(connection, wanted)
            for pool in tapes.pools.values():
                await settle_alarm(connection, pool, now=tapes.now)
        rows = {
            "key_requests.insert_surplus": [
                surplus_row(one, delivery, laid.places, group.now) for one in served for delivery in one.surplus
            ],
            "key_requests.put_license_data": [
                _license_data_row(one, laid, group.now)
                for one in served
                if one.answer.result.additional and (one.claim_ids or one.surplus)
            ],
        }
        for name, some in rows.items():
            if some:
                await connection.executemany(statement(name), some)

    async def _fall_back(self, connection: Connection, group: BookingGroup, one: Judged) -> None:
        row = one.row
        units = group.units[row.order_id]
        left = [
            unit_id
            for unit_id in row.unit_ids
            if unit_id in units
            and units[unit_id].claim_id is None
            and units[unit_id].status in (UnitStatus.REQUESTED, UnitStatus.FAILED)
        ]
        if not left:
            return
        claim = group.claims[row.order_id]
        fell = await fall_back(connection, self.opener, self.shelf, claim, row, left, group.now)
        for change in fell.changes:
            group.change(row.order_id, change)
        await insert_requests(connection, fell.requests)


def _judge(group: BookingGroup, answer: Answer, found: list[Found]) -> Judged | None:
    """None: there is no such request any more."""
    name = (answer.request.publisher_id, answer.request.key_request_id)
    row = group.rows.get(name)
    if row is None or row.order_id not in group.claims:
        return None
    known = [group.known.get((row.publisher_id, one.fingerprint)) for one in found]
    verdict = judge(answer, row, group.units[row.order_id], found, known, group.now)
    one = Judged(answer, row, verdict)
    for unit_id, status in verdict.statuses.items():
        group.change(row.order_id, UnitChange(unit_id, status))
    for unit_id, key in verdict.attached:
        claim_id = one.claim_ids[unit_id] = new_id()
        group.change(row.order_id, UnitChange(unit_id, UnitStatus.ISSUED, claim_id))
        group.known[row.publisher_id, key.fingerprint] = KnownKey(claim_id, row.key_request_id)
    for unit_id, claim_id in verdict.revived.items():
        group.change(row.order_id, UnitChange(unit_id, UnitStatus.ISSUED, claim_id))
    for key in verdict.surplus:
        group.known[row.publisher_id, key.fingerprint] = KnownKey(None, row.key_request_id)
        one.surplus.append(_surplus(one, key))
    if not verdict.is_stale:
        fence = row.fence + 1 if answer.is_decision else row.fence
        group.rows[name] = replace(row, state=verdict.state, next_at=verdict.next_at, fence=fence)
    return one


async def _revive(connection: Connection, group: BookingGroup, served: Sequence[Judged]) -> None:
    """Keys that their publishers have enabled again live, and the publishers' feeds say so."""
    for one in served:
        for claim_id in one.verdict.revived.values():
            row = await connection.fetchrow(statement("tape.revive_claim"), one.row.publisher_id, claim_id)
            assert row is not None, "a unit that waits to be enabled again has a dead claim"
            await record_revocations(
                connection,
                one.row.publisher_id,
                [dead_claim(row)],
                kind=RevocationKind.REINSTATED,
                reason=one.row.reason,
                now=group.now,
            )


def _surplus(one: Judged, key: Found) -> Delivery:
    row, pool_id = one.row, one.answer.shelved.pool_id
    if one.surplus_goes == "pool":
        pool_id = UUID(one.document.surplus_pool)
    state: Literal["stock", "withdrawn"] = "stock" if one.surplus_goes == "pool" else "withdrawn"
    return Delivery(row.publisher_id, pool_id, key.key, key.fingerprint, row.key_request_id, state, claim_id=new_id())


def _deliveries(one: Judged) -> list[Delivery]:
    row, pool_id = one.row, one.answer.shelved.pool_id
    served = [
        Delivery(
            *(row.publisher_id, pool_id, key.key, key.fingerprint, row.key_request_id, "issued"),
            claim_id=one.claim_ids[unit_id],
            unit_id=unit_id,
            order_id=row.order_id,
        )
        for unit_id, key in one.verdict.attached
    ]
    return served + one.surplus


def _license_data_row(one: Judged, laid: Laid, now: datetime) -> tuple[object, ...]:
    """What the answer said beside its keys, sealed as they are: later requests about the license may have to repeat it."""
    row = one.row
    said = dict(one.answer.result.additional)
    said["ActivationCode"] = tuple(key.text.reveal() for key in one.answer.result.keys if key.mime is None)
    day = laid.days[row.publisher_id, _deliveries(one)[0].pool_id]
    sealed = day.data_key.seal(to_json(said), license_data_aad(row.publisher_id, row.license_ref))
    return (row.publisher_id, row.license_ref, day.segment_id, sealed, now)


async def _known(
    connection: Connection, answers: Sequence[Answer], found: Sequence[Sequence[Found]]
) -> dict[tuple[int, bytes], KnownKey]:
    """Of all keys of these answers, those that are on the tape already."""
    asked: dict[int, set[bytes]] = defaultdict(set)
    for answer, keys in zip(answers, found, strict=True):
        asked[answer.request.publisher_id].update(key.fingerprint for key in keys)
    known = {}
    for publisher_id, fingerprints in sorted(asked.items()):
        if fingerprints:
            rows = await connection.fetch(statement("connectors.known_keys"), publisher_id, sorted(fingerprints))
            for row in rows:
                known[publisher_id, row["fingerprint"]] = KnownKey(row["claim_id"], row["key_request_id"])
    return known


async def _write(connection: Connection, group: BookingGroup, served: Sequence[Judged]) -> None:
    changes = {
        order_id: Change(group.claims[order_id], list(units.values()))
        for order_id, units in sorted(group.changes.items())
    }
    await write_changes(connection, list(changes.values()))
    statuses = {order_id: change.order_state.status for order_id, change in changes.items()}
    rows: dict[str, list[tuple[object, ...]]] = {
        "orders.insert_event": [answer_event(group, statuses, one) for one in served if one.verdict.event],
        "key_requests.insert_attempt": [attempt_row(group, one) for one in served],
        "key_requests.settle": [settled_row(group, one) for one in served if not one.verdict.is_stale],
        "key_requests.insert_key_request": [intent_row(more) for one in served for more in follow_ups(group, one)],
        "key_requests.settle_surplus": [
            (one.row.publisher_id, one.row.license_ref, surplus_after(one.verdict.state), group.now)
            for one in served
            if one.row.operation is ConnectorOperation.CANCEL
            and not one.verdict.is_stale
            and one.verdict.state not in OPEN
        ],
        "tape.insert_publisher_event": [
            alarm_event(group, one) for one in served if one.verdict.needs_person and one.verdict.event
        ],
    }
    for name, some in rows.items():
        if some:
            await connection.executemany(statement(name), some)


def _log(one: Judged) -> None:
    if one.verdict.needs_person and not one.verdict.is_stale:
        log.warning(
            "key_request_needs_person",
            publisher_id=one.row.publisher_id,
            key_request_id=one.row.key_request_id,
            operation=one.row.operation,
            state=one.verdict.state,
            code=one.verdict.code or one.answer.result.code,
        )
