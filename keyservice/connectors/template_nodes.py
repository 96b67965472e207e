"""What a template is made of once it is read. Variables have been given slots; slot 0 is `$`, the context."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Dot:
    """`.` and the members below it: `.User.Email`."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """`$` or `$x` and the members below it."""

    slot: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """Members of what stands in parentheses: `(index .List 0).Name`."""

    of: "Expression"
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function; the stages of a pipeline are calls whose last argument is the stage before."""

    name: str
    arguments: "tuple[Expression, ...]"


Expression: TypeAlias = Literal | Dot | Variable | Member | Call


@dataclass(frozen=True, slots=True)
class Pipeline:
    """An expression whose value goes into variables as well."""

    expression: Expression
    slots: tuple[int, ...] = ()
    is_declaration: bool = True


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """Puts a value in, or only sets a variable."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class If:
    pipeline: Pipeline
    body: "Block"
    otherwise: "Block"


@dataclass(frozen=True, slots=True)
class With:
    pipeline: Pipeline
    body: "Block"
    otherwise: "Block"


@dataclass(frozen=True, slots=True)
class Range:
    pipeline: Pipeline
    body: "Block"
    otherwise: "Block"


@dataclass(frozen=True, slots=True)
class Break:
    pass


@dataclass(frozen=True, slots=True)
class Continue:
    pass


Node: TypeAlias = Text | Action | If | With | Range | Break | Continue
Block: TypeAlias = tuple[Node, ...]
