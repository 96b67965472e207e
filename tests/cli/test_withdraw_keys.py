"""Leaked keys go from a list on a disk off the publisher's stock."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from keyservice.domain.caller import CallerKind
from tests.cli.command import Ended, run_keyservice
from tests.cli.importing import import_file, new_keys, new_token
from tests.lab.shop import Shop


async def withdraw(url: str, token: str, *arguments: object, pool: object = "main", reason: str = "leaked") -> Ended:
    environment = {"KEYSERVICE_URL": url, "KEYSERVICE_TOKEN": token}
    return await run_keyservice("withdraw-keys", *arguments, "--pool", pool, "--reason", reason, **environment)


def listed(directory: Path, names: Sequence[str], *, line_break: str = "\n") -> Path:
    path = directory / "leaked.txt"
    path.write_bytes(line_break.join(names).encode())
    return path


async def test_the_keys_of_a_file_are_withdrawn_and_the_command_may_be_run_again(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    keys = new_keys(2_300)
    await shop.load(keys)
    file = listed(tmp_path, ["", *keys[:2_200], ""], line_break="\r\n")
    for outcome in ("withdrawn", "already_withdrawn"):
        ended = await withdraw(url, token, file, "--json", pool=shop.pool_id)
        assert ended.status == 0, ended.errors
        counts = json.loads(ended.output)
        assert {name: count for name, count in counts.items() if count} == {outcome: 2_200}
    assert await shop.left() == 100


async def test_what_is_not_withdrawn_is_told_by_its_line_and_no_key_is_printed(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    keys = new_keys(3)
    await shop.load(keys)
    await shop.buy("sold")
    ended = await withdraw(url, token, listed(tmp_path, [*keys, "NOBODYS-KEY"]))
    assert (ended.status, ended.reason) == (1, "2 of 4 entries are not withdrawn; the others are")
    assert "line 1: issued" in ended.output
    assert "line 4: not found" in ended.output
    assert not any(key in ended.output + ended.errors for key in [*keys, "NOBODYS-KEY"])
    assert await shop.left() == 0


async def test_keys_are_named_by_the_publisher_s_ids_too(shop: Shop, url: str, token: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.csv"
    file.write_text("key,key_id\n" + "".join(f"{key},ID-{n}\n" for n, key in enumerate(new_keys(5))))
    assert (await import_file(file, url, token)).status == 0
    admin = await new_token(shop, CallerKind.ADMIN)
    given = ("--publisher-key-id", "ID-0", "--publisher-key-id", "ID-1", "--publisher", shop.publisher)
    ended = await withdraw(url, admin, *given, listed(tmp_path, ["ID-2", "ID-9"]), "--ids")
    assert (ended.status, ended.reason) == (1, "1 of 4 entries are not withdrawn; the others are")
    assert "line 2: not found" in ended.output
    assert await shop.left() == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "name at least one key"),
        (b"\n\r\n", "name at least one key"),
        (b"\xff\xfeK\x00", "is not text in UTF-8"),
        (b"GOOD-KEY\n" + b"x" * 1_025, "line 2 of"),
    ],
)
async def test_a_file_that_is_no_list_of_keys_is_refused_and_withdraws_nothing(
    shop: Shop, url: str, token: str, tmp_path: Path, content: bytes, reason: str
) -> None:
    await shop.load([f"GOOD-{shop.pool_id}"])
    file = tmp_path / "leaked.txt"
    file.write_bytes(content)
    ended = await withdraw(url, token, file)
    assert ended.status == 1
    assert reason in ended.reason
    assert await shop.left() == 1


async def test_what_the_service_refuses_is_told_in_its_own_words(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    (key,) = new_keys(1)
    await shop.load([key])
    file = listed(tmp_path, [key])
    ended = await withdraw(url, token, file, reason=f"found {key}")
    assert ended.status == 1
    assert "the reason contains one of the keys" in ended.reason
    assert key not in ended.output + ended.errors
    assert "there is no pool of this id or name" in (await withdraw(url, token, file, pool="nobody's")).reason
    assert "cannot be read" in (await withdraw(url, token, tmp_path / "absent.txt")).reason
    assert await shop.left() == 1
