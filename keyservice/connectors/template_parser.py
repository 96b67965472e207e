"""Reads a template into nodes: Go's text/template without methods, `define`, `template` and `block`."""

from collections.abc import Callable, Mapping
from typing import Final

from keyservice.connectors.template_lexer import ActionPiece, Kind, TemplateSyntaxError, TextPiece, Token, pieces_of
from keyservice.connectors.template_literals import character_of, number_of, string_of
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
    Node,
    Pipeline,
    Range,
    Text,
    Variable,
    With,
)

NESTING_MAX: Final = 24
"""Of blocks and parentheses, together."""

NODES_MAX: Final = 4_096
VARIABLES_MAX: Final = 64

_CONSTANTS: Final[dict[str, bool | None]] = {"true": True, "false": False, "nil": None}
_READERS: Final[Mapping[Kind, Callable[[str], str | int | float | bool | None]]] = {
    Kind.NUMBER: number_of,
    Kind.STRING: string_of,
    Kind.RAW_STRING: lambda text: text[1:-1].replace("\r", ""),
    Kind.CHARACTER: character_of,
    Kind.WORD: _CONSTANTS.__getitem__,
}
_CONTROLS: Final = frozenset({"if", "else", "end", "range", "with", "break", "continue"})
_CONTROL_NODES: Final[Mapping[str, type[If] | type[With] | type[Range]]] = {"if": If, "with": With, "range": Range}
_LEFT_OUT: Final = frozenset({"define", "template", "block"})


