"""Recording what is to be told, in the transaction of what it tells of: it is told if, and only if, that was committed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from keyservice.domain.notice import (
    NewNotice,
    NoticeOwner,
    ToldLine,
    ToldOrder,
    ToldUnit,
    order_notices,
    types_of_change,
)
from keyservice.fulfillment.ids import new_id
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


@dataclass(frozen=True, slots=True)
class ChangedOrder:
    """The row of an order that this transaction holds, the status that it gets, and its units by lines as they stand then."""

    order: asyncpg.Record
    status: str
    lines: Mapping[int, Sequence[ToldUnit]]


async def record_notices(connection: Connection, notices: Sequence[NewNotice]) -> None:
    """One row for each endpoint of the owner that wants it. The thing that it is about is locked, so they are in order."""
    if not notices:
        return
    listening = await _listening(connection, {notice.owner for notice in notices})
    rows = [_row(notice) for notice in notices if notice.owner in listening]
    if rows:
        await connection.executemany(statement("notices.record_notice"), rows)


async def tell_of_orders(connection: Connection, changed: Sequence[ChangedOrder]) -> None:
    """Tell who sold these orders of their new status, if it is one that is told of."""
    told = [one for one in changed if types_of_change(one.order["status"], one.status)]
    if not told:
        return
    listening = await _listening(connection, {_owner(one) for one in told})
    told = [one for one in told if _owner(one) in listening]
    if not told:
        return
    lines: dict[UUID, list[asyncpg.Record]] = {}
    asked = [(one.order["order_id"],) for one in told]
    for row in await connection.fetchmany(statement("notices.lines_of_order"), asked):
        lines.setdefault(row["order_id"], []).append(row)
    rows = [
        _row(notice)
        for one in told
        for notice in order_notices(
            _order(one, lines[one.order["order_id"]]), before=one.order["status"], occurred_at=one.order["now"]
        )
    ]
    await connection.executemany(statement("notices.record_notice"), rows)


async def _listening(connection: Connection, owners: set[NoticeOwner]) -> set[NoticeOwner]:
    callers = [owner.caller_id for owner in owners if owner.caller_id is not None]
    publishers = [owner.publisher_id for owner in owners if owner.publisher_id is not None]
    rows = await connection.fetch(statement("notices.listening"), callers, publishers)
    return {NoticeOwner(row["caller_id"], row["publisher_id"]) for row in rows}


def _owner(one: ChangedOrder) -> NoticeOwner:
    return NoticeOwner(caller_id=one.order["caller_id"])


def _row(notice: NewNotice) -> tuple[object, ...]:
    owner = (notice.owner.caller_id, notice.owner.publisher_id)
    what = (notice.subject, notice.type, notice.object_id, notice.occurred_at)
    return (*owner, new_id(), *what, notice.body())


def _order(one: ChangedOrder, lines: Sequence[asyncpg.Record]) -> ToldOrder:
    order = one.order
    return ToldOrder(
        order_id=order["order_id"],
        order_number=order["order_number"],
        caller_id=order["caller_id"],
        partner_order_number=order["partner_order_number"],
        status=one.status,
        is_test=order["is_test"],
        lines=tuple(
            ToldLine(
                *(line["line_number"], line["line_item_id"], line["product_ref"], line["quantity"]),
                tuple(one.lines.get(line["line_number"], ())),
            )
            for line in lines
        ),
    )
