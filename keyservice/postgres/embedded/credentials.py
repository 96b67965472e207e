"""The three roles' passwords: random, in one file that only the account which starts the service can read."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from keyservice.postgres.embedded.errors import CredentialsUnusable
from keyservice.postgres.embedded.private_files import read_json, write_json

SUPERUSER = "postgres"
OWNER = "keyservice_owner"
SERVICE = "keyservice_service"
DATABASE = "keyservice"
# A port is part of the socket's name; naming it keeps PGPORT of the caller's shell out.
PORT = 5432


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """One password for each role."""

    superuser: str
    owner: str
    service: str

    @classmethod
    def read(cls, file: Path) -> "Credentials":
        try:
            return cls(**read_json(file))
        except FileNotFoundError as error:
            raise CredentialsUnusable(file=file, reason="is missing") from error
        except (ValueError, TypeError) as error:
            raise CredentialsUnusable(file=file, reason="cannot be read") from error

    @classmethod
    def create(cls, file: Path) -> "Credentials":
        passwords = {name: secrets.token_urlsafe(32) for name in ("superuser", "owner", "service")}
        write_json(file, passwords)
        return cls(**passwords)


def url(*, role: str, password: str, database: str, socket_directory: Path) -> str:
    """In the form that asyncpg and libpq both read."""
    host = quote(str(socket_directory), safe="")
    return f"postgresql://{role}:{quote(password, safe='')}@/{database}?host={host}&port={PORT}"
