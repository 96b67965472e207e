"""Errors in Connect's own shape: `responseCode` and `responseMessage`, whatever went wrong."""

import json
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from keyservice.api.connect.codes import AnswerCode, CancelOrderCode, CreateOrderCode
from keyservice.api.problems import problem_response
from keyservice.domain.errors import Forbidden, TooManyRequests, Unauthenticated


def answer(body: dict[str, Any], *, status: int = 200) -> web.Response:
    """A Connect answer."""
    return web.Response(body=to_json(body), status=status, content_type="application/json")


def refused(code: AnswerCode, message: str | None = None) -> dict[str, Any]:
    """An answer that is only a code."""
    return {"responseCode": int(code), "responseMessage": message or code.message}


def error_response(request: web.Request, error: Exception) -> web.Response:
    """What the problem document says, as Connect says it: same status, same headers, no more told than there."""
    problem = problem_response(error, request)
    assert isinstance(problem.body, bytes)
    if isinstance(error, Unauthenticated):
        is_missing = not request.headers.get("secret")
        code = CreateOrderCode.SECRET_MISSING if is_missing else CreateOrderCode.SECRET_NOT_VALID
        body = refused(code)
    elif isinstance(error, Forbidden) and request.path.endswith("/order/cancel"):
        body = refused(CancelOrderCode.CANCEL_NOT_AUTHORISED)
    elif isinstance(error, TooManyRequests):
        # The specification knows no limits. Of its codes this one does not say that the order itself is wrong.
        body = refused(CreateOrderCode.INTERNAL_ERROR, str(error))
    else:
        is_theirs = problem.status < HTTPStatus.INTERNAL_SERVER_ERROR
        code = CreateOrderCode.ORDER_MISSING if is_theirs else CreateOrderCode.INTERNAL_ERROR
        body = refused(code, json.loads(problem.body)["detail"] if is_theirs else None)
    response = answer(body, status=problem.status)
    for name in ("Retry-After", "WWW-Authenticate", "Allow"):
        if name in problem.headers:
            response.headers[name] = problem.headers[name]
    return response
