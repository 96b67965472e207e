"""deploy/env.example: every setting with its default and its bounds, and nothing else."""

from pathlib import Path
from typing import Final

import pytest

from keyservice.settings import PREFIX, Settings, read_settings
from tests.deploy.env_example import env_example
from tests.printed_settings import DATA_DIRECTORY_OF_ROOT

FILE: Final = Path(__file__).parents[2] / "deploy" / "env.example"


def test_it_is_what_the_settings_say() -> None:
    wanted = env_example()
    assert FILE.read_text() == wanted, "run: python -m tests.deploy.env_example > deploy/env.example"


def test_its_values_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.removeprefix("#") for line in FILE.read_text().splitlines() if line.startswith(f"#{PREFIX}")]
    assert len(lines) == len(Settings.model_fields)
    for line in lines:
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    assert read_settings() == Settings(data_directory=Path(DATA_DIRECTORY_OF_ROOT))


def test_as_it_is_it_sets_nothing() -> None:
    assert all(line.startswith("#") or not line for line in FILE.read_text().splitlines())
