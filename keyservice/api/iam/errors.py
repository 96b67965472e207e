"""Errors of the token endpoint in OAuth2's own shape (RFC 6749, section 5.2); all else under /iam is a problem document."""

import json
from http import HTTPStatus
from typing import Final, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, Field

from keyservice.api.problems import problem_response
from keyservice.api.reading import RequestRefused
from keyservice.domain.errors import Unauthenticated

TOKEN_PATH: Final = "/iam/tokens"  # noqa: S105 - a path
_KEPT_HEADERS: Final = (hdrs.RETRY_AFTER, hdrs.ALLOW)

TokenErrorCode = Literal[
    "invalid_request", "invalid_client", "invalid_scope", "unsupported_grant_type", "temporarily_unavailable"
]


class TokenError(BaseModel):
    """Why no token was issued (RFC 6749, section 5.2)."""

    error: TokenErrorCode
    error_description: str = Field(description="What is wrong, and what to do.")


class TokenRefused(RequestRefused):
    """The client is known and its request is not granted, or cannot be read."""

    def __init__(self, error: TokenErrorCode, message: str) -> None:
        super().__init__(message)
        self.error: TokenErrorCode = error


def error_response(request: web.Request, error: Exception) -> web.Response:
    """The status and the words of the problem document, under OAuth2's names."""
    problem = problem_response(error, request)
    if request.path != TOKEN_PATH:
        return problem
    assert isinstance(problem.body, bytes)
    # RFC 6749 allows no quotation marks and no backslashes here.
    description = json.loads(problem.body)["detail"].replace('"', "'").replace("\\", "/")
    body = TokenError(error=_code(error, problem.status), error_description=description)
    response = web.Response(status=problem.status, body=body.model_dump_json(), content_type="application/json")
    for name in _KEPT_HEADERS:
        if name in problem.headers:
            response.headers[name] = problem.headers[name]
    if isinstance(error, Unauthenticated):
        response.headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="keyservice"'
    if isinstance(error, RequestRefused) and error.closes:
        response.force_close()
    return response


def _code(error: Exception, status: int) -> TokenErrorCode:
    if isinstance(error, TokenRefused):
        return error.error
    if isinstance(error, Unauthenticated):
        return "invalid_client"
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "temporarily_unavailable"
    return "invalid_request"
