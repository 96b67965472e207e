import copy
import json
import os
import pickle
import stat
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from keyservice.crypto.keyring import (
    PURPOSES,
    Keyring,
    KeyringDamaged,
    KeyringExists,
    KeyringMissing,
    KeyringUnsafe,
    UnknownSecret,
    WrongKeyring,
    check_private,
    compare_check_values,
)
from keyservice.domain.errors import Conflict, Sealed
from tests.crypto.conftest import with_new_version, write

Document = dict[str, Any]


# The file's making


def test_a_first_start_makes_a_private_file_with_five_different_secrets(path: Path, now: datetime) -> None:
    made = Keyring.create(path, now)
    loaded = Keyring.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert loaded.check_values() == made.check_values()
    assert len({loaded.current(purpose).value for purpose in PURPOSES}) == 5
    assert loaded.created == now
    assert [entry.name for entry in path.parent.iterdir()] == ["keyring.json"]


def test_two_keyrings_share_no_secret(tmp_path: Path, now: datetime) -> None:
    first, second = (Keyring.create(tmp_path / name, now) for name in ("a", "b"))
    assert not set(first.check_values().values()) & set(second.check_values().values())


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_files_mode_does_not_depend_on_the_umask(path: Path, now: datetime, umask: int) -> None:
    before = os.umask(umask)
    try:
        Keyring.create(path, now)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_never_overwritten(path: Path, now: datetime) -> None:
    Keyring.create(path, now)
    before = path.read_bytes()
    with pytest.raises(KeyringExists, match="already a file") as refusal:
        Keyring.create(path, now)
    assert isinstance(refusal.value, Conflict)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["keyring.json"]


def test_a_link_to_nowhere_is_not_written_through(path: Path, now: datetime) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(KeyringExists):
        Keyring.create(path, now)
    assert not path.with_name("elsewhere").exists()


def test_of_many_first_starts_at_once_one_makes_the_file_and_the_rest_load_it(path: Path, now: datetime) -> None:
    barrier = Barrier(8)

    def start() -> Keyring | None:
        barrier.wait()
        try:
            return Keyring.create(path, now)
        except KeyringExists:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [keyring for keyring in pool.map(lambda _: start(), range(8)) if keyring is not None]
    assert len(made) == 1
    assert made[0].check_values() == Keyring.load(path).check_values()


def test_a_keyring_is_not_made_where_there_is_no_directory(tmp_path: Path, now: datetime) -> None:
    with pytest.raises(KeyringMissing):
        Keyring.create(tmp_path / "absent" / "keyring.json", now)


# The file's privacy


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_for_its_owner_alone_is_used(path: Path, document: Document, mode: int) -> None:
    write(path, document).chmod(mode)
    assert Keyring.load(path).current("wrapping").secret_id == "w1"


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o660, 0o666, 0o644, 0o777])
def test_a_file_that_others_can_touch_is_refused_with_the_remedy(path: Path, document: Document, mode: int) -> None:
    write(path, document).chmod(mode)
    with pytest.raises(KeyringUnsafe, match=f"mode is {mode:04o}; run `chmod 0600"):
        Keyring.load(path)


def test_a_symbolic_link_is_refused_even_to_a_good_file(path: Path, document: Document) -> None:
    link = path.with_name("link.json")
    link.symlink_to(write(path, document))
    with pytest.raises(KeyringUnsafe, match="symbolic link"):
        Keyring.load(link)
    assert Keyring.load(path)


def test_a_directory_or_a_pipe_is_refused_without_waiting_for_it(path: Path) -> None:
    path.mkdir(mode=0o700)
    with pytest.raises(KeyringUnsafe, match="not a regular file"):
        Keyring.load(path)
    pipe = path.with_name("pipe")
    os.mkfifo(pipe, 0o600)
    with pytest.raises(KeyringUnsafe, match="not a regular file"):
        Keyring.load(pipe)


def test_a_file_of_another_account_is_refused_unless_root_reads_it(path: Path) -> None:
    status = os.stat_result((stat.S_IFREG | 0o600, 1, 1, 1, 1000, 1000, 0, 0, 0, 0))
    check_private(path, status, account=1000)
    check_private(path, status, account=0)
    with pytest.raises(KeyringUnsafe, match="belongs to user 1000; run `chown 1001"):
        check_private(path, status, account=1001)


