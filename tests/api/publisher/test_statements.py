import json
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyservice.api.application import build_application
from keyservice.api.publisher.statements import StatementPlaces
from keyservice.domain.caller import CallerKind, Scope
from keyservice.domain.errors import Overloaded
from keyservice.fulfillment.pinned_keys import NotAuthentic, PinnedKey, read_pinned_keys
from tests.api.premises import asked, bearer
from tests.api.publisher.desk import Desk, desk_of, token_of
from tests.api.raw_http import LIMITS, request, serving
from tests.fulfillment.feeds import cancelled
from tests.fulfillment.proofs import counts_in, members_of, verified, verified_pages
from tests.fulfillment.tampering import Tamperer
from tests.fulfillment.test_make_statement import batch_of, this_month
from tests.lab.shop import Shop
from tests.lab.waiting import until

KEYS, BATCHES, MONTHS = "/publisher/statement-keys", "/publisher/statements/batches", "/publisher/statements/months"


async def pinned(desk: Desk) -> dict[str, PinnedKey]:
    return read_pinned_keys((await desk.get(KEYS)).body)


async def test_the_statement_of_a_batch_comes_as_a_file_that_the_pinned_keys_verify(desk: Desk, shop: Shop) -> None:
    batch_id = await batch_of(shop, await shop.load([f"FILE-{shop.publisher_id}-{n}" for n in range(3)]))
    keys = await pinned(desk)
    await cancelled(shop, "gone")
    answer = await desk.get(f"{BATCHES}/{batch_id}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/jsonl")
    assert answer.headers["content-disposition"] == f'attachment; filename="statement-batch-{batch_id}.jsonl"'
    assert counts_in(answer.body)["states"] == {"revoked": 1, "for_sale": 2}
    assert verified(answer.body, keys).keys == 3


async def test_the_statement_of_a_month_too(desk: Desk, shop: Shop) -> None:
    await shop.load([f"MONTH-{shop.publisher_id}"])
    await shop.buy("one")
    answer = await desk.get(f"{MONTHS}/{this_month()}")
    assert answer.headers["content-disposition"] == f'attachment; filename="statement-month-{this_month()}.jsonl"'
    assert counts_in(answer.body)["changes"] == {"claimed": 1, "disclosed": 1}
    verified(answer.body, await pinned(desk))


async def test_a_large_statement_comes_whole(desk: Desk, shop: Shop) -> None:
    batch_id = await batch_of(shop, await shop.load([f"LARGE-{shop.publisher_id}-{n}" for n in range(5_000)]))
    body = (await desk.get(f"{BATCHES}/{batch_id}")).body
    assert len(body) > 600_000
    assert verified(body, await pinned(desk)).keys == 5_000


async def test_the_public_keys_stay_those_that_were_put_aside(desk: Desk, shop: Shop) -> None:
    first = (await desk.get(KEYS)).json
    assert first == (await desk.get(KEYS)).json
    (key,) = first["keys"]
    assert (key["algorithm"], len(key["public_key"])) == ("Ed25519", 44)
    signing = await shop.services.statement_keys.signing()
    assert key["key_id"] == signing.key_id


async def test_what_is_not_there_or_not_finished_has_no_statement(desk: Desk, shop: Shop) -> None:
    neighbour = await Shop.opened(shop.services)
    foreign = await batch_of(neighbour, await neighbour.load(["FOREIGN"]))
    answers = []
    for name in (foreign, uuid4(), "x", "0" * 36):
        answer = await desk.get(f"{BATCHES}/{name}")
        answers.append((answer.status, {**answer.json, "instance": None}))
    assert answers == [answers[0]] * 4
    assert answers[0][0] == 404
    for month in ("2999-01", "2026-13", "2026-1", "now", "2026-11-01", "%27"):
        assert (await desk.get(f"{MONTHS}/{month}")).status == 404, month
    receiving = await batch_of(shop, await shop.load(["COMING"], state="receiving"))
    assert (await desk.get(f"{BATCHES}/{receiving}")).status == 409
    for path in (f"{BATCHES}/{receiving}", f"{MONTHS}/{this_month()}", KEYS):
        assert (await desk.get(f"{path}?format=csv")).status == 422


async def test_statements_are_for_the_publisher_and_for_who_oversees_it(
    http: aiohttp.ClientSession, shop: Shop, desk: Desk
) -> None:
    batch_id = await batch_of(shop, await shop.load([f"FOR-{shop.publisher_id}"]))
    paths = (f"{BATCHES}/{batch_id}", f"{MONTHS}/{this_month()}", KEYS)
    for kind in (CallerKind.ADMIN, CallerKind.AUDITOR):
        overseer = Desk(http, await token_of(shop, kind))
        for path in paths:
            assert (await overseer.get(f"{path}?publisher={shop.publisher}")).status == 200
            assert (await overseer.get(path)).status == 422
    neighbour = await desk_of(http, await Shop.opened(shop.services))
    assert (await neighbour.get(f"{BATCHES}/{batch_id}")).status == 404
    assert (await neighbour.get(f"{BATCHES}/{batch_id}?publisher={shop.publisher}")).status == 404
    reader = await desk_of(http, shop, Scope.POOLS_READ)
    for path in paths:
        assert (await reader.get(path)).status == 403
        assert (await Desk(http, shop.reseller_token).get(path)).status == 403


