"""Programs of other people that judge what cannot be run here."""

import os
import shutil
from pathlib import Path

import pytest

# The README's test command needs no system package. Where they were all installed, none may be absent.
NO_TOOL_MAY_BE_ABSENT = "TEST_NO_TOOL_MAY_BE_ABSENT"


def tool(*names: str) -> str:
    """The first of these programs that there is; without any the test is skipped."""
    for name in names:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if found is not None:
            return found
    told = f"this machine has no {' or '.join(names)}"
    if os.environ.get(NO_TOOL_MAY_BE_ABSENT):
        pytest.fail(told)
    pytest.skip(told)


def deploy() -> Path:
    return Path(__file__).parents[2] / "deploy"
