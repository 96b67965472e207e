"""Every setting, from the environment (KEYSERVICE_*) and an optional TOML file named by KEYSERVICE_CONFIG."""

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

PREFIX = "KEYSERVICE_"
# Read by the command line itself, not by the service.
COMMAND_LINE_NAMES = frozenset({"KEYSERVICE_CONFIG", "KEYSERVICE_URL", "KEYSERVICE_TOKEN"})

# Scheme, user and password, one or more hosts with ports, and the rest; a socket's directory is percent-encoded.
_HOST: Final = r"(?:\[[0-9a-fA-F:.]+\]|[^/?#@:,\s]*)(?::\d+)?"
_DATABASE_URL: Final = re.compile(rf"postgres(?:ql)?://(?:[^/?#@\s]*@)?{_HOST}(?:,{_HOST})*(?:[/?].*)?")

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
    order_units_max: int = Field(10_000, ge=1, le=1_000_000, description="keys that one order or claim may want")
    hold_seconds_max: int = Field(86_400, ge=1, le=2_592_000, description="how long keys may be held for a payment")
    watch_seconds: float = Field(
        0.5, gt=0, le=60, description="how often holds that expire and units that wait are looked after"
    )
    catalogue_seconds: float = Field(1.0, ge=0, le=60, description="how long products and callers are remembered")

    token_issuer: str = Field("keyservice", description="issuer and audience of short-lived tokens")
    access_token_seconds: int = Field(300, ge=10, le=3_600, description="how long such a token is good")
    signing_key_days: float = Field(7, gt=0, le=365, description="then the next key signs them")
    requests_per_second: int | None = Field(
        None, ge=1, le=1_000_000, description="for callers without a limit of their own"
    )
    requests_burst: int | None = Field(
        None, ge=1, le=1_000_000, description="at once after a pause; default: those of one second"
    )
    requests_per_day: int | None = Field(None, ge=1, le=2_000_000_000, description="in a UTC day")

    upload_bytes_max: int = Field(209_715_200, ge=1_024)
    upload_rows_max: int = Field(2_000_000, ge=1)
    upload_chunk_rows: int = Field(2_000, ge=1, le=20_000)
    upload_idle_seconds: Seconds = 30
    uploads_at_once: int = Field(4, ge=1, le=64, description="in each process; half of them for one publisher")
    upload_resume_hours: float = Field(24, gt=0, le=720, description="then an unfinished upload is discarded")
    upload_packed_bytes_max: int = Field(
        67_108_864, ge=1_024, le=1_073_741_824, description="of an XLSX or ZIP file, which is held in memory"
    )
    upload_entries_max: int = Field(20_000, ge=1, le=1_000_000, description="files in a ZIP archive")
    upload_entry_bytes_max: int = Field(65_536, ge=1, le=1_048_576, description="of each file in a ZIP archive")
    unpack_memory_bytes_max: int = Field(
        402_653_184, ge=134_217_728, description="for the process that reads an XLSX or ZIP file"
    )
    unpack_processor_seconds_max: int = Field(120, ge=1, le=86_400, description="likewise")
    unpack_silent_seconds: Seconds = Field(60, description="how long it may take for its next rows")
    unpack_at_once: int = Field(2, ge=1, le=64, description="in each process; more uploads wait for their turn")
    statements_at_once: int = Field(2, ge=1, le=64, description="in each process; one for each publisher")
    expiry_dates_max: int = Field(1_000, ge=1, le=100_000)

    egress_networks: str = Field(
        "",
        description="networks that may be connected to though they are not public, with commas: 10.1.0.0/16,fd00::/8",
    )
    egress_ports: str = Field("80,443,8443", description="ports that may be connected to, with commas; empty: any")
    egress_plain_http: bool = Field(False, description="whether publishers and receivers may have URLs without TLS")
    notice_seconds: float = Field(15, gt=0, le=120, description="how long a receiver of notices has for its answer")
    notice_keep_days: float = Field(30, gt=0, le=3_650, description="then notices and their deliveries are forgotten")
    webhooks_max: int = Field(10, ge=1, le=1_000, description="of each caller and of each publisher")

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object, info: ValidationInfo) -> object:
        """As files of settings have it, where no value can be written in another way."""
        may_be_absent = cls.model_fields[info.field_name or ""].get_default() is None
        return None if value == "" and may_be_absent else value

    @field_validator("egress_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for part in _parts(value):
            try:
                ip_network(part)
            except ValueError:
                raise ValueError("write networks with their lengths, with commas: 10.1.0.0/16,fd00::/8") from None
        return value

    @field_validator("egress_ports")
    @classmethod
    def _are_ports(cls, value: str) -> str:
        if not all(part.isascii() and part.isdigit() and 0 < int(part) < 65_536 for part in _parts(value)):
            raise ValueError("write numbers of ports, with commas: 443,8443")
        return value

    @field_validator("database_url", "database_owner_url")
    @classmethod
    def _is_a_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _DATABASE_URL.fullmatch(value.get_secret_value()):
            raise ValueError(
                "write postgresql://user:password@host:port/database, with percent-encoding for special characters"
            )
        return value

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

    @property
    def egress_allowed_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(part) for part in _parts(self.egress_networks))

    @property
    def egress_port_numbers(self) -> frozenset[int] | None:
        """None: any."""
        return frozenset(int(part) for part in _parts(self.egress_ports)) or None


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


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _in_words(problem: object) -> str:
    assert isinstance(problem, dict)
    name = ".".join(str(part) for part in problem["loc"])
    return f"{PREFIX}{name.upper().removeprefix(PREFIX)}: {problem['msg']}"
