"""Templates: the documented part of Go's text/template, in which the reference's publishers have written theirs.

Paths of members on maps, `$` and variables, `if`, `with`, `range` with their `else`, `break` and `continue`, pipelines,
parentheses, comments, trim markers, constants, and the functions of `template_functions`. A member that a map does not
have is empty: it prints as nothing, and is false. There are no methods, no templates in templates, and no way to reach
anything but what the context holds. Text is counted in bytes, as Go counts it.

Everything is bounded: a template's length, nesting, parts and variables when it is compiled; steps, turns of loops and
length of any text when it runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keyservice.connectors.document import TEMPLATE_CHARACTERS_MAX
from keyservice.connectors.go_text import ValueRefused
from keyservice.connectors.template_execution import Execution
from keyservice.connectors.template_functions import FUNCTIONS
from keyservice.connectors.template_lexer import TemplateSyntaxError
from keyservice.connectors.template_nodes import Block, Text
from keyservice.connectors.template_parser import Parser
from keyservice.connectors.template_writers import WRITERS, Escaping
from keyservice.domain.connector import ConnectorRefused, TemplateFailed

__all__ = ["CompiledTemplate", "Escaping", "compile_template"]

_ARITIES: Final = {name: (function.fewest, function.most) for name, function in FUNCTIONS.items()}


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """A template that can run; `field` says where in its document it stands."""

    block: Block = field(repr=False)
    slots: int
    field: str

    @property
    def constant(self) -> str | None:
        """What it always comes to, if it has no actions."""
        if any(not isinstance(node, Text) for node in self.block):
            return None
        return "".join(node.text for node in self.block if isinstance(node, Text))

    def render(self, context: Mapping[str, Any], escaping: Escaping = Escaping.NONE) -> str:
        """Raises TemplateFailed."""
        writer = WRITERS[escaping]()
        try:
            Execution(context, self.slots, writer).run(self.block, context)
            return writer.finished()
        except ValueRefused as error:
            raise TemplateFailed(f"{self.field}: {error}", field=self.field) from None
        except UnicodeEncodeError:
            raise TemplateFailed(f"{self.field}: a value has half of a surrogate pair", field=self.field) from None


def compile_template(source: str, *, field: str) -> CompiledTemplate:
    """Raises ConnectorRefused, which says where in the template something is wrong."""
    if len(source) > TEMPLATE_CHARACTERS_MAX:
        message = f"{field}: a template has at most {TEMPLATE_CHARACTERS_MAX} characters, not {len(source)}"
        raise ConnectorRefused(message, field=field)
    try:
        parser = Parser(source, _ARITIES)
        block = parser.parse()
    except TemplateSyntaxError as error:
        line = source.count("\n", 0, error.position) + 1
        column = error.position - source.rfind("\n", 0, error.position)
        raise ConnectorRefused(f"{field}: line {line}, column {column}: {error}", field=field) from None
    return CompiledTemplate(block, parser.slots, field)
