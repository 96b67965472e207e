"""The service secrets: one private JSON file that holds every version still needed, one of them current per purpose."""

import binascii
import hmac
import json
import os
import re
import secrets
import stat
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NoReturn, Self, cast, final, get_args

from keyservice.crypto.sealing import aad as framed
from keyservice.domain.errors import Conflict, Sealed

Purpose = Literal["wrapping", "fingerprint", "suffix", "shopper", "order"]
SecretState = Literal["current", "retired"]
PURPOSES: Final = cast(tuple[Purpose, ...], get_args(Purpose))
SECRET_BYTES: Final = 32
CHECK_VALUE_BYTES: Final = 16
KEYRING_BYTES_MAX: Final = 65_536
_VERSION: Final = 1
_SECRET_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")


class KeyringMissing(Sealed):
    """There is no keyring file where it was looked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no keyring file at {path}; restore it from its backup (only a first start makes a new one)")
        self.path = path


class KeyringUnsafe(Sealed):
    """The keyring file could be read or replaced by somebody else, so it is not used."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the keyring file {path} is not safe to use: {reason}")
        self.path = path


class KeyringDamaged(Sealed):
    """The keyring file is not, to the last member, what this program writes."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the keyring file {path} is damaged: {reason}; restore it from its backup")
        self.path = path


class KeyringExists(Conflict):
    """A keyring is never overwritten: whoever comes second loads the first one."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"there is already a file at {path}; load it, or move it away if it is truly not needed")
        self.path = path


class UnknownSecret(Sealed):
    """Something was made with a version that this keyring does not hold."""

    def __init__(self, purpose: Purpose, secret_id: str) -> None:
        super().__init__(f"the keyring holds no secret {purpose}:{secret_id}; restore the keyring that does")
        self.purpose = purpose
        self.secret_id = secret_id


class WrongKeyring(Sealed):
    """The keyring is intact but is not the one this database was written with."""

    def __init__(self, *, differing: tuple[str, ...], missing: tuple[str, ...]) -> None:
        found = [f"{name} differs" for name in differing] + [f"{name} is missing" for name in missing]
        super().__init__(
            f"this keyring does not belong to this database: {', '.join(found)}; "
            "restore the keyring file of this database from its backup, nothing was read or written"
        )
        self.differing = differing
        self.missing = missing


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Secret:
    """One version of one purpose's secret; shown only by its name."""

    purpose: Purpose
    secret_id: str
    value: bytes
    state: SecretState
    created: datetime

    @property
    def name(self) -> str:
        return f"{self.purpose}:{self.secret_id}"

    def check_value(self) -> bytes:
        """Proves which secret this is without telling anything of it."""
        message = framed("keyservice check value", self.purpose.encode(), self.secret_id.encode())
        return hmac.digest(self.value, message, "sha256")[:CHECK_VALUE_BYTES]

    def __repr__(self) -> str:
        return f"Secret({self.name}, {self.state})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled or copied")


@final
class Keyring:
    """All versions of all secrets. ValueError unless each purpose has exactly one current and nothing occurs twice."""

    __slots__ = ("_current", "_versions", "created")

    def __init__(self, created: datetime, versions: Iterable[Secret]) -> None:
        held = tuple(versions)
        self.created = created
        self._versions = {(secret.purpose, secret.secret_id): secret for secret in held}
        self._current = {secret.purpose: secret for secret in held if secret.state == "current"}
        for purpose in PURPOSES:
            if sum(secret.purpose == purpose and secret.state == "current" for secret in held) != 1:
                raise ValueError(f"{purpose} must have exactly one current secret")
        if len(self._versions) != len(held):
            raise ValueError("an id occurs twice within one purpose")
        if len({secret.value for secret in held}) != len(held):
            raise ValueError("the same secret occurs twice")

    @classmethod
    def create(cls, path: Path, now: datetime) -> Self:
        """Make fresh secrets and write them, whole or not at all; KeyringExists if anything is at the path."""
        keyring = cls(now, [_fresh(purpose, now) for purpose in PURPOSES])
        _write_new(path, _to_json(keyring))
        return keyring

    @classmethod
    def load(cls, path: Path) -> Self:
        raw = _read_private(path)
        try:
            return cls(*_from_json(raw))
        except ValueError as error:
            raise KeyringDamaged(path, str(error)) from None

    def current(self, purpose: Purpose) -> Secret:
        return self._current[purpose]

    def version(self, purpose: Purpose, secret_id: str) -> Secret:
        secret = self._versions.get((purpose, secret_id))
        if secret is None:
            raise UnknownSecret(purpose, secret_id)
        return secret

    def versions(self, purpose: Purpose) -> tuple[Secret, ...]:
        """Every version of a purpose, the current one first."""
        current = self._current[purpose]
        retired = (secret for secret in self._versions.values() if secret.purpose == purpose and secret is not current)
        return (current, *retired)

    def check_values(self) -> dict[str, bytes]:
        return {secret.name: secret.check_value() for secret in self._versions.values()}

    def __repr__(self) -> str:
        return f"Keyring({', '.join(secret.name for secret in self._versions.values())})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring is never pickled or copied")


