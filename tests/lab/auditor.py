"""Runs auditor.sql: facts that must hold in the database whatever happened before."""

import re
from pathlib import Path

import asyncpg

_HEADER = re.compile(r"^-- ([a-z_]+) --$", re.MULTILINE)


def audit_queries() -> dict[str, str]:
    parts = _HEADER.split(Path(__file__).with_name("auditor.sql").read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


async def violations(superuser_url: str) -> dict[str, int]:
    """How many rows each violated rule has; empty when all is well."""
    connection = await asyncpg.connect(superuser_url)
    try:
        counts = {name: len(await connection.fetch(sql)) for name, sql in audit_queries().items()}
    finally:
        await connection.close()
    return {name: count for name, count in counts.items() if count}
