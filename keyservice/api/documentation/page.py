"""The document at `/openapi.json` and the page that shows it at `/docs`, whole and from here: no other host is asked."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from aiohttp import hdrs, web
from pydantic_core import to_json

from keyservice.api.access import Handler, described_route
from keyservice.api.documentation.document import build_document
from keyservice.api.operation import JSON, Answer, Content, Operation

_STATIC: Final = Path(__file__).with_name("static")
_FILES: Final = {
    "init.js": ("init.js", "text/javascript"),
    "swagger-ui-bundle.js": ("swagger-ui/swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": ("swagger-ui/swagger-ui.css", "text/css"),
}
# Nothing from elsewhere, and no code in the page itself; Swagger UI's icons are data.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_UNCHANGED: Final = Answer(None, "`If-None-Match` names the content as it is.")
_ETAG: Final = {"ETag": "Stands for this content: given back in `If-None-Match`, only what is new is sent."}


@dataclass(frozen=True, slots=True)
class Published:
    """What anyone may read, and what stands for it."""

    body: bytes
    media_type: str
    etag: str


def routes() -> list[web.RouteDef]:
    """Public. Each content is made when it is first asked for."""
    document = Answer(dict[str, Any], "The document.", _ETAG)
    page = Answer(Content(("text/html",), "The page.", is_binary=False), headers=_ETAG)
    return [
        described_route(
            "GET",
            "/openapi.json",
            _document_publisher(),
            _operation("read_openapi_document", "Read this document", document),
        ),
        described_route(
            "GET",
            "/docs",
            _file_publisher("docs.html", "text/html"),
            _operation("read_docs_page", "Look at this document in a browser", page),
        ),
        *(_file_route(name, file, media_type) for name, (file, media_type) in _FILES.items()),
    ]


def _file_route(name: str, file: str, media_type: str) -> web.RouteDef:
    answer = Answer(Content((media_type,), "The file.", is_binary=False), headers=_ETAG)
    operation_id = f"read_docs_{name.replace('.', '_').replace('-', '_')}"
    operation = _operation(operation_id, f"Read {name} of the page", answer)
    return described_route("GET", f"/docs/{name}", _file_publisher(file, media_type), operation)


def _operation(operation_id: str, summary: str, answer: Answer) -> Operation:
    return Operation(
        operation_id=operation_id,
        summary=summary,
        tag="documentation",
        answers={200: answer, 304: _UNCHANGED},
    )


def _document_publisher() -> Handler:
    made = cache(lambda application: _published(to_json(build_document(application)), JSON))

    async def publish(request: web.Request) -> web.Response:
        return _answer(request, made(request.app))

    return publish


def _file_publisher(file: str, media_type: str) -> Handler:
    read = cache(lambda: _published((_STATIC / file).read_bytes(), media_type))

    async def publish(request: web.Request) -> web.Response:
        return _answer(request, read())

    return publish


def _published(body: bytes, media_type: str) -> Published:
    return Published(body, media_type, hashlib.sha256(body).hexdigest()[:32])


def _answer(request: web.Request, published: Published) -> web.Response:
    known = {tag.value for tag in request.if_none_match or ()}
    is_known = published.etag in known or "*" in known
    response = web.Response(status=304) if is_known else web.Response(body=published.body)
    if not is_known:
        response.content_type = published.media_type
        response.charset = None if published.media_type == JSON else "utf-8"
    response.etag = published.etag
    response.headers[hdrs.CACHE_CONTROL] = "no-cache"
    response.headers["Content-Security-Policy"] = _POLICY
    return response
