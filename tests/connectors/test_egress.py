import ipaddress
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from keyservice.connectors.addresses import is_public
from keyservice.connectors.egress import EgressPolicy, UrlRefused, check_url, guarded_connector
from keyservice.connectors.outgoing import GuardedSession, TransportFailure, guarded_session
from tests.connectors.hostile_places import HOSTILE_ANSWERS, HOSTILE_URLS
from tests.connectors.resolving import ScriptedResolver
from tests.connectors.sockets import watched_connections

STRICT = EgressPolicy(allow_plain_http=True)
"""As in production, but for plain http: what refuses these URLs must not be their scheme."""

ALLOWED = "127.0.0.2"
ONE_ADDRESS = EgressPolicy(ports=None, allow_plain_http=True, networks=(ipaddress.ip_network(f"{ALLOWED}/32"),))
"""Stands for the Internet: 127.0.0.2 may be connected to, and 127.0.0.1 beside it must not."""


@dataclass
class Tally:
    attempts: int = 0
    connections: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    counted = Tally()
    yield counted
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(
            f"\negress: {counted.attempts} attempts, {len(counted.connections)} connections to a forbidden address"
        )


@dataclass
class Listener:
    """The same server on an address that may be connected to and on one that must not."""

    port: int
    heard: list[str]


@pytest.fixture(scope="module")
async def listener() -> AsyncIterator[Listener]:
    heard: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        heard.append(request.transport.get_extra_info("sockname")[0])
        to = request.query.get("to")
        if to is None:
            return web.Response(text="here")
        return web.Response(status=int(request.query.get("status", "302")), headers={"Location": to})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, ALLOWED, 0)
    await site.start()
    port = runner.addresses[0][1]
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield Listener(port, heard)
    await runner.cleanup()


async def ask(session: GuardedSession, url: str) -> int:
    answer = await session.send(
        "POST", URL(url), headers=[], budget_seconds=5, connect_seconds=2, answer_bytes_max=10_000
    )
    return answer.status


@pytest.mark.parametrize("url", HOSTILE_URLS)
async def test_a_hostile_url_is_refused_at_the_door(url: str, tally: Tally) -> None:
    with watched_connections() as seen, pytest.raises(UrlRefused):
        check_url(url, STRICT)
    tally.attempts += 1
    tally.connections += seen


@pytest.mark.parametrize("url", [url for url in HOSTILE_URLS if url.startswith("http:")])
async def test_a_hostile_url_that_passed_the_door_is_not_connected_to(url: str, tally: Tally) -> None:
    """The guard at the socket alone, in a client that knows nothing of the door."""
    connector = guarded_connector(STRICT, resolver=ScriptedResolver(("127.0.0.1", "::1")))
    with watched_connections() as seen:
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises((aiohttp.ClientError, ValueError)):
                await session.get(url)
    assert seen == []
    tally.attempts += 1
    tally.connections += seen


@pytest.mark.parametrize("url", [url for url in HOSTILE_URLS if url.startswith("http://1") and "\\" not in url])
async def test_a_session_judges_urls_before_it_asks(url: str, tally: Tally) -> None:
    with watched_connections() as seen:
        async with guarded_session(STRICT) as session:
            with pytest.raises(TransportFailure) as failure:
                await session.send(
                    "POST", URL(url), headers=[], budget_seconds=5, connect_seconds=2, answer_bytes_max=10_000
                )
    assert not failure.value.was_sent
    assert seen == []
    tally.attempts += 1
    tally.connections += seen


@pytest.mark.parametrize("answer", HOSTILE_ANSWERS, ids=",".join)
async def test_a_name_that_resolves_into_the_house_is_not_connected_to(answer: tuple[str, ...], tally: Tally) -> None:
    with watched_connections() as seen:
        async with guarded_session(STRICT, resolver=ScriptedResolver(answer)) as session:
            with pytest.raises(TransportFailure) as failure:
                await ask(session, "http://publisher.example/licenses")
    assert (failure.value.code, failure.value.was_sent) == ("egress-refused", False)
    assert seen == []
    tally.attempts += 1
    tally.connections += seen


async def test_a_name_whose_answers_change_is_judged_by_the_address_that_is_connected_to(
    listener: Listener, tally: Tally
) -> None:
    resolver = ScriptedResolver((ALLOWED,), ("127.0.0.1",), (ALLOWED,), ("::1",), ("127.0.0.1",))
    url = f"http://publisher.example:{listener.port}/licenses"
    outcomes = []
    with watched_connections() as seen:
        for _ in range(5):
            # Each session looks the name up anew.
            async with guarded_session(ONE_ADDRESS, resolver=resolver) as session:
                try:
                    outcomes.append(str(await ask(session, url)))
                except TransportFailure as failure:
                    outcomes.append(failure.code)
    assert outcomes == ["200", "egress-refused", "200", "egress-refused", "egress-refused"]
    assert set(seen) == {ALLOWED}
    tally.attempts += 5
    tally.connections += [address for address in seen if address != ALLOWED]