def test_as_many_statements_are_made_at_once_as_may_be_and_one_for_each_publisher() -> None:
    places = StatementPlaces()
    with places.one(1, at_most=2):
        with pytest.raises(Overloaded), places.one(1, at_most=2):
            pass
        with places.one(2, at_most=2), pytest.raises(Overloaded), places.one(3, at_most=2):
            pass
        with places.one(3, at_most=2):
            pass
    with places.one(1, at_most=1):
        pass


async def test_a_refused_statement_leaves_no_file_and_no_place_behind(desk: Desk, shop: Shop) -> None:
    before = list(_open_files())
    for _ in range(5):
        assert (await desk.get(f"{BATCHES}/{uuid4()}")).status == 404
    assert list(_open_files()) == before
    assert (await desk.get(f"{MONTHS}/{this_month()}")).status == 200


def _open_files() -> Iterator[str]:
    for link in sorted(Path("/proc/self/fd").iterdir()):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.endswith("(deleted)"):
            yield target


async def test_six_hundred_tamperings_of_six_hundred_are_detected(
    desk: Desk, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("LAB_SEED") or random.SystemRandom().randrange(1_000_000_000))
    keys = await pinned(desk)
    statements, pages = await _proofs(desk, shop)
    for statement in statements:
        assert verified(statement, keys).keys >= 140
    assert [one.last_sequence for one in verified_pages(pages, keys)] == [25, 50, 75, 100, 120]

    rng = random.Random(seed)  # noqa: S311 - it chooses places
    tamperer = Tamperer(rng, stranger=Ed25519PrivateKey.generate(), key_id=next(iter(keys)))
    undetected: list[str] = []
    for way, (with_statement, with_feed) in tamperer.ways.items():
        for number in range(100):
            is_clever = number % 4 >= 2
            try:
                if number % 2:
                    verified_pages(with_feed(pages, is_clever=is_clever), keys)
                else:
                    verified(with_statement(statements[number % 8 // 4], is_clever=is_clever), keys)
            except NotAuthentic:
                continue
            undetected.append(f"{way} {number}")
    tried = 100 * len(tamperer.ways)
    with capsys.disabled():
        sys.stdout.write(f"\ntampering: {tried - len(undetected)} of {tried} detected, LAB_SEED={seed}\n")
    assert (tried, undetected) == (600, [])
    for statement in statements:
        verified(statement, keys)
    verified_pages(pages, keys)


async def _proofs(desk: Desk, shop: Shop) -> tuple[list[bytes], list[bytes]]:
    """A batch's and the month's statement, and the pages of the feed, as they are saved."""
    batch_id = await batch_of(shop, await shop.load([f"TAMPER-{shop.publisher_id}-{n:03}" for n in range(150)]))
    for number in range(12):
        await cancelled(shop, f"gone-{number}", quantity=10)
    await shop.buy("kept", quantity=20)
    statements = [(await desk.get(path)).body for path in (f"{BATCHES}/{batch_id}", f"{MONTHS}/{this_month()}")]
    pages: list[bytes] = []
    after = 0
    while after is not None:
        pages.append((await desk.get(f"/publisher/revocations?limit=25&after={after}")).body)
        after = json.loads(pages[-1])["after"]
    assert members_of(statements[0])[0]["of"] == "batch"
    return statements, pages


async def test_whoever_stops_reading_gives_the_place_back(shop: Shop) -> None:
    batch_id = await batch_of(shop, await shop.load([f"SLOW-{shop.publisher_id}-{n}" for n in range(60_000)]))
    services = shop.services
    impatient = replace(services, settings=services.settings.model_copy(update={"body_seconds": 0.3}))
    credential = bearer(await token_of(shop, CallerKind.PUBLISHER))
    month = request(f"GET {MONTHS}/2020-01 HTTP/1.0", credential)
    async with serving(build_application(impatient), LIMITS) as served, served.connection() as (reader, writer):
        writer.write(request(f"GET {BATCHES}/{batch_id} HTTP/1.0", credential))
        assert (await reader.readline()).split()[1] == b"200"  # the file is larger than all buffers on the way
        assert (await asked(served, month)).status == 503

        async def is_free() -> bool:
            return (await asked(served, month)).status == 200

        await until(is_free, seconds=20, what="the place is given back")
        assert not [line for line in served.log() if line["level"] == "error"]
