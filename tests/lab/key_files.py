"""Key files of which it is known what must become of each row."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from tests.lab.driver import FileToSend

_HEADER: Final = "key,expires_on"
_NOTHING_KNOWN: Final[Mapping[str, str]] = MappingProxyType({})
# One row for each way in which a row of two columns can be unusable; {0} makes them differ.
_MALFORMED: Final = (
    "MALFORMED-{0}",
    "MALFORMED-{0},2099-12-31,one column too many",
    "MALFORMED-{0},2099-02-30",
    "MALFORMED-{0},1999-12-31",
    ",2099-12-31",
    "#N/A,",
    "MALFORMED-{0}\u200b,",
)


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file, its new keys in the order of their rows, and the verdict that each row must get (rows count from 1)."""

    file: FileToSend
    accepted: Sequence[str] = field(repr=False)
    verdict_of_row: Mapping[int, str] = field(repr=False)

    @property
    def verdicts(self) -> Counter[str]:
        return Counter(self.verdict_of_row.values())

    @property
    def refused(self) -> dict[int, str]:
        told_apart = ("accepted", "blank", "header")
        return {row: verdict for row, verdict in self.verdict_of_row.items() if verdict not in told_apart}


@dataclass(frozen=True, slots=True)
class Mixture:
    """How many rows of each kind a file has beside its header and the rows of keys that are known already."""

    fresh: int
    doubled: int
    malformed: int
    blank: int


def fresh_keys(rng: random.Random, count: int, *, prefix: str) -> list[str]:
    """Keys that no other prefix has."""
    return [f"{prefix}-{number:07d}-{rng.getrandbits(48):012X}" for number in range(count)]


def plain_file(texts: Iterable[str]) -> FileToSend:
    """One key a line, all of them good."""
    return FileToSend("".join(f"{text}\n" for text in texts).encode(), content_type="text/plain")


def broken_file(texts: Iterable[str]) -> FileToSend:
    """Good rows up to the last, which makes the whole file unreadable."""
    return FileToSend("".join(f"{text}\n" for text in texts).encode() + b"NOT-UTF8-\xff\n", content_type="text/plain")


def mixed_file(
    rng: random.Random, mixture: Mixture, *, prefix: str, known: Mapping[str, str] = _NOTHING_KNOWN
) -> PlannedFile:
    """A CSV file in no order, with a header. `known` are keys that stand somewhere already, with their verdicts."""
    fresh = fresh_keys(rng, mixture.fresh, prefix=prefix)
    rows = [f"{text},{'2099-12-31' if number % 3 else ''}" for number, text in enumerate(fresh)]
    rows += [f"{text}," for text in rng.choices(fresh, k=mixture.doubled)]
    rows += [f"{text}," for text in known]
    rows += [_MALFORMED[number % len(_MALFORMED)].format(number) for number in range(mixture.malformed)]
    rows += [""] * mixture.blank
    rng.shuffle(rows)
    accepted: dict[str, None] = {}
    verdict_of_row = {1: "header"}
    wanted = frozenset(fresh)
    for number, row in enumerate(rows, start=2):
        text, _, _ = row.partition(",")
        if text not in wanted:
            verdict_of_row[number] = known.get(text) or ("malformed" if row else "blank")
        elif text in accepted:
            verdict_of_row[number] = "duplicate_in_file"
        else:
            accepted[text] = None
            verdict_of_row[number] = "accepted"
    content = "".join(f"{row}\n" for row in (_HEADER, *rows)).encode()
    return PlannedFile(FileToSend(content), list(accepted), verdict_of_row)
