"""deploy/env.example as the settings want it: `python -m tests.deploy.env_example > deploy/env.example` writes it anew."""

import sys
from typing import Final

from pydantic.fields import FieldInfo

from keyservice.settings import PREFIX, Settings
from tests.printed_settings import DATA_DIRECTORY_OF_ROOT, bounds_of, choices_of, number

_HEAD: Final = """\
# Every setting of keyservice with its default. Take the # away to change one.
# For systemd (EnvironmentFile=) and Docker (env_file): no quotes, no spaces around the sign, nothing behind a value.
"""
_OF_THE_ACCOUNT: Final = {"data_directory": "this one for root, else ~/.local/share/keyservice"}


def env_example() -> str:
    return _HEAD + "".join(_entry(name, field) for name, field in Settings.model_fields.items())


def _entry(name: str, field: FieldInfo) -> str:
    allowed = bounds_of(field) or (f"one of {', '.join(choices_of(field))}" if choices_of(field) else "")
    told = "; ".join(part for part in (field.description, _OF_THE_ACCOUNT.get(name), allowed) if part)
    comment = f"# {told}\n" if told else ""
    return f"\n{comment}#{PREFIX}{name.upper()}={_default(name, field)}\n"


def _default(name: str, field: FieldInfo) -> str:
    if name in _OF_THE_ACCOUNT:
        return DATA_DIRECTORY_OF_ROOT
    default = field.get_default()
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case str():
            return default
        case _:
            return number(default)


if __name__ == "__main__":
    sys.stdout.write(env_example())
