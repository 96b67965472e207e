"""How a command ends that could not do its work: one line that says what to do, and a status that a supervisor reads."""

from typing import Final

import asyncpg
from rich.console import Console
from rich.text import Text

from keyservice.cli.launcher import PortTaken, WorkerNotStarted
from keyservice.domain.errors import KeyserviceError
from keyservice.postgres.connection import CONNECTION_LOST, UnsafeDatabase
from keyservice.settings import SettingsRefused

REFUSED: Final = 1
# sysexits.h: the same command may succeed later.
TRY_AGAIN_LATER: Final = 75

_DATABASE_REFUSALS: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
REFUSALS: Final = (
    *(KeyserviceError, UnsafeDatabase, SettingsRefused, PortTaken, WorkerNotStarted),
    *(*_DATABASE_REFUSALS, *CONNECTION_LOST, TimeoutError),
)
_MAY_PASS: Final = (PortTaken, WorkerNotStarted, TimeoutError, *CONNECTION_LOST)


def tell(refusal: BaseException) -> int:
    """Print the reason to standard error; the exit status."""
    told = Text.assemble(("refused:", "bold red"), f" {_in_words(refusal)}")
    Console(stderr=True).print(told, soft_wrap=True, highlight=False)
    return TRY_AGAIN_LATER if _may_pass(refusal) else REFUSED


def _in_words(refusal: BaseException) -> str:
    match refusal:
        case OSError(filename=str(name)):
            return f"{name}: {refusal.strerror}"
        case asyncpg.ClientConfigurationError():
            # Its message quotes the URL, and the URL holds a password.
            return "a database URL cannot be read: write postgresql://user:password@host/database"
        case asyncpg.PostgresError() if isinstance(refusal, _DATABASE_REFUSALS):
            return f"the database does not let this role in ({refusal}): look at the database URLs"
        case KeyserviceError() | UnsafeDatabase() | SettingsRefused() | PortTaken() | WorkerNotStarted():
            return str(refusal)
        case _:
            reason = getattr(refusal, "strerror", None) or type(refusal).__name__
            return f"the database cannot be reached ({reason}): start it, or correct the database URLs"


def _may_pass(refusal: BaseException) -> bool:
    is_permanent = isinstance(refusal, asyncpg.ClientConfigurationError) or getattr(refusal, "filename", None)
    return isinstance(refusal, _MAY_PASS) and not is_permanent
