"""Making calls: admitted, rendered, signed, sent once, read. What comes back says what is known, and nothing is ever raised."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from ssl import SSLContext
from typing import Any, Final
from uuid import UUID

from aiohttp.abc import AbstractResolver

from keyservice.connectors.authentication import authenticated, secret_named, ssl_context_for
from keyservice.connectors.breaker import CircuitBreaker
from keyservice.connectors.bulkhead import Bulkhead, BulkheadFull
from keyservice.connectors.calls import Connector, ConnectorCall, RequestParts
from keyservice.connectors.document import ConnectorDocument, OAuth2Authentication
from keyservice.connectors.egress import EgressPolicy
from keyservice.connectors.encoding import EncodedRequest, NotSendable, encode
from keyservice.connectors.outgoing import Answer, GuardedSession, TransportFailure, guarded_session
from keyservice.connectors.reading import read_answer
from keyservice.connectors.rendering import render, render_text
from keyservice.connectors.retry_after import retry_after_seconds
from keyservice.connectors.signing import placed, sign
from keyservice.connectors.tokens import TokenCache, TokenFailed
from keyservice.domain.connector import (
    CallOutcome,
    CallResult,
    ConnectorOperation,
    ConnectorRefused,
    Refusal,
    TemplateFailed,
)

CONNECTIONS_MAX: Final = 4_000
"""Of all connectors; each one's own share is its bulkhead's."""

_LINES_MAX: Final = 2_000
_UNAUTHORIZED: Final = 401
_MASK: Final = "\u2022" * 8


@dataclass(slots=True)
class _Line:
    """What one version of a connector has between calls."""

    breaker: CircuitBreaker
    bulkhead: Bulkhead
    ssl_context: SSLContext | None
    tokens: TokenCache | None


@dataclass(frozen=True, slots=True)
class PreviewedRequest:
    """A request as it would be sent, with every secret, and whatever is made of one, masked."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: str | None


@dataclass(slots=True)
class _Deadline:
    """How much of a call's budget is left."""

    ends_at: float
    clock: Callable[[], float]
    send_before: float | None = field(default=None)

    @property
    def left(self) -> float:
        return max(0.0, self.ends_at - self.clock())