@pytest.mark.parametrize("below", ["keyring.json", "absent/keyring.json"])
def test_a_missing_file_is_called_missing(tmp_path: Path, below: str) -> None:
    with pytest.raises(KeyringMissing, match="restore it from its backup"):
        Keyring.load(tmp_path / below)


def test_a_file_where_the_directory_should_be_is_called_missing(path: Path, document: Document) -> None:
    with pytest.raises(KeyringMissing):
        Keyring.load(write(path, document) / "keyring.json")


def test_whatever_is_wrong_with_the_file_the_service_is_sealed() -> None:
    assert all(issubclass(error, Sealed) for error in (KeyringMissing, KeyringUnsafe, KeyringDamaged, WrongKeyring))


# The file's content


def test_a_file_cut_at_any_offset_is_damaged(path: Path, document: Document) -> None:
    whole = json.dumps(document).encode()
    for length in range(len(whole)):
        with pytest.raises(KeyringDamaged):
            Keyring.load(write(path, whole[:length]))
    assert Keyring.load(write(path, whole))


def edited(*route: str | int, to: object) -> Callable[[Document], Document]:
    """The document with one member, reached by the route, set to another value."""

    def edit(document: Document) -> Document:
        target: Any = document
        for step in route[:-1]:
            target = target[step]
        target[route[-1]] = to
        return document

    return edit


def without(*route: str | int) -> Callable[[Document], Document]:
    def edit(document: Document) -> Document:
        target: Any = document
        for step in route[:-1]:
            target = target[step]
        del target[route[-1]]
        return document

    return edit


