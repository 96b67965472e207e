"""One suite for every preset, against the sandbox publisher that speaks its protocol."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from keyservice.connectors.calls import Connector, ConnectorCall
from keyservice.connectors.checking import check_document
from keyservice.connectors.context import template_context
from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.egress import EgressPolicy
from keyservice.connectors.engine import ConnectorEngine, running_engine
from keyservice.connectors.linting import buyer_fields
from keyservice.connectors.presets import preset, preset_names
from keyservice.connectors.reading import read_answer
from keyservice.domain.connector import (
    Buyer,
    CallOutcome,
    CallResult,
    ConnectorOperation,
    ConnectorRefused,
    Refusal,
    RequestFacts,
)
from keyservice.sandbox.misbehaviour import Misbehaviour, Wrong
from keyservice.sandbox.publisher import Publisher, running_publisher
from tests.lab.filled_presets import filled, preset_at, secrets_of

CREATE, CANCEL, LOOK_UP = ConnectorOperation.CREATE, ConnectorOperation.CANCEL, ConnectorOperation.LOOK_UP
LOOPBACK = EgressPolicy(ports=None, allow_plain_http=True, allow_loopback=True)
POLLED = {"alibaba-wuying", "kinguin"}
PUSHED = {"huawei-async"}
NOBODY_IS_ASKED = {"alibaba-wuying", "bmtmicro", "eneba", "plesk-isv", "sellauth", "sendowl", "softline"}
"""Protocols that say nothing of how a caller proves who it is."""


every_preset = pytest.mark.parametrize("name", preset_names())


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks a sandbox publisher by a preset."""

    engine: ConnectorEngine
    publisher: Publisher
    name: str
    document: ConnectorDocument
    secrets: dict[str, str]

    async def ask(
        self, operation: ConnectorOperation, reference: UUID, *, license_id: str | None = None, **changes: object
    ) -> CallResult:
        connector = Connector(1, UUID(int=1), 1, self.document, self.secrets)
        facts = replace(facts_of(operation, reference), publisher_license_id=license_id or "")
        context = template_context(facts, self.document)
        return await self.engine.call(replace(ConnectorCall(connector, operation, context), **changes))  # type: ignore[arg-type]

    @property
    def tells(self) -> ConnectorOperation:
        """The call whose answer shows the keys."""
        return LOOK_UP if self.name in POLLED else CREATE

    async def bring(self, reference: UUID) -> CallResult:
        """The key, by as many calls as the protocol needs."""
        result = await self.ask(CREATE, reference)
        if self.name not in POLLED:
            return result
        assert result.outcome is CallOutcome.ACCEPTED, result.code
        return await self.ask(LOOK_UP, reference, license_id=result.license_id)

    async def meet(self, wrong: Misbehaviour, **changes: object) -> CallResult:
        """The answer that was to show keys, with something going wrong in it."""
        reference, license_id = uuid4(), None
        if self.tells is LOOK_UP:
            license_id = (await self.ask(CREATE, reference)).license_id
        self.publisher.script(replace(wrong, operation=self.tells.value))
        return await self.ask(self.tells, reference, license_id=license_id, **changes)

    def with_secrets(self, **secrets: str) -> "Asker":
        return replace(self, secrets={**self.secrets, **secrets})


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with running_publisher() as running:
        yield running


@pytest.fixture
async def asker(name: str, publisher: Publisher) -> AsyncIterator[Asker]:
    async with running_engine(LOOPBACK) as engine:
        document = preset_at(publisher, name)
        yield Asker(engine, publisher, name, document, secrets_of(publisher, document))


def facts_of(operation: ConnectorOperation, reference: UUID) -> RequestFacts:
    now = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    return RequestFacts(
        operation=operation,
        license_ref=reference,
        execution_id=UUID(int=7),
        requested_at=now,
        order_id=UUID(int=8),
        order_number=42,
        partner_order_number='A-"1" & <2>',
        ordered_at=now,
        line_item_id=UUID(int=9),
        line_number=1,
        quantity=1,
        key_count=1,
        product_ref=270001,
        product_name='Office "2027" <&>',
        currency="EUR",
        gross_price=Decimal("19.90"),
        buyer=Buyer(email="ada@example.com", first_name="Ada", last_name='O"Hara', country="FR", locale="fr_FR"),
    )


@every_preset
def test_a_preset_says_what_is_to_be_filled_in_and_is_usable_then(name: str) -> None:
    document = filled(name)
    assert document.preset == name
    assert document.to_fill_in == ()
    check_document(document, EgressPolicy())


