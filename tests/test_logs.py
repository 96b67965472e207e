import asyncio
import contextlib
import gc
import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog
import uuid_utils

from keyservice.logs import LOG_FIELDS, REQUEST_ID, WITHHELD, LogWriter, configure_logs
from keyservice.logs.fields import printable

PLANTED = "-".join(["XK7Q", "94TM", "PW2Z", "11AB"])  # joined at run time: no literal of the code contains it
PLANTED_LOWER = PLANTED.lower()
FORBIDDEN = re.compile("|".join([PLANTED[:9], PLANTED_LOWER[:9], PLANTED[5:14], PLANTED_LOWER[5:14]]))


class Log:
    """What was written, line by line, once everything is out."""

    def __init__(self, stream: io.StringIO, writer: LogWriter) -> None:
        self._stream = stream
        self.writer = writer

    @property
    def text(self) -> str:
        assert self.writer.flush()
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]


@pytest.fixture
def log() -> Iterator[Log]:
    stream = io.StringIO()
    writer = configure_logs("debug", stream=stream)
    yield Log(stream, writer)
    writer.close()


@pytest.fixture
def logger(log: Log) -> structlog.typing.FilteringBoundLogger:
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return bound


def raise_nested(text: str) -> None:
    try:
        try:
            raise KeyError(text)  # noqa: TRY301
        except KeyError as error:
            raise ValueError(f"cannot use {text}") from error
    except ValueError:
        raise RuntimeError(text, {"key": text})  # noqa: B904 - the implicit context is what is under test


def raise_like_the_database(text: str) -> None:
    error = asyncpg.UniqueViolationError(f"duplicate key value violates unique constraint, Key (code)=({text})")
    error.detail = f"Key (code)=({text}) already exists."
    raise error


def raise_group(text: str) -> None:
    raise ExceptionGroup(text, [ValueError(text), ExceptionGroup(text, [KeyError(text)])])


def raise_with_a_note(text: str) -> None:
    error = ValueError(text)
    error.add_note(text)
    raise error


class Leaky:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def test_a_declared_field_is_printed_and_its_event_is_named(log: Log, logger: Any) -> None:
    unit, order = uuid4(), uuid_utils.uuid7()
    logger.info(
        "keys_claimed", unit_id=unit, order_id=order, publisher_id=7, taken=3, seconds=0.25, route="/orders/{order_id}"
    )
    line = log.last
    assert (line["event"], line["level"]) == ("keys_claimed", "info")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["at"])
    expected = {"unit_id": str(unit), "order_id": str(order), "publisher_id": 7, "taken": 3, "seconds": 0.25}
    assert {name: line[name] for name in expected} == expected
    assert line["route"] == "/orders/{order_id}"


def test_the_request_id_is_on_every_line_of_its_request(log: Log, logger: Any) -> None:
    token = REQUEST_ID.set("req-1")
    try:
        logger.info("keys_claimed")
        logging.getLogger("library").warning("something")
    finally:
        REQUEST_ID.reset(token)
    logger.info("keys_claimed")
    assert [line.get("request_id") for line in log.lines] == ["req-1", "req-1", None]


@pytest.mark.parametrize(
    "text", [PLANTED, PLANTED_LOWER, PLANTED_LOWER.replace("-", "_"), "a" + PLANTED_LOWER.replace("-", "")]
)
@pytest.mark.parametrize(
    "name", ["order_id", "state", "route", "taken", "seconds", "is_new", "error_type", "method", "key"]
)
def test_a_key_in_a_field_is_withheld_whatever_the_field(log: Log, logger: Any, name: str, text: str) -> None:
    logger.info("keys_claimed", **{name: text})
    line = log.last
    assert text not in log.text
    assert line.get("undeclared") == 1 if name == "key" else line[name] == WITHHELD


@pytest.mark.parametrize(
    "wrap", [Leaky, lambda text: [text], lambda text: {"key": text}, str.encode, lambda text: f"/orders/{text}"]
)
def test_a_key_inside_another_value_is_withheld(log: Log, logger: Any, wrap: Callable[[str], object]) -> None:
    for name in LOG_FIELDS:
        logger.info("keys_claimed", **{name: wrap(PLANTED)})
    assert not FORBIDDEN.search(log.text)
    assert all(line[name] == WITHHELD for line, name in zip(log.lines, LOG_FIELDS, strict=True))


