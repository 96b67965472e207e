"""What the sandbox publisher may be told to do wrong, and which of its next calls that meets."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter

from keyservice.sandbox.asked import Asked


class Wrong(StrEnum):
    """Kinds of misbehaviour. Unless the comment says otherwise, the key is issued before the answer goes wrong."""

    NOTHING = "nothing"
    """The call goes well: to let some pass in a list."""

    # Nothing is issued.
    HANG = "hang"
    RESET_BEFORE = "reset-before"
    STATUS_BEFORE = "status-before"
    RATE_LIMITED = "rate-limited"
    OUT_OF_STOCK = "out-of-stock"
    REDIRECT = "redirect"

    # Late.
    SLOW = "slow"
    """Waits, and issues only then, even when nobody listens any more."""

    LATE = "late"
    """Issues at once, and answers only after a while."""

    # No answer, or not a whole one.
    RESET_AFTER = "reset-after"
    HALF_BODY = "half-body"
    STATUS_AFTER = "status-after"

    # Another answer.
    HTML_PAGE = "html-page"
    EMPTY = "empty"
    HUGE_BODY = "huge-body"
    ENDLESS_BODY = "endless-body"
    GZIP_BOMB = "gzip-bomb"
    DEFLATE_BOMB = "deflate-bomb"
    WRONG_TYPES = "wrong-types"
    DUPLICATE_MEMBERS = "duplicate-members"
    BYTE_ORDER_MARK = "byte-order-mark"
    LATIN_1 = "latin-1"

    # Other keys than those in the books.
    MORE_KEYS = "more-keys"
    FEWER_KEYS = "fewer-keys"
    DUPLICATE_KEY = "duplicate-key"
    """One that another reference has, or the same one twice in an answer with several."""

    FOREIGN_KEY = "foreign-key"
    """The one that is given."""

    MALFORMED_KEY = "malformed-key"
    REPLAY = "replay"
    """The whole answer to an earlier call."""


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """What goes wrong, with the figures that its kind knows, and whom it waits for: None fits everybody."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: Wrong
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 1.0
    """Of `slow` and `late`."""

    status: Annotated[int, Field(ge=400, le=599)] = 500
    text: Annotated[str, Field(max_length=2_048)] = field(default="", repr=False)
    """The foreign key, the redirect's target, or what `Retry-After` says."""

    family: str | None = None
    operation: str | None = None
    reference: str | None = None

    def meets(self, family: str, asked: Asked) -> bool:
        # Whoever fetches a token asks for nothing yet; only what is meant for tokens meets it.
        operation = self.operation or (asked.operation if asked.operation != "token" else None)
        return (
            operation == asked.operation and self.family in (None, family) and self.reference in (None, asked.reference)
        )


MISBEHAVIOURS: TypeAdapter[list[Misbehaviour]] = TypeAdapter(list[Misbehaviour])


@dataclass(slots=True)
class Script:
    """What waits for the next calls, first things first."""

    waiting: list[Misbehaviour] = field(default_factory=list)

    def next_for(self, family: str, asked: Asked) -> Misbehaviour:
        """The first that meets this call; it is spent."""
        for position, misbehaviour in enumerate(self.waiting):
            if misbehaviour.meets(family, asked):
                return self.waiting.pop(position)
        return Misbehaviour(Wrong.NOTHING)


RETRY_AFTER = ("1", "0", "Wed, 21 Oct 2015 07:28:00 GMT", "-5", "99999999999", "soon")


def random_script(
    seed: int,
    count: int,
    *,
    seconds: float = 0.2,
    well_share: float = 0.4,
    kinds: Sequence[Wrong] = tuple(Wrong),
    foreign_key: str = "FOREIGN-KEY-OF-SOMEBODY-ELSE",
    redirect_to: str = "http://169.254.169.254/latest/meta-data/",
) -> list[Misbehaviour]:
    """For `count` calls: `well_share` of them go well, the others meet all kinds equally often. Same seed, same list."""
    dice = random.Random(seed)  # noqa: S311 - repeatable, and no secret
    wrong = [kind for kind in kinds if kind is not Wrong.NOTHING]
    texts = {Wrong.FOREIGN_KEY: (foreign_key,), Wrong.REDIRECT: (redirect_to,), Wrong.RATE_LIMITED: RETRY_AFTER}
    made = []
    for _ in range(count):
        kind = Wrong.NOTHING if dice.random() < well_share else dice.choice(wrong)
        made.append(
            Misbehaviour(
                kind,
                seconds=seconds * dice.uniform(0.5, 2),
                status=dice.choice((500, 502, 503)),
                text=dice.choice(texts.get(kind, ("",))),
            )
        )
    return made