WRAPPING = ("purposes", "wrapping", 0)
SECRET_1 = b64encode(b"\x01" * 32).decode()


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (edited("comment", to="mine"), "the file must be JSON with exactly the members"),
        (without("created"), "the file must be JSON with exactly the members"),
        (without("purposes"), "the file must be JSON with exactly the members"),
        (edited("version", to=2), "its version is not 1"),
        (edited("version", to=True), "its version is not 1"),
        (edited("version", to=1.0), "its version is not 1"),
        (edited("version", to="1"), "its version is not 1"),
        (edited("created", to="yesterday"), "the creation time of the file"),
        (edited("created", to="2026-11-22T10:30:00"), "the creation time of the file"),
        (edited("created", to=7), "the creation time of the file"),
        (edited("purposes", to=[]), "purposes must be JSON"),
        (edited("purposes", "audit", to=[]), "purposes must be JSON"),
        (without("purposes", "order"), "purposes must be JSON"),
        (edited("purposes", "order", to={}), "order must be a list"),
        (edited("purposes", "order", to=[]), "order must have exactly one current secret"),
        (edited("purposes", "order", to=["o1"]), "each secret of order must be JSON"),
        (edited(*WRAPPING, "note", to=""), "each secret of wrapping must be JSON"),
        (without(*WRAPPING, "created"), "each secret of wrapping must be JSON"),
        (edited(*WRAPPING, "state", to="retired"), "wrapping must have exactly one current secret"),
        (edited(*WRAPPING, "state", to="Current"), "wrapping:w1 has an unknown state"),
        (edited(*WRAPPING, "state", to=["current"]), "wrapping:w1 has an unknown state"),
        (edited(*WRAPPING, "created", to="2026-02-30T00:00:00Z"), "the creation time of wrapping:w1"),
        (edited(*WRAPPING, "id", to=""), "an id of wrapping is malformed"),
        (edited(*WRAPPING, "id", to="W1"), "an id of wrapping is malformed"),
        (edited(*WRAPPING, "id", to="w1\n"), "an id of wrapping is malformed"),
        (edited(*WRAPPING, "id", to="w" * 33), "an id of wrapping is malformed"),
        (edited(*WRAPPING, "id", to=1), "an id of wrapping is malformed"),
        (edited(*WRAPPING, "secret", to=""), "wrapping:w1 is not 32 bytes in base64"),
        (edited(*WRAPPING, "secret", to=None), "wrapping:w1 is not 32 bytes in base64"),
        (edited(*WRAPPING, "secret", to=SECRET_1[:-4]), "wrapping:w1 is not 32 bytes in base64"),
        (edited(*WRAPPING, "secret", to=SECRET_1[:-1]), "wrapping:w1 is not 32 bytes in base64"),
        (edited(*WRAPPING, "secret", to=SECRET_1[:-2] + "F="), "wrapping:w1 is not 32 bytes in base64"),
        (edited(*WRAPPING, "secret", to=SECRET_1[:9] + "\n" + SECRET_1[9:]), "wrapping:w1 is not 32 bytes in base64"),
        (edited(*WRAPPING, "secret", to=SECRET_1 + "\u00e9"), "wrapping:w1 is not 32 bytes in base64"),
        (edited(*WRAPPING, "secret", to=SECRET_1 + "\ud800"), "wrapping:w1 is not 32 bytes in base64"),
        (edited(*WRAPPING, "secret", to=b64encode(bytes(33)).decode()), "wrapping:w1 is not 32 bytes in base64"),
        (
            edited(*WRAPPING, "secret", to=urlsafe_b64encode(b"\xff" * 32).decode()),
            "wrapping:w1 is not 32 bytes in base64",
        ),
        (edited(*WRAPPING, "secret", to=b64encode(b"\x02" * 32).decode()), "the same secret occurs twice"),
    ],
)
def test_a_file_that_was_not_written_by_this_program_is_refused_with_the_reason(
    path: Path, document: Document, edit: Callable[[Document], Document], reason: str
) -> None:
    with pytest.raises(KeyringDamaged, match=f"{path} is damaged: {reason}.*restore it from its backup") as refusal:
        Keyring.load(write(path, edit(document)))
    assert_carries_no_secret(refusal.value)


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda raw: b"", "the file must be JSON"),
        (lambda raw: b"null", "the file must be JSON"),
        (lambda raw: b"[" * 60_000, "the file must be JSON"),
        (lambda raw: raw + b"}", "the file must be JSON"),
        (lambda raw: raw + raw, "the file must be JSON"),
        (lambda raw: raw + b"\0", "the file must be JSON"),
        (lambda raw: b"\xef\xbb\xbf" + raw, "the file must be JSON"),
        (lambda raw: raw.decode().encode("utf-16"), "the file must be JSON"),
        (lambda raw: raw.replace(b"current", b"curr\xffnt", 1), "the file must be JSON"),
        (lambda raw: raw.replace(b'"version": 1', b'"version": 1, "version": 1'), "the file must be JSON"),
        (lambda raw: raw.replace(b'"id": "w1"', b'"id": "w1", "id": "w1"'), "the file must be JSON"),
        (lambda raw: raw.replace(b"\n", b"\r\n"), "its line ends were converted"),
        (lambda raw: raw + b" " * 65_536, "it is larger than 65536 bytes"),
    ],
)
def test_bytes_that_an_editor_or_a_transfer_spoiled_are_refused_with_the_reason(
    path: Path, document: Document, alter: Callable[[bytes], bytes], reason: str
) -> None:
    whole = write(path, document).read_bytes()
    with pytest.raises(KeyringDamaged, match=reason) as refusal:
        Keyring.load(write(path, alter(whole)))
    assert_carries_no_secret(refusal.value)


def test_two_versions_with_one_id_or_two_current_ones_are_refused(path: Path, document: Document) -> None:
    rotated = with_new_version(document, "order", 99)
    assert Keyring.load(write(path, rotated)).current("order").secret_id == "o2"
    old, new = rotated["purposes"]["order"]
    for entries, reason in [
        ([old, new | {"id": "o1"}], "an id occurs twice"),
        ([old | {"state": "current"}, new], "order must have exactly one current secret"),
        ([old, new | {"secret": old["secret"]}], "the same secret occurs twice"),
    ]:
        with pytest.raises(KeyringDamaged, match=reason):
            Keyring.load(write(path, rotated | {"purposes": rotated["purposes"] | {"order": entries}}))


def assert_carries_no_secret(error: BaseException | None) -> None:
    while error is not None:
        carried = f"{error!r} {error.args} {vars(error)}"
        assert not any(b64encode(bytes([byte]) * 32).decode() in carried for byte in range(1, 6))
        error = error.__context__


# Versions


def test_the_current_version_leads_and_the_retired_ones_stay_at_hand(keyring: Keyring, rotated: Keyring) -> None:
    assert [secret.secret_id for secret in keyring.versions("suffix")] == ["s1"]
    assert [secret.secret_id for secret in rotated.versions("suffix")] == ["s2", "s1"]
    assert rotated.current("suffix").value == b"\x0d" * 32
    assert rotated.version("suffix", "s1").value == keyring.current("suffix").value == b"\x03" * 32
    assert rotated.version("suffix", "s1").state == "retired"


