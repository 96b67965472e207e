import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import pytest
from aiohttp import web

from keyservice.api.access import route
from keyservice.api.application import build_application
from keyservice.domain.caller import CallerKind, Scope
from keyservice.services import Services
from tests.api.authorization_matrix import (
    OWN,
    PROBES,
    PUBLIC,
    SEARCHES,
    Matrix,
    RouteName,
    Thing,
    Visitor,
    routes_of,
)
from tests.api.premises import Premises, asked, opened_premises, stored_rows
from tests.api.raw_http import Answer, request
from tests.api.visitors import all_visitors, furnished

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@pytest.fixture(scope="module")
async def premises(services: Services) -> AsyncIterator[Premises]:
    async with opened_premises(services) as opened:
        yield opened


@pytest.fixture(scope="module")
def routes(services: Services) -> dict[RouteName, Scope | None]:
    return routes_of(build_application(services))


@pytest.fixture(scope="module")
async def matrix(premises: Premises) -> Matrix:
    return await furnished(premises)


@pytest.fixture(scope="module")
async def visitors(premises: Premises, matrix: Matrix) -> list[Visitor]:
    return await all_visitors(premises, matrix)


def test_every_route_demands_a_scope_or_is_one_of_the_few_public_ones(routes: dict[RouteName, Scope | None]) -> None:
    assert {name for name, scope in routes.items() if scope is None} == PUBLIC
    assert {name for name, scope in routes.items() if scope is not None} == set(PROBES), "a route without a probe"
    for (method, path), scope in routes.items():
        if scope is not None:
            is_reading = method in ("GET", "HEAD") or (method, path) in SEARCHES
            assert str(scope).endswith(":read") is is_reading, f"{method} {path} demands {scope}"


def test_a_route_that_demands_nothing_does_not_go_unseen() -> None:
    async def forgotten(_: web.Request) -> web.Response:
        return web.Response()

    application, audience = web.Application(), web.Application()
    audience.add_routes(
        [web.get("/keys", forgotten), route("GET", "/pools", Scope.POOLS_READ, lambda _, __: forgotten(_))]
    )
    application.add_subapp("/publisher", audience)
    found = routes_of(application)
    assert found[("GET", "/publisher/keys")] is found[("HEAD", "/publisher/keys")] is None
    assert found[("GET", "/publisher/pools")] is Scope.POOLS_READ


async def test_every_cell_of_routes_and_callers_and_things_is_answered_as_it_must_be(
    premises: Premises,
    matrix: Matrix,
    visitors: list[Visitor],
    routes: dict[RouteName, Scope | None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong: list[str] = []
    cells: Counter[int] = Counter()
    for name, probe in PROBES.items():
        scope = routes[name]
        assert scope is not None
        for visitor in visitors:
            answers: dict[Thing, tuple[int, bytes]] = {}
            for thing in probe.things:
                sent, word = matrix.asked(name, visitor, thing)
                answer = await asked(premises.served, sent)
                expected = matrix.expected(name, scope, visitor, thing)
                cells[expected] += 1
                if answer.status != expected or not _is_done(name, answer):
                    wrong.append(
                        f"{name} for {visitor.name}, {thing}: {answer.status} not {expected} {answer.body[:200]!r}"
                    )
                answers[thing] = (expected, _without(answer, word))
            if visitor.kind is not CallerKind.ADMIN or name[1] != "/fulfillment/purchases/search":
                wrong += [f"{name} tells {visitor.name} of {thing}" for thing in _told_apart(answers)]
    with capsys.disabled():
        sys.stdout.write(f"\nauthorization: {cells.total()} cells {dict(sorted(cells.items()))}, {len(wrong)} wrong\n")
    assert not wrong, f"{len(wrong)} wrong\n" + "\n".join(wrong[:50])
    assert min(cells[status] for status in (200, 201, 401, 403, 404, 422)) > 0
    assert cells.total() > 5_000


def _is_done(name: RouteName, answer: Answer) -> bool:
    """Connect's answer to what is done says so in its code too, and no other does."""
    if name[0] == "HEAD" or not name[1].startswith("/connect") or name[1] == "/connect/stock":
        return True
    return (json.loads(answer.body)["responseCode"] == 0) is (answer.status in (200, 201))


def _without(answer: Answer, word: str) -> bytes:
    """All of an answer but the id that was asked for and the time."""
    lines = sorted(f"{name}: {value}" for name, value in answer.headers.items() if name != "date")
    whole = "\n".join([str(answer.status), *lines]).encode() + b"\n" + answer.body
    return whole.replace(word.encode(), b"(asked)") if word else whole


def _told_apart(answers: dict[Thing, tuple[int, bytes]]) -> list[Thing]:
    """What of another's is answered otherwise than what does not exist, though the caller may not know of it."""
    found = []
    for is_named in (False, True):
        foreign, missing = (answers.get(Thing(owner, is_named)) for owner in ("foreign", "missing"))
        if foreign and missing and foreign[0] == missing[0] and foreign[1] != missing[1]:
            found.append(Thing("foreign", is_named))
    return found


async def test_a_method_that_a_path_does_not_have_is_refused_to_everyone_and_does_nothing(
    premises: Premises, matrix: Matrix, visitors: list[Visitor], routes: dict[RouteName, Scope | None]
) -> None:
    some = [one for one in visitors if one.name in ("nobody", "publisher", "admin", "reseller")]
    before = await stored_rows(premises.services.database)
    for path in {path for _, path in PROBES}:
        target = re.sub(r"\{\w+\}", str(matrix.own.pool_id), path)
        # An order may be called like a service: to read "cancel" is to read the order of that number.
        allowed = {method for method, other in routes if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", other), target)}
        for method in METHODS:
            if method in allowed:
                continue
            for visitor in some:
                lines = [*visitor.credential(path.split("/")[1]), "Content-Type: application/json"]
                answer = await asked(premises.served, request(f"{method} {target} HTTP/1.0", *lines, body=b"{}"))
                assert answer.status == 405, f"{method} {path} for {visitor.name}: {answer}"
                assert set(answer.headers["allow"].split(",")) == allowed
    assert await stored_rows(premises.services.database) == before


async def test_head_is_answered_nowhere_because_reading_is_an_event_and_a_stream_would_have_a_body(
    premises: Premises, matrix: Matrix, visitors: list[Visitor]
) -> None:
    for name in PROBES:
        if name[0] != "GET":
            continue
        visitor = next(one for one in visitors if one.name == ("reseller" if "connect" in name[1] else "admin"))
        sent, _ = matrix.asked(name, visitor, OWN)
        answer = await asked(premises.served, b"HEAD" + sent.removeprefix(b"GET"))
        assert (answer.status, answer.body) == (405, b""), name
