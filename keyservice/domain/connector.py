"""What is asked of a publisher's own API, and what a call to it came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from keyservice.domain.errors import KeyserviceError
from keyservice.domain.key import KeyText


class ConnectorOperation(StrEnum):
    """What a publisher may be asked for."""

    CREATE = "create"
    CANCEL = "cancel"
    RENEW = "renew"
    UPGRADE = "upgrade"
    PAUSE = "pause"
    RESUME = "resume"
    LOOK_UP = "look_up"
    """What became of a request, by our reference: also how an asynchronous publisher is polled."""

    RESERVE = "reserve"
    """The first of two phases; it goes before `create` in the same call."""


class CallOutcome(StrEnum):
    """What is known about the publisher after a call."""

    DONE = "done"
    """It did what was asked, and its answer proves it."""

    ACCEPTED = "accepted"
    """It will do so later: ask again, or wait for it to tell."""

    REFUSED = "refused"
    """It says in documented form that it did not; `CallResult.refusal` says of what kind."""

    NOT_EXECUTED = "not-executed"
    """It never heard of it: no byte of the request has left, or the connector declares that this answer means so."""

    UNKNOWN = "unknown"
    """It may have done so: nobody can tell from what came back, if anything did."""


class Refusal(StrEnum):
    """What a documented refusal means for what is done next."""

    PERMANENT = "permanent"
    RETRYABLE = "retryable"
    OUT_OF_STOCK = "out-of-stock"
    ALREADY_DONE = "already-done"
    NOT_FOUND = "not-found"
    """The publisher knows nothing of our reference."""

    UNSUPPORTED = "unsupported"
    """The connector has no such operation."""


@dataclass(frozen=True, slots=True)
class DeliveredKey:
    """One key as a publisher's answer holds it."""

    text: KeyText
    mime: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a call came to. Nothing in it but `keys` and `additional` may hold anything of a key.

    `code` and `message` are the publisher's own words about a failure, or ours, bounded and printable.
    """

    outcome: CallOutcome
    refusal: Refusal | None = None
    code: str = ""
    message: str = field(default="", repr=False)
    http_status: int | None = None
    keys: tuple[DeliveredKey, ...] = ()
    license_id: str | None = None
    """The publisher's own name of what it issued."""

    additional: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    retry_after_seconds: float | None = None
    request_sha256: bytes | None = None
    """Of method, target and body as sent: a repetition is one only if these are the same bytes."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the publisher of a connector promises; nothing that is not declared is relied on."""

    repeat_is_idempotent: bool = False
    """The same request under the same reference gives the same key again and issues no second one."""

    can_look_up: bool = False
    can_void: bool = False
    """`cancel` by our reference undoes a request whose outcome nobody knows, and says so also when there was none."""


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who buys, as far as the order says; every text may be empty."""

    shopper_id: str = ""
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    company_name: str = ""
    company_identifier: str = ""
    street: str = ""
    city: str = ""
    zip_code: str = ""
    state: str = ""
    country: str = ""
    """ISO 3166-1 alpha-2."""

    locale: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """Everything that a request to a publisher may tell. The same facts give the same bytes, at whatever time."""

    operation: ConnectorOperation
    license_ref: UUID
    """Our reference of what is asked for, the same in every operation on it: the reference's fulfillmentId."""

    execution_id: UUID
    """Of this one request; a repetition keeps it."""

    requested_at: datetime
    """When it was decided on, not when it is sent."""

    order_id: UUID
    order_number: int
    partner_order_number: str
    ordered_at: datetime
    line_item_id: UUID
    line_number: int
    quantity: int
    """Of the order line."""

    key_count: int
    """How many keys this request is for."""

    product_ref: int
    product_name: str
    publisher_product_id: str = ""
    currency: str = ""
    gross_price: Decimal | None = None
    """Of the line, with taxes."""

    order_gross_price: Decimal | None = None
    buyer: Buyer = field(default_factory=Buyer, repr=False)
    affiliate_id: str = ""
    reseller_id: str = ""
    publisher_license_id: str = ""
    """What the publisher called it when it was issued."""

    additional: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """What earlier answers said of it, keys among it under `ActivationCode`."""

    reason: str = ""
    """Of a cancellation."""

    is_test: bool = False


class ConnectorRefused(KeyserviceError):
    """A connector's document cannot be used; the message says where and what to change."""

    code = "connector-refused"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field

    @property
    def facts(self) -> dict[str, object]:
        return {"field": self.field}


class TemplateFailed(KeyserviceError):
    """A template does not come to an end with these facts, or to something that may not be sent. Nothing was sent."""

    code = "template-failed"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field

    @property
    def facts(self) -> dict[str, object]:
        return {"field": self.field}