def test_a_key_as_the_name_of_a_field_is_not_printed(log: Log, logger: Any) -> None:
    logger.info("keys_claimed", **{PLANTED: 1, PLANTED_LOWER: 2})
    assert log.last["undeclared"] == 2
    assert not FORBIDDEN.search(log.text)


def test_only_an_event_that_stands_in_the_code_is_printed(log: Log, logger: Any) -> None:
    logger.info("order_accepted")
    logger.info(PLANTED)
    logger.info("order_" + PLANTED_LOWER.replace("-", "_"))  # noqa: G003
    logger.info("order_%s", PLANTED_LOWER[:4])
    logger.info("Order accepted")
    logger.info(Leaky(PLANTED))
    assert [line["event"] for line in log.lines] == ["order_accepted"] + ["unnamed_event"] * 5
    assert not FORBIDDEN.search(log.text)


@pytest.mark.parametrize(
    ("raise_error", "types"),
    [
        (raise_nested, ["RuntimeError", "ValueError", "KeyError"]),
        (raise_like_the_database, ["asyncpg.exceptions.UniqueViolationError"]),
        (raise_group, ["ExceptionGroup", "ValueError", "ExceptionGroup", "KeyError"]),
        (raise_with_a_note, ["ValueError"]),
    ],
)
def test_an_error_is_told_by_types_and_places_only(
    log: Log, logger: Any, raise_error: Callable[[str], None], types: list[str]
) -> None:
    try:
        raise_error(PLANTED)
    except Exception as error:
        logger.exception("order_failed")
        logger.error("order_failed", exc_info=error)  # noqa: TRY400
        logging.getLogger("library").exception("failed")
        logging.getLogger("library").exception(f"failed with {error}")  # noqa: G004, TRY401
    assert not FORBIDDEN.search(log.text)
    for line in log.lines:
        assert [error["error_type"] for error in line["errors"]] == types
        assert any(
            re.fullmatch(rf"tests/test_logs\.py:\d+ {raise_error.__name__}", f) for f in line["errors"][0]["frames"]
        )


def test_an_error_raised_from_none_hides_its_context(log: Log, logger: Any) -> None:
    try:
        try:
            raise KeyError(PLANTED)  # noqa: TRY301
        except KeyError:
            raise ValueError(PLANTED) from None
    except ValueError:
        logger.exception("order_failed")
    assert [error["error_type"] for error in log.last["errors"]] == ["ValueError"]


def test_the_message_of_a_library_is_printed_only_if_it_is_a_literal(log: Log) -> None:
    library = logging.getLogger("library.part")
    library.warning("cannot store %s for %d", PLANTED, 7)
    library.warning(f"cannot store {PLANTED}")
    library.warning(PLANTED)
    library.warning(Leaky(PLANTED))
    library.warning("cannot store", extra={"key": PLANTED})
    library.log(17, "odd level")
    assert not FORBIDDEN.search(log.text)
    told = [(line["event"], line["message"]) for line in log.lines]
    assert told == [
        ("library_message", message)
        for message in ("cannot store %s for %d", WITHHELD, WITHHELD, WITHHELD, "cannot store", "odd level")
    ]
    assert log.last["logger"] == "library.part"
    assert re.fullmatch(r"tests/test_logs\.py:\d+ test_the_message_\w+", log.last["place"])


