"""Errors in Connect's own shape: `responseCode` and `responseMessage`, whatever went wrong."""

from typing import Any, Final

from aiohttp import web
from pydantic_core import to_json

from keyservice.api.connect.codes import AnswerCode, CancelOrderCode, CreateOrderCode
from keyservice.api.problems import problem_response
from keyservice.domain.errors import Forbidden, Unauthenticated

_CODE_OF_STATUS: Final = {
    400: CreateOrderCode.ORDER_MISSING,
    408: CreateOrderCode.ORDER_MISSING,
    413: CreateOrderCode.ORDER_MISSING,
    415: CreateOrderCode.ORDER_MISSING,
}


def answer(body: dict[str, Any], *, status: int = 200) -> web.Response:
    """A Connect answer."""
    return web.Response(body=to_json(body), status=status, content_type="application/json")


def refused(code: AnswerCode, message: str | None = None) -> dict[str, Any]:
    """An answer that is only a code."""
    return {"responseCode": int(code), "responseMessage": message or code.message}


def error_response(request: web.Request, error: Exception) -> web.Response:
    """What the problem document says, as Connect says it: same status, same headers, no more told than there."""
    problem = problem_response(error, request)
    if isinstance(error, Unauthenticated):
        is_missing = not request.headers.get("secret")
        code = CreateOrderCode.SECRET_MISSING if is_missing else CreateOrderCode.SECRET_NOT_VALID
        body = refused(code)
    elif isinstance(error, Forbidden) and request.path.endswith("/order/cancel"):
        body = refused(CancelOrderCode.CANCEL_NOT_AUTHORISED)
    else:
        detail = str(error) if problem.status in _CODE_OF_STATUS else None
        body = refused(_CODE_OF_STATUS.get(problem.status, CreateOrderCode.INTERNAL_ERROR), detail)
    response = answer(body, status=problem.status)
    for name in ("Retry-After", "WWW-Authenticate", "Allow"):
        if name in problem.headers:
            response.headers[name] = problem.headers[name]
    return response
