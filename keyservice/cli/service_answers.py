"""What the service answers to a command, and what it means when it does not."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from keyservice.domain.errors import KeyserviceError

_BUSY: Final = frozenset({408, 429, 502, 503, 504})
BROKEN: Final = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)
# The answers to an upload that was cut short on its way, or whose earlier connection is not quite over.
_CUT_SHORT: Final = frozenset({("upload-incomplete", None), ("upload-conflict", "written-elsewhere")})

Model = TypeVar("Model", bound=BaseModel)


class ServiceUnreachable(KeyserviceError):
    """Nobody answers at the address, or not what keyservice answers."""

    code = "service-unreachable"


class RequestFailed(KeyserviceError):
    """The service refused; its own reason is the message."""

    code = "request-failed"

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        # What is wrong with a member says more than that some are wrong.
        first: Mapping[str, Any] = next(iter(problem.get("errors", ())), {})
        place = str(first.get("pointer", "")).removeprefix("#").removeprefix("/")
        detail = first.get("detail") or problem.get("detail") or f"the service answered {status} without a reason"
        super().__init__(f"{place}: {detail}" if place else str(detail))
        self.status = status
        self.kind = str(problem.get("type", "")).rpartition(":")[2]
        self.reason = problem.get("reason")

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status in _BUSY or (self.kind, self.reason) in _CUT_SHORT


async def read_answer(response: aiohttp.ClientResponse, model: type[Model]) -> Model:
    await demand_success(response)
    try:
        return model.model_validate_json(await response.read())
    except ValidationError as error:
        raise ServiceUnreachable(f"{response.url.origin()} does not answer as keyservice does") from error


async def demand_success(response: aiohttp.ClientResponse) -> None:
    if response.status < 300:
        return
    try:
        problem = await response.json(content_type=None)
    except ValueError:
        problem = None
    raise RequestFailed(response.status, problem if isinstance(problem, dict) else {})


def may_go_on(error: Exception) -> bool:
    return isinstance(error, BROKEN) or (isinstance(error, RequestFailed) and error.is_passing)


def in_words(error: Exception) -> str:
    match error:
        case aiohttp.ClientOSError(strerror=str(reason)) if reason:
            return reason
        case TimeoutError():
            return "nothing was heard for too long"
        case _:
            return str(error) or type(error).__name__
