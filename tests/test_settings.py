from pathlib import Path

import pytest

from keyservice.settings import SettingsRefused, read_settings


def test_an_unknown_name_refuses_to_start() -> None:
    with pytest.raises(SettingsRefused, match="KEYSERVICE_PROT"):
        read_settings({"KEYSERVICE_PROT": "9000"})


def test_names_of_other_programs_are_none_of_our_business() -> None:
    assert read_settings({"PORT": "9000", "KEYSERVICES": "x"}).port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEYSERVICE_PORT", "-1"),
        ("KEYSERVICE_PORT", "eighty"),
        ("KEYSERVICE_PROCESSES", "0"),
        ("KEYSERVICE_BODY_BYTES_MAX", "1e99"),
        ("KEYSERVICE_LOG_LEVEL", "loud"),
        ("KEYSERVICE_UPLOADS_AT_ONCE", ""),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsRefused, match=name):
        read_settings()


def test_the_database_url_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSERVICE_DATABASE_URL", "postgresql://service:planted@/x")
    settings = read_settings()
    assert settings.database_url is not None
    assert "planted" not in repr(settings) + str(settings.database_url)


def test_an_empty_database_url_means_the_embedded_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSERVICE_DATABASE_URL", "")
    assert read_settings().database_url is None


def test_a_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keyservice.toml"
    file.write_text('port = 9001\nhost = "::1"\n')
    monkeypatch.setenv("KEYSERVICE_CONFIG", str(file))
    monkeypatch.setenv("KEYSERVICE_PORT", "9002")
    settings = read_settings()
    assert (settings.port, settings.host) == (9002, "::1")


@pytest.mark.parametrize("content", ["prot = 1\n", "port = \n", "port = 'x'\n"])
def test_a_file_with_a_mistake_refuses_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    file = tmp_path / "keyservice.toml"
    file.write_text(content)
    monkeypatch.setenv("KEYSERVICE_CONFIG", str(file))
    with pytest.raises(SettingsRefused):
        read_settings()


def test_a_file_that_is_not_there_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSERVICE_CONFIG", "/nowhere/keyservice.toml")
    with pytest.raises(SettingsRefused, match="KEYSERVICE_CONFIG"):
        read_settings()
