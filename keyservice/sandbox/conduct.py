"""One call to the sandbox publisher, from its first byte to its last, with whatever was told to go wrong in it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from keyservice.sandbox.asked import Answer, Asked, Granted, Reason, Refused, State
from keyservice.sandbox.family import Door, Family
from keyservice.sandbox.incoming import Incoming
from keyservice.sandbox.issuing import Counter
from keyservice.sandbox.ledger import SeenRequest
from keyservice.sandbox.misbehaviour import Misbehaviour, Script, Wrong
from keyservice.sandbox.sending import reset, send, send_for_ever, send_half
from keyservice.sandbox.wrong_answers import with_other_bytes, with_other_keys


class _Silence(Exception):
    """The connection ends without an answer."""


@dataclass(slots=True)
class Conduct:
    """How calls are taken, and what is remembered between them."""

    counter: Counter
    door: Door
    script: Script
    accepted: Callable[[Family, Granted], None]
    """Told of what is to be delivered later."""

    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _earlier: dict[str, Answer] = field(default_factory=dict, repr=False)

    async def take(self, family: Family, request: web.Request) -> web.StreamResponse:
        seen = self.counter.ledger.saw(family.name, self.counter.now())
        incoming = await _incoming(family, request)
        try:
            asked = family.read(incoming, self.door)
        except Refused as refused:
            seen.outcome = f"refused: {refused.reason}"
            return await send(request, family.refuse(refused))
        seen.operation = asked.operation
        seen.reference = asked.reference or self._reference_of(asked)
        wrong = self.script.next_for(family.name, asked)
        if wrong.kind is not Wrong.NOTHING:
            seen.misbehaviour = wrong.kind
        try:
            answer = await self._answer(family, incoming, asked, wrong, seen)
        except _Silence:
            seen.outcome = f"{seen.outcome}, not answered"
            return reset(request)
        return await _send(request, answer, wrong)

    async def _answer(
        self, family: Family, incoming: Incoming, asked: Asked, wrong: Misbehaviour, seen: SeenRequest
    ) -> Answer:
        early = await self._before(wrong)
        if early is not None:
            seen.outcome = f"not done: {wrong.kind}"
            return early
        if asked.operation == "token" and family.issue_token is not None:
            answer = family.issue_token(incoming, self.door)
            seen.outcome = "done" if answer.status < 300 else "refused: rate-limited"
        else:
            answer = self._performed(family, asked, wrong, seen)
        return await self._after(family, answer, wrong)

    def _performed(self, family: Family, asked: Asked, wrong: Misbehaviour, seen: SeenRequest) -> Answer:
        try:
            _look_at_shelf(wrong)
            granted = self.counter.perform(family.name, family.delivery, family.repeat, asked)
        except Refused as refused:
            seen.outcome = f"refused: {refused.reason}"
            return family.refuse(refused)
        seen.outcome = "done"
        if granted.state is State.PROCESSING and asked.operation == "create":
            self.accepted(family, granted)
        return family.grant(asked, with_other_keys(granted, wrong, self.counter.ledger))

    async def _before(self, wrong: Misbehaviour) -> Answer | None:
        """What is wrong before anything is issued: the answer, if it is one already."""
        match wrong.kind:
            case Wrong.HANG:
                await self.closing.wait()
                raise _Silence
            case Wrong.RESET_BEFORE:
                raise _Silence
            case Wrong.SLOW:
                await self._wait(wrong.seconds)
            case Wrong.STATUS_BEFORE:
                return Answer(wrong.status, b"temporarily out of order\n", "text/plain")
            case Wrong.RATE_LIMITED:
                return Answer(429, b"too many requests\n", "text/plain", {"Retry-After": wrong.text or "1"})
            case Wrong.REDIRECT:
                return Answer(307, b"", "text/plain", {"Location": wrong.text or "http://127.0.0.1:1/"})
            case _:
                pass
        return None

    async def _after(self, family: Family, answer: Answer, wrong: Misbehaviour) -> Answer:
        match wrong.kind:
            case Wrong.LATE:
                await self._wait(wrong.seconds)
            case Wrong.RESET_AFTER:
                raise _Silence
            case Wrong.STATUS_AFTER:
                return Answer(wrong.status, b"something broke\n", "text/plain")
            case Wrong.REPLAY:
                return self._earlier.get(family.name, answer)
            case _:
                pass
        if wrong.kind is Wrong.NOTHING:
            self._earlier[family.name] = answer
        return with_other_bytes(answer, wrong)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.closing.wait()
        except TimeoutError:
            return
        raise _Silence

    def _reference_of(self, asked: Asked) -> str:
        found = self.counter.ledger.of_license(asked.license_id)
        return "" if found is None else found[0].reference


def _look_at_shelf(wrong: Misbehaviour) -> None:
    if wrong.kind is Wrong.OUT_OF_STOCK:
        raise Refused(Reason.OUT_OF_STOCK, "no keys left")


async def _send(request: web.Request, answer: Answer, wrong: Misbehaviour) -> web.StreamResponse:
    match wrong.kind:
        case Wrong.HALF_BODY:
            return await send_half(request, answer)
        case Wrong.ENDLESS_BODY:
            return await send_for_ever(request, answer)
        case _:
            return await send(request, answer)


async def _incoming(family: Family, request: web.Request) -> Incoming:
    return Incoming(
        method=request.method,
        path=request.rel_url.raw_path.removeprefix(family.mount),
        query=tuple(request.query.items()),
        headers=request.headers,
        body=await request.read(),
    )
