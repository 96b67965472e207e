"""deploy/Dockerfile and deploy/compose.yaml, as far as they can be judged without Docker; .ci/run builds what the image holds."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from keyservice.settings import PREFIX, Settings
from tests.deploy.tools import deploy, tool
from tests.lab.service_process import ServiceProcess
from tests.printed_commands import bash, blocks_of

REPOSITORY: Final = Path(__file__).parents[2]
DOCKERFILE: Final = (deploy() / "Dockerfile").read_text()
COMPOSE: Final = (deploy() / "compose.yaml").read_text()
SECRETS: Final = (
    "superuser_password",
    "owner_password",
    "service_password",
    "backup_password",
    "owner.toml",
    "service.toml",
)


def test_uv_is_the_one_of_the_lock() -> None:
    locked = re.search(r'^name = "uv"\nversion = "([^"]+)"', (REPOSITORY / "uv.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert f"ARG UV_VERSION={locked[1]}\n" in DOCKERFILE


def test_everything_that_is_copied_is_there_and_let_through() -> None:
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()
    ]
    let_through = re.findall(r"^!(.+)$", (deploy() / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert sorted(copied) == sorted(let_through)
    assert all((REPOSITORY / name).exists() for name in copied)


def test_the_image_runs_as_nobody_special_and_sets_only_what_is_a_setting() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER (\d+):\1$", last_stage, re.MULTILINE)
    assert "VOLUME /var/lib/keyservice\n" in last_stage
    named = set(re.findall(rf"{PREFIX}(\w+)=", last_stage))
    assert named == {"DATA_DIRECTORY", "HOST", "PORT"}
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


async def test_the_health_check_tells_a_service_that_answers_from_one_that_does_not() -> None:
    found = re.search(r"^HEALTHCHECK .*\n +CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    program, *arguments = re.findall(r'"((?:[^"\\]|\\.)*)"', found[1])
    assert program == "python"
    command = shlex.join([sys.executable, *arguments])
    async with ServiceProcess.running(processes=1) as service:
        environment = {"KEYSERVICE_PORT": str(service.port)}
        assert (await bash(command, service.directory, environment))[0] == 0
        await service.stop()
        assert (await bash(command, service.directory, environment))[0] == 1


def test_docker_compose_understands_the_file_and_every_secret_is_one_that_the_runbook_makes(tmp_path: Path) -> None:
    declared = re.findall(r'^  (\S+): \{file: "\$\{SECRETS:-\./secrets\}/(\S+)"\}$', COMPOSE, re.MULTILINE)
    assert [name for name, _ in declared] == [file for _, file in declared] == list(SECRETS)
    ended = subprocess.run(
        [tool("docker-compose"), "-f", deploy() / "compose.yaml", "config", "-q"],
        env={"SECRETS": str(tmp_path), "PATH": "/usr/bin:/bin:/usr/local/bin"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


async def test_the_secrets_are_made_in_a_closed_directory_and_open_for_the_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (deploy() / "RUNBOOK.md").read_text()
    password = next(line for line in page.splitlines() if line.startswith("password()"))
    making = next(block.text for block in blocks_of(page) if "service.toml" in block.text)
    status, _, told = await bash(f"umask 077\n{password}\n{making}", tmp_path, {"CONFIGURATION": str(tmp_path)})
    assert status == 0, told
    directory = tmp_path / "secrets"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in directory.iterdir()} == dict.fromkeys(SECRETS, 0o644)
    monkeypatch.setenv("KEYSERVICE_CONFIG", str(directory / "owner.toml"))
    settings = Settings()
    assert settings.database_url is not None
    assert settings.database_owner_url is not None
    assert (directory / "service_password").read_text().strip() in settings.database_url.get_secret_value()
    assert (directory / "owner_password").read_text().strip() in settings.database_owner_url.get_secret_value()


def test_the_first_start_script_is_sound_and_reads_the_secrets_of_its_container() -> None:
    script = deploy() / "postgres" / "first-start.sh"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert script.stat().st_mode & 0o111
    assert set(re.findall(r"/run/secrets/(\w+)", script.read_text())) <= set(SECRETS)