def compare_check_values(stored: Mapping[str, bytes], keyring: Keyring) -> None:
    """Raise WrongKeyring unless every secret the database knows is here, unchanged. New versions are welcome."""
    held = keyring.check_values()
    missing = tuple(sorted(stored.keys() - held.keys()))
    differing = tuple(
        sorted(name for name in stored.keys() & held.keys() if not hmac.compare_digest(stored[name], held[name]))
    )
    if missing or differing:
        raise WrongKeyring(differing=differing, missing=missing)


def check_private(path: Path, status: os.stat_result, *, account: int) -> None:
    """Raise KeyringUnsafe unless this is a plain file that only the account (any, for root) can read and write."""
    if not stat.S_ISREG(status.st_mode):
        raise KeyringUnsafe(path, "it is not a regular file")
    if status.st_mode & 0o077:
        raise KeyringUnsafe(path, f"its mode is {stat.S_IMODE(status.st_mode):04o}; run `chmod 0600 {path}`")
    if account not in (0, status.st_uid):
        raise KeyringUnsafe(path, f"it belongs to user {status.st_uid}; run `chown {account} {path}`")


def _read_private(path: Path) -> bytes:
    try:
        # NONBLOCK: a pipe put in its place must be refused, not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise KeyringMissing(path) from None
    except OSError as error:
        reason = "it is a symbolic link" if path.is_symlink() else f"it cannot be opened ({error.strerror})"
        raise KeyringUnsafe(path, reason) from None
    try:
        check_private(path, os.fstat(descriptor), account=os.geteuid())
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(KEYRING_BYTES_MAX + 1)
    finally:
        os.close(descriptor)


def _write_new(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        raise KeyringMissing(path) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask took away
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        path.hardlink_to(temporary)  # unlike a rename it never replaces what is there
    except FileExistsError:
        raise KeyringExists(path) from None
    finally:
        temporary.unlink(missing_ok=True)
    _fsync_directory(path.parent)


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fresh(purpose: Purpose, now: datetime) -> Secret:
    value = secrets.token_bytes(SECRET_BYTES)
    return Secret(purpose=purpose, secret_id=f"{purpose[0]}1", value=value, state="current", created=now)


def _to_json(keyring: Keyring) -> bytes:
    purposes = {purpose: [_entry(secret) for secret in keyring.versions(purpose)] for purpose in PURPOSES}
    document = {"version": _VERSION, "created": _iso(keyring.created), "purposes": purposes}
    return json.dumps(document, indent=1).encode() + b"\n"


def _entry(secret: Secret) -> dict[str, str]:
    value = b64encode(secret.value).decode()
    return {"id": secret.secret_id, "secret": value, "state": secret.state, "created": _iso(secret.created)}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _from_json(raw: bytes) -> tuple[datetime, list[Secret]]:
    """The reasons name members, never their contents: a secret may stand in the wrong place."""
    if len(raw) > KEYRING_BYTES_MAX:
        raise ValueError(f"it is larger than {KEYRING_BYTES_MAX} bytes")
    if b"\r" in raw:
        raise ValueError("its line ends were converted (CRLF)")
    document = _members(_json(raw), "the file", "version", "created", "purposes")
    if json.dumps(document["version"]) != str(_VERSION):  # true and 1.0 equal 1 in Python
        raise ValueError(f"its version is not {_VERSION}: it is damaged or newer than this program")
    purposes = _members(document["purposes"], "purposes", *PURPOSES)
    found = [_secret(purpose, entry) for purpose in PURPOSES for entry in _list(purposes[purpose], purpose)]
    return _moment(document["created"], "the file"), found


def _json(raw: bytes) -> object:
    # JSONDecodeError carries the whole document, so it must not become anybody's context.
    try:
        return json.loads(raw.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        return None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate member")
    return found


def _members(value: object, where: str, *names: str) -> dict[str, object]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise ValueError(f"{where} must be JSON with exactly the members {', '.join(names)}, each once")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list")  # noqa: TRY004 (the file is wrong, not the caller)
    return value


def _secret(purpose: Purpose, entry: object) -> Secret:
    members = _members(entry, f"each secret of {purpose}", "id", "secret", "state", "created")
    secret_id, state = members["id"], members["state"]
    if not isinstance(secret_id, str) or not _SECRET_ID.fullmatch(secret_id):
        raise ValueError(f"an id of {purpose} is malformed")
    if state not in get_args(SecretState):
        raise ValueError(f"{purpose}:{secret_id} has an unknown state")
    return Secret(
        purpose=purpose,
        secret_id=secret_id,
        value=_value(members["secret"], f"{purpose}:{secret_id}"),
        state=cast(SecretState, state),
        created=_moment(members["created"], f"{purpose}:{secret_id}"),
    )


def _value(text: object, where: str) -> bytes:
    value = b""
    if isinstance(text, str):
        try:
            value = b64decode(text.encode(), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            value = b""
    if len(value) != SECRET_BYTES or b64encode(value).decode() != text:
        raise ValueError(f"{where} is not {SECRET_BYTES} bytes in base64")
    return value


def _moment(text: object, where: str) -> datetime:
    moment = None
    if isinstance(text, str):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"the creation time of {where} is not an ISO time with its zone")
    return moment
