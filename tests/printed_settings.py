"""How pages for people print a setting: its default and what it may be."""

from typing import Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

# It depends on the account.
DATA_DIRECTORY_OF_ROOT: Final = "/var/lib/keyservice"
_NUMBER_OF_DIGITS: Final = ".12g"


def bounds_of(field: FieldInfo) -> str:
    """As "from 2 to 200", "above 0", or nothing."""
    bounds = [f"from {number(bound.ge)}" for bound in field.metadata if isinstance(bound, Ge)]
    bounds += [f"above {number(bound.gt)}" for bound in field.metadata if isinstance(bound, Gt)]
    bounds += [f"to {number(bound.le)}" for bound in field.metadata if isinstance(bound, Le)]
    return " ".join(bounds)


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def number(value: Any) -> str:
    """Without separators, as it is written into a setting."""
    return f"{value:{_NUMBER_OF_DIGITS}}"
