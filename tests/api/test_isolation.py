import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from keyservice.domain.caller import Scope
from keyservice.services import Services
from tests.api.authorization_matrix import OVERSEERS, SELLERS, Matrix, Visitor
from tests.api.matrix_bodies import World
from tests.api.premises import Premises, asked, bearer, opened_premises, stored_rows
from tests.api.raw_http import Answer, request
from tests.api.visitors import all_visitors, furnished
from tests.lab.waiting import until


@pytest.fixture(scope="module")
async def premises(services: Services) -> AsyncIterator[Premises]:
    async with opened_premises(services) as opened:
        yield opened


@pytest.fixture(scope="module")
async def matrix(premises: Premises) -> Matrix:
    return await furnished(premises)


async def _seen(premises: Premises, world: World, token: str) -> dict[str, Answer]:
    """Everything that a publisher can read."""
    paths = ["pools", "events", "templates", "products", f"pools/{world.pool_id}", f"pools/{world.pool_id}/batches"]
    paths += [f"events?pool_id={world.pool_id}"]
    for batch_id in world.batches.values():
        paths += [f"batches/{batch_id}", f"imports/{batch_id}", f"imports/{batch_id}/refused-rows"]
    answers = {}
    for path in paths:
        raw = request(
            f"GET /publisher/{path} HTTP/1.0", bearer(token), "X-Request-Id: 0123456789abcdef0123456789abcdef"
        )
        answer = await asked(premises.served, raw)
        assert answer.status == 200, path
        answers[path] = replace(answer, headers={})
    return answers


async def _made(premises: Premises, token: str, path: str, body: object, *lines: str) -> Answer:
    sent = [bearer(token), "X-Request-Id: 0123456789abcdef0123456789abcdef", *lines]
    if isinstance(body, bytes):
        return await premises.served.send(
            request(f"POST {path} HTTP/1.1", *sent, "Content-Type: text/plain", body=body)
        )
    raw = request(f"POST {path} HTTP/1.1", *sent, "Content-Type: application/json", body=json.dumps(body).encode())
    return await premises.served.send(raw)


def _report(answer: Answer) -> dict[str, object]:
    """A report without ids of pools and times."""
    report = json.loads(answer.body)
    return {name: fact for name, fact in report.items() if name != "pool_id" and not name.endswith("_at")}


def _plan(world: World) -> object:
    return {"steps": [{"source": "pool", "pool": str(world.pool_id)}]}


@pytest.mark.parametrize("query", ["", "?dry_run=true", "?hold=true"])
async def test_the_same_keys_of_two_publishers_are_two_stocks_and_neither_hears_of_the_other(
    premises: Premises, matrix: Matrix, query: str
) -> None:
    """Same texts, same names, same upload id: what one publisher did changes no answer to the other."""
    file = (
        b"".join(b"TWIN-%d%b\n" % (number, query.encode()) for number in range(50))
        + b"TWIN-1%b\nNULL\n" % query.encode()
    )
    key = f"Idempotency-Key: {uuid4()}"
    before = await _seen(premises, matrix.foreign, premises.foreign_publisher)
    own = await _made(premises, premises.publisher, f"/publisher/pools/{matrix.own.pool_id}/batches{query}", file, key)
    again = await _made(premises, premises.publisher, f"/publisher/pools/{matrix.own.pool_id}/batches{query}", file)
    assert (own.status, again.status) == ((200, 200) if "dry" in query else (201, 200))
    for path, body in (
        ("pools", {"name": f"twin{query}", "warning_level": 10}),
        (
            "templates",
            {"name": f"twin{query}", "source_plan": _plan(matrix.own)},
        ),
    ):
        assert (await _made(premises, premises.publisher, f"/publisher/{path}", body)).status == 201
    assert await _seen(premises, matrix.foreign, premises.foreign_publisher) == before

    path = f"/publisher/pools/{matrix.foreign.pool_id}/batches{query}"
    foreign = await _made(premises, premises.foreign_publisher, path, file, key)
    assert (foreign.status, _report(foreign)) == (own.status, _report(own))
    assert json.loads(foreign.body)["accepted"] == 50
    for path, body in (
        ("pools", {"name": f"twin{query}", "warning_level": 10}),
        (
            "templates",
            {"name": f"twin{query}", "source_plan": _plan(matrix.foreign)},
        ),
    ):
        assert (await _made(premises, premises.foreign_publisher, f"/publisher/{path}", body)).status == 201


