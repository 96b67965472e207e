"""Runs a template that has been read, step by step and within bounds."""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, assert_never

from keyservice.connectors.go_text import ValueRefused, is_true, kind_of
from keyservice.connectors.template_functions import FUNCTIONS
from keyservice.connectors.template_nodes import (
    Action,
    Block,
    Break,
    Call,
    Continue,
    Dot,
    Expression,
    If,
    Literal,
    Member,
    Pipeline,
    Range,
    Text,
    Variable,
    With,
)
from keyservice.connectors.template_writers import Writer

STEPS_MAX: Final = 50_000
"""Of everything that is evaluated; long values cost as much as many."""

ITERATIONS_MAX: Final = 10_000
"""Of all loops of one run, together."""

_CHARACTERS_A_STEP: Final = 128


class _Leaving(Enum):
    BREAK = "break"
    CONTINUE = "continue"


class Execution:
    """One run. Raises ValueRefused."""

    def __init__(self, context: Mapping[str, Any], slots: int, writer: Writer) -> None:
        self._variables: list[Any] = [context, *[None] * (slots - 1)]
        self._writer = writer
        self._steps_left = STEPS_MAX
        self._iterations_left = ITERATIONS_MAX

    def run(self, block: Block, dot: Any) -> _Leaving | None:
        for node in block:
            self._step()
            # Most nodes are one of these two, and class patterns cost several times as much.
            if isinstance(node, Text):
                self._writer.text(node.text)
                continue
            if isinstance(node, Action):
                value = self._value(node.pipeline, dot)
                if not node.pipeline.slots:
                    self._writer.value(value)
                continue
            match node:
                case If() | With() | Range():
                    leaving = self._control(node, dot)
                    if leaving is not None:
                        return leaving
                case Break():
                    return _Leaving.BREAK
                case Continue():
                    return _Leaving.CONTINUE
                case _:
                    assert_never(node)
        return None

    def _control(self, node: If | With | Range, dot: Any) -> _Leaving | None:
        if isinstance(node, Range):
            return self._loop(node, dot)
        value = self._value(node.pipeline, dot)
        if not is_true(value):
            return self.run(node.otherwise, dot)
        return self.run(node.body, value if isinstance(node, With) else dot)

    def _loop(self, node: Range, dot: Any) -> _Leaving | None:
        value = self._expression(node.pipeline.expression, dot)
        is_empty = True
        for name, member in _members(value):
            is_empty = False
            self._iterations_left -= 1
            if self._iterations_left < 0:
                raise ValueRefused(f"its loops turn more than {ITERATIONS_MAX} times")
            slots = node.pipeline.slots
            for slot, part in zip(slots, (member,) if len(slots) == 1 else (name, member), strict=False):
                self._variables[slot] = part
            if self.run(node.body, member) is _Leaving.BREAK:
                break
        return self.run(node.otherwise, dot) if is_empty else None

    def _value(self, pipeline: Pipeline, dot: Any) -> Any:
        value = self._expression(pipeline.expression, dot)
        for slot in pipeline.slots:
            self._variables[slot] = value
        return value

    def _expression(self, expression: Expression, dot: Any) -> Any:
        self._step()
        if isinstance(expression, Dot):
            return _below(dot, expression.names)
        match expression:
            case Literal(value):
                return value
            case Variable(slot, names):
                return _below(self._variables[slot], names)
            case Call(name, arguments):
                return self._call(name, arguments, dot)
            case Member(of, names):
                return _below(self._expression(of, dot), names)
            case _:
                assert_never(expression)

    def _call(self, name: str, arguments: tuple[Expression, ...], dot: Any) -> Any:
        if name in ("and", "or"):
            return self._decided(arguments, dot, by=name == "or")
        values = [self._expression(argument, dot) for argument in arguments]
        value = FUNCTIONS[name].run(*values)
        for text in (*values, value):
            if isinstance(text, (str, list, tuple, dict)):
                self._step(len(text) // _CHARACTERS_A_STEP)
        return value

    def _decided(self, arguments: tuple[Expression, ...], dot: Any, *, by: bool) -> Any:
        value: Any = None
        for argument in arguments:
            value = self._expression(argument, dot)
            if is_true(value) is by:
                break
        return value

    def _step(self, steps: int = 1) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise ValueRefused(f"it takes more than {STEPS_MAX} steps")


def _below(value: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        if value is None:
            return None
        if type(value) is not dict and not isinstance(value, Mapping):
            raise ValueRefused(f"{kind_of(value)} has no member {name}")
        value = value.get(name)
    return value


def _members(value: Any) -> Iterable[tuple[Any, Any]]:
    match value:
        case None:
            return ()
        case bool():
            raise ValueRefused("range has nothing to go through in a truth value")
        case int():
            return ((number, number) for number in range(value))
        case list() | tuple():
            return enumerate(value)
        case Mapping():
            return ((name, value[name]) for name in sorted(value))
        case _:
            raise ValueRefused(f"range has nothing to go through in {kind_of(value)}")