@pytest.mark.parametrize(
    "answer", [("127.0.0.1", ALLOWED), (ALLOWED, "127.0.0.1"), ("::1", ALLOWED, "169.254.169.254")], ids=",".join
)
async def test_of_mixed_answers_only_what_is_allowed_is_connected_to(
    answer: tuple[str, ...], listener: Listener, tally: Tally
) -> None:
    with watched_connections() as seen:
        async with guarded_session(ONE_ADDRESS, resolver=ScriptedResolver(answer)) as session:
            assert await ask(session, f"http://publisher.example:{listener.port}/") == 200
    assert set(seen) == {ALLOWED}
    tally.attempts += 1
    tally.connections += [address for address in seen if address != ALLOWED]


REDIRECTS = (
    "http://127.0.0.1:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://localhost:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "//127.0.0.1:{port}/",
    "http://127.0.0.2:{port}/again",
    "file:///etc/passwd",
)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", REDIRECTS)
async def test_a_redirect_is_an_answer_and_nothing_more(to: str, status: int, listener: Listener, tally: Tally) -> None:
    listener.heard.clear()
    url = URL(f"http://{ALLOWED}:{listener.port}/").with_query(to=to.format(port=listener.port), status=status)
    with watched_connections() as seen:
        async with guarded_session(ONE_ADDRESS) as session:
            assert await ask(session, str(url)) == status
    assert seen == listener.heard == [ALLOWED]
    tally.attempts += 1
    tally.connections += [address for address in seen if address != ALLOWED]


@pytest.mark.parametrize("to", [to for to in REDIRECTS if "again" not in to])
async def test_a_client_that_follows_redirects_does_not_get_past_the_guard_either(
    to: str, listener: Listener, tally: Tally
) -> None:
    listener.heard.clear()
    url = URL(f"http://{ALLOWED}:{listener.port}/").with_query(to=to.format(port=listener.port))
    with watched_connections() as seen:
        async with aiohttp.ClientSession(connector=guarded_connector(ONE_ADDRESS)) as session:
            with pytest.raises((aiohttp.ClientError, ValueError)):
                await session.post(url)
    assert set(seen) == set(listener.heard) == {ALLOWED}
    tally.attempts += 1
    tally.connections += [address for address in seen if address != ALLOWED]


async def test_the_watch_on_connections_does_see_a_forbidden_one(listener: Listener) -> None:
    """Without a guard the forbidden address is reached: the tests above can fail."""
    listener.heard.clear()
    with watched_connections() as seen:
        async with guarded_session(EgressPolicy(ports=None, allow_plain_http=True, allow_loopback=True)) as session:
            assert await ask(session, f"http://127.0.0.1:{listener.port}/") == 200
    assert seen == listener.heard == ["127.0.0.1"]


async def test_a_port_that_is_not_allowed_is_not_connected_to(listener: Listener) -> None:
    policy = EgressPolicy(ports=frozenset({80}), allow_plain_http=True, allow_loopback=True)
    with watched_connections() as seen:
        async with aiohttp.ClientSession(connector=guarded_connector(policy)) as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"http://127.0.0.1:{listener.port}/")
    assert seen == []


async def test_proxies_of_the_environment_are_ignored(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    async with guarded_session(ONE_ADDRESS) as session:
        assert await ask(session, f"http://{ALLOWED}:{listener.port}/") == 200


@pytest.mark.parametrize(
    "url",
    [
        "https://publisher.example",
        "https://publisher.example/licenses?product=1",
        "https://api.publisher.example:8443/v1",
        "HTTPS://Publisher.Example/",
        "https://verlag-für-schlüssel.example/",
        "https://xn--fa-hia.example/",
        "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]/",
        "https://[::ffff:1.1.1.1]/",
        "https://my_shop.publisher.example/@handle",
    ],
)
def test_an_ordinary_url_is_taken(url: str) -> None:
    assert check_url(url, EgressPolicy()).raw_host


def test_plain_http_is_refused_unless_allowed() -> None:
    with pytest.raises(UrlRefused, match="https"):
        check_url("http://publisher.example/", EgressPolicy())
    assert check_url("http://publisher.example/", EgressPolicy(allow_plain_http=True)).port == 80


def test_what_the_operator_allows_is_taken() -> None:
    assert check_url("https://localhost:8443/", EgressPolicy(allow_loopback=True)).port == 8443
    own = EgressPolicy(networks=(ipaddress.ip_network("10.1.0.0/16"),))
    assert check_url("https://10.1.2.3/", own).raw_host == "10.1.2.3"
    with pytest.raises(UrlRefused):
        check_url("https://10.2.2.3/", own)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "2a00:1450::1"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    assert EgressPolicy().allows(address, 443)
