"""What a protocol family is made of. How a call is taken apart and answered is pure; the network is elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass

from keyservice.sandbox.asked import Answer, Asked, Granted, Refused
from keyservice.sandbox.credentials import Credentials
from keyservice.sandbox.incoming import Incoming
from keyservice.sandbox.issuing import Delivery, Repeat
from keyservice.sandbox.tokens import TokenDesk


@dataclass(frozen=True, slots=True)
class Door:
    """What a caller has to prove, and where tokens are had."""

    credentials: Credentials
    tokens: TokenDesk


@dataclass(frozen=True, slots=True)
class Family:
    """One protocol under one mount."""

    name: str
    mount: str
    """Where a connector's base URL ends."""

    speaks_for: str
    """Whose protocol it is, in words."""

    read: Callable[[Incoming, Door], Asked]
    """Raises Refused for wrong credentials, signatures and requests."""

    grant: Callable[[Asked, Granted], Answer]
    refuse: Callable[[Refused], Answer]
    delivery: Delivery = Delivery.AT_ONCE
    repeat: Repeat = Repeat.SAME_KEY
    issue_token: Callable[[Incoming, Door], Answer] | None = None
    """Of families in which a call may be one for a token: `Asked.operation` is then `token`."""
