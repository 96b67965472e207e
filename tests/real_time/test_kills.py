"""A service that is killed or frozen in the middle of asking: nothing is bought twice and nothing is lost."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import asyncpg
import pytest
from yarl import URL

from keyservice.domain.caller import CallerKind
from keyservice.sandbox.misbehaviour import Misbehaviour, Wrong
from keyservice.sandbox.publisher import Publisher, running_publisher
from tests.lab.conftest import own_postgres
from tests.lab.order_bodies import keys_of, order_body
from tests.lab.real_time import document_for
from tests.lab.service_process import ServiceProcess
from tests.lab.waiting import until

pytestmark = [own_postgres, pytest.mark.slow]

ROUNDS = 6
ORDERS_A_ROUND = 12
KILLED_WITHIN_SECONDS = (0.01, 0.25)
BROKEN = (aiohttp.ClientError, TimeoutError, OSError)


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[ServiceProcess]:
    async with ServiceProcess.running(
        processes=2, stop_seconds=5, egress_networks="127.0.0.0/8", egress_ports="", egress_plain_http=1
    ) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Story:
    """A shop that sells what a publisher is asked for, and the service's own database beside it."""

    service: ServiceProcess
    publisher: Publisher
    reseller: str
    product_ref: int
    database: asyncpg.Connection

    async def buy(self, session: aiohttp.ClientSession, number: str) -> dict[str, Any] | None:
        """The answer, or None for one that never came."""
        body = order_body(number, (self.product_ref, 1))
        try:
            async with session.post("/connect/order/new", json=body, headers={"secret": self.reseller}) as response:
                answer: dict[str, Any] = await response.json(content_type=None)
                return answer if response.status == 201 else None
        except BROKEN:
            return None

    async def states(self) -> Counter[str]:
        """Of the creations of this story's orders."""
        rows = await self.database.fetch(
            "SELECT k.state FROM key_requests k JOIN line_items l USING (order_id)"
            " WHERE k.operation = 'create' AND l.product_ref = $1",
            self.product_ref,
        )
        return Counter(row["state"] for row in rows)

    async def until_one_more_is_issued(self) -> None:
        """The others are on their way then, however slow the machine is."""
        before = (await self.states())["issued"]

        async def is_issued() -> bool:
            return (await self.states())["issued"] > before

        await until(is_issued, seconds=60, what="a key is issued")

    async def let_leases_end(self) -> None:
        await self.database.execute(
            "UPDATE key_requests SET next_at = next_at - interval '1 hour' WHERE next_at IS NOT NULL"
        )


@pytest.fixture
async def story(service: ServiceProcess) -> AsyncIterator[Story]:
    urls = await service.database_urls()
    connection = await asyncpg.connect(urls.superuser)
    async with running_publisher() as publisher:
        document = document_for(publisher, retry={"first_seconds": 0.05, "attempts_max": 100, "longest_seconds": 0.2})
        async with aiohttp.ClientSession(service.base_url) as session:
            reseller, product_ref = await _opened(service, session, publisher, document.model_dump(mode="json"))
        yield Story(service, publisher, reseller, product_ref, connection)
    last = await asyncpg.connect((await service.database_urls()).superuser)
    await last.execute("UPDATE key_requests SET next_at = NULL, state = 'held' WHERE next_at IS NOT NULL")
    await last.close()
    await connection.close()


