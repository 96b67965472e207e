"""The sandbox publisher as a server on loopback, to be run by tests and by people."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from aiohttp import web
from pydantic import ValidationError

from keyservice.sandbox.asked import Granted
from keyservice.sandbox.certificates import Certificates
from keyservice.sandbox.conduct import Conduct
from keyservice.sandbox.credentials import Credentials
from keyservice.sandbox.families import FAMILIES
from keyservice.sandbox.family import Door, Family
from keyservice.sandbox.issuing import Counter, Delivery, Repeat
from keyservice.sandbox.ledger import Ledger
from keyservice.sandbox.misbehaviour import MISBEHAVIOURS, Misbehaviour, Script, Wrong
from keyservice.sandbox.pushing import Callback, Pusher
from keyservice.sandbox.tokens import TokenDesk

Tls = Literal["good", "self-signed", "expired", "wrong-name"]

REQUEST_BYTES_MAX: Final = 1024 * 1024
SCRIPT_LENGTH_MAX: Final = 100_000


@dataclass(slots=True)
class Publisher:
    """A running one. Everything about it may be read and set while it serves."""

    credentials: Credentials
    counter: Counter
    tokens: TokenDesk
    conduct: Conduct
    pusher: Pusher
    certificates: Certificates | None = None
    url: str = ""
    _scripted: Script = field(default_factory=Script)

    @property
    def ledger(self) -> Ledger:
        return self.counter.ledger

    @property
    def families(self) -> Mapping[str, Family]:
        return {family.name: family for family in FAMILIES}

    def url_of(self, family: str) -> str:
        """The base URL that a connector for this protocol has."""
        return self.url + self.families[family].mount

    def script(self, *wrong: Misbehaviour | Wrong) -> None:
        """Put these behind what already waits for the next calls."""
        self._scripted.waiting += [one if isinstance(one, Misbehaviour) else Misbehaviour(one) for one in wrong]

    def script_all(self, wrong: Iterable[Misbehaviour]) -> None:
        self.script(*wrong)

    def calm_down(self) -> None:
        """Forget what waits: from now on every call goes well."""
        self._scripted.waiting.clear()

    @property
    def scripted(self) -> int:
        """How much still waits."""
        return len(self._scripted.waiting)

    def keys_of(self, reference: object) -> tuple[str, ...]:
        """Every key issued under a reference of ours, cancelled or not."""
        return self.ledger.keys_of(str(reference))

    def live_keys_of(self, reference: object) -> tuple[str, ...]:
        return self.ledger.live_keys_of(str(reference))


@asynccontextmanager
async def running_publisher(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: Tls | None = None,
    demands_client_certificate: bool = False,
    callback: Callback | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    seed: str = "sandbox",
    stock: int | None = None,
    repeats: Mapping[str, Repeat] | None = None,
    polls_until_ready: int = 1,
) -> AsyncIterator[Publisher]:
    """A publisher that serves until the block is left.

    `repeats` says by family what a repeated reference gets, where it is not what the protocol promises. With a `callback`
    what was accepted by `push` is delivered there, by itself or when `pusher.deliver` says so.
    """
    publisher = _opened(seed, now, stock, repeats or {}, polls_until_ready, callback)
    context: ssl.SSLContext | None = None
    if tls is not None:
        publisher.certificates = Certificates.made(datetime.now(UTC))
        context = publisher.certificates.server_context(tls, demands_client_certificate=demands_client_certificate)
    # Whoever hangs up does not undo what was asked: handlers run to their end.
    runner = web.AppRunner(_application(publisher), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=context).start()
        publisher.url = f"{'https' if tls else 'http'}://{'localhost' if tls else host}:{runner.addresses[0][1]}"
        yield publisher
    finally:
        publisher.conduct.closing.set()
        await publisher.pusher.close()
        await runner.cleanup()


def _opened(
    seed: str,
    now: Callable[[], datetime],
    stock: int | None,
    repeats: Mapping[str, Repeat],
    polls_until_ready: int,
    callback: Callback | None,
) -> Publisher:
    credentials = Credentials.of(seed)
    counter = Counter(seed, now, repeats=dict(repeats), stock=stock, polls_until_ready=polls_until_ready)
    tokens = TokenDesk(now)
    pusher = Pusher(counter.ledger, callback)
    script = Script()

    def accepted(family: Family, granted: Granted) -> None:
        if family.delivery is Delivery.PUSHED:
            pusher.accepted(granted)

    conduct = Conduct(counter, Door(credentials, tokens), script, accepted)
    return Publisher(credentials, counter, tokens, conduct, pusher, _scripted=script)


def _application(publisher: Publisher) -> web.Application:
    application = web.Application(client_max_size=REQUEST_BYTES_MAX)
    for family in FAMILIES:
        application.router.add_route("*", f"{family.mount}{{rest:(/.*)?}}", _handler(publisher, family))

    async def ledger(request: web.Request) -> web.Response:
        return web.json_response(publisher.ledger.document())

    async def script(request: web.Request) -> web.Response:
        try:
            wrong = MISBEHAVIOURS.validate_json(await request.read())
        except ValidationError as error:
            return web.json_response({"errors": error.errors(include_url=False, include_context=False)}, status=422)
        if publisher.scripted + len(wrong) > SCRIPT_LENGTH_MAX:
            return web.json_response({"errors": [f"at most {SCRIPT_LENGTH_MAX} may wait"]}, status=422)
        publisher.script_all(wrong)
        return web.json_response({"waiting": publisher.scripted})

    application.router.add_get("/ledger", ledger)
    application.router.add_post("/script", script)
    return application


def _handler(publisher: Publisher, family: Family) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await publisher.conduct.take(family, request)

    return handle
