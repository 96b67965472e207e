"""The scanner can find: each form, in each kind of place, is planted and found."""

import base64
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.canary import MARK, Scanner, canaries, forms_of
from tests.lab.processes import ProcessRef

SCANNER = Scanner({"canary": MARK.encode()})
ONE = canaries(random.Random(1), 2)  # noqa: S311 - test data
FORMS = ["raw", "utf-16-le", "utf-16-be", "hex", "HEX", "percent", "percent, lower", "unicode escape"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("canary", ONE)
def test_every_form_is_found_in_a_file(tmp_path: Path, canary: str, form: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"before " + forms_of(canary.encode())[form] + b" after" + bytes(100))
    assert form in {found.form for found in SCANNER.in_files(tmp_path)}


@pytest.mark.parametrize("offset", range(12))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_wherever_in_the_encoded_text_it_begins(offset: int, encode: object) -> None:
    assert callable(encode)
    content = encode(b"x" * offset + ONE[0].encode() + b"tail")
    assert [found for found in SCANNER.in_bytes(content, "here") if "base64" in found.form]


def test_the_rest_of_the_world_is_not_taken_for_a_canary(tmp_path: Path) -> None:
    (tmp_path / "random").write_bytes(random.Random(2).randbytes(3_000_000))  # noqa: S311 - test data
    (tmp_path / "base64").write_bytes(base64.b64encode(random.Random(3).randbytes(3_000_000)))  # noqa: S311
    (tmp_path / "key-tail").write_text(ONE[0][-4:])
    assert SCANNER.in_files(tmp_path) == []


def test_files_are_left_out_by_name_only(tmp_path: Path) -> None:
    for name in ("keyring.json", "other.json"):
        (tmp_path / name).write_text(ONE[0])
    assert {found.place for found in SCANNER.in_files(tmp_path, but={"keyring.json"})} == {"other.json"}


@pytest.mark.parametrize("place", ["cmdline", "environ"])
def test_a_process_is_searched_in_its_arguments_and_its_environment(place: str) -> None:
    argument, value = (ONE[0], "-") if place == "cmdline" else ("-", ONE[0])
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", argument]
    with subprocess.Popen(command, env={"NAME": value}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        running = ProcessRef.of(process.pid)
        assert running is not None
        found = SCANNER.in_processes([running])
        process.communicate()
    assert {one.place for one in found} == {f"/proc/{process.pid}/{place}"}