def test_a_warning_is_a_line_without_its_text() -> None:
    program = "import warnings\nfrom keyservice.logs import configure_logs\nconfigure_logs('info')\n" + (
        f"warnings.warn('about {PLANTED}', UserWarning)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(ended.stderr)["logger"] == "py.warnings"
    assert not FORBIDDEN.search(ended.stderr)


async def test_a_task_that_dies_unheard_does_not_tell_its_error(log: Log) -> None:
    async def die() -> None:
        raise ValueError(PLANTED)

    task = asyncio.create_task(die())
    await asyncio.wait([task])
    del task
    gc.collect()
    assert log.last["errors"][0]["error_type"] == "ValueError"
    assert not FORBIDDEN.search(log.text)


def test_what_nobody_catches_is_told_without_its_text(log: Log) -> None:
    try:
        raise_nested(PLANTED)
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    thread = threading.Thread(target=raise_nested, args=[PLANTED])
    thread.start()
    thread.join()
    assert [line["event"] for line in log.lines] == ["uncaught_exception"] * 2
    assert not FORBIDDEN.search(log.text)


def test_surrogates_and_control_characters_are_escaped(log: Log) -> None:
    logging.getLogger("library").warning("a\x1b[31m\ud800\u202e\r\nb %s", 1)
    assert log.last["message"] == r"a\x1b[31m\ud800\u202e\r\nb %s"
    assert len(log.text.splitlines()) == 1
    assert log.text.isascii()


def test_a_level_below_the_chosen_one_is_silent() -> None:
    stream = io.StringIO()
    writer = configure_logs("warning", stream=stream)
    structlog.get_logger().info("order_accepted")
    structlog.get_logger().warning("order_failed")
    logging.getLogger("library").info("quiet")
    writer.close()
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["order_failed"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "json_asked", "is_plain"),
    [(Terminal(), False, True), (Terminal(), True, False), (io.StringIO(), False, False)],
)
def test_plain_text_is_for_terminals_that_ask_for_it(stream: io.StringIO, json_asked: bool, is_plain: bool) -> None:
    writer = configure_logs("info", stream=stream, json=json_asked)
    structlog.get_logger().info("order_accepted", order_id=7, state=PLANTED)
    writer.close()
    plain = re.fullmatch(r"\d\d:\d\d:\d\d info     order_accepted order_id=7 state=\[withheld\]\n", stream.getvalue())
    assert bool(plain) is is_plain
    assert PLANTED not in stream.getvalue()


class State(StrEnum):
    HELD = "held"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            "id",
            [0, 7, uuid4(), uuid_utils.uuid4(), "eu-west-1", "acme_shop"],
            [str(uuid4()), uuid4().hex, "", 2**64, True, 1.5, "ACME"],
        ),
        ("count", [0, 2**63 - 1], [-1, 2**63, True, 1.0, "1", Decimal(1)]),
        ("seconds", [0, 1.5, 3600], [-0.1, float("nan"), float("inf"), True, "1"]),
        (
            "name",
            ["held", "fifo", "claims_position_taken", "0004_claims", "x-2", State.HELD],
            ["9f3k-77ax", "a b", "a" * 65, 7, "a--b"],
        ),
        (
            "path",
            ["/", "/orders", "/ordersv2/lineItems/{id}", "/a/b/"],
            ["/orders/1234", "/orders?x=1", "//", "orders", "/a/" + "b" * 200],
        ),
        ("method", ["GET"], ["get", "BREW", 7]),
        ("status", [100, 599], [99, 600, "200", True]),
        ("flag", [True, False], [1, "true"]),
        (
            "error_type",
            [ValueError, ValueError("x"), asyncpg.DataError],
            ["ValueError", int, type("A-B", (Exception,), {})],
        ),
        ("sqlstate", ["23505"], ["2350", "235055", 23505]),
        ("version", ["18", "18.6", "3.14.5"], ["1234", "1.2.3.4", "18.6-x", 18]),
    ],
)
def test_each_kind_of_field_is_narrow(kind: Any, good: list[object], bad: list[object]) -> None:
    assert all(printable(kind)(value) not in (None, WITHHELD) for value in good)
    assert all(printable(kind)(value) in (None, WITHHELD) for value in bad)
    assert kind in LOG_FIELDS.values()


def test_an_ordinary_log_would_have_shown_the_key() -> None:
    stream = io.StringIO()
    library = logging.Logger("ordinary")
    library.addHandler(logging.StreamHandler(stream))
    try:
        raise_nested(PLANTED)
    except RuntimeError:
        library.exception("failed with %s", PLANTED_LOWER)
    assert len(FORBIDDEN.findall(stream.getvalue())) > 3


def test_no_field_hides_a_part_of_the_line() -> None:
    assert (
        not {"at", "level", "event", "request_id", "logger", "place", "message", "errors", "undeclared"}
        & LOG_FIELDS.keys()
    )


def test_closing_gives_back_what_was_replaced() -> None:
    root, hook = logging.getLogger().handlers[:], sys.excepthook
    with contextlib.closing(configure_logs("info", stream=io.StringIO())):
        assert logging.getLogger().handlers != root
        assert sys.excepthook is not hook
    assert logging.getLogger().handlers == root
    assert sys.excepthook is hook


def test_ids_are_taken_by_type_and_never_from_text() -> None:
    assert printable("id")(UUID(int=1)) == str(UUID(int=1))
    assert printable("id")(str(UUID(int=1))) is None
