"""deploy/systemd: systemd itself judges the units; what of their walls needs no systemd is put up around a real service."""

import configparser
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from keyservice.cli.refusals import REFUSED, TRY_AGAIN_LATER
from keyservice.settings import Settings
from tests.cli.running_demo import passable
from tests.deploy.tools import deploy, tool

UNITS: Final = ("keyservice.service", "keyservice-migrate.service")
# In tenths; 0 is a program that can reach nothing.
EXPOSURE_MAX: Final = 15
_PR_SET_MDWE: Final = 65
_PR_SET_NO_NEW_PRIVS: Final = 38
_WALLED: Final = f"""
import ctypes, mmap, os, resource, sys
kernel = ctypes.CDLL(None)
assert kernel.prctl({_PR_SET_MDWE}, 1, 0, 0, 0) == 0
assert kernel.prctl({_PR_SET_NO_NEW_PRIVS}, 1, 0, 0, 0) == 0
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.umask(0o077)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unit, with this environment's program in the place of the installed one."""
    program = Path(sys.executable).parent / "keyservice"
    name: str = request.param
    text = (deploy() / "systemd" / name).read_text()
    assert text.count("/opt/keyservice/bin/keyservice") == 1
    file = tmp_path / name
    file.write_text(text.replace("/opt/keyservice/bin/keyservice", str(program)))
    return file


def test_systemd_finds_no_mistake_in_a_unit(unit: Path) -> None:
    verify = [tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no"]
    assert _run(*verify, unit) == (0, "")
    spoiled = unit.with_name(f"spoiled-{unit.name}")
    spoiled.write_text(unit.read_text().replace("LimitCORE=", "LimitCROE="))
    assert "LimitCROE" in _run(*verify, spoiled)[1]


def test_little_is_in_reach_of_a_unit(unit: Path) -> None:
    judge = [tool("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager"]
    status, told = _run(*judge, unit)
    assert status == 0, told
    spoiled = unit.with_name(f"open-{unit.name}")
    spoiled.write_text(
        unit.read_text().replace("ProtectSystem=strict", "ProtectSystem=no").replace("CapabilityBoundingSet=\n", "")
    )
    assert _run(*judge, spoiled)[0] != 0


def test_the_account_can_be_made(tmp_path: Path) -> None:
    directory = tmp_path / "usr" / "lib" / "sysusers.d"
    directory.mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (directory / "keyservice.conf").write_bytes((deploy() / "systemd" / "keyservice.sysusers.conf").read_bytes())
    status, told = _run(tool("systemd-sysusers"), f"--root={tmp_path}")
    assert status == 0, told
    assert ":/var/lib/keyservice:" in (tmp_path / "etc" / "passwd").read_text()


def test_the_unit_waits_longer_than_the_service_and_knows_its_exit_statuses() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(deploy() / "systemd" / "keyservice.service")
    service = parser["Service"]
    assert int(service["TimeoutStopSec"]) > Settings.model_fields["stop_seconds"].get_default()
    assert service["RestartPreventExitStatus"] == str(REFUSED)
    assert service["Type"] == "notify"
    assert str(TRY_AGAIN_LATER) in (deploy() / "systemd" / "keyservice.service").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these walls")
def test_the_service_works_where_no_memory_is_both_written_and_executed() -> None:
    """As under MemoryDenyWriteExecute=, NoNewPrivileges=, LimitCORE=0 and UMask=, also with an embedded PostgreSQL."""
    if _walled(sys.executable, "-c", "pass")[0] != 0:
        pytest.skip("the kernel is older than 6.3 and has no such wall for a process to put up")
    code = "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)"
    assert "PermissionError" in _walled(sys.executable, "-c", code)[1]
    with passable() as directory:
        status, told = _walled(sys.executable, "-m", "keyservice", "demo", "--exit", TMPDIR=str(directory))
    assert status == 0, told


def _walled(*command: str, **environment: str) -> tuple[int, str]:
    return _run(sys.executable, "-c", _WALLED, *command, **environment)


def _run(*command: str | Path, **environment: str) -> tuple[int, str]:
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )
    return ended.returncode, ended.stdout + ended.stderr
