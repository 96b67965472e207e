"""How the demo looks: numbered steps, each with why it matters, what was seen and how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from keyservice.domain.errors import KeyserviceError

_WIDTH_MAX = 100
_INDENT = 4


class StepFailed(KeyserviceError):
    """Something in the story did not come out as it has to."""

    code = "demo-step-failed"

    def __init__(self, number: int, title: str, reason: str) -> None:
        super().__init__(f"step {number}, {title!r}: {reason}")
        self.number = number
        self.title = title
        self.reason = reason


class NotAsExpected(KeyserviceError):
    """A check inside a step did not hold."""

    code = "demo-check-failed"


@dataclass(slots=True)
class Step:
    """One step as it is being told. Nothing is printed before it has ended, so that its outcome stands beside its title."""

    told: list[RenderableType] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.told.append(Text(text))

    def show(self, something: RenderableType) -> None:
        self.told.append(something)

    def expect(self, fact: str, holds: bool, *, otherwise: str = "") -> None:
        """Tell the fact with a tick. Raises NotAsExpected when it is none."""
        if not holds:
            raise NotAsExpected(f"{fact}: not so{f' ({otherwise})' if otherwise else ''}")
        self.told.append(Text.assemble(("✓ ", "green"), fact))

    def equal(self, fact: str, seen: object, wanted: object) -> None:
        """Never for a key: a difference is printed."""
        self.expect(fact, seen == wanted, otherwise=f"expected {wanted}, got {seen}")

    def level(self, before: int, after: int) -> None:
        """The pool's level, before and after."""
        self.told.append(Text.assemble("pool level  ", (f"{before:,} → {after:,}", "cyan"), " keys for sale"))


class Screen:
    """Where the story is told; readable at any width from 80 on, without colours, and in a file."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps_told = 0
        self._width = min(console.width, _WIDTH_MAX)

    @contextmanager
    def step(self, title: str, why: str) -> Iterator[Step]:
        """Raises StepFailed for whatever goes wrong inside, after telling what had gone well."""
        number = self.steps_told + 1
        step = Step()
        started = time.perf_counter()
        try:
            with self.console.status(f"{number}  {title}"):
                yield step
        except Exception as error:
            self._tell(number, title, why, step, Text("✗ failed", style="bold red"))
            raise StepFailed(number, title, str(error) or type(error).__name__) from error
        milliseconds = (time.perf_counter() - started) * 1_000
        self._tell(number, title, why, step, Text(f"✓ {milliseconds:,.0f} ms", style="green"))
        self.steps_told = number

    def line(self, text: str | Text = "") -> None:
        """A line that is never broken, so that it can be pasted."""
        self.console.print(text, soft_wrap=True, highlight=False)

    def _tell(self, number: int, title: str, why: str, step: Step, outcome: Text) -> None:
        head = Table.grid(expand=True, padding=(0, 1, 0, 0))
        head.add_column(width=_INDENT - 1, justify="right")
        head.add_column(ratio=1)
        head.add_column(justify="right")
        head.add_row(Text(str(number), style="bold cyan"), Text(title, style="bold"), outcome)
        self.console.print(head, width=self._width)
        self._print(Text(why, style="italic"))
        for something in step.told:
            self._print(something)
        self.console.print()

    def _print(self, something: RenderableType) -> None:
        indented = Padding(something, (0, 0, 0, _INDENT), expand=False)
        self.console.print(indented, width=self._width, highlight=False)


def masked(key: str) -> str:
    """A key as the demo shows it: its shape and its last characters."""
    *groups, last = key.split("-")
    return "-".join(["•" * len(group) for group in groups] + ["•" + last[1:]])


def facts_table(*rows: tuple[str, str]) -> Table:
    """Names and values, one pair a line."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table
