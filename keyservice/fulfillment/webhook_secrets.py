"""The secrets of webhook endpoints: made here, shown once, and kept sealed under a data key of the endpoint's own."""

import base64
import os
from typing import Final
from uuid import UUID

import asyncpg

from keyservice.crypto.sealing import DataKey, aad
from keyservice.crypto.wrapping import KeyWrapper

SECRET_BYTES: Final = 32
"""Standard Webhooks: from 24 to 64."""

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the form, not a secret


def new_secret() -> str:
    """In the form that receivers' libraries take."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def secret_context(endpoint_id: UUID) -> dict[str, str]:
    """What an endpoint's data key is bound to."""
    return {"purpose": "webhook", "endpoint": str(endpoint_id)}


def seal_secret(data_key: DataKey, endpoint_id: UUID, secret: str) -> bytes:
    return data_key.seal(secret.encode(), _aad(endpoint_id))


async def open_data_key(wrapper: KeyWrapper, row: asyncpg.Record) -> DataKey:
    """The data key of an endpoint's row. Raises Tampered and Sealed."""
    raw = await wrapper.unwrap(row["wrapped_key"], secret_context(row["endpoint_id"]))
    return DataKey(row["data_key_id"], raw)


def open_secret(data_key: DataKey, endpoint_id: UUID, sealed: bytes) -> str:
    """Raises Tampered."""
    return data_key.open(sealed, _aad(endpoint_id)).decode()


def _aad(endpoint_id: UUID) -> bytes:
    return aad("webhook secret", endpoint_id.bytes)