@asynccontextmanager
async def running_engine(
    policy: EgressPolicy,
    *,
    resolver: AbstractResolver | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator["ConnectorEngine"]:
    """Calls go out until this is left."""
    async with guarded_session(policy, connections_max=CONNECTIONS_MAX, resolver=resolver) as session:
        engine = ConnectorEngine(session, clock=clock)
        try:
            yield engine
        finally:
            await engine.close()


class ConnectorEngine:
    """One for a process. Breakers, bulkheads and tokens belong to one version of one connector each."""

    def __init__(self, session: GuardedSession, *, clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock
        self._lines: OrderedDict[tuple[int, UUID, int, int], _Line] = OrderedDict()

    async def close(self) -> None:
        """Stop fetching tokens."""
        await asyncio.gather(*(line.tokens.close() for line in self._lines.values() if line.tokens is not None))

    async def call(self, call: ConnectorCall) -> CallResult:
        """What the call came to. Raises nothing but its task's own cancellation."""
        started = self._clock()
        result = await self._called(call, started)
        return replace(result, seconds=self._clock() - started)

    async def _called(self, call: ConnectorCall, started: float) -> CallResult:
        document = call.connector.document
        if call.operation not in document.operations:
            return CallResult(CallOutcome.REFUSED, Refusal.UNSUPPORTED, "no-such-operation")
        try:
            line = self._line(call.connector)
        except NotSendable as refused:
            return CallResult(CallOutcome.NOT_EXECUTED, code=refused.code)
        if not line.breaker.admit():
            left = line.breaker.seconds_left
            return CallResult(CallOutcome.NOT_EXECUTED, code="breaker-open", retry_after_seconds=left)
        budget = min(document.budget_seconds, call.budget_seconds or document.budget_seconds)
        deadline = _Deadline(started + budget, self._clock, call.send_before)
        is_over = False
        try:
            async with line.bulkhead.place(deadline.left):
                result = await self._asked(call, line, deadline)
            is_over = True
        except BulkheadFull:
            return CallResult(CallOutcome.NOT_EXECUTED, code="too-many-calls")
        finally:
            if not is_over:
                line.breaker.left_open()
        _tell(line.breaker, result)
        return result

    async def _asked(self, call: ConnectorCall, line: _Line, deadline: _Deadline) -> CallResult:
        reserves = ConnectorOperation.RESERVE in call.connector.document.operations
        if call.operation is not ConnectorOperation.CREATE or not reserves:
            return await self._exchanged(call, line, deadline)
        reserved = await self._exchanged(
            replace(call, operation=ConnectorOperation.RESERVE, same_as=None), line, deadline
        )
        # The digest is that of the purchase, or there is none: the next attempt would be held against it.
        reserved = replace(reserved, request_sha256=None)
        if reserved.outcome is CallOutcome.REFUSED:
            return reserved
        if reserved.outcome is not CallOutcome.DONE:
            # A reservation that nobody provides buys nothing, and runs out at its publisher.
            return replace(reserved, outcome=CallOutcome.NOT_EXECUTED, refusal=None, code=f"reserve-{reserved.code}")
        told = {"LicenseID": reserved.license_id or "", **{name: list(v) for name, v in reserved.additional.items()}}
        return await self._exchanged(replace(call, context={**call.context, "Reserved": told}), line, deadline)

    async def _exchanged(self, call: ConnectorCall, line: _Line, deadline: _Deadline) -> CallResult:
        try:
            parts = _rendered(call.connector.document, call.operation, call.context, call.connector.secrets)
            request, token = await self._encoded(call, parts, line, deadline)
            if call.same_as is not None and call.same_as != request.sha256:
                # The same reference with other bytes would be another order: what came of the first one is still not known.
                return CallResult(CallOutcome.UNKNOWN, code="request-changed")
            answer = await self._sent(call, request, line, deadline)
            if answer.status == _UNAUTHORIZED and line.tokens is not None and token is not None:
                line.tokens.forget(token)
                request, _ = await self._encoded(call, parts, line, deadline)
                answer = await self._sent(call, request, line, deadline)
        except (TemplateFailed, ConnectorRefused) as failed:
            return CallResult(CallOutcome.REFUSED, Refusal.PERMANENT, "template-failed", str(failed)[:300])
        except NotSendable as refused:
            return CallResult(CallOutcome.NOT_EXECUTED, code=refused.code)
        except TokenFailed as failed:
            return CallResult(
                CallOutcome.NOT_EXECUTED, code=failed.code, retry_after_seconds=failed.retry_after_seconds
            )
        except TransportFailure as failure:
            outcome = CallOutcome.UNKNOWN if failure.was_sent else CallOutcome.NOT_EXECUTED
            return CallResult(outcome, code=failure.code, request_sha256=request.sha256)
        result = read_answer(
            call.connector.document,
            call.operation,
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            key_count=call.key_count,
            reference=str(call.context.get("LicenseID", "")),
        )
        wait = retry_after_seconds(answer.headers)
        return replace(result, request_sha256=request.sha256, retry_after_seconds=wait)

    async def _encoded(
        self, call: ConnectorCall, parts: RequestParts, line: _Line, deadline: _Deadline
    ) -> tuple[EncodedRequest, str | None]:
        """The request with who we are, and the token that says so."""
        authentication = call.connector.document.authentication
        headers = await authenticated(
            authentication, call.connector.secrets, line.tokens, wait_seconds=max(deadline.left, 0.001)
        )
        token = headers[0][1].removeprefix("Bearer ") if isinstance(authentication, OAuth2Authentication) else None
        return encode(_with_headers(parts, headers)), token

    async def _sent(self, call: ConnectorCall, request: EncodedRequest, line: _Line, deadline: _Deadline) -> Answer:
        document = call.connector.document
        left = deadline.left
        if left <= 0:
            raise TransportFailure("too-late", was_sent=False)
        return await self._session.send(
            request.method,
            request.url,
            headers=request.headers,
            body=request.body,
            budget_seconds=left,
            connect_seconds=min(document.connect_seconds, left),
            answer_bytes_max=document.answer_bytes_max,
            ssl_context=line.ssl_context,
            send_before=deadline.send_before,
        )

    def _line(self, connector: Connector) -> _Line:
        """Raises NotSendable for certificates that cannot be used."""
        # Another secret begins anew: tokens and certificates were made with the one before.
        secrets = hash(frozenset(connector.secrets.items()))
        name = (connector.publisher_id, connector.connector_id, connector.version, secrets)
        found = self._lines.get(name)
        if found is None:
            found = self._lines[name] = self._opened(connector)
            while len(self._lines) > _LINES_MAX:
                self._lines.popitem(last=False)
        self._lines.move_to_end(name)
        return found

    def _opened(self, connector: Connector) -> _Line:
        document = connector.document
        ssl_context = ssl_context_for(document.transport, connector.secrets)
        authentication = document.authentication
        tokens = None
        if isinstance(authentication, OAuth2Authentication):
            secret = secret_named(authentication.client_secret, connector.secrets)
            tokens = TokenCache(authentication, secret, self._session, ssl_context=ssl_context, clock=self._clock)
        breaker = CircuitBreaker(
            failures_max=document.breaker.failures, open_seconds=document.breaker.open_seconds, clock=self._clock
        )
        return _Line(breaker, Bulkhead(document.concurrency), ssl_context, tokens)


def preview(document: ConnectorDocument, operation: ConnectorOperation, context: Mapping[str, Any]) -> PreviewedRequest:
    """The request that these facts make, without sending it. Raises TemplateFailed, ConnectorRefused, NotSendable."""
    masked = dict.fromkeys(document.secret_names, _MASK)
    signature = document.operations[operation].signature
    if signature is not None and signature.secret_place == "private-key":  # noqa: S105
        # A mask is no key that could sign.
        request = encode(placed(render(document, operation, context), signature, _MASK))
    else:
        request = encode(_rendered(document, operation, context, masked))
    shown = [(name, value) for name, value in request.headers]
    if (proof := _proof_of(document)) is not None:
        shown.insert(0, proof)
    body = None if request.body is None else request.body.decode(errors="replace")
    return PreviewedRequest(request.method, str(request.url), tuple(shown), body)


def _proof_of(document: ConnectorDocument) -> tuple[str, str] | None:
    """How we prove who we are, masked."""
    authentication = document.authentication
    match authentication.kind:
        case "none":
            return None
        case "header":
            return authentication.name, f"{authentication.prefix}{_MASK}"
        case "basic":
            return "Authorization", f"Basic {_MASK}"
        case _:
            return "Authorization", f"Bearer {_MASK}"


def _rendered(
    document: ConnectorDocument, operation: ConnectorOperation, context: Mapping[str, Any], secrets: Mapping[str, str]
) -> RequestParts:
    """Rendered and signed. Raises TemplateFailed, and NotSendable for a secret that is missing."""
    parts = render(document, operation, context)
    signature = document.operations[operation].signature
    if signature is None:
        return parts
    if signature.secret_place != "none":  # noqa: S105
        secret_named(signature.secret, secrets)
    field_name = f"operations.{operation}.signature"
    return sign(parts, signature, secrets, partial(_rendered_text, context, field_name), now=datetime.now(UTC))


def _rendered_text(context: Mapping[str, Any], field_name: str, source: str, extra: Mapping[str, str]) -> str:
    return render_text(source, context, extra, field=field_name)


def _with_headers(parts: RequestParts, headers: list[tuple[str, str]]) -> RequestParts:
    ours = {name.lower() for name, _ in headers}
    return replace(parts, headers=[*headers, *(one for one in parts.headers if one[0].lower() not in ours)])


def _tell(breaker: CircuitBreaker, result: CallResult) -> None:
    """A documented answer shows that the publisher works; nothing that was ours to prevent shows that it does not."""
    is_documented = result.outcome in (CallOutcome.DONE, CallOutcome.ACCEPTED, CallOutcome.REFUSED)
    if is_documented or (result.http_status is not None and result.http_status < 500):
        breaker.succeeded()
    elif result.code in ("secret-missing", "secret-refused", "header-refused", "url-refused", "request-changed"):
        breaker.left_open()
    else:
        breaker.failed()
