"""The group's own promises, with a table of its own instead of orders."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from keyservice.domain.errors import OutcomeUnknown, Overloaded, Tampered
from keyservice.fulfillment.group_commit import GroupCommit
from keyservice.postgres.connection import Connection
from keyservice.postgres.roles import PIPELINE
from tests.lab.cluster import DatabaseUrls

Serve = Callable[[Connection, Sequence[int]], Awaitable[Sequence[int | Exception]]]


@pytest.fixture(scope="module")
async def admin(database_urls: DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_urls.superuser)
    await connection.execute("CREATE TABLE served (number integer CHECK (number <> 13))")
    await connection.execute(f"GRANT SELECT, INSERT ON served TO {PIPELINE}")
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
async def _empty(admin: asyncpg.Connection) -> None:
    await admin.execute("TRUNCATE served")


async def store(connection: Connection, numbers: Sequence[int]) -> list[int | Exception]:
    """Store each number once; a number over a thousand is refused alone."""
    for number in numbers:
        if number <= 1_000:
            stored = await connection.fetchval("SELECT 1 FROM served WHERE number = $1", number)
            if not stored:
                await connection.execute("INSERT INTO served VALUES ($1)", number)
    return [ValueError(number) if number > 1_000 else number for number in numbers]


@asynccontextmanager
async def lane(urls: DatabaseUrls, serve: Serve = store, **options: float) -> AsyncIterator[GroupCommit[int, int]]:
    limits = {"group_max": 100, "waiting_max": 1_000, "retry_seconds": 10.0} | options
    group: GroupCommit[int, int] = GroupCommit(urls.service, serve, **limits)  # type: ignore[arg-type]
    async with group.running():
        yield group


async def stored(admin: asyncpg.Connection) -> list[int]:
    return [row["number"] for row in await admin.fetch("SELECT number FROM served ORDER BY number")]


async def test_requests_that_arrive_during_a_transaction_share_the_next(
    database_urls: DatabaseUrls, admin: asyncpg.Connection
) -> None:
    async with lane(database_urls) as group:
        assert await asyncio.gather(*(group.submit(number) for number in range(50) if number != 13)) == [
            number for number in range(50) if number != 13
        ]
        assert sum(group.group_sizes) == 49
        assert len(group.group_sizes) <= 2
    assert len(await stored(admin)) == 49


async def test_a_lone_request_is_served_at_once(database_urls: DatabaseUrls) -> None:
    async with lane(database_urls) as group:
        assert await group.submit(1) == 1
        assert list(group.group_sizes) == [1]


async def test_a_request_that_the_database_refuses_fails_alone(
    database_urls: DatabaseUrls, admin: asyncpg.Connection
) -> None:
    async with lane(database_urls) as group:
        answers = await asyncio.gather(*(group.submit(number) for number in range(10, 20)), return_exceptions=True)
    failed = [number for number, answer in zip(range(10, 20), answers, strict=True) if isinstance(answer, Exception)]
    assert failed == [13]
    assert await stored(admin) == [10, 11, 12, 14, 15, 16, 17, 18, 19]


async def test_a_request_that_cannot_be_served_for_any_reason_fails_alone(
    database_urls: DatabaseUrls, admin: asyncpg.Connection
) -> None:
    async def stumble(connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        results = await store(connection, numbers)
        if 7 in numbers:
            raise Tampered("a stored value of this one does not open")
        return results

    async with lane(database_urls, stumble) as group:
        answers = await asyncio.gather(*(group.submit(number) for number in range(10)), return_exceptions=True)
    assert [number for number, answer in enumerate(answers) if isinstance(answer, Tampered)] == [7]
    assert await stored(admin) == [0, 1, 2, 3, 4, 5, 6, 8, 9]


async def test_a_group_that_finds_a_pool_locked_is_told_so_in_time_and_not_taken_apart(
    database_urls: DatabaseUrls, admin: asyncpg.Connection
) -> None:
    attempts: list[int] = []

    async def wait(connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        attempts.append(len(numbers))
        raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")

    async with lane(database_urls, wait, retry_seconds=0.2) as group:
        answers = await asyncio.gather(*(group.submit(number) for number in range(10)), return_exceptions=True)
    assert all(isinstance(answer, Overloaded) for answer in answers)
    assert len(attempts) > 1
    assert set(attempts) == {10}
    assert await stored(admin) == []


async def test_what_may_have_been_stored_before_a_lock_was_waited_for_is_not_told_as_not_stored(
    database_urls: DatabaseUrls,
) -> None:
    attempts = 0

    async def lose_then_wait(connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        nonlocal attempts
        attempts += 1
        raise ConnectionResetError if attempts == 1 else asyncpg.LockNotAvailableError("lock timeout")

    async with lane(database_urls, lose_then_wait, retry_seconds=0.2) as group:
        with pytest.raises(OutcomeUnknown):
            await group.submit(1)
    assert attempts > 1


async def test_a_refusal_is_for_its_request_and_the_group_commits(
    database_urls: DatabaseUrls, admin: asyncpg.Connection
) -> None:
    async with lane(database_urls) as group:
        answers = await asyncio.gather(group.submit(1), group.submit(2_000), group.submit(2), return_exceptions=True)
    assert isinstance(answers[1], ValueError)
    assert await stored(admin) == [1, 2]


async def test_a_connection_that_dies_in_the_transaction_is_replaced_and_the_group_served(
    database_urls: DatabaseUrls, admin: asyncpg.Connection
) -> None:
    killed: list[int] = []

    async def die_once(connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        results = await store(connection, numbers)
        if not killed:
            killed.append(await connection.fetchval("SELECT pg_backend_pid()"))
            await admin.fetchval("SELECT pg_terminate_backend($1)", killed[0])
        return results

    async with lane(database_urls, die_once) as group:
        assert await group.submit(7) == 7
    assert killed
    assert await stored(admin) == [7]


async def test_a_database_that_stays_away_answers_unknown_to_the_group_and_turns_the_waiting_away(
    database_urls: DatabaseUrls,
) -> None:
    served = asyncio.Event()

    async def never(connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        served.set()
        raise ConnectionRefusedError

    async with lane(database_urls, never, group_max=1, retry_seconds=0.05) as group:
        first = asyncio.create_task(group.submit(1))
        await served.wait()
        second = asyncio.create_task(group.submit(2))
        with pytest.raises(OutcomeUnknown):
            await first
        with pytest.raises((Overloaded, OutcomeUnknown)):
            await second


async def test_more_waiting_requests_than_allowed_are_turned_away(database_urls: DatabaseUrls) -> None:
    async with lane(database_urls, waiting_max=2) as group:
        answers = await asyncio.gather(*(group.submit(number) for number in range(5)), return_exceptions=True)
    assert [isinstance(answer, Overloaded) for answer in answers] == [False, False, True, True, True]


async def test_a_client_that_goes_away_leaves_its_request_to_be_committed(
    database_urls: DatabaseUrls, admin: asyncpg.Connection
) -> None:
    async with lane(database_urls) as group:
        leaver = asyncio.create_task(group.submit(5))
        stayer = asyncio.create_task(group.submit(6))
        await asyncio.wait([asyncio.create_task(asyncio.sleep(0))])
        leaver.cancel()
        assert await stayer == 6
    assert await stored(admin) == [5, 6]


async def test_what_waits_is_served_before_the_lane_stops(
    database_urls: DatabaseUrls, admin: asyncpg.Connection
) -> None:
    async with lane(database_urls, group_max=2) as group:
        tasks = [asyncio.create_task(group.submit(number)) for number in range(6)]
        await asyncio.wait([asyncio.create_task(asyncio.sleep(0))])
    assert await asyncio.gather(*tasks) == list(range(6))
    assert await stored(admin) == list(range(6))
    with pytest.raises(Overloaded):
        await group.submit(99)


async def test_a_commit_that_did_not_reach_the_standby_is_not_believed(
    database_urls: DatabaseUrls, admin: asyncpg.Connection
) -> None:
    attempts = 0

    async def warn_once(connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        nonlocal attempts
        attempts += 1
        results = await store(connection, numbers)
        if attempts == 1:
            # The same message class that PostgreSQL sends when it gives up waiting for its synchronous standby.
            await connection.execute("DO $$ BEGIN RAISE WARNING 'canceling wait' USING ERRCODE = '01000'; END $$")
        return results

    async with lane(database_urls, warn_once) as group:
        assert await group.submit(8) == 8
    assert attempts == 2
    assert await stored(admin) == [8]
