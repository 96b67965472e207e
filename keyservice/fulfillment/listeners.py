"""Which callers have an endpoint for notices, remembered for a moment, so that an order of any other costs nothing more."""

import time

from keyservice.domain.errors import KeyserviceError
from keyservice.postgres.connection import Database
from keyservice.postgres.statements import statement


class Listeners:
    """A new endpoint is known everywhere within `remember_seconds`."""

    def __init__(self, database: Database, *, remember_seconds: float) -> None:
        self._database = database
        self._remember_seconds = remember_seconds
        self._callers: frozenset[int] | None = None
        self._until = 0.0

    async def may_have(self, caller_id: int) -> bool:
        """False only for a caller that has none; while nobody knows, the transaction itself will look."""
        now = time.monotonic()
        if now >= self._until:
            # Moved on first: whoever asks meanwhile goes by what was known, and one asks the database.
            self._until = now + self._remember_seconds
            try:
                self._callers = await self._read()
            except KeyserviceError:
                self._callers = None
        return self._callers is None or caller_id in self._callers

    async def _read(self) -> frozenset[int]:
        async with self._database.reading() as connection:
            rows = await connection.fetch(statement("notices.listening_callers"))
        return frozenset(row["caller_id"] for row in rows)