async def test_nothing_that_a_publisher_tries_on_anothers_things_changes_or_shows_any_of_them(
    premises: Premises, matrix: Matrix
) -> None:
    before = await _seen(premises, matrix.foreign, premises.foreign_publisher)
    rows = await stored_rows(premises.services.database)
    pool, batches = matrix.foreign.pool_id, matrix.foreign.batches
    handle = f"?publisher={matrix.foreign.publisher}"
    tries = [
        ("PATCH", f"pools/{pool}"),
        *(("PATCH", f"batches/{batch}") for batch in batches.values()),
        ("POST", f"pools/{pool}/batches"),
        ("POST", f"pools/{pool}/withdrawals"),
        ("DELETE", f"imports/{batches['discarded']}"),
    ]
    tries += [
        ("POST", f"batches/{batch}/{verb}") for batch in batches.values() for verb in ("release", "hold", "withdraw")
    ]
    tries += [("POST", "pools"), ("POST", "templates"), ("POST", "products"), ("GET", "pools"), ("GET", "events")]
    for method, path in tries:
        for query in (handle, "" if pool.hex in path.replace("-", "") or "/" in path else handle):
            lines = (bearer(premises.publisher), "Content-Type: application/json")
            body = b'{"name":"taken over","is_open":false}' if method != "GET" else b""
            if method == "PATCH" and path.startswith("batches/"):
                body = b'{"priority":7}'
            if path.endswith("/withdrawals"):
                body = b'{"keys":["TAKEN-OVER"],"reason":"taken over"}'
            if path.endswith("/batches"):
                lines, body = (lines[0], "Content-Type: text/plain"), b"TAKEN-OVER\n"
            answer = await premises.served.send(
                request(f"{method} /publisher/{path}{query} HTTP/1.1", *lines, body=body)
            )
            assert answer.status == 404, f"{method} {path}{query}: {answer}"
    assert await _seen(premises, matrix.foreign, premises.foreign_publisher) == before
    assert await stored_rows(premises.services.database) == rows


async def test_a_page_that_begins_behind_anothers_thing_shows_only_ones_own(premises: Premises, matrix: Matrix) -> None:
    own, foreign = matrix.own, matrix.foreign
    events = json.loads((await premises.served.get("/publisher/events", bearer(premises.foreign_publisher))).body)[
        "events"
    ]
    pairs = [
        (f"pools?after={foreign.pool_id}", None),
        (f"templates?after={foreign.template_id}", None),
        (f"products?after={foreign.product_ref}", None),
        (f"events?after={events[0]['event_id']}", None),
        (f"events?pool_id={foreign.pool_id}", f"events?pool_id={uuid4()}"),
        (
            f"pools/{own.pool_id}/batches?after={foreign.batches['released']}",
            f"pools/{own.pool_id}/batches?after={uuid4()}",
        ),
    ]
    hidden = {str(one) for one in (foreign.pool_id, foreign.template_id, foreign.publisher, *foreign.batches.values())}
    hidden |= {event["event_id"] for event in events}
    for path, missing in pairs:
        answer = await premises.served.get(f"/publisher/{path}", bearer(premises.publisher))
        assert answer.status == 200, path
        assert not [one for one in hidden if one in answer.body.decode()], path
        if missing is not None:
            assert answer.body == (await premises.served.get(f"/publisher/{missing}", bearer(premises.publisher))).body


async def test_a_product_reference_that_is_taken_says_not_by_whom(premises: Premises, matrix: Matrix) -> None:
    """All resellers order by the same references, so that one is taken cannot be hidden."""
    body = {"name": "a product", "template_id": str(matrix.own.template_id)}
    answers = [
        await _made(premises, premises.publisher, "/publisher/products", {**body, "product_ref": world.product_ref})
        for world in (matrix.own, matrix.foreign)
    ]
    assert answers[0].status == answers[1].status == 409
    assert answers[0].body == answers[1].body


async def test_sellers_find_their_own_purchases_of_a_shopper_and_overseers_all(
    premises: Premises, matrix: Matrix
) -> None:
    visitors = await all_visitors(premises, matrix)
    for visitor in visitors:
        if Scope.PURCHASES_READ not in visitor.scopes or visitor.kind not in SELLERS | OVERSEERS:
            continue
        found = {UUID(one["id"]) for one in await _purchases_of(premises, visitor, "own@example.com")}
        everyones = {order for one in visitors for order in one.orders.values()}
        assert found == (everyones if visitor.kind in OVERSEERS else set(visitor.orders.values())), visitor.name


async def _purchases_of(premises: Premises, visitor: Visitor, email: str) -> list[dict[str, str]]:
    """All pages."""
    found: list[dict[str, str]] = []
    asked: dict[str, object] = {"email": email, "size": 100}
    while True:
        sent = request(
            "POST /fulfillment/purchases/search HTTP/1.1",
            bearer(visitor.token),
            "Content-Type: application/json",
            body=json.dumps(asked).encode(),
        )
        page = json.loads((await premises.served.send(sent)).body)
        found += page["purchases"]
        if page["after"] is None:
            return found
        asked["after"] = page["after"]


async def test_uploads_of_one_publisher_that_do_not_go_on_keep_no_other_from_uploading(
    premises: Premises, matrix: Matrix
) -> None:
    begun = request(
        f"POST /publisher/pools/{matrix.own.pool_id}/batches HTTP/1.1",
        bearer(premises.publisher),
        "Content-Type: text/plain",
        "Content-Length: 1000",
        "Expect: 100-continue",
    )
    async with AsyncExitStack() as stack:
        places = premises.services.settings.uploads_at_once // 2
        for _ in range(places):
            reader, writer = await stack.enter_async_context(premises.served.connection())
            writer.write(begun)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")

        async def all_begun() -> bool:
            async with premises.services.database.transaction() as connection:
                begun = await connection.fetchval("SELECT count(*) FROM batches WHERE state = 'receiving'")
            return bool(begun == places)

        await until(all_begun, seconds=10, what="all places that one publisher may have are taken")
        own = f"/publisher/pools/{matrix.own.pool_id}/batches"
        assert (await _made(premises, premises.publisher, own, b"TURNED-AWAY\n")).status == 503
        path = f"/publisher/pools/{matrix.foreign.pool_id}/batches"
        assert (await _made(premises, premises.foreign_publisher, path, b"NOT-KEPT-WAITING\n")).status == 201
