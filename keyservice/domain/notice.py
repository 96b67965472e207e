"""Notices: what callers and publishers are told of by webhook, in the reference's words. Never a key's text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from pydantic_core import to_json

from keyservice.domain.errors import Invalid
from keyservice.domain.order_state import UnitStatus, line_status


class NoticeSubject(StrEnum):
    """What kind of thing a notice is about."""

    ORDER = "order"
    PACKAGE = "licenseKeyPackage"
    KEY = "key"
    BATCH = "batch"
    WEBHOOK = "webhook"
    """The endpoint itself: a notice to try it with."""


class EndpointState(StrEnum):
    """Whether anything is sent to an endpoint."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    GONE = "gone"
    """Its owner took it away, or its receiver answered 410."""


class NoticeState(StrEnum):
    """How far a notice is."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"
    """It was tried for days; it is sent again when its owner asks for it."""


ORDER_TYPES: Final = (
    *("order.created", "order.completed", "order.partiallyCompleted", "order.fulfillmentFailed", "order.canceled"),
    "order.aborted",
)
PUBLISHER_TYPES: Final = (
    "licenseKeyPackage.thresholdReached",
    "key.revoked",
    "key.replaced",
    "key.reinstated",
    "batch.imported",
)

# What an order's status, when it is reached, is called in notices. The others are passed through in silence.
_TYPE_OF_STATUS: Final[Mapping[str, str]] = {
    "COMPLETED": "completed",
    "PARTIAL_COMPLETED": "partiallyCompleted",
    "PENDING_WITH_ERROR": "fulfillmentFailed",
    "CANCELED": "canceled",
    "ABORTED": "aborted",
}


@dataclass(frozen=True, slots=True)
class NoticeOwner:
    """Who is told: a caller that sells, or a publisher."""

    caller_id: int | None = None
    publisher_id: int | None = None

    def __post_init__(self) -> None:
        if (self.caller_id is None) == (self.publisher_id is None):
            raise ValueError("a notice is for one caller or for one publisher")

    @property
    def types(self) -> tuple[str, ...]:
        """What it can be told of."""
        return ORDER_TYPES if self.publisher_id is None else PUBLISHER_TYPES

    def demand_types(self, types: tuple[str, ...]) -> None:
        """Raise Invalid unless it can be told of all of these."""
        unknown = sorted(set(types) - set(self.types))
        if unknown:
            raise Invalid(f"there is no {unknown[0]} here; there are {', '.join(self.types)}", field="types")
        if len(set(types)) != len(types):
            raise Invalid("name each type once", field="types")


@dataclass(frozen=True, slots=True)
class NewNotice:
    """Something that happened. `facts` are members of the body beside the four that each has."""

    owner: NoticeOwner
    subject: NoticeSubject
    type: str
    object_id: str
    occurred_at: datetime
    facts: Mapping[str, object] = field(default_factory=dict)

    def body(self) -> str:
        """The JSON that is sent, now and whenever it is repeated."""
        return notice_body(self.subject, self.type, self.object_id, self.occurred_at, self.facts)


@dataclass(frozen=True, slots=True)
class ToldUnit:
    """One wanted key, as a notice shows it."""

    unit_id: UUID
    status: str


@dataclass(frozen=True, slots=True)
class ToldLine:
    """One bought product. `line_item_id` names the line when it has several units."""

    line_number: int
    line_item_id: UUID
    product_ref: int
    quantity: int
    units: tuple[ToldUnit, ...]

    def item(self) -> dict[str, object]:
        """The reference's item: with several units, each is a sub-item."""
        sub_items = [{"fulfillmentId": unit.unit_id, "quantity": 1, "status": unit.status} for unit in self.units]
        has_one = len(self.units) == 1
        status = line_status({UnitStatus(unit.status) for unit in self.units})
        return {
            "lineNumber": self.line_number,
            "productRef": self.product_ref,
            "fulfillmentId": self.units[0].unit_id if has_one else self.line_item_id,
            "quantity": self.quantity,
            "status": status,
            "subItems": [] if has_one else sub_items,
        }


@dataclass(frozen=True, slots=True)
class ToldOrder:
    """An order as it stands behind a change: whoever wants its keys reads it."""

    order_id: UUID
    order_number: int
    caller_id: int
    partner_order_number: str
    status: str
    is_test: bool
    lines: tuple[ToldLine, ...]

    def facts(self) -> dict[str, object]:
        return {
            "order": {
                "id": self.order_id,
                "orderNumber": self.order_number,
                "partnerOrderNumber": self.partner_order_number,
                "status": self.status,
                "isTest": self.is_test,
                "items": [line.item() for line in self.lines],
            }
        }


def order_notice(order: ToldOrder, name: str, occurred_at: datetime) -> NewNotice:
    """To whoever sold it."""
    owner = NoticeOwner(caller_id=order.caller_id)
    return NewNotice(owner, NoticeSubject.ORDER, name, str(order.order_id), occurred_at, order.facts())


def types_of_change(before: str | None, after: str) -> tuple[str, ...]:
    """What an order's change from one status to another is called; None for one that was not there before."""
    created = ("created",) if before is None else ()
    reached = _TYPE_OF_STATUS.get(after) if before != after else None
    return created if reached is None else (*created, reached)


def order_notices(order: ToldOrder, *, before: str | None, occurred_at: datetime) -> list[NewNotice]:
    """What is to be told of an order that was in the status `before`."""
    return [order_notice(order, name, occurred_at) for name in types_of_change(before, order.status)]


def notice_body(subject: str, name: str, object_id: str, occurred_at: datetime, facts: Mapping[str, object]) -> str:
    told = {"subject": subject, "type": name, "objectId": object_id, "eventDate": occurred_at, **facts}
    return to_json(told).decode()
