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
from keyservice.api.operation import Operation
from keyservice.domain.caller import SCOPES_OF_KIND, Scope
from keyservice.services import Services
from tests.api.authorization_matrix import (
    OVERSEERS,
    OWN,
    PROBES,
    PUBLIC,
    RIGHTS,
    SEARCHES,
    Matrix,
    RouteName,
    Thing,
    Visitor,
    also_of,
    routes_of,
)
from tests.api.documented import Documented
from tests.api.premises import Premises, asked, opened_premises, stored_rows
from tests.api.raw_http import Answer, request
from tests.api.visitors import all_visitors, furnished

pytestmark = pytest.mark.slow

SELLERS_OWN = {("POST", "/fulfillment/purchases/{purchase_id}/reinstate")}
"""Under the pipelines' path, and for whoever sold through the shops' one."""

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


@pytest.fixture(scope="module")
def documented(services: Services) -> Documented:
    return Documented(build_application(services))


def test_every_route_demands_a_scope_or_is_one_of_the_few_public_ones(
    routes: dict[RouteName, Scope | None], services: Services
) -> None:
    assert {name for name, scope in routes.items() if scope is None} == PUBLIC
    assert {name for name, scope in routes.items() if scope is not None} == set(PROBES), "a route without a probe"
    assert also_of(build_application(services)) == {name: probe.also for name, probe in PROBES.items() if probe.also}
    for (method, path), scope in routes.items():
        if scope is not None:
            is_reading = method in ("GET", "HEAD") or (method, path) in SEARCHES
            assert str(scope).endswith((":read", ":search")) is is_reading, f"{method} {path} demands {scope}"


def test_each_kind_of_caller_may_be_given_its_rights_and_no_others() -> None:
    assert {kind: frozenset(rights.split()) for kind, rights in RIGHTS.items()} == SCOPES_OF_KIND


def test_a_route_that_demands_nothing_does_not_go_unseen() -> None:
    async def forgotten(_: web.Request) -> web.Response:
        return web.Response()

    application, audience = web.Application(), web.Application()
    operation = Operation("List pools", {200: None}, operation_id="list_pools")
    audience.add_routes(
        [web.get("/keys", forgotten), route("GET", "/pools", Scope.POOLS_READ, lambda _, __: forgotten(_), operation)]
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
    documented: Documented,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong: list[str] = []
    cells: Counter[int] = Counter()
    for name, probe in PROBES.items():
        scope = routes[name]
        assert scope is not None
        for visitor in visitors:
            answers: dict[Thing, tuple[int, bytes]] = {}
            # Whoever has one right, and not this one, is asked once: own, foreign and missing are tried by those with all rights.
            is_hopeless = len(visitor.scopes) == 1 and scope not in visitor.scopes
            for thing in probe.things[:1] if is_hopeless else probe.things:
                sent, word = matrix.asked(name, visitor, thing)
                answer = await asked(premises.served, sent)
                expected = matrix.expected(name, scope, visitor, thing)
                cells[expected] += 1
                wrong += [f"{name} for {visitor.name}, {thing}: {fault}" for fault in documented.faults(*name, answer)]
                if answer.status != expected or not _is_done(name, answer):
                    wrong.append(
                        f"{name} for {visitor.name}, {thing}: {answer.status} not {expected} {answer.body[:200]!r}"
                    )
                answers[thing] = (expected, _without(answer, word))
            if visitor.kind not in OVERSEERS or name[1] != "/fulfillment/purchases/search":
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
    some = [one for one in visitors if one.name in ("nobody", "publisher", "admin", "reseller", "pipeline", "auditor")]
    before = await stored_rows(premises.services.database)
    for path in {path for _, path in PROBES}:
        target = re.sub(r"\{\w+\}", str(matrix.own.pool_id), path)
        # An order may be called like a service: to read "cancel" is to read the order of that number.
        allowed = {method for method, other in routes if re.fullmatch(_pattern(other), target)}
        for method in METHODS:
            if method in allowed:
                continue
            for visitor in some:
                lines = [*visitor.credential(path.split("/")[1]), "Content-Type: application/json"]
                answer = await asked(premises.served, request(f"{method} {target} HTTP/1.0", *lines, body=b"{}"))
                assert answer.status == 405, f"{method} {path} for {visitor.name}: {answer}"
                assert set(answer.headers["allow"].split(",")) == allowed
    assert await stored_rows(premises.services.database) == before


async def test_a_query_name_that_an_operation_does_not_know_is_refused_by_it(
    premises: Premises, matrix: Matrix, visitors: list[Visitor]
) -> None:
    """A mistyped name that is passed over would be a request for something else. Connect's clients send what they like."""
    allowed = {"publisher": "publisher", "admin": "admin", "fulfillment": "pipeline"}
    taken: list[RouteName] = []
    for name in PROBES:
        audience = name[1].split("/")[1]
        if audience == "connect":
            continue
        who = "reseller" if name in SELLERS_OWN else allowed.get(audience, "publisher")
        visitor = next(one for one in visitors if one.name == who)
        sent, _ = matrix.asked(name, visitor, OWN)
        target = sent.split(b" ")[1]
        mistyped = target + (b"&" if b"?" in target else b"?") + b"dry_rum=true"
        answer = await asked(premises.served, sent.replace(target, mistyped, 1))
        if answer.status != 422 or b'"#/query"' not in answer.body:
            taken.append(name)
    assert not taken


def _pattern(path: str) -> str:
    """No word is an id: an order may be called `cancel`, and a purchase may not be called `search`."""
    return re.sub(r"\{\w+\}", lambda name: "[^/]{36}" if name[0].endswith("_id}") else "[^/]+", path)


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
