"""What is printed and written."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Cell, Measured, spread_of
from tests.benchmarks.machine import Machine
from tests.benchmarks.orders import Size

FOREIGN_NOTICED: Final = 0.10


def show(console: Console, machine: Machine, measured: Sequence[Measured], *, is_quick: bool) -> None:
    """The ratios first: they are the result. The rest says how they came about and is true of this machine only."""
    console.print(f"\n{machine}\n", style="dim", highlight=False)
    if is_quick:
        console.print("A quick run: it shows that everything works, its figures mean little.\n", style="yellow")
    console.print(_ratios(measured))
    for one in measured:
        console.print()
        console.print(_cells(one))
        if one.remark:
            console.print(one.remark, style="dim", highlight=False)
    noticed = max((cell.foreign for one in measured for cell in one.cells), default=0.0)
    if noticed > FOREIGN_NOTICED:
        console.print(
            f"\nOther processes used up to {noticed:.0%} of the CPU: measure again on a quiet machine.",
            style="bold yellow",
        )


def write(path: Path, machine: Machine, measured: Sequence[Measured], *, is_quick: bool, size: Size) -> None:
    """Everything, for a later comparison."""
    content = {
        "machine": asdict(machine),
        "is_quick": is_quick,
        "size": asdict(size),
        "benchmarks": [
            asdict(one) | {"ratios": [asdict(ratio) | {"is_met": ratio.is_met} for ratio in one.ratios]}
            for one in measured
        ],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _ratios(measured: Iterable[Measured]) -> Table:
    table = Table(title="Ratios: median over the rounds (least-most)", title_justify="left")
    for name in ("ratio", "setting", "measured", "goal", ""):
        table.add_column(name, justify="right" if name in ("measured", "goal") else "left")
    for one in measured:
        for ratio in one.ratios:
            verdict = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[ratio.is_met]
            goal = "" if ratio.goal is None else f"≥ {ratio.goal:g}"
            table.add_row(ratio.name, ratio.setting, ratio.spread.shown(), goal, verdict)
        table.add_section()
    return table


def _cells(measured: Measured) -> Table:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in measured.cells:
        groups.setdefault((cell.setting, cell.subject), []).append(cell)
    has_times = any(cell.p50_ms is not None for cell in measured.cells)
    columns = [column for column in _COLUMNS if has_times or not column.is_time]
    table = Table("setting", "subject", title=measured.title, title_justify="left")
    for column in columns:
        table.add_column(column.name, justify="right")
    for (setting, subject), cells in groups.items():
        spreads = [(spread_of(cells, column.value), column.style) for column in columns]
        table.add_row(setting, subject, *("" if spread is None else spread.shown(style) for spread, style in spreads))
    return table


class _Column(NamedTuple):
    name: str
    value: Callable[[Cell], float | None]
    style: str
    is_time: bool = False


_COLUMNS: Final = (
    _Column("per second", lambda cell: cell.per_second, ",.0f"),
    _Column("p50 ms", lambda cell: cell.p50_ms, ".1f", is_time=True),
    _Column("p99 ms", lambda cell: cell.p99_ms, ".1f", is_time=True),
    _Column("others' CPU", lambda cell: cell.foreign, ".0%"),
)
