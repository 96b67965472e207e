"""Limits as callers see them: headers, 429 and Retry-After, in two services at once on one database."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from keyservice.api.application import build_application
from keyservice.crypto.keyring import Keyring
from keyservice.crypto.tokens import parse_token
from keyservice.domain.caller import CallerKind
from keyservice.domain.request_limits import RequestLimits
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_callers import add_caller
from keyservice.services import Services, open_services
from keyservice.settings import Settings
from tests.api.premises import bearer
from tests.api.raw_http import LIMITS, Served, request, serving
from tests.lab.clock import NOON, SetClock
from tests.lab.cluster import DatabaseUrls

HEADERS = ("ratelimit", "ratelimit-policy")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def pair(
    database_urls: DatabaseUrls, keyring: Keyring, settings: Settings, clock: SetClock
) -> AsyncIterator[list[tuple[Services, Served]]]:
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(2):
            services = await stack.enter_async_context(
                open_services(settings, database_url=database_urls.service, keyring=keyring, clock=clock)
            )
            found.append((services, await stack.enter_async_context(serving(build_application(services), LIMITS))))
        yield found


async def token_of(services: Services, kind: CallerKind = CallerKind.AUDITOR, **limits: int) -> str:
    async with services.database.transaction() as connection:
        return await add_caller(connection, kind=kind, name=f"{kind} {new_id()}", limits=RequestLimits(**limits))


async def test_a_limited_caller_is_told_where_it_stands_and_another_is_not(pair: list[tuple[Services, Served]]) -> None:
    services, served = pair[0]
    token = await token_of(services, per_second=8, burst=16, per_day=100)
    answer = await served.get("/admin/publishers", bearer(token))
    assert answer.status == 200
    assert answer.headers["ratelimit-policy"] == '"rate";q=8;w=1, "day";q=100;w=86400'
    assert answer.headers["ratelimit"] == '"rate";r=15;t=1, "day";r=99;t=43200'
    only_day = await served.get("/admin/publishers", bearer(await token_of(services, per_day=5)))
    assert [only_day.headers[name] for name in HEADERS] == ['"day";r=4;t=43200', '"day";q=5;w=86400']
    free = await served.get("/admin/publishers", bearer(await token_of(services)))
    assert not set(HEADERS) & free.headers.keys()


async def test_beyond_its_limit_a_caller_is_refused_before_anything_else_is_looked_at(
    pair: list[tuple[Services, Served]], clock: SetClock
) -> None:
    services, served = pair[0]
    line = bearer(await token_of(services, per_second=1))
    # A path that it may not see costs as much as any other, and so do refusals.
    assert (await served.get("/admin/callers", line)).status == 403
    for method, path in (("GET", "/admin/publishers"), ("GET", "/admin/callers"), ("POST", "/publisher/pools")):
        answer = await served.send(request(f"{method} {path} HTTP/1.1", line, body=b"{" if method == "POST" else b""))
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.problem["type"] == "urn:keyservice:problem:too-many-requests"
        assert answer.problem["violated-policies"] == ["rate"]
        assert answer.headers["ratelimit"] == '"rate";r=0;t=1'
    clock.move(seconds=1)
    assert (await served.get("/admin/publishers", line)).status == 200


async def test_the_number_of_a_day_says_when_the_day_ends(pair: list[tuple[Services, Served]], clock: SetClock) -> None:
    services, served = pair[0]
    line = bearer(await token_of(services, per_day=1))
    assert (await served.get("/admin/publishers", line)).status == 200
    answer = await served.get("/admin/publishers", line)
    assert (answer.status, answer.headers["retry-after"]) == (429, "43200")
    assert answer.problem["violated-policies"] == ["day"]
    clock.move(seconds=43_200)
    assert (await served.get("/admin/publishers", line)).status == 200


async def test_whoever_is_not_known_uses_nobodys_limit(pair: list[tuple[Services, Served]]) -> None:
    services, served = pair[0]
    token = await token_of(services, per_second=1)
    for _ in range(5):
        assert (await served.get("/admin/publishers", bearer(token[:-1]))).status == 401
    assert (await served.get("/admin/publishers", bearer(token))).status == 200


async def test_connect_says_it_in_its_own_shape(pair: list[tuple[Services, Served]]) -> None:
    services, served = pair[0]
    token = await token_of(services, CallerKind.RESELLER, per_second=1)
    sent = request(
        "POST /connect/stock HTTP/1.1",
        f"secret: {token}",
        "Content-Type: application/json",
        body=b'{"productRefs":[1]}',
    )
    first, second = [await served.send(sent) for _ in range(2)]
    assert (first.status, first.headers["ratelimit"]) == (200, '"rate";r=0;t=1')
    assert (second.status, second.headers["retry-after"]) == (429, "1")
    assert second.headers["ratelimit-policy"] == '"rate";q=1;w=1'
    body = json.loads(second.body)
    assert body.keys() == {"responseCode", "responseMessage"}
    assert (body["responseCode"], "limit" in body["responseMessage"]) == (1000, True)


async def test_the_token_endpoint_says_it_in_oauth2s_shape(pair: list[tuple[Services, Served]]) -> None:
    services, served = pair[0]
    token = await token_of(services, per_second=1)
    form = f"grant_type=client_credentials&client_id=ks_{parse_token(token)[0]}&client_secret={token}".encode()
    sent = request("POST /iam/tokens HTTP/1.1", "Content-Type: application/x-www-form-urlencoded", body=form)
    first, second = [await served.send(sent) for _ in range(2)]
    assert (first.status, second.status, second.headers["retry-after"]) == (200, 429, "1")
    assert json.loads(second.body)["error"] == "temporarily_unavailable"
    # The access token is the same caller's, so it is counted with it.
    answer = await served.get("/admin/publishers", bearer(json.loads(first.body)["access_token"]))
    assert answer.status == 429


async def test_two_services_at_once_let_no_more_through_than_one_would(
    pair: list[tuple[Services, Served]], clock: SetClock
) -> None:
    line = bearer(await token_of(pair[0][0], per_second=40, burst=60))

    async def rush() -> Counter[int]:
        doors = [served for _, served in pair] * 75
        return Counter([(await served.get("/admin/publishers?limit=1", line)).status for served in doors])

    assert await rush() == {200: 60, 429: 90}
    clock.move(seconds=0.5)
    assert await rush() == {200: 20, 429: 130}


async def test_callers_without_limits_of_their_own_have_those_of_the_settings(
    database_urls: DatabaseUrls, keyring: Keyring, settings: Settings
) -> None:
    limits = {"requests_per_second": 5, "requests_burst": 7, "requests_per_day": 9}
    clock, changed = SetClock(NOON), settings.model_copy(update=limits)
    async with open_services(changed, database_url=database_urls.service, keyring=keyring, clock=clock) as services:

        async def limits_of(**own: Any) -> RequestLimits | None:
            return (await services.gatekeeper.identify(await token_of(services, **own))).limits

        assert await limits_of() == RequestLimits(5, 7, 9)
        assert await limits_of(per_second=2) == RequestLimits(2, None, 9)
        assert await limits_of(per_day=3) == RequestLimits(5, 7, 3)
