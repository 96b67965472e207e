"""Whatever the code logs is printed: a field that was never declared would be withheld when somebody needs it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keyservice.logs import LOG_FIELDS

_SOURCES: Final = Path(__file__).parents[1] / "keyservice"
_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})


def test_every_field_of_every_line_is_declared() -> None:
    used = set(_fields())
    assert len(used) > 10
    assert used - {"exc_info"} <= LOG_FIELDS.keys()


def _fields() -> Iterator[str]:
    for path in _SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=logger, attr=level), keywords=keywords) if level in _LEVELS:
                    if ast.unparse(logger).endswith("log"):
                        yield from (str(keyword.arg) for keyword in keywords)
