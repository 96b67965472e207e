"""Named SQL statements from the `.sql` files of this package: `statement("orders.insert_order")`."""

import re
from functools import cache
from importlib import resources

_HEADER = re.compile(r"^-- (?P<name>[a-z_0-9]+) --$", re.MULTILINE)


@cache
def statements(family: str) -> dict[str, str]:
    """All statements of `<family>.sql` by name, comments taken off; raises FileNotFoundError for an unknown family."""
    text = (resources.files(__package__) / f"{family}.sql").read_text(encoding="utf-8")
    parts = _HEADER.split(text)
    return {name: _without_comments(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}


@cache
def statement(path: str) -> str:
    """One statement; raises KeyError for an unknown name."""
    family, name = path.split(".")
    return statements(family)[name]


def families() -> list[str]:
    """The names of all `.sql` files of this package."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(".sql") for file in files if file.name.endswith(".sql"))


def _without_comments(body: str) -> str:
    lines = (line for line in body.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).strip().rstrip(";")
