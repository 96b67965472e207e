"""Withdrawing single keys. They are named in the body, and no answer repeats what named them."""

from collections import Counter
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import AnswerModel, json_answer
from keyservice.api.asking import Name, StrictModel, path_id, read_model
from keyservice.api.operation import Operation
from keyservice.api.parameters import OfPublisher, read_parameters
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.key import KEY_CHARACTERS_MAX
from keyservice.domain.withdrawal import (
    PUBLISHER_KEY_ID_CHARACTERS_MAX,
    WITHDRAWN_AT_ONCE_MAX,
    NamedBy,
    Outcome,
    Withdrawal,
)
from keyservice.fulfillment.withdraw_keys import withdraw_keys
from keyservice.services import SERVICES

Text = Annotated[str, Field(min_length=1, max_length=KEY_CHARACTERS_MAX)]
PublisherKeyId = Annotated[str, Field(min_length=1, max_length=PUBLISHER_KEY_ID_CHARACTERS_MAX)]


class NewWithdrawal(StrictModel):
    """Which keys are to be withdrawn, and why."""

    keys: Annotated[list[Text], Field(default_factory=list, max_length=WITHDRAWN_AT_ONCE_MAX)]
    """Their texts, exactly as they were uploaded."""

    publisher_key_ids: Annotated[list[PublisherKeyId], Field(default_factory=list, max_length=WITHDRAWN_AT_ONCE_MAX)]
    """The publisher's own ids of the keys, from the column with ids of their file."""

    reason: Name
    """Kept with each key, as it is: it must not contain one."""


class WithdrawnEntry(AnswerModel):
    """What became of one entry."""

    named_by: NamedBy
    """In which of the two lists it stands."""

    index: int
    """Where in this list, from 0."""

    outcome: Outcome
    """`withdrawn`: it will never be sold. `already_withdrawn`: before. `issued`: somebody has bought it or holds it; cancel
    the order to revoke it. `revoked`: it was sold, and is dead since. `in_unfinished_upload`: finish or discard the upload.
    `other_pool`: it lies in another pool of the publisher. `ambiguous`: several living keys of the pool have this id; name
    them by their texts. `not_found`: the publisher has no such key."""


class WithdrawalReport(AnswerModel):
    """What became of each entry, texts first, in the order asked."""

    outcomes: dict[Outcome, int]
    """How many entries have each outcome."""

    entries: list[WithdrawnEntry]


_WITHDRAW: Final = Operation(
    operation_id="withdraw_keys",
    summary="Withdraw single keys",
    description=(
        "Takes unsold keys of this pool off sale for ever; they cannot be uploaded again either. Each entry is answered for"
        " itself, and none keeps another from being withdrawn. The same request may be sent again: what is withdrawn stays so."
    ),
    body=NewWithdrawal,
    query=OfPublisher,
    answers={200: WithdrawalReport},
    refusals={422: "More than 1,000 keys are named in all, or none, or the reason contains one of them."},
)


def routes() -> list[web.RouteDef]:
    return [route("POST", "/pools/{pool_id}/withdrawals", Scope.BATCHES_WRITE, withdraw, _WITHDRAW)]


async def withdraw(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    publisher_id = await publisher_of(request, caller)
    pool_id = path_id(request, "pool_id", thing="pool")
    asked = await read_model(request, NewWithdrawal)
    answers = await withdraw_keys(
        services.database,
        services.fingerprints,
        publisher_id,
        pool_id,
        Withdrawal(asked.keys, asked.publisher_key_ids, asked.reason),
        caller_id=caller.caller_id,
    )
    counts = Counter(answer.outcome for answer in answers)
    return json_answer(
        WithdrawalReport(
            outcomes={outcome: counts[outcome] for outcome in Outcome},
            entries=[WithdrawnEntry.model_validate(answer) for answer in answers],
        )
    )