async def _opened(
    service: ServiceProcess, session: aiohttp.ClientSession, publisher: Publisher, document: dict[str, Any]
) -> tuple[str, int]:
    number = int.from_bytes(os.urandom(3))
    admin = await service.new_caller(CallerKind.ADMIN, f"admin-{number}")
    handle = f"asked-{number}"

    async def made(method: str, path: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        async with session.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"}) as response:
            assert response.status in (200, 201), await response.text()
            found: dict[str, Any] = await response.json()
            return found

    await made("POST", "/admin/publishers", admin, {"handle": handle, "name": handle})
    token = await service.new_caller(CallerKind.PUBLISHER, f"publisher-{number}", publisher=handle)
    connector = await made("POST", "/publisher/connectors", token, {"name": "licenses", "document": document})
    path = f"/publisher/connectors/{connector['connector_id']}"
    await made("PUT", f"{path}/secrets", token, {"secrets": {"password": publisher.credentials.password}})
    assert (await made("POST", f"{path}/handshake", token, {}))["is_good"]
    await made("PATCH", path, token, {"state": "enabled"})
    plan = {"steps": [{"source": "connector", "connector": connector["connector_id"]}], "answer_seconds": 2}
    template = await made("POST", "/publisher/templates", token, {"name": "asked", "source_plan": plan})
    product = {"product_ref": 1_000_000 + number, "name": "asked", "template_id": template["template_id"]}
    await made("POST", "/publisher/products", token, product)
    return await service.new_caller(CallerKind.RESELLER, f"reseller-{number}"), 1_000_000 + number


async def test_whenever_it_is_killed_each_order_gets_one_key(service: ServiceProcess, story: Story) -> None:
    rng = random.Random(20_270_102)  # noqa: S311 - decides when it is killed
    met: Counter[str] = Counter()
    numbers: list[str] = []
    for strike in range(ROUNDS):
        some = [f"KILL-{story.product_ref}-{strike}-{one}" for one in range(ORDERS_A_ROUND)]
        numbers += some
        story.publisher.script(*[Misbehaviour(Wrong.LATE, seconds=rng.uniform(0.01, 0.3)) for _ in some])
        async with aiohttp.ClientSession(service.base_url) as session:
            buying = [asyncio.create_task(story.buy(session, number)) for number in some]
            if strike % 2:
                await story.until_one_more_is_issued()
            await asyncio.sleep(rng.uniform(*KILLED_WITHIN_SECONDS))
            for worker in service.workers:
                worker.kill()
            await asyncio.gather(*buying)
        met += await story.states()
        await service.wait_ready()
        story.publisher.calm_down()
    keys = await _until_all_are_served(service, story, numbers)
    assert len(set(keys.values())) == len(numbers)
    _expect_books_agree(story, keys)
    await _expect_one_claim_each(story)
    assert met["issued"], met
    assert met["sending"] + met["unknown"], met


async def test_an_answer_outlives_the_database_that_it_is_recorded_in(service: ServiceProcess, story: Story) -> None:
    """PostgreSQL dies while the publisher is being asked: the key that it issues is recorded when there is one again."""
    number = f"AWAY-{story.product_ref}"
    story.publisher.script(Misbehaviour(Wrong.LATE, seconds=0.5))
    async with aiohttp.ClientSession(service.base_url) as session:
        buying = asyncio.create_task(story.buy(session, number))

        async def is_asked() -> bool:
            return story.publisher.ledger.issued > 0

        await until(is_asked, seconds=10, what="the publisher is asked")
        postmaster = service.postmaster
        assert postmaster is not None
        postmaster.kill()
        await buying
    await service.wait_ready()
    again = await asyncpg.connect((await service.database_urls()).superuser)
    keys = await _until_all_are_served(service, replace(story, database=again), [number])
    await again.close()
    assert story.publisher.ledger.issued == 1, "its answer was not lost, so nobody had to ask again"
    _expect_books_agree(story, keys)


async def test_a_frozen_writer_that_wakes_up_buys_nothing_more(service: ServiceProcess, story: Story) -> None:
    """It is frozen with the request on its way; another one takes over when its lease is over; then it wakes up."""
    number = f"FROZEN-{story.product_ref}"
    story.publisher.script(Misbehaviour(Wrong.LATE, seconds=0.5))

    async def has_hung_up() -> bool:
        return not _connected(service, story)

    await until(has_hung_up, seconds=10, what="the handshake's connection is closed")
    async with aiohttp.ClientSession(service.base_url) as session:
        buying = asyncio.create_task(story.buy(session, number))

        async def is_asked() -> bool:
            return story.publisher.ledger.issued > 0

        await until(is_asked, seconds=10, what="the publisher is asked")
        (frozen,) = _connected(service, story)
        os.kill(frozen, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.6)
            await story.let_leases_end()

            async def is_taken_over() -> bool:
                states = await story.states()
                return states["abandoned"] == 1 and states["issued"] == 1

            await until(is_taken_over, seconds=30, what="another process takes over, voids and asks anew")
        finally:
            os.kill(frozen, signal.SIGCONT)
        await buying
    keys = await _until_all_are_served(service, story, [number])
    assert story.publisher.ledger.issued == 2
    assert story.publisher.ledger.voided == 1
    _expect_books_agree(story, keys)
    await _expect_one_claim_each(story)


def _connected(service: ServiceProcess, story: Story) -> list[int]:
    """The workers that are connected to the publisher."""
    port = URL(story.publisher.url).port or 0
    return [one.pid for one in service.workers if one.is_connected_to(port)]


async def _until_all_are_served(service: ServiceProcess, story: Story, numbers: list[str]) -> dict[str, str]:
    """By order number, the one key, as a repetition of the order is answered once everything has settled."""
    keys: dict[str, str] = {}
    async with aiohttp.ClientSession(service.base_url) as session:

        async def are_served() -> bool:
            await story.let_leases_end()
            for number in numbers:
                if number not in keys:
                    answer = await story.buy(session, number)
                    found = keys_of(answer) if answer is not None else []
                    if len(found) == 1 and found[0]:
                        keys[number] = found[0]
            return len(keys) == len(numbers)

        await until(are_served, seconds=90, what="every order has its key", poll_seconds=0.3)

        async def is_quiet() -> bool:
            await story.let_leases_end()
            return not await story.database.fetchval("SELECT count(*) FROM key_requests WHERE next_at IS NOT NULL")

        await until(is_quiet, seconds=60, what="nothing is open any more", poll_seconds=0.3)
    return keys


def _expect_books_agree(story: Story, keys: dict[str, str]) -> None:
    good = [key for issue in story.publisher.ledger.issues() if issue.cancelled_at is None for key in issue.keys]
    assert sorted(good) == sorted(keys.values())


async def _expect_one_claim_each(story: Story) -> None:
    rows = await story.database.fetch(
        "SELECT unit_id FROM claims WHERE state = 'issued' GROUP BY unit_id HAVING count(*) > 1"
    )
    assert rows == []
