from uuid import UUID

import pytest

from keyservice.domain.errors import Invalid
from keyservice.domain.tape import Place
from keyservice.domain.withdrawal import SAME_ID_MAX, Choice, Fate, Outcome, Withdrawal, choose

POOL, OTHER = UUID(int=1), UUID(int=2)


def fate(claim_state: str | None, segment_state: str = "open", *, pool_id: UUID = POOL, position: int = 1) -> Fate:
    claim_id = None if claim_state is None else UUID(int=9)
    return Fate(Place(7, position), False, UUID(int=3), pool_id, segment_state, claim_id, claim_state)


@pytest.mark.parametrize(
    ("claim_state", "segment_state", "outcome"),
    [
        *((None, state, Outcome.WITHDRAWN) for state in ("open", "exhausted", "held")),
        (None, "receiving", Outcome.IN_UNFINISHED_UPLOAD),
        (None, "withdrawn", Outcome.ALREADY_WITHDRAWN),
        *(("withdrawn", state, Outcome.ALREADY_WITHDRAWN) for state in ("open", "exhausted", "held", "withdrawn")),
        *((state, "withdrawn", Outcome.ISSUED) for state in ("held", "issued")),
        *((state, "open", Outcome.REVOKED) for state in ("revoked", "replaced")),
    ],
)
def test_what_can_be_withdrawn_depends_on_what_became_of_the_key(
    claim_state: str | None, segment_state: str, outcome: Outcome
) -> None:
    assert fate(claim_state, segment_state).outcome_in(POOL) is outcome
    assert fate(claim_state, segment_state).outcome_in(OTHER) is Outcome.OTHER_POOL


def test_a_name_stands_for_the_one_living_key_of_the_pool() -> None:
    unsold, dead, sold = fate(None), fate("withdrawn", position=2), fate("issued", position=3)
    elsewhere = fate(None, pool_id=OTHER, position=4)
    assert choose([], POOL) == Choice(Outcome.NOT_FOUND)
    assert choose([elsewhere], POOL) == Choice(Outcome.OTHER_POOL)
    assert choose([dead, elsewhere, unsold], POOL) == Choice(Outcome.WITHDRAWN, unsold)
    assert choose([dead, sold], POOL) == Choice(Outcome.ISSUED, sold)
    assert choose([dead, fate("revoked", position=5)], POOL) == Choice(Outcome.ALREADY_WITHDRAWN, dead)


def test_a_name_that_stands_for_several_living_keys_withdraws_none() -> None:
    assert choose([fate(None), fate(None, position=2)], POOL).outcome is Outcome.AMBIGUOUS
    assert choose([fate(None), fate("issued", position=2)], POOL).outcome is Outcome.AMBIGUOUS
    # Some may not have been read.
    many = [fate("withdrawn", position=number) for number in range(SAME_ID_MAX + 1)]
    assert choose(many, POOL) == Choice(Outcome.AMBIGUOUS)
    assert choose(many[1:], POOL).outcome is Outcome.ALREADY_WITHDRAWN


@pytest.mark.parametrize(
    ("texts", "ids", "reason"),
    [([], [], "leaked"), (["A"] * 501, ["B"] * 500, "leaked"), (["SECRET-KEY"], ["B"], "SECRET-KEY leaked")],
)
def test_a_withdrawal_names_some_keys_and_not_too_many_and_its_reason_shows_none(
    texts: list[str], ids: list[str], reason: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        Withdrawal(texts, ids, reason)
    assert "SECRET-KEY" not in str(refusal.value)
    assert len(Withdrawal(["A"] * 500, ["B"] * 500, "leaked").texts) == 500


def test_its_repr_shows_no_key() -> None:
    assert repr(Withdrawal(["SECRET-KEY"], ["ID-1"], "leaked")) == "Withdrawal(1 texts, 1 ids)"