def test_a_path_that_is_not_there_is_not_filled_in() -> None:
    with pytest.raises(ConnectorRefused):
        preset("nexway", fill_in={"authentication.nobody": "x"})
    with pytest.raises(ConnectorRefused):
        preset("nobody")


@every_preset
def test_what_leaves_the_house_about_the_buyer_is_told(name: str) -> None:
    told = {field.name for field in buyer_fields(filled(name))}
    reference = {"Email", "FirstName", "LastName", "Country", "Locale", "ID", "CompanyName", "CompanyIdentifier"}
    shops = {"Email", "FirstName", "LastName"}
    expected = {
        **dict.fromkeys(("nexway", "plugin"), reference | {"City", "ZipCode"}),
        **dict.fromkeys(("fastspring", "swreg", "cleverbridge"), shops | {"CompanyName"}),
        "paypro": shops,
        "paddle-classic": {"Email"},
        "sellix": {"Email"},
        **dict.fromkeys(("shareit", "2checkout"), shops | {"CompanyName", "Country"}),
        "plesk-isv": {"FirstName", "LastName"},
        "sellauth": {"Email", "Country"},
    }
    assert told == expected.get(name, set())


@every_preset
async def test_the_key_is_the_one_in_the_publishers_books(asker: Asker) -> None:
    reference = uuid4()
    result = await asker.bring(reference)
    assert len(asker.publisher.keys_of(reference)) == 1
    assert result.request_sha256 is not None
    if asker.name in PUSHED:
        # It is in the books, and comes by itself.
        assert (result.outcome, result.keys) == (CallOutcome.ACCEPTED, ())
        return
    assert result.outcome is CallOutcome.DONE, result.code
    assert [key.text.reveal() for key in result.keys] == list(asker.publisher.keys_of(reference))
    assert bool(result.license_id) is (asker.document.operations[asker.tells].license_id is not None)


def test_where_a_list_has_no_such_place_nothing_is_filled_in() -> None:
    assert preset("eneba", fill_in={"operations.create.keys.0.path": "$.k"}).operations[CREATE].keys[0].path == "$.k"
    for path in ("operations.create.keys.1.path", "operations.create.keys.path", "operations.create.keys.0"):
        with pytest.raises(ConnectorRefused):
            preset("eneba", fill_in={path: "$.k"})


@every_preset
async def test_an_unknown_outcome_is_found_out_as_the_preset_declares(asker: Asker) -> None:
    able, reference = asker.document.capabilities, uuid4()
    asker.publisher.script(Misbehaviour(Wrong.RESET_AFTER, operation="create"))
    assert (await asker.ask(CREATE, reference)).outcome is CallOutcome.UNKNOWN
    (issued,) = asker.publisher.keys_of(reference)
    if able.repeat_is_idempotent:
        again = await asker.ask(CREATE, reference)
        assert [key.text.reveal() for key in again.keys] == ([] if asker.name in PUSHED else [issued])
        assert again.outcome is (CallOutcome.ACCEPTED if asker.name in PUSHED else CallOutcome.DONE)
    if able.can_look_up:
        found = await asker.ask(LOOK_UP, reference)
        assert [key.text.reveal() for key in found.keys] == [issued]
        missing = await asker.ask(LOOK_UP, uuid4())
        assert (missing.outcome, missing.refusal) == (CallOutcome.REFUSED, Refusal.NOT_FOUND)
    if able.can_void:
        assert (await asker.ask(CANCEL, reference)).outcome is CallOutcome.DONE
        assert asker.publisher.live_keys_of(reference) == ()
        nothing = await asker.ask(CANCEL, uuid4())
        assert (nothing.outcome, nothing.refusal) == (CallOutcome.REFUSED, Refusal.NOT_FOUND)
    assert len(asker.publisher.keys_of(reference)) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b'{"message":"try later"}', b"null"])
def test_that_nothing_was_issued_is_believed_of_an_empty_list_only(body: bytes) -> None:
    of = filled("cryptlex")
    headers = {"Content-Type": "application/json"}
    answer = {"status": 200, "headers": headers, "key_count": 1}
    assert read_answer(of, LOOK_UP, body=body, **answer).outcome is CallOutcome.UNKNOWN  # type: ignore[arg-type]
    assert read_answer(of, LOOK_UP, body=b" [ ]", **answer).refusal is Refusal.NOT_FOUND  # type: ignore[arg-type]


@every_preset
async def test_a_cancellation_is_in_the_publishers_books(asker: Asker) -> None:
    reference = uuid4()
    created = await asker.ask(CREATE, reference)
    if CANCEL not in asker.document.operations:
        assert (await asker.ask(CANCEL, reference)).refusal is Refusal.UNSUPPORTED
        return
    cancelled = await asker.ask(CANCEL, reference, license_id=created.license_id)
    assert cancelled.outcome is CallOutcome.DONE, cancelled.code
    assert asker.publisher.live_keys_of(reference) == ()
    again = await asker.ask(CANCEL, reference, license_id=created.license_id)
    assert again.outcome is CallOutcome.DONE or again.refusal in (Refusal.ALREADY_DONE, Refusal.NOT_FOUND)


