"""Clients as they should be: they write down what they ask and hear, and repeat the same request until they know."""

import hashlib
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import aiohttp

from tests.lab.history import Attempt, History, Operation, Outcome, settle
from tests.lab.order_bodies import keys_of, order_body
from tests.lab.storefront import Storefront
from tests.lab.waiting import until

# What says nothing about the outcome: the connection broke, or the answer did not come in time.
BROKEN: Final = (aiohttp.ClientError, TimeoutError, OSError)
_PATIENCE_SECONDS: Final = 90.0
_RETRY_SECONDS: Final = 0.1
_TIMED_OUT, _TOO_MANY = 408, 429
_ALREADY_CANCELED: Final = 1011
# An upload that was cut short on its way, or whose earlier connection is not quite over: to be sent again.
_UPLOAD_UNFINISHED: Final = frozenset({(400, "body-refused"), (422, "upload-incomplete"), (409, "written-elsewhere")})


@dataclass(frozen=True, slots=True)
class OrderToSend:
    """An order whose bytes are made once: every repetition sends the same."""

    number: str
    unit_count: int
    body: bytes = field(repr=False)

    @classmethod
    def of(cls, number: str, *lines: tuple[int, int], **options: Any) -> "OrderToSend":
        body = json.dumps(order_body(number, *lines, **options)).encode()
        return cls(number, sum(quantity for _, quantity in lines), body)


@dataclass(frozen=True, slots=True)
class FileToSend:
    """A key file with the id under which it is sent, the same at every repetition."""

    content: bytes = field(repr=False)
    query: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "text/csv"
    upload_id: str = field(default_factory=lambda: str(uuid4()))


class Driver:
    """One reseller's and one publisher's clients over one session."""

    def __init__(self, session: aiohttp.ClientSession, store: Storefront, history: History | None = None) -> None:
        self.session = session
        self.store = store
        self.history = History() if history is None else history
        self.reports: dict[str, dict[str, Any]] = {}
        self._secret = {"secret": store.reseller_token}

    @property
    def numbers(self) -> str:
        """What the numbers of all its orders begin with, and no other driver's on the same service."""
        return f"{self.store.handle}."

    def one_line(self, number: object, *, quantity: int = 1) -> OrderToSend:
        """An order of the store's product."""
        return OrderToSend.of(f"{self.numbers}{number}", (self.store.product_ref, quantity))

    async def order(self, order: OrderToSend, *, client: int = 0, seconds: float | None = None) -> Attempt:
        """One attempt; a client that has no more than so many seconds hangs up before it is answered."""
        attempt = self.history.invoke(Operation.ORDER, order.number, client)
        headers = {**self._secret, "Content-Type": "application/json"}
        timeout = None if seconds is None else aiohttp.ClientTimeout(total=seconds)
        return await _told(
            attempt, self.session.post("/connect/order/new", data=order.body, headers=headers, timeout=timeout)
        )

    async def read(self, number: str, *, client: int = 0) -> Attempt:
        attempt = self.history.invoke(Operation.READ, number, client)
        return await _told(attempt, self.session.get(f"/connect/order/{number}", headers=self._secret))

    async def cancel(self, number: str, *, client: int = 0, **members: Any) -> Attempt:
        attempt = self.history.invoke(Operation.CANCEL, number, client)
        body = {"partnerOrderNumber": number, "reasonCode": 2, **members}
        return await _told(attempt, self.session.put("/connect/order/cancel", json=body, headers=self._secret))

    async def upload(self, file: FileToSend, *, client: int = 0) -> Attempt:
        attempt = self.history.invoke(Operation.UPLOAD, file.upload_id, client)
        headers = {**self.store.bearer, "Idempotency-Key": file.upload_id, "Content-Type": file.content_type}
        try:
            async with self.session.post(
                self.store.batches_path, params=file.query, data=io.BytesIO(file.content), headers=headers
            ) as response:
                answer = await response.json(content_type=None)
                status = response.status
        except (*BROKEN, ValueError) as error:
            attempt.reason = type(error).__name__
            return attempt
        if status in (200, 201):
            self.reports[file.upload_id] = answer
            return settle(attempt, Outcome.OK, code=status)
        kind = str(answer.get("type", "")).rpartition(":")[2]
        reason = str(answer.get("reason") or kind)
        if _is_unknown(status) or (status, reason) in _UPLOAD_UNFINISHED:
            attempt.reason = reason
            return attempt
        return settle(attempt, Outcome.REFUSED, code=status, reason=reason)

    async def order_until_known(self, order: OrderToSend, *, client: int = 0) -> Attempt:
        return await _until_known(lambda: self.order(order, client=client), order.number)

    async def cancel_until_known(self, number: str, *, client: int = 0) -> Attempt:
        """Refused as cancelled before, behind an attempt of unknown outcome, is the news that it took place."""
        return await _until_known(lambda: self.cancel(number, client=client), number)

    async def upload_until_known(self, file: FileToSend, *, client: int = 0) -> Attempt:
        return await _until_known(lambda: self.upload(file, client=client), file.upload_id)


async def _until_known(send: Callable[[], Awaitable[Attempt]], name: str) -> Attempt:
    async def ask() -> Attempt | None:
        attempt = await send()
        return attempt if attempt.is_known else None

    what = f"the outcome of {name} is known"
    return await until(ask, seconds=_PATIENCE_SECONDS, what=what, poll_seconds=_RETRY_SECONDS)


async def _told(attempt: Attempt, request: Any) -> Attempt:
    """What a Connect service answered; whatever is no clear answer leaves the outcome unknown."""
    try:
        async with request as response:
            raw = await response.read()
            status = response.status
        answer = json.loads(raw)
    except (*BROKEN, ValueError) as error:
        attempt.reason = type(error).__name__
        return attempt
    if _is_unknown(status):
        attempt.reason = str(status)
        return attempt
    code = int(answer["responseCode"])
    if attempt.operation is Operation.CANCEL:
        is_done = code in (0, _ALREADY_CANCELED)
        return settle(attempt, Outcome.OK if is_done else Outcome.REFUSED, code=code)
    if code != 0 or status not in (200, 201):
        return settle(attempt, Outcome.REFUSED, code=code)
    attempt.keys = tuple(keys_of(answer))
    attempt.digest = hashlib.sha256(raw).digest()
    return settle(attempt, Outcome.OK, code=code)


def _is_unknown(status: int) -> bool:
    return status >= 500 or status in (_TIMED_OUT, _TOO_MANY)


def patient_session(base_url: str, *, connections: int = 100, seconds: float = 45) -> aiohttp.ClientSession:
    """A session whose requests take a while when they must, but never for ever."""
    connector = aiohttp.TCPConnector(limit=connections)
    return aiohttp.ClientSession(base_url, connector=connector, timeout=aiohttp.ClientTimeout(total=seconds))
