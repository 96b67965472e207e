"""Canaries: keys that are easy to recognise, and the search for them in whatever form, wherever bytes can stay behind."""

import base64
import os
import random
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from keyservice.postgres.binaries import PostgresBinaries
from tests.lab.processes import ProcessRef

MARK: Final = "QXJZWKVQXYJZ"
"""No word, no base64 text and no random bytes contain it. Each canary does, twice, and never among its last characters."""

_ALPHABET: Final = "QXJZWKVY"


@dataclass(frozen=True, slots=True)
class Found:
    """A text that should not be there: which, in which form and where."""

    what: str
    form: str
    place: str


def canaries(rng: random.Random, count: int) -> list[str]:
    """Half of them with the characters that encodings change."""
    made = []
    for number in range(count):
        body = "".join(rng.choices(_ALPHABET, k=12))
        tail = f"{number:05d}"
        made.append(f"{MARK}-{body}-{MARK}-{tail}" if number % 2 else f"{MARK}+{body}/{MARK}={body[:4]}&{tail}")
    return made


def forms_of(text: bytes) -> dict[str, bytes]:
    """How the bytes look after each encoding that programs apply by themselves; base64 wherever in a text they begin."""
    decoded = text.decode("latin-1")
    forms = {
        "raw": text,
        "utf-16-le": decoded.encode("utf-16-le"),
        "utf-16-be": decoded.encode("utf-16-be"),
        "hex": text.hex().encode(),
        "HEX": text.hex().upper().encode(),
        "percent": "".join(f"%{byte:02X}" for byte in text).encode(),
        "percent, lower": "".join(f"%{byte:02x}" for byte in text).encode(),
        "unicode escape": "".join(f"\\u{byte:04x}" for byte in text).encode(),
    }
    for offset in range(3):
        # Without the characters at both ends that also depend on the neighbours.
        encoded = base64.b64encode(bytes(offset) + text)
        inner = encoded[-(-offset * 4 // 3) : (offset + len(text)) * 4 // 3]
        forms[f"base64 at {offset}"] = inner
        forms[f"base64url at {offset}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return forms


class Scanner:
    """Searches for named texts in all their forms."""

    def __init__(self, wanted: Mapping[str, bytes], *, forms: Collection[str] = ()) -> None:
        self._patterns = [
            (name, form, pattern)
            for name, text in wanted.items()
            for form, pattern in forms_of(text).items()
            if not forms or form in forms
        ]

    def in_bytes(self, content: bytes, place: str) -> list[Found]:
        return [Found(name, form, place) for name, form, pattern in self._patterns if pattern in content]

    def in_files(self, directory: Path, *, but: Collection[str] = ()) -> list[Found]:
        """Every file below the directory, except those of these names."""
        found: list[Found] = []
        for path in files_below(directory):
            if path.name not in but:
                found += self.in_bytes(_content(path), str(path.relative_to(directory)))
        return found

    def in_processes(self, processes: Iterable[ProcessRef]) -> list[Found]:
        """What any account of the machine, or the same one, can see of a running process."""
        found: list[Found] = []
        for one in processes:
            for name, content in (("cmdline", one.command_line), ("environ", one.environment)):
                assert content or not one.is_alive, f"/proc/{one.pid}/{name} cannot be read"
                found += self.in_bytes(content, f"/proc/{one.pid}/{name}")
        return found


def files_below(directory: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, _, names in os.walk(directory, onerror=refuse):
        yield from (path for name in names if (path := Path(parent) / name).is_file())


def _content(path: Path) -> bytes:
    """Without the zeros at its end, of which a fresh WAL file has millions. A file that has just gone holds nothing."""
    try:
        return path.read_bytes().rstrip(b"\0")
    except FileNotFoundError:
        return b""


def dump(url: str) -> bytes:
    """The whole database as pg_dump writes it, binary columns as hexadecimal digits."""
    password = unquote(urlsplit(url).password or "")
    without = url.replace(f":{urlsplit(url).password}@", "@")
    done = subprocess.run(
        [PostgresBinaries.locate().directory / "pg_dump", "--inserts", without],
        env={"PGPASSWORD": password, "PATH": os.defpath},
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    return done.stdout
