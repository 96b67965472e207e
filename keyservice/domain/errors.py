"""The one tree of errors that the domain raises; `api/` turns them into HTTP, nothing below `api/` knows a status code."""

from typing import ClassVar


class KeyserviceError(Exception):
    """Base of every refusal that a caller can act on. `code` is stable and public."""

    code: ClassVar[str] = "error"

    @property
    def facts(self) -> dict[str, object]:
        """What may be shown to the caller beside the message: never a key, a secret or another tenant's data."""
        return {}


class Invalid(KeyserviceError):
    """The request breaks a rule; repeating it unchanged cannot succeed."""

    code = "invalid"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    @property
    def facts(self) -> dict[str, object]:
        return {} if self.field is None else {"field": self.field}


class NotFound(KeyserviceError):
    """There is no such thing, or it belongs to somebody else: the answer is the same."""

    code = "not-found"


class Conflict(KeyserviceError):
    """The thing is not in a state that allows this."""

    code = "conflict"


class Unauthenticated(KeyserviceError):
    """No credential, or one that is not valid (any more)."""

    code = "unauthenticated"


class Forbidden(KeyserviceError):
    """The credential is valid but does not cover this."""

    code = "forbidden"


class TooManyRequests(KeyserviceError):
    """The caller has used up what its limits allow for now; nothing was looked at."""

    code = "too-many-requests"

    def __init__(self, *, policies: tuple[str, ...], retry_after_seconds: int) -> None:
        super().__init__("this caller has reached a limit of its requests; send it again after Retry-After seconds")
        self.policies = policies
        self.retry_after_seconds = retry_after_seconds

    @property
    def facts(self) -> dict[str, object]:
        return {"violated-policies": list(self.policies)}


class OutOfStock(KeyserviceError):
    """At least one line of the request cannot be served in full; nothing was taken and nothing was stored."""

    code = "out-of-stock"

    def __init__(self, *, line_number: int, wanted: int, left: int) -> None:
        super().__init__(f"line {line_number} wants {wanted} keys and {left} are left; upload a batch or ask for fewer")
        self.line_number = line_number
        self.wanted = wanted
        self.left = left

    @property
    def facts(self) -> dict[str, object]:
        return {"line": self.line_number}


class ReferenceReused(KeyserviceError):
    """The same order number came with another body."""

    code = "reference-reused"


class Overloaded(KeyserviceError):
    """More work is waiting than can be served in time; nothing was started."""

    code = "overloaded"
    retry_after_seconds: ClassVar[int] = 1


class OutcomeUnknown(KeyserviceError):
    """The connection to the database broke while the outcome was being made durable. Repeat the same request."""

    code = "outcome-unknown"
    retry_after_seconds: ClassVar[int] = 1


class Sealed(KeyserviceError):
    """The secrets that open the keys are missing or wrong; nothing is served until they are back."""

    code = "sealed"


class Tampered(KeyserviceError):
    """A sealed value does not open at this place: altered, truncated, moved from another row, or sealed by another secret."""

    code = "tampered"
