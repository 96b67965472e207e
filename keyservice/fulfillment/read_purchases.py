"""Reading what was bought. Whoever gets a key's text to see is written down before it leaves."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from pydantic_core import to_json

from keyservice.domain.caller import Caller
from keyservice.domain.errors import NotFound, Tampered
from keyservice.domain.order_state import DEAD
from keyservice.domain.purchase import Purchase, PurchasedLine, PurchasedUnit, UnitState
from keyservice.domain.tape import Place
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.open_keys import KeyOpener, OpenedKey
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

PURCHASES_PAGE_MAX: Final = 100

log = structlog.get_logger(__name__)


class PurchaseReader:
    """One purchase with its keys, or a shopper's list without them."""

    def __init__(self, database: Database, opener: KeyOpener) -> None:
        self._database = database
        self._opener = opener

    async def read(self, order_id: UUID, caller: Caller, *, source: str, reveal: bool) -> tuple[Purchase, bytes]:
        """The purchase and the keyed hash of the body it came with. Raises NotFound, for somebody else's too.

        Each reading is an event, committed before this returns; with `reveal` it says that keys are disclosed.
        """

        async def work(connection: Connection) -> tuple[Purchase, bytes]:
            order = await connection.fetchrow(statement("orders.read_order"), order_id)
            if order is None or not _may_see(caller, order["caller_id"]):
                raise NotFound("there is no such order")
            purchase = await self.assemble(connection, order)
            if reveal and _first_shown(purchase):
                # A key that nobody has seen may be on its way back to the tape: whoever ends claims holds the order too.
                order = await connection.fetchrow(statement("orders.lock_order"), order_id)
                assert order is not None
                purchase = await self.assemble(connection, order)
            if reveal:
                await record_disclosure(connection, purchase, caller.caller_id, source, order["now"])
            else:
                await _record_reading(connection, purchase, caller.caller_id, source, order["now"], disclosed=0)
            return purchase, order["body_fingerprint"]

        return await short_transaction(self._database, work)

    async def list_of_shopper(
        self, shopper_ref: UUID, caller: Caller, *, before: tuple[datetime, UUID] | None, size: int
    ) -> Sequence[asyncpg.Record]:
        """A page of the shopper's orders, newest first: a caller's own, or all of them for an admin or auditor."""
        own = None if caller.is_overseer else caller.caller_id
        at, order_id = before or (None, None)
        async with self._database.reading() as connection:
            return await connection.fetch(
                statement("orders.orders_of_shopper"), shopper_ref, own, at, order_id, min(size, PURCHASES_PAGE_MAX)
            )

    async def assemble(self, connection: Connection, order: asyncpg.Record) -> Purchase:
        """The stored order with its units' present states, keys opened where they are still issued.

        One that does not open hides none of the others.
        """
        lines = await connection.fetch(statement("orders.line_items"), order["order_id"])
        units = await connection.fetch(statement("orders.units"), order["order_id"])
        claims = await read_claims(connection, units)
        keys = await self._open(connection, units, claims)
        by_line: dict[int, list[PurchasedUnit]] = {}
        for unit in units:
            by_line.setdefault(unit["line_number"], []).append(_unit(unit, claims.get(unit["claim_id"]), keys))
        return Purchase(
            order_id=order["order_id"],
            order_number=order["order_number"],
            caller_id=order["caller_id"],
            partner_order_number=order["partner_order_number"],
            shopper_ref=order["shopper_ref"],
            status=order["status"],
            currency=order["currency"],
            ordered_at=order["ordered_at"],
            created_at=order["created_at"],
            canceled_at=order["canceled_at"],
            held_until=order["held_until"],
            lines=tuple(
                PurchasedLine(
                    line["line_number"],
                    line["product_ref"],
                    line["quantity"],
                    tuple(by_line.get(line["line_number"], ())),
                    line["publisher_id"],
                )
                for line in lines
            ),
        )

    async def _open(
        self, connection: Connection, units: Sequence[asyncpg.Record], claims: dict[UUID, asyncpg.Record]
    ) -> dict[UUID, OpenedKey]:
        wanted: dict[int, dict[Place, UUID]] = {}
        for unit in units:
            claim = claims.get(unit["claim_id"])
            if claim is not None and claim["state"] == "issued":
                place = Place(claim["segment_id"], claim["position"])
                wanted.setdefault(unit["publisher_id"], {})[place] = claim["claim_id"]
        opened: dict[UUID, OpenedKey] = {}
        for publisher_id, places in wanted.items():
            for place, key in (await self._opener.open(connection, publisher_id, list(places))).items():
                if isinstance(key, Tampered):
                    log.error(
                        "sold_key_damaged",
                        publisher_id=publisher_id,
                        claim_id=places[place],
                        segment_id=place.segment_id,
                        position=place.position,
                    )
                else:
                    opened[places[place]] = key
        return opened