class Parser:
    """Used once. `functions` are the known ones, each with the fewest and the most arguments that it takes."""

    def __init__(self, source: str, functions: Mapping[str, tuple[int, int]]) -> None:
        self._pieces = list(pieces_of(source))
        self._functions = functions
        self._next_piece = 0
        self._tokens: tuple[Token, ...] = ()
        self._at = 0
        self._depth = 0
        self._loops = 0
        self._nodes = 0
        self._scope: list[tuple[str, int]] = [("$", 0)]
        self.slots = 1

    def parse(self) -> Block:
        block, stopped_by = self._block()
        if stopped_by is not None:
            raise self._error(f"{{{{{stopped_by}}}}} has nothing to end")
        return block

    # -------------------------------------------------------------------------------------------------- blocks
    def _block(self) -> tuple[Block, str | None]:
        """The nodes up to `end`, `else` or the template's end, whose words are left to the caller."""
        nodes: list[Node] = []
        while self._next_piece < len(self._pieces):
            piece = self._pieces[self._next_piece]
            self._next_piece += 1
            self._count()
            if isinstance(piece, TextPiece):
                if piece.text:
                    nodes.append(Text(piece.text))
                continue
            word = self._begin(piece)
            if word in ("end", "else"):
                return tuple(nodes), word
            nodes.append(self._node(word))
        return tuple(nodes), None

    def _begin(self, piece: ActionPiece) -> str | None:
        self._tokens, self._at = piece.tokens, 0
        self._skip_space()
        token = self._peek()
        if token.kind is Kind.WORD and token.text in _LEFT_OUT:
            raise self._error(f"{token.text} is not supported: a connector's template is one piece")
        if token.kind is not Kind.WORD or token.text not in _CONTROLS:
            return None
        self._at += 1
        return token.text

    def _node(self, word: str | None) -> Node:
        match word:
            case "if" | "with" | "range":
                return self._control(word)
            case "break" | "continue":
                self._finish()
                if not self._loops:
                    raise self._error(f"{{{{{word}}}}} stands outside of a range")
                return Break() if word == "break" else Continue()
            case _:
                pipeline = self._pipeline(variables_max=1)
                self._finish()
                return Action(pipeline)

    def _control(self, word: str) -> Node:
        start = self._peek().position
        mark = len(self._scope)
        self._deeper(start)
        pipeline = self._pipeline(variables_max=2 if word == "range" else 1)
        self._finish()
        self._loops += word == "range"
        body, stopped_by = self._block()
        self._loops -= word == "range"
        otherwise: Block = ()
        if stopped_by == "else":
            otherwise, stopped_by = self._else(word)
        if stopped_by is None:
            raise TemplateSyntaxError(f"this {word} has no {{{{end}}}}", start)
        self._finish()
        del self._scope[mark:]
        self._depth -= 1
        kind = _CONTROL_NODES[word]
        return kind(pipeline, body, otherwise)

    def _else(self, word: str) -> tuple[Block, str | None]:
        self._skip_space()
        token = self._peek()
        if token.kind is Kind.WORD and token.text == word and word != "range":
            # `else if` is an `if` inside of the `else`, and one `end` ends both.
            self._at += 1
            return (self._control(word),), "end"
        self._finish()
        return self._block()

    # -------------------------------------------------------------------------------------------------- pipelines
    def _pipeline(self, *, variables_max: int) -> Pipeline:
        names, is_declaration = self._variables(variables_max)
        expression = self._stages()
        slots = tuple(self._declared(name) if is_declaration else self._slot(name) for name in names)
        return Pipeline(expression, slots, is_declaration)

    def _variables(self, most: int) -> tuple[list[Token], bool]:
        """`$x :=`, `$x =` or, in a range, `$i, $v :=`; nothing is taken when there is none of them."""
        start, names = self._at, list[Token]()
        while True:
            self._skip_space()
            if self._peek().kind is not Kind.VARIABLE:
                break
            names.append(self._take())
            self._skip_space()
            if self._peek().kind is not Kind.COMMA:
                break
            self._take()
        if names and self._peek().kind in (Kind.DECLARE, Kind.ASSIGN):
            if len(names) > most:
                raise self._error("too many variables")
            return names, self._take().kind is Kind.DECLARE
        self._at = start
        return [], True

    def _stages(self) -> Expression:
        stage = self._command(None)
        while self._peek().kind is Kind.PIPE:
            self._take()
            stage = self._command(stage)
        return stage

    def _command(self, piped: Expression | None) -> Expression:
        self._skip_space()
        start = self._peek()
        if start.kind in (Kind.END, Kind.CLOSE, Kind.PIPE):
            raise self._error("a value is missing here")
        if start.kind is Kind.WORD and start.text not in _CONSTANTS:
            return self._call(piped)
        operand = self._operand()
        if piped is not None:
            raise TemplateSyntaxError("only a function can stand behind |", start.position)
        if operand == Literal(None):
            raise TemplateSyntaxError("nil is not a value of its own", start.position)
        self._skip_space()
        if self._peek().kind not in (Kind.END, Kind.CLOSE, Kind.PIPE):
            raise self._error("only a function takes arguments")
        return operand

    def _call(self, piped: Expression | None) -> Call:
        name = self._take()
        if name.text not in self._functions:
            raise TemplateSyntaxError(f"there is no function {name.text}", name.position)
        self._count()
        arguments: list[Expression] = []
        while self._peek().kind not in (Kind.END, Kind.CLOSE, Kind.PIPE):
            if self._peek().kind is not Kind.SPACE:
                raise self._error("a space is missing before this")
            self._skip_space()
            if self._peek().kind not in (Kind.END, Kind.CLOSE, Kind.PIPE):
                arguments.append(self._argument())
        if piped is not None:
            arguments.append(piped)
        fewest, most = self._functions[name.text]
        if not fewest <= len(arguments) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise TemplateSyntaxError(f"{name.text} takes {wanted} arguments, not {len(arguments)}", name.position)
        return Call(name.text, tuple(arguments))

    def _argument(self) -> Expression:
        token = self._peek()
        if token.kind is Kind.WORD and token.text not in _CONSTANTS:
            # A function without arguments; one with arguments needs parentheses, as in Go.
            self._at += 1
            if token.text not in self._functions:
                raise TemplateSyntaxError(f"there is no function {token.text}", token.position)
            raise TemplateSyntaxError(f"put ({token.text} …) in parentheses", token.position)
        return self._operand()

    def _operand(self) -> Expression:
        self._count()
        term = self._term()
        names: list[str] = []
        while self._peek().kind is Kind.FIELD:
            names.append(self._take().text[1:])
        if self._peek().kind is Kind.DOT:
            raise self._error("a member's name is missing behind the dot")
        if not names:
            return term
        match term:
            case Dot(first) if first:
                return Dot((*first, *names))
            case Variable(slot, _):
                return Variable(slot, tuple(names))
            case Literal() | Dot():
                raise self._error("a constant has no members")
            case _:
                return Member(term, tuple(names))

    def _term(self) -> Expression:
        token = self._take()
        match token.kind:
            case Kind.FIELD:
                return Dot((token.text[1:],))
            case Kind.DOT:
                return Dot()
            case Kind.VARIABLE:
                return Variable(self._slot(token))
            case Kind.OPEN:
                return self._parenthesis(token)
            case kind if kind in _READERS:
                return Literal(_constant(token))
            case _:
                raise TemplateSyntaxError(f"{token.text} is not expected here", token.position)

    def _parenthesis(self, opening: Token) -> Expression:
        self._deeper(opening.position)
        expression = self._stages()
        if self._take().kind is not Kind.CLOSE:
            raise TemplateSyntaxError("this parenthesis is not closed", opening.position)
        self._depth -= 1
        return expression

    # -------------------------------------------------------------------------------------------------- words, bounds
    def _declared(self, name: Token) -> int:
        if self.slots > VARIABLES_MAX:
            raise TemplateSyntaxError(f"a template has at most {VARIABLES_MAX} variables", name.position)
        slot, self.slots = self.slots, self.slots + 1
        self._scope.append((name.text, slot))
        return slot

    def _slot(self, name: Token) -> int:
        for known, slot in reversed(self._scope):
            if known == name.text:
                return slot
        raise TemplateSyntaxError(f"there is no variable {name.text} here", name.position)

    def _deeper(self, position: int) -> None:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise TemplateSyntaxError(f"this is nested more than {NESTING_MAX} deep", position)

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise self._error(f"a template has at most {NODES_MAX} parts")

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def _skip_space(self) -> None:
        while self._peek().kind is Kind.SPACE:
            self._at += 1

    def _finish(self) -> None:
        self._skip_space()
        if self._peek().kind is not Kind.END:
            raise self._error(f"{self._peek().text} is not expected here")

    def _error(self, message: str) -> TemplateSyntaxError:
        position = self._peek().position if self._tokens else 0
        return TemplateSyntaxError(message, position)


def _constant(token: Token) -> str | int | float | bool | None:
    try:
        return _READERS[token.kind](token.text)
    except ValueError as error:
        raise TemplateSyntaxError(str(error), token.position) from None