def test_a_version_that_is_not_held_is_named_in_the_refusal(keyring: Keyring) -> None:
    with pytest.raises(UnknownSecret, match="no secret wrapping:w9; restore the keyring that does") as refusal:
        keyring.version("wrapping", "w9")
    assert isinstance(refusal.value, Sealed)
    with pytest.raises(UnknownSecret):
        keyring.version("order", "w1")


# Check values


def test_the_check_values_are_fixed_and_tell_nothing_of_the_secrets(keyring: Keyring) -> None:
    values = keyring.check_values()
    assert {name: value.hex() for name, value in values.items()} == {
        "wrapping:w1": "cd2fe75881a77b742d1c559e8455c50d",
        "fingerprint:f1": "8578e9bbdba57eb74e506b1296f03349",
        "suffix:s1": "6db27b650a0884f68edbded6af930929",
        "shopper:s1": "cf5494fd54f3f6c6fe0d8e0bd372a148",
        "order:o1": "58629b59709f97a416f500fa759339c8",
    }


def test_the_keyring_of_this_database_passes_and_so_do_a_first_start_and_a_rotation(
    keyring: Keyring, rotated: Keyring
) -> None:
    compare_check_values({}, keyring)
    compare_check_values(keyring.check_values(), keyring)
    compare_check_values(keyring.check_values(), rotated)


def test_another_databases_keyring_is_refused_by_name_with_the_remedy(
    tmp_path: Path, keyring: Keyring, now: datetime
) -> None:
    other = Keyring.create(tmp_path / "other.json", now)
    with pytest.raises(
        WrongKeyring, match=r"wrapping:w1 differs.*restore the keyring file .* from its backup"
    ) as refusal:
        compare_check_values(keyring.check_values(), other)
    assert refusal.value.differing == ("fingerprint:f1", "order:o1", "shopper:s1", "suffix:s1", "wrapping:w1")
    assert refusal.value.missing == ()


def test_an_older_backup_of_the_keyring_is_refused_by_name(keyring: Keyring, rotated: Keyring) -> None:
    with pytest.raises(WrongKeyring, match="order:o2 is missing") as refusal:
        compare_check_values(rotated.check_values(), keyring)
    assert refusal.value.differing == ()
    assert refusal.value.missing == ("fingerprint:f2", "order:o2", "shopper:s2", "suffix:s2", "wrapping:w2")


def test_secrets_swapped_between_purposes_are_noticed(path: Path, document: Document, keyring: Keyring) -> None:
    purposes = document["purposes"]
    suffix, shopper = purposes["suffix"][0], purposes["shopper"][0]
    suffix["secret"], shopper["secret"] = shopper["secret"], suffix["secret"]
    with pytest.raises(WrongKeyring) as refusal:
        compare_check_values(keyring.check_values(), Keyring.load(write(path, document)))
    assert refusal.value.differing == ("shopper:s1", "suffix:s1")


def test_one_flipped_bit_of_a_secret_or_of_a_stored_check_value_is_noticed(
    path: Path, document: Document, keyring: Keyring
) -> None:
    stored = keyring.check_values()
    with pytest.raises(WrongKeyring, match="order:o1 differs"):
        compare_check_values(
            stored | {"order:o1": bytes([stored["order:o1"][0] ^ 1]) + stored["order:o1"][1:]}, keyring
        )
    document["purposes"]["order"][0]["secret"] = b64encode(b"\x04" + b"\x05" * 31).decode()
    with pytest.raises(WrongKeyring, match="order:o1 differs"):
        compare_check_values(stored, Keyring.load(write(path, document)))


# Secrecy


def test_neither_a_keyring_nor_a_secret_shows_more_than_names(keyring: Keyring) -> None:
    assert repr(keyring) == "Keyring(wrapping:w1, fingerprint:f1, suffix:s1, shopper:s1, order:o1)"
    assert f"{keyring.current('order')!r}" == f"{keyring.current('order')}" == "Secret(order:o1, current)"


def test_neither_a_keyring_nor_a_secret_is_pickled_or_copied(keyring: Keyring) -> None:
    for held in (keyring, keyring.current("order")):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(held)
        with pytest.raises(TypeError, match="never pickled"):
            copy.deepcopy(held)
