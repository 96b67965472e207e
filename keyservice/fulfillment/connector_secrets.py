"""A connector's secrets: sealed like keys, each under a data key of its own that opens for no other connector."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from keyservice.crypto.sealing import DataKey, aad
from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.errors import Tampered
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


async def put_secrets(
    connection: Connection,
    wrapper: KeyWrapper,
    publisher_id: int,
    connector_id: UUID,
    secrets: Mapping[str, str],
    now: datetime,
) -> None:
    """Store these, in the place of those of the same names."""
    for name, value in sorted(secrets.items()):
        data_key, raw = DataKey.generate(0)
        wrapped = await wrapper.wrap(raw, _context(publisher_id, connector_id, name))
        sealed = data_key.seal(value.encode(), _aad(name))
        await connection.execute(
            statement("connectors.put_secret"), publisher_id, connector_id, name, wrapped, sealed, now
        )


async def read_secrets(
    connection: Connection, wrapper: KeyWrapper, publisher_id: int, connector_id: UUID
) -> dict[str, str]:
    """All of a connector's secrets, opened. Raises Tampered for one that does not open."""
    rows = await connection.fetch(statement("connectors.secrets"), publisher_id, connector_id)
    opened = {}
    for row in rows:
        raw = await wrapper.unwrap(row["wrapped_key"], _context(publisher_id, connector_id, row["name"]))
        try:
            opened[row["name"]] = DataKey(0, raw).open(row["sealed"], _aad(row["name"])).decode()
        except UnicodeDecodeError:
            raise Tampered("a secret of a connector opens to something this program did not seal") from None
    return opened


def _context(publisher_id: int, connector_id: UUID, name: str) -> dict[str, str]:
    return {
        "purpose": "connector secret",
        "publisher": str(publisher_id),
        "connector": str(connector_id),
        "name": name,
    }


def _aad(name: str) -> bytes:
    return aad("connector secret1", name.encode())