async def read_claims(connection: Connection, units: Sequence[asyncpg.Record]) -> dict[UUID, asyncpg.Record]:
    """The claims that these units live on, publisher by publisher."""
    by_publisher: dict[int, list[UUID]] = {}
    for unit in units:
        if unit["claim_id"] is not None:
            by_publisher.setdefault(unit["publisher_id"], []).append(unit["claim_id"])
    claims: dict[UUID, asyncpg.Record] = {}
    for publisher_id, claim_ids in sorted(by_publisher.items()):
        rows = await connection.fetch(statement("tape.claims_of_units"), publisher_id, claim_ids)
        claims.update({row["claim_id"]: row for row in rows})
    return claims


def _may_see(caller: Caller, owner_id: int) -> bool:
    return caller.is_overseer or caller.caller_id == owner_id


def _unit(unit: asyncpg.Record, claim: asyncpg.Record | None, keys: dict[UUID, OpenedKey]) -> PurchasedUnit:
    state = _unit_state(claim, unit["fulfillment_status"])
    key = keys.get(claim["claim_id"]) if claim is not None and state is UnitState.ISSUED else None
    if state is UnitState.ISSUED and key is None:
        state = UnitState.DAMAGED
    return PurchasedUnit(
        unit["line_item_data_id"],
        unit["unit_number"],
        state,
        key.text if key else None,
        key.mime if key else None,
        key.name if key else None,
        claim["ended_at"] if claim is not None else None,
        None if claim is None else claim["claim_id"],
        is_disclosed=claim is None or claim["disclosed_at"] is not None,
    )


def _unit_state(claim: asyncpg.Record | None, fulfillment_status: str) -> UnitState:
    if claim is None:
        return UnitState.RELEASED if fulfillment_status in DEAD else UnitState.PENDING
    match claim["state"]:
        case "issued" | "held" | "replaced" | "released" as state:
            return UnitState(state)
        case _:
            return UnitState.REVOKED


def _first_shown(purchase: Purchase) -> dict[int, list[UUID]]:
    """By publisher, the claims whose key nobody has seen before."""
    found: dict[int, list[UUID]] = {}
    for line in purchase.lines:
        for unit in line.units:
            if unit.key is not None and not unit.is_disclosed and unit.claim_id is not None:
                found.setdefault(line.publisher_id, []).append(unit.claim_id)
    return found


async def record_disclosure(
    connection: Connection, purchase: Purchase, caller_id: int, source: str, now: datetime
) -> None:
    """Write down that the purchase's keys are about to be shown; a key that was seen can never be sold again."""
    for publisher_id, claim_ids in sorted(_first_shown(purchase).items()):
        await connection.execute(statement("tape.disclose_claims"), publisher_id, claim_ids, now)
    shown = sum(unit.key is not None for line in purchase.lines for unit in line.units)
    await _record_reading(connection, purchase, caller_id, source, now, disclosed=shown)


async def _record_reading(
    connection: Connection, purchase: Purchase, caller_id: int, source: str, now: datetime, *, disclosed: int
) -> None:
    facts = to_json({"disclosed": disclosed}).decode()
    name = "keys.disclosed" if disclosed else "order.read"
    row = (purchase.order_id, new_id(), None, caller_id, name, purchase.status, source, None, facts, now)
    await connection.execute(statement("orders.insert_event"), *row)
