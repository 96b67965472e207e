"""Figures of interleaved rounds, and the ratios that are all that may be said of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement: what was measured, in which round, how much a second, and what else was seen."""

    subject: str
    setting: str
    round_number: int
    per_second: float
    foreign: float
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with what it lies between."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))

    def shown(self, style: str = ".2f") -> str:
        if self.least == self.most:
            return f"{self.median:{style}}"
        return f"{self.median:{style}} ({self.least:{style}}-{self.most:{style}})"


@dataclass(frozen=True, slots=True)
class Ratio:
    """One thing over another, each round by itself, so that what slows a whole round slows both."""

    name: str
    setting: str
    spread: Spread
    goal: float | None = None

    @property
    def is_met(self) -> bool | None:
        return None if self.goal is None else self.spread.median >= self.goal


@dataclass(frozen=True, slots=True)
class Measured:
    """What one of the benchmarks found."""

    title: str
    ratios: list[Ratio]
    cells: list[Cell]
    remark: str = ""


def ratio(cells: Sequence[Cell], over: str, under: str, *, setting: str, goal: float | None = None) -> Ratio:
    """Of two subjects in the same setting."""
    upper = _by_round(cells, lambda cell: cell.subject == over and cell.setting == setting)
    lower = _by_round(cells, lambda cell: cell.subject == under and cell.setting == setting)
    return Ratio(f"{over} / {under}", setting, Spread.of([upper[number] / lower[number] for number in lower]), goal)


def spread_of(cells: Sequence[Cell], value: Callable[[Cell], float | None]) -> Spread | None:
    """None where it was not measured."""
    values = [found for cell in cells if (found := value(cell)) is not None]
    return Spread.of(values) if values else None


def _by_round(cells: Sequence[Cell], belongs: Callable[[Cell], bool]) -> dict[int, float]:
    return {cell.round_number: cell.per_second for cell in cells if belongs(cell)}
