"""What is told of a step that was tried again and again, and not done in the end."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from keyservice.domain.errors import OutcomeUnknown, Overloaded
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection
from keyservice.services import Services

BUSY = asyncpg.LockNotAvailableError("canceling statement due to lock timeout")


def failing(*errors: Exception) -> Callable[[Connection], Awaitable[int]]:
    """Raises each once and the last of them ever after."""
    waiting = list(errors)

    async def work(_: Connection) -> int:
        raise waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return work


async def test_a_step_that_found_the_database_busy_every_time_is_not_stored(services: Services) -> None:
    with pytest.raises(Overloaded):
        await short_transaction(services.database, failing(BUSY), patience_seconds=0.1)


async def test_of_a_step_that_may_have_been_stored_nobody_says_that_it_was_not(services: Services) -> None:
    with pytest.raises(OutcomeUnknown):
        await short_transaction(services.database, failing(ConnectionResetError(), BUSY), patience_seconds=0.1)


async def test_a_step_that_cannot_be_repeated_is_not_tried_again_when_its_outcome_is_unknown(
    services: Services,
) -> None:
    work = failing(ConnectionResetError(), AssertionError("it was tried again"))
    with pytest.raises(OutcomeUnknown):
        await short_transaction(services.database, work, is_repeatable=False)


async def test_what_is_wrong_with_the_step_itself_is_told_at_once(services: Services) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await short_transaction(services.database, failing(asyncpg.UniqueViolationError("once"), AssertionError()))
