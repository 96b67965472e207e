"""Every setting, from the environment (KEYSERVICE_*) and an optional TOML file named by KEYSERVICE_CONFIG."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

PREFIX = "KEYSERVICE_"
# Read by the command line itself, not by the service.
COMMAND_LINE_NAMES = frozenset({"KEYSERVICE_CONFIG", "KEYSERVICE_URL", "KEYSERVICE_TOKEN"})

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class SettingsRefused(Exception):
    """A setting is unknown or not valid; the message names it and what to do."""


def default_data_directory() -> Path:
    """Where this account's service keeps its state: below /var/lib for root, else in the account's data directory."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/keyservice")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "keyservice"


class Settings(BaseSettings):
    """What an operator may choose. Every limit has its name here."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    data_directory: Path = Field(default_factory=default_data_directory)
    keyring_file: Path | None = Field(None, description="default: keyring.json in the data directory")
    database_url: SecretStr | None = Field(None, description="the service's own role; default: an embedded PostgreSQL")
    database_owner_url: SecretStr | None = Field(None, description="the role that owns and migrates the tables")
    database_connections: int = Field(8, ge=2, le=200, description="pooled connections of each process")
    statement_cache_size: int = Field(200, ge=0, le=10_000, description="0 behind a transaction pooler")
    embedded_user: str | None = Field(None, description="account that runs the embedded server when started as root")

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    processes: int = Field(1, ge=1, le=64)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    body_bytes_max: int = Field(1_048_576, ge=1_024, le=67_108_864)
    body_seconds: Seconds = 10
    header_seconds: Seconds = 10
    idle_seconds: Seconds = 75
    stop_seconds: Seconds = 30

    group_orders_max: int = Field(128, ge=1, le=2_000, description="orders that share one transaction")
    group_units_max: int = Field(200, ge=1, le=100_000, description="a request with more units has its own transaction")
    waiting_orders_max: int = Field(5_000, ge=1, le=1_000_000)
    order_lines_max: int = Field(200, ge=1, le=10_000)
    line_quantity_max: int = Field(9_999, ge=1, le=1_000_000)
    catalogue_seconds: float = Field(1.0, ge=0, le=60, description="how long products and callers are remembered")

    upload_bytes_max: int = Field(209_715_200, ge=1_024)
    upload_rows_max: int = Field(2_000_000, ge=1)
    upload_chunk_rows: int = Field(2_000, ge=1, le=20_000)
    upload_idle_seconds: Seconds = 30
    uploads_at_once: int = Field(4, ge=1, le=64, description="in each process; half of them for one publisher")
    upload_resume_hours: float = Field(24, gt=0, le=720, description="then an unfinished upload is discarded")
    expiry_dates_max: int = Field(1_000, ge=1, le=100_000)

    @field_validator("database_url", "database_owner_url", "keyring_file", "embedded_user", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return None if value == "" else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources = (init_settings, env_settings)
        path = os.environ.get("KEYSERVICE_CONFIG")
        return (*sources, TomlConfigSettingsSource(settings_cls, Path(path))) if path else sources

    @property
    def keyring_path(self) -> Path:
        return self.keyring_file or self.data_directory / "keyring.json"


def read_settings(environment: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """The settings; raises SettingsRefused for an unknown name, an unreadable file or a value out of bounds."""
    names = os.environ if environment is None else environment
    known = {PREFIX + name.upper() for name in Settings.model_fields} | COMMAND_LINE_NAMES
    unknown = sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsRefused(f"unknown setting {', '.join(unknown)}: remove it or correct its spelling")
    path = names.get("KEYSERVICE_CONFIG")
    if path and not Path(path).is_file():
        raise SettingsRefused("KEYSERVICE_CONFIG names a file that is not there")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsRefused("; ".join(_in_words(problem) for problem in error.errors())) from None
    except ValueError as error:
        raise SettingsRefused(f"KEYSERVICE_CONFIG is not a TOML file: {error}") from None


def _in_words(problem: object) -> str:
    assert isinstance(problem, dict)
    name = ".".join(str(part) for part in problem["loc"])
    return f"{PREFIX}{name.upper().removeprefix(PREFIX)}: {problem['msg']}"
