"""Which facts about the buyer would leave the house with a connector's requests: read from its templates, not guessed from texts.

What cannot be decided counts as said: whoever prints a whole object is told of every member that it may have.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keyservice.connectors.checking import templates_of
from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.rendering import compiled
from keyservice.connectors.template_nodes import (
    Action,
    Block,
    Call,
    Dot,
    Expression,
    If,
    Literal,
    Member,
    Range,
    Variable,
    With,
)

BUYER: Final = "User"
BUYER_FIELDS: Final = (
    *("ID", "Email", "FirstName", "LastName", "CompanyName", "CompanyIdentifier", "Street", "City", "ZipCode", "State"),
    *("Country", "Locale", "Phone"),
)
_OF_NOBODY_ELSE: Final = frozenset(BUYER_FIELDS) - {"ID"}


@dataclass(frozen=True, slots=True)
class BuyerField:
    """A member of the buyer that a template at this place sends out."""

    path: str
    name: str


def buyer_fields(document: ConnectorDocument) -> tuple[BuyerField, ...]:
    """Each field once for each place, in the order of the document. Raises ConnectorRefused for a template that is none."""
    found: list[BuyerField] = []
    for path, source in templates_of(document):
        names = set(_in_block(compiled(source.replace("{{secret}}", ""), path).block, is_buyer=False, is_top=True))
        found += [BuyerField(path, name) for name in BUYER_FIELDS if name in names]
    return tuple(found)


def _in_block(block: Block, *, is_buyer: bool, is_top: bool) -> Iterator[str]:
    """`is_buyer`: whether the dot is the buyer here; `is_top`: whether it is everything."""
    for node in block:
        match node:
            case Action():
                yield from _in_expression(node.pipeline.expression, is_buyer=is_buyer, is_top=is_top)
            case If() | With() | Range():
                yield from _in_condition(node.pipeline.expression)
                goes_in = _goes_in(node.pipeline.expression, is_buyer=is_buyer, is_top=is_top)
                if goes_in and node.pipeline.slots:
                    # What becomes of a variable is not followed: it may be printed.
                    yield from BUYER_FIELDS
                is_same_dot = isinstance(node, If)
                yield from _in_block(
                    node.body, is_buyer=is_buyer if is_same_dot else goes_in, is_top=is_top and is_same_dot
                )
                yield from _in_block(node.otherwise, is_buyer=is_buyer, is_top=is_top)
            case _:
                pass


def _in_expression(expression: Expression, *, is_buyer: bool, is_top: bool) -> Iterator[str]:
    match expression:
        case Dot():
            yield from _in_names(expression.names, is_whole_buyer=is_buyer, is_everything=is_top)
        case Variable():
            # `$` is everything; what another variable holds was looked at where it was given.
            yield from _in_names(expression.names, is_whole_buyer=False, is_everything=expression.slot == 0)
        case Member():
            yield from _in_expression(expression.of, is_buyer=is_buyer, is_top=is_top)
            yield from _in_names(expression.names, is_whole_buyer=False, is_everything=False)
        case Call():
            for argument in expression.arguments:
                yield from _in_expression(argument, is_buyer=is_buyer, is_top=is_top)
            # `index . "User"` and the like.
            texts = {one.value for one in expression.arguments if isinstance(one, Literal)}
            yield from (name for name in _OF_NOBODY_ELSE if name in texts)
        case Literal():
            pass


def _in_condition(expression: Expression) -> Iterator[str]:
    """What is only asked about, or gone into, tells nothing by itself, but for members that are compared or become the dot."""
    for names in _chains(expression):
        if BUYER in names[:-1]:
            yield from (name for name in BUYER_FIELDS if name in names)
        elif names:
            yield from (name for name in names[-1:] if name in _OF_NOBODY_ELSE)


def _goes_in(expression: Expression, *, is_buyer: bool, is_top: bool) -> bool:
    """Whether what comes out may be the buyer, or hold it."""
    if "User" in _literals(expression):
        return True
    for names in _chains(expression):
        if names[-1:] == (BUYER,) or (not names and (is_buyer or is_top)):
            return True
    return any(isinstance(one, Variable) and one.slot == 0 and not one.names for one in _leaves(expression))


def _leaves(expression: Expression) -> Iterator[Expression]:
    match expression:
        case Call():
            for argument in expression.arguments:
                yield from _leaves(argument)
        case Member():
            yield from _leaves(expression.of)
            yield expression
        case _:
            yield expression


def _chains(expression: Expression) -> Iterator[tuple[str, ...]]:
    for one in _leaves(expression):
        if isinstance(one, (Dot, Variable, Member)):
            yield one.names


def _literals(expression: Expression) -> set[object]:
    return {one.value for one in _leaves(expression) if isinstance(one, Literal)}


def _in_names(names: tuple[str, ...], *, is_whole_buyer: bool, is_everything: bool) -> Iterator[str]:
    if not names:
        if is_whole_buyer or is_everything:
            yield from BUYER_FIELDS
    elif names[-1] == BUYER:
        yield from BUYER_FIELDS
    elif BUYER in names[:-1] or is_whole_buyer:
        yield from (name for name in BUYER_FIELDS if name in names)
    else:
        yield from (name for name in names if name in _OF_NOBODY_ELSE)
