"""The checker and the auditor can fail: every kind of loss that they are there for is made on purpose, and found."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from keyservice.crypto.keyring import Keyring
from tests.lab.auditor import audit_queries
from tests.lab.checker import EndState, check, refused_too_early
from tests.lab.driver import Driver, patient_session
from tests.lab.history import Attempt, History, Operation, Outcome, settle
from tests.lab.key_files import plain_file
from tests.lab.service_process import ServiceProcess
from tests.lab.storefront import Storefront


@dataclass(frozen=True, slots=True)
class Scene:
    """Orders `kept` and `other` with two keys each, `gone` cancelled, `short` refused, and the database they are in."""

    driver: Driver
    connection: "asyncpg.Connection[asyncpg.Record]"
    keyring: Keyring

    @property
    def state(self) -> EndState:
        return EndState(self.connection, self.keyring, numbers=self.driver.numbers)

    async def broken_rules(self) -> set[str]:
        return {name for name, sql in audit_queries().items() if await self.connection.fetch(sql)}


@pytest.fixture(scope="module")
async def scene(service: ServiceProcess) -> AsyncIterator[Scene]:
    async with patient_session(service.base_url) as session:
        driver = Driver(session, await Storefront.opened(service, session))
        await driver.upload(plain_file(f"CHECKER-{number}" for number in range(8)))
        for name, quantity in (("kept", 2), ("other", 2), ("gone", 1), ("short", 50)):
            for _ in range(2):
                await driver.order(driver.one_line(name, quantity=quantity))
        await driver.cancel(f"{driver.numbers}gone")
        connection = await asyncpg.connect((await service.database_urls()).superuser)
        try:
            yield Scene(driver, connection, service.keyring())
        finally:
            await connection.close()


async def test_what_really_happened_has_nothing_to_find(scene: Scene) -> None:
    assert await check(scene.driver.history, scene.state) == []
    assert await scene.broken_rules() == set()


def _orders(history: History, name: str) -> list[Attempt]:
    return [one for one in history.of(Operation.ORDER) if one.name.endswith(name)]


def _alter_a_key(history: History) -> None:
    for one in _orders(history, "kept"):
        one.keys = ("CHECKER-X", *one.keys[1:])


def _tell_a_key_to_two(history: History) -> None:
    _orders(history, "other")[1].keys = _orders(history, "kept")[0].keys


def _acknowledge_what_was_not_stored(history: History) -> None:
    lost = history.invoke(Operation.ORDER, "lost", 0)
    settle(lost, Outcome.OK, code=0)
    lost.keys = ("CHECKER-LOST",)


def _answer_a_repetition_differently(history: History) -> None:
    _orders(history, "kept")[1].digest = b"another answer"


def _answer_without_keys(history: History) -> None:
    for one in _orders(history, "kept"):
        one.keys = ()


def _forget_an_order(history: History) -> None:
    history.attempts = [one for one in history.attempts if not one.name.endswith("kept")]


def _refuse_what_was_stored(history: History) -> None:
    for one in _orders(history, "kept"):
        one.outcome, one.code, one.keys = Outcome.REFUSED, 1044, ()


def _cancel_what_lives(history: History) -> None:
    settle(history.invoke(Operation.CANCEL, _orders(history, "kept")[0].name, 0), Outcome.OK, code=0)


def _forget_a_cancellation(history: History) -> None:
    history.attempts = [one for one in history.attempts if one.operation is not Operation.CANCEL]


def _show_a_dead_key(history: History) -> None:
    gone = _orders(history, "gone")[0]
    shown = settle(history.invoke(Operation.READ, gone.name, 0), Outcome.OK, code=0)
    shown.keys = gone.keys


@pytest.mark.parametrize(
    ("doctor", "finding"),
    [
        (_alter_a_key, "told other keys"),
        (_tell_a_key_to_two, "one key was told to"),
        (_acknowledge_what_was_not_stored, "acknowledged and is not stored"),
        (_answer_a_repetition_differently, "answered differently"),
        (_answer_without_keys, "answered without its keys"),
        (_forget_an_order, "was never sent"),
        (_refuse_what_was_stored, "was refused and is stored"),
        (_cancel_what_lives, "acknowledged as cancelled and is not"),
        (_forget_a_cancellation, "cancelled and nobody was told so"),
        (_show_a_dead_key, "showed a key after its cancellation"),
    ],
)
async def test_a_doctored_history_is_found(scene: Scene, doctor: Callable[[History], None], finding: str) -> None:
    history = deepcopy(scene.driver.history)
    doctor(history)
    assert any(finding in found for found in await check(history, scene.state))


def test_an_order_served_after_somebody_was_turned_away_is_found() -> None:
    history = History()
    settle(history.invoke(Operation.ORDER, "first", 0), Outcome.REFUSED, code=1044)
    settle(history.invoke(Operation.ORDER, "second", 0), Outcome.OK, code=0)
    assert refused_too_early(history) == ["second got a key after another order had been told there is none"]


def test_an_attempt_without_an_answer_stays_unknown_and_is_no_refusal() -> None:
    attempt = History().invoke(Operation.ORDER, "silence", 0)
    assert (attempt.outcome, attempt.is_known) == (Outcome.UNKNOWN, False)


@pytest.mark.parametrize(
    ("name", "finding", "rule"),
    [
        ("a_claim_is_lost", "without a key that opens", "a_passed_position_is_neither_claimed_nor_returned"),
        ("an_order_is_lost", "acknowledged and is not stored", "a_part_has_no_order"),
        ("a_key_of_a_living_order_dies", "disagree on whether it is cancelled", "a_living_unit_has_a_dead_key"),
        ("a_sealed_key_lies_in_anothers_place", "without a key that opens", None),
        ("a_unit_loses_its_claim", "without a key that opens", "an_accepted_unit_has_no_claim"),
        ("an_order_is_stored_again", "is stored 2 times", "an_order_is_stored_twice"),
        ("a_cursor_moves_back", None, "a_claim_lies_ahead_of_the_cursor"),
        ("a_publisher_is_not_told_of_a_dead_key", None, "a_dead_key_is_missing_in_the_feed"),
        ("a_publisher_is_told_of_a_key_that_lives", None, "the_feed_names_a_key_that_lives"),
        ("a_feed_begins_at_two", None, "the_feed_skips_a_number"),
        ("a_feed_begins_at_two", None, "an_entry_of_the_feed_is_not_chained_to_the_one_before"),
    ],
)
async def test_damage_in_the_database_is_found(scene: Scene, name: str, finding: str | None, rule: str | None) -> None:
    async with damaged(scene, name):
        findings, rules = await check(scene.driver.history, scene.state), await scene.broken_rules()
    assert finding is None or any(finding in found for found in findings)
    assert rule is None or rule in rules


@pytest.mark.parametrize("name", ["a_claim_is_lost", "a_cursor_moves_back"])
async def test_stock_that_does_not_add_up_is_found(scene: Scene, name: str) -> None:
    pool_id = scene.driver.store.pool_id
    async with damaged(scene, name):
        stock = await scene.state.stock(pool_id)
    assert stock.left != stock.by_cursor
    stock = await scene.state.stock(pool_id)
    assert stock.left == stock.by_cursor


@asynccontextmanager
async def damaged(scene: Scene, name: str) -> AsyncIterator[None]:
    """The database after the named statement of damage.sql, which is taken back at the end."""
    parts = re.split(r"^-- ([a-z_]+) --$", Path(__file__).with_name("damage.sql").read_text(), flags=re.MULTILINE)
    statement = dict(zip(parts[1::2], parts[2::2], strict=True))[name]
    transaction = scene.connection.transaction()
    await transaction.start()
    try:
        assert not (await scene.connection.execute(statement)).endswith(" 0"), "there was something to damage"
        yield
    finally:
        await transaction.rollback()
