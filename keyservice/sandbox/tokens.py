"""OAuth2 tokens of the sandbox publisher: they live briefly, and nobody gets many."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keyservice.sandbox.asked import Reason, Refused


@dataclass(slots=True)
class TokenDesk:
    """Issues tokens and knows those that still hold."""

    now: Callable[[], datetime]
    seconds: int = 60
    per_minute: int = 30
    issued: int = 0
    _until: dict[str, datetime] = field(default_factory=dict, repr=False)
    _times: list[datetime] = field(default_factory=list, repr=False)

    def issue(self) -> str | None:
        """A new token, or None when too many were asked for within a minute."""
        now = self.now()
        self._times = [at for at in self._times if now - at < timedelta(minutes=1)]
        if len(self._times) >= self.per_minute:
            return None
        self._times.append(now)
        self.issued += 1
        token = secrets.token_urlsafe(24)
        self._until[token] = now + timedelta(seconds=self.seconds)
        return token

    def require(self, authorization: str) -> None:
        """`Bearer <token>` with one that has not expired. Raises Refused."""
        scheme, _, token = authorization.partition(" ")
        until = self._until.get(token)
        if scheme.lower() != "bearer" or until is None or until <= self.now():
            raise Refused(Reason.UNAUTHORIZED, "the token is unknown or has expired")

    def forget_all(self) -> None:
        """Every token that is out there is void from now on."""
        self._until.clear()
