"""The check value at start-up: the wrong secret refuses to serve, it never gives garbage."""

from keyservice.crypto.keyring import Keyring, compare_check_values
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


async def prove_secrets(connection: Connection, keyring: Keyring) -> None:
    """Compare the keyring with what this database was sealed under; the first start writes the check values down.

    Raises WrongKeyring, which says which secrets differ.
    """
    stored = await read_check_values(connection)
    if stored:
        compare_check_values(stored, keyring)
    values = [(name, value) for name, value in keyring.check_values().items() if name not in stored]
    await connection.executemany(statement("callers.insert_check_value"), values)
    # Two first starts at once, each with a keyring of its own: only one of them may go on.
    compare_check_values(await read_check_values(connection), keyring)


async def read_check_values(connection: Connection) -> dict[str, bytes]:
    """The check values that this database knows."""
    rows = await connection.fetch(statement("callers.check_values"))
    return {row["secret_name"]: row["check_value"] for row in rows}