@every_preset
async def test_out_of_stock_is_told_from_other_failures(asker: Asker) -> None:
    asker.publisher.script(Misbehaviour(Wrong.OUT_OF_STOCK, operation="create"))
    result = await asker.ask(CREATE, uuid4())
    other = {"alibaba-wuying": Refusal.PERMANENT, "bmtmicro": Refusal.RETRYABLE}.get(asker.name)
    if any(rule.means is Refusal.OUT_OF_STOCK for rule in asker.document.operations[CREATE].errors):
        assert (result.outcome, result.refusal) == (CallOutcome.REFUSED, Refusal.OUT_OF_STOCK)
    elif other is not None:
        assert (result.outcome, result.refusal) == (CallOutcome.REFUSED, other)
    else:
        # The protocol has no way to say so.
        assert result.outcome is CallOutcome.UNKNOWN


@every_preset
async def test_without_the_right_credentials_nothing_is_issued(asker: Asker) -> None:
    wrong = asker.with_secrets(**dict.fromkeys(asker.secrets, "wrong"))
    result = await wrong.ask(CREATE, uuid4())
    proves_itself = asker.document.secret_names
    assert bool(proves_itself) is (asker.name not in NOBODY_IS_ASKED)
    if proves_itself:
        assert result.outcome in (CallOutcome.REFUSED, CallOutcome.NOT_EXECUTED), result.code
        assert asker.publisher.ledger.issued == 0


@every_preset
@pytest.mark.parametrize(
    "wrong",
    [
        *(Wrong.HTML_PAGE, Wrong.EMPTY, Wrong.HALF_BODY, Wrong.STATUS_AFTER, Wrong.MORE_KEYS, Wrong.FEWER_KEYS),
        *(Wrong.HUGE_BODY, Wrong.GZIP_BOMB, Wrong.DEFLATE_BOMB, Wrong.WRONG_TYPES, Wrong.DUPLICATE_MEMBERS),
        *(Wrong.RESET_BEFORE, Wrong.STATUS_BEFORE, Wrong.REDIRECT, Wrong.ENDLESS_BODY),
    ],
)
async def test_what_proves_nothing_is_unknown(asker: Asker, wrong: Wrong) -> None:
    result = await asker.meet(Misbehaviour(wrong), budget_seconds=3.0)
    assert result.keys == ()
    shows_none = asker.name in PUSHED or (asker.name in POLLED and wrong is Wrong.FEWER_KEYS)
    if shows_none and wrong in (Wrong.MORE_KEYS, Wrong.FEWER_KEYS):
        assert result.outcome is CallOutcome.ACCEPTED, "it is still to come"
        return
    assert result.outcome is CallOutcome.UNKNOWN, result.code


@every_preset
async def test_an_answer_to_another_request_is_not_believed_where_it_says_so(asker: Asker) -> None:
    await asker.bring(uuid4())
    result = await asker.meet(Misbehaviour(Wrong.REPLAY))
    if asker.name in {"eneba", *PUSHED, *POLLED}:
        # The answer before that was one to the call before: reserved, or accepted.
        assert result.outcome is not CallOutcome.DONE, result.code
    elif asker.document.operations[CREATE].echo is not None:
        assert (result.outcome, result.code) == (CallOutcome.UNKNOWN, "other-reference")
    else:
        # Nothing in it tells; that the key is known already does, when it is recorded.
        assert result.outcome is CallOutcome.DONE


@every_preset
async def test_who_is_asked_to_wait_is_told_how_long(asker: Asker) -> None:
    asker.publisher.script(Misbehaviour(Wrong.RATE_LIMITED, text="7"))
    result = await asker.ask(CREATE, uuid4())
    assert (result.outcome, result.refusal) == (CallOutcome.REFUSED, Refusal.RETRYABLE)
    assert result.retry_after_seconds == 7


@every_preset
async def test_the_same_facts_give_the_same_bytes(asker: Asker) -> None:
    reference = uuid4()
    first = await asker.ask(CREATE, reference)
    again = await asker.ask(CREATE, reference, same_as=first.request_sha256)
    assert again.code != "request-changed"
    changed = await asker.ask(CREATE, uuid4(), same_as=first.request_sha256)
    assert (changed.outcome, changed.code) == (CallOutcome.UNKNOWN, "request-changed")
