"""The account that PostgreSQL runs as: PostgreSQL refuses to be root, so root hands it to an account that exists."""

import os
import pwd
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from keyservice.postgres.embedded.errors import UserUnsuitable

_CANDIDATES = ("keyservice", "postgres", "nobody")
# Nothing is inherited: PGDATA, PGOPTIONS or a locale from the caller's shell would change the server.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
# `[ -x ]` asks the kernel as that account would, so modes, groups and access lists all count.
_PRINT_FIRST_CLOSED = 'for path; do [ -e "$path" ] || exit; [ -x "$path" ] || { printf %s "$path"; exit; }; done'


@dataclass(frozen=True, slots=True)
class OperatingSystemUser:
    """An account by name and numbers; `is_current` when this process already is that account."""

    name: str
    uid: int
    gid: int

    @property
    def is_current(self) -> bool:
        return self.uid == os.geteuid()

    def start(self, command: Sequence[str | Path], *, output: int | IO[bytes]) -> "subprocess.Popen[bytes]":
        """Run `command` as this account in a session of its own, where the terminal's Ctrl-C does not reach it."""
        # Popen and not asyncio's subprocess: uvloop's cannot change the account.
        return subprocess.Popen(  # noqa: S603 - programs that PostgresBinaries or this module names
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
            umask=0o077,
            user=None if self.is_current else self.uid,
            group=None if self.is_current else self.gid,
            extra_groups=None if self.is_current else [],
        )

    def first_closed(self, paths: Iterable[Path]) -> Path | None:
        """The first of `paths`, outer ones first, that this account may not enter (a directory) or run (a file)."""
        process = self.start(["/bin/sh", "-c", _PRINT_FIRST_CLOSED, "sh", *paths], output=subprocess.PIPE)
        answer, _ = process.communicate()
        return Path(os.fsdecode(answer)) if answer else None

    def own(self, path: Path) -> None:
        """Give `path` to this account."""
        if not self.is_current:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def choose_user(wanted: str | None, data: Path) -> OperatingSystemUser:
    """This process's account; for root the wanted one, else the data directory's owner, else a usual candidate."""
    owner = _owner(data)
    user = _for_root(wanted, owner) if os.geteuid() == 0 else _for_account(wanted)
    if owner is not None and owner != user.uid:
        reason = f"{data} belongs to {_named(owner).name}; start as that account, or as root without naming another"
        raise UserUnsuitable(user=user.name, reason=reason)
    return user


def current_user() -> OperatingSystemUser:
    return _named(os.geteuid())


def _owner(data: Path) -> int | None:
    try:
        return data.stat().st_uid
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None


def _for_account(wanted: str | None) -> OperatingSystemUser:
    current = current_user()
    if wanted not in (None, current.name):
        raise UserUnsuitable(user=str(wanted), reason=f"only root can change accounts, and this is {current.name}")
    return current


def _for_root(wanted: str | None, owner: int | None) -> OperatingSystemUser:
    if wanted is None and owner is not None:
        return _suitable(_named(owner))
    for name in _CANDIDATES if wanted is None else (wanted,):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _suitable(OperatingSystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid))
    name = wanted or " or ".join(_CANDIDATES)
    raise UserUnsuitable(user=name, reason="there is no such account; name one that exists")


def _suitable(user: OperatingSystemUser) -> OperatingSystemUser:
    if user.uid == 0:
        raise UserUnsuitable(user=user.name, reason="PostgreSQL does not run as root; name another account")
    return user


def _named(uid: int) -> OperatingSystemUser:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return OperatingSystemUser(str(uid), uid, os.getegid())
    return OperatingSystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
